"""Start, resume and fork runs."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from reasonrl.assembly import Material, build, gather
from reasonrl.config import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins import Plugins
from reasonrl.runfile import load_run, override_run
from reasonrl.runs.directory import RunDirectory
from reasonrl.session import Session
from reasonrl.view import View

RECORDED = ("reasonrl", "torch", "transformers", "datasets", "pydantic", "pluggy")
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
    machinery = build(config, material, plugins)
    environment = _environment() | {"device": str(machinery.device)}
    directory = RunDirectory.create(config, source, environment=environment, argv=argv, parent=parent)
    directory.write_data(_data(config, material))
    return Session(config, directory, material, machinery, view).run(done=0)


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
    material = gather(found.config, plugins)
    step, checkpoint = latest or (0, None)
    machinery = build(found.config, material, plugins, checkpoint=checkpoint)
    directory = RunDirectory.resume(path)
    directory.rewind(step if latest else None)
    return Session(found.config, directory, material, machinery, view).run(done=step)


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
