"""The commands of a stage: those that a person would type."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import yaml

from reasonrl.config.kinds import KINDS
from reasonrl.config.pipeline import SampleStage, filled_in
from reasonrl.config.stages import Stage
from reasonrl.preference.selection import Schema, Selection
from reasonrl.system.atomic import write_atomically

MANIFEST: Final = "manifest.json"
SAMPLES: Final = "samples"
"""The schema of all completions of a stage that samples, whose file is always there."""


def stage_commands(stage: Stage, outputs: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the words of the commands that a stage is, each to be run when the one before has ended.

    Args:
        stage: which one; what a kill left of it is gone on with.
        outputs: what the references of its settings stand for.
    """
    overrides = [filled_in(text, outputs) for text in stage.overrides]
    if stage.trains is not None:
        yield _run_command(stage, overrides)
    elif stage.sampling is not None:
        yield from _sample_commands(stage, stage.sampling, overrides)
    else:
        exported = filled_in(stage.settings, outputs)
        yield ["export", exported["model"], "--to", str(stage.folder), "--dtype", exported["dtype"]]


def write_run_file(stage: Stage, outputs: Mapping[str, str]) -> None:
    """Write the run file of a stage, with what earlier stages have made filled in."""
    if stage.kind != "export":
        text = yaml.safe_dump(filled_in(stage.settings, outputs), sort_keys=False, allow_unicode=True, width=110)
        write_atomically(stage.run_file, text.encode())


def selections(sampling: SampleStage) -> dict[Schema, Selection]:
    """Return what is kept for each schema that has rows of its own.

    Raises:
        ConfigError: it means nothing for one of them.
    """
    shared = {name: getattr(sampling, name) for name in ("keep", "label", "threshold", "per_problem", "truncated")}
    return {schema: Selection(schema=schema, **shared) for schema in sampling.schemas if schema != SAMPLES}


def _run_command(stage: Stage, overrides: Sequence[str]) -> list[str]:
    """Return what trains the stage's run, or goes on with it."""
    assert stage.trains is not None, "it is a run"
    words = KINDS[stage.trains].command.split()[1:]
    processes = [] if stage.processes is None else ["--processes", str(stage.processes)]
    if (stage.folder / MANIFEST).is_file():
        return [*words, "--resume", str(stage.folder), *processes]
    return [*words, str(stage.run_file), *overrides, *processes]


def _sample_commands(stage: Stage, sampling: SampleStage, overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield a command for each schema; the first one samples, the others find all completions there."""
    words = ["sample", str(stage.run_file), *overrides, *_sampling_options(sampling)]
    samples = str(stage.rows_file(SAMPLES))
    chosen = selections(sampling)
    if not chosen:
        yield [*words, "--out", samples]
    for schema, selection in chosen.items():
        out = ["--out", str(stage.rows_file(schema)), "--samples", samples, "--schema", schema]
        yield [*words, *out, *_selection_options(selection), "--overwrite"]  # of the rows; the samples stay


def _sampling_options(sampling: SampleStage) -> Iterator[str]:
    """Yield the options that say what is sampled."""
    for option in ("split", "num_problems", "num_samples", "engine"):
        if (value := getattr(sampling, option)) is not None:
            yield from (f"--{option.replace('_', '-')}", str(value))


def _selection_options(selection: Selection) -> Iterator[str]:
    """Yield the options that say what is kept."""
    for option in ("keep", "per_problem", "threshold"):
        if (value := getattr(selection, option)) is not None:
            yield from (f"--{option.replace('_', '-')}", str(value))
    yield from () if selection.label == "score" else ("--label", selection.label)
    yield from ("--truncated",) if selection.truncated else ()
