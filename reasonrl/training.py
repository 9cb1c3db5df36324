"""Start, resume and fork runs."""

import gc
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from reasonrl.assembly import Machinery, Material, build, gather
from reasonrl.config import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins import Plugins
from reasonrl.runfile import load_run, override_run
from reasonrl.runs.checkpoint import verify
from reasonrl.runs.directory import RunDirectory
from reasonrl.session import RollBack, Session
from reasonrl.view import View

RECORDED = ("reasonrl", "torch", "transformers", "peft", "datasets", "pydantic", "pluggy")
"""Packages whose versions a manifest holds."""


def start_run(path: Path, overrides: Sequence[str], view: View, *, argv: Sequence[str]) -> int:
    """Train a new run from a run file; return the exit code."""
    config = load_run(path, overrides)
    return _begin(config, path.read_text(encoding="utf-8"), view, argv=argv, parent=None)


def fork_run(origin: str, overrides: Sequence[str], view: View, *, argv: Sequence[str]) -> int:
    """Train a new run from another run's checkpoint, ``DIR@STEP``; return the exit code.

    Raises:
        ConfigError: the new run has the old one's name.
        RunError: there is no such checkpoint.
    """
    parent = RunDirectory.open(Path(origin.rpartition("@")[0] or origin))
    step, checkpoint = parent.checkpoint_at(origin.rpartition("@")[2] if "@" in origin else "")
    config = override_run(parent.config, [*overrides, f"model.name={checkpoint}"])
    if config.name == parent.config.name:
        raise ConfigError("a fork needs a name of its own: add name=NEW to the command.")
    source = (parent.path / "config.input.yaml").read_text(encoding="utf-8")
    return _begin(config, source, view, argv=argv, parent={"run": str(parent.path), "step": step})


def _begin(
    config: RunConfig,
    source: str,
    view: View,
    *,
    argv: Sequence[str],
    parent: Mapping[str, str | int] | None,
) -> int:
    """Check and load everything, then make the directory, then train: a mistake leaves nothing behind."""
    plugins = Plugins()
    RunDirectory.refuse_existing(config)
    material = gather(config, plugins)

    def create(machinery: Machinery) -> RunDirectory:
        environment = _environment() | {"device": str(machinery.device), **machinery.scorer.notes}
        directory = RunDirectory.create(config, source, environment=environment, argv=argv, parent=parent)
        directory.write_data(_data(config, material))
        return directory

    return _train(config, material, plugins, view, create)


def resume_run(path: Path, overrides: Sequence[str], view: View) -> int:
    """Go on with a run from its latest checkpoint; return the exit code.

    Raises:
        ConfigError: settings were given; a resumed run keeps its own.
        RunError: the run is finished, or is not a run.
    """
    if overrides:
        raise ConfigError(
            f"a resumed run keeps its settings, so {overrides[0]!r} cannot apply. To change settings, fork it: "
            f"reasonrl train --fork {path}@STEP name=NEW {overrides[0]}"
        )
    found = RunDirectory.open(path)
    if found.manifest.status == "finished":
        raise RunError(f"{path} is finished; there is nothing to resume. Compare: reasonrl compare {path}")
    plugins, latest = Plugins(), found.latest_checkpoint()

    def reopen(_: Machinery) -> RunDirectory:
        directory = RunDirectory.resume(path)
        directory.rewind(latest[0] if latest else None)
        return directory

    return _train(found.config, gather(found.config, plugins), plugins, view, reopen, found)


def _train(
    config: RunConfig,
    material: Material,
    plugins: Plugins,
    view: View,
    enter: Callable[[Machinery], RunDirectory],
    found: RunDirectory | None = None,
) -> int:
    """Train until the run ends, from the start or from the latest checkpoint of a directory.

    Args:
        config: the run.
        material: what it is about.
        plugins: where its parts come from.
        view: what a person sees.
        enter: opens the directory for writing, once everything is loaded.
        found: the directory as it stands; None for a new run.
    """
    directory, code = _attempt(config, material, plugins, view, enter, found)

    def stay(_: Machinery) -> RunDirectory:
        return directory

    while code is None:
        gc.collect()  # models hold themselves in cycles, and the next one needs their room
        directory, code = _attempt(config, material, plugins, view, stay, directory)
    return code


def _attempt(
    config: RunConfig,
    material: Material,
    plugins: Plugins,
    view: View,
    enter: Callable[[Machinery], RunDirectory],
    found: RunDirectory | None,
) -> tuple[RunDirectory, int | None]:
    """Load the model and train; return the directory and the exit code, or None for a run that was rolled back."""
    step, checkpoint = (found.latest_checkpoint() if found else None) or (0, None)
    position = verify(checkpoint).position if checkpoint else 0
    factor = config.health.rollback_rate_factor ** (found.manifest.rollbacks if found else 0)
    machinery = build(config, material, plugins, checkpoint=checkpoint, rate_factor=factor)
    with closing(machinery):
        directory = enter(machinery)
        try:
            return directory, Session(config, directory, material, machinery, view).run(done=step, position=position)
        except RollBack:
            return directory, None


def _environment() -> dict[str, str]:
    """Return the versions worth knowing later."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in RECORDED},
    }


def _data(config: RunConfig, material: Material) -> dict[str, object]:
    """Return what data.json records: sources, sizes, and the verdict on overlap."""
    return {
        "train": {"task": config.task.model_dump(), "num_problems": len(material.problems)},
        "heldout": {
            suite.name: {
                "num_problems": len(suite.problems),
                "version": suite.version,
                "overlap": material.overlaps[suite.name].verdict,
            }
            for suite in material.suites
        },
        "allow_overlap": config.evaluation.allow_overlap,
        "warnings": list(material.warnings),
    }
