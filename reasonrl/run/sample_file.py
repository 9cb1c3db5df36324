"""The file of ``reasonrl sample``: completions with their scores, one a line, that only grows.

A file that was cut short anywhere is continued with the rows that are missing.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from statistics import fmean
from typing import Any, BinaryIO, Final, TypeAlias

from reasonrl.errors import ConfigError, DataError, RunError, StoppedError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.samples import SampleRow, sample_row
from reasonrl.run.interrupt import Interrupt
from reasonrl.run.sample import PolicySampler, SampleInputs, SampleRequest, opened_sampler, sample_inputs
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors, require_writable
from reasonrl.system.summary import Summary
from reasonrl.types import Problem

Tell: TypeAlias = Callable[[int, int], None]
"""Is told how many problems are done, and of how many."""

SETTINGS_VERSION: Final = 1
GO_ON: Final = "The same command goes on from there."


def sample_to_file(request: SampleRequest, out: Path, plugins: Plugins, *, overwrite: bool, tell: Tell) -> Summary:
    """Write completions with their scores, go on where an earlier call was stopped, and return a summary.

    Args:
        request: what to sample.
        out: file of one JSON object a line, see :mod:`reasonrl.preference.samples`; its settings stand beside it.
        plugins: where task and rewards come from.
        overwrite: begin anew where the file is there.
        tell: is told of every part.

    Raises:
        ConfigError: the file was made with other settings, or by something else.
        RunError: the disk refuses it, or another process writes it.
    """
    found = request.resolved(plugins)
    refuse_other_file(out, found.settings(), overwrite)
    rows = sampled_rows(sample_inputs(found, plugins), out, plugins, overwrite=overwrite, tell=tell)
    return summarize_samples(rows, out)


def sampled_rows(loaded: SampleInputs, out: Path, plugins: Plugins, *, overwrite: bool, tell: Tell) -> list[SampleRow]:
    """Return the rows of a file, those that are missing sampled now; a whole file needs no model.

    Errors and arguments are those of :func:`sample_to_file`, which has compared the settings.
    """
    problems, count = loaded.inputs.problems, loaded.request.samples_per_problem
    with _opened(out, loaded.request.settings(), overwrite) as file:
        rows = _earlier_rows(out, problems, count)
        if len(rows) >= loaded.num_rows:
            tell(len(problems), len(problems))
            return rows
        with opened_sampler(loaded, plugins) as policy:
            _complete(policy, rows, file, out, tell)
    return rows


def write_samples(
    policy: PolicySampler, settings: Mapping[str, Any], out: Path, *, overwrite: bool, tell: Tell
) -> list[SampleRow]:
    """Sample what a file lacks, and return all of its rows.

    Args:
        policy: what to sample.
        settings: everything that decides a row, as JSON values; :func:`refuse_other_file` has compared them. Any: JSON.
        out: the file.
        overwrite: begin anew.
        tell: is told of every part.

    Raises:
        StoppedError: Ctrl-C was pressed; the file goes on where it was.
        RunError: the disk refuses it, or another process writes it.
        DataError: the file's rows are not those that belong there.
    """
    with _opened(out, settings, overwrite) as file:
        rows = _earlier_rows(out, policy.problems, policy.sampler.samples_per_prompt)
        _complete(policy, rows, file, out, tell)
    return rows


def _complete(policy: PolicySampler, rows: list[SampleRow], file: BinaryIO, out: Path, tell: Tell) -> None:
    """Sample what is missing, and say what is there where that was stopped."""
    try:
        _sample_rest(policy, rows, file, out, tell)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped at once: {_progress(rows, policy)} are kept. {GO_ON}") from None
    if len(rows) < policy.num_rows():
        raise StoppedError(f"stopped: {_progress(rows, policy)} are in {out}. {GO_ON}")


def _sample_rest(policy: PolicySampler, rows: list[SampleRow], file: BinaryIO, out: Path, tell: Tell) -> None:
    """Sample what is missing, add it to the file and to ``rows``; Ctrl-C ends it after the part that is sampled."""
    parts = policy.rows(len(rows)) if len(rows) < policy.num_rows() else iter(())
    work = (f"the {policy.part_size} problems that are being sampled", "the writing of their completions")
    with Interrupt(lambda: "their completions are lost, and those in the file stay") as interrupt:
        tell(len(rows) // policy.sampler.samples_per_prompt, len(policy.problems))
        for part in interrupt.until_asked(parts, repeat(work)):
            _append(file, part, out)
            rows += part
            tell(len(rows) // policy.sampler.samples_per_prompt, len(policy.problems))


def _progress(rows: Sequence[SampleRow], policy: PolicySampler) -> str:
    return f"{len(rows)} of {policy.num_rows()} completions"


def settings_path(out: Path) -> Path:
    """Return where the settings of a file of samples stand."""
    return out.with_name(f"{out.name}.settings.json")


def read_settings(out: Path) -> dict[str, Any] | None:
    """Return the settings that a file of samples was made with; None where it was not made here. Any: JSON values.

    Raises:
        DataError: they cannot be read.
    """
    path = settings_path(out)
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())["settings"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: is not what reasonrl sample wrote there. Restore it, or sample anew.") from None
    return found


def refuse_other_file(out: Path, settings: Mapping[str, Any], overwrite: bool, *, option: str = "--out") -> None:
    """Refuse a file that could not be continued, before anything is loaded; ``option`` names it. Any: JSON values."""
    if out.is_dir():
        raise ConfigError(f"{option} {out}: that is a folder. Name a file.")
    require_writable(out, f"then give the command again, or another {option}.")
    if not out.exists():
        return
    if not settings_path(out).exists():
        raise ConfigError(f"{out} exists already and was not made by reasonrl sample. Give another {option}.")
    if overwrite or not out.stat().st_size:
        return
    earlier = read_settings(out) or {}
    advice = f"Give another {option}, or --overwrite to begin anew."
    differing = [
        f"{name} was {_shown(theirs.get(name))} and is {_shown(ours.get(name))} now"
        for ours, theirs in [(_flat(settings), _flat(earlier))]
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise ConfigError(f"{out} was made with other settings: {'; '.join(differing)}. {advice}")


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return settings by their key paths. Any: JSON values."""
    if isinstance(settings, dict) and settings:
        items = settings.items()
    elif isinstance(settings, list) and settings:
        items = {str(index): item for index, item in enumerate(settings)}.items()
    else:
        return {prefix: settings}
    return {
        path: value
        for name, item in items
        for path, value in _flat(item, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def _opened(out: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[BinaryIO]:
    """Open the file for one process alone, without a line that was not finished."""
    again = "then give the command again."
    with disk_errors(out, again):
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.exists():  # settings first: a file without them could not be continued
            _write_settings(out, settings)
        file = out.open("a+b")
    with file:
        _lock(file, out)
        with disk_errors(out, again):
            if overwrite or not out.stat().st_size:  # an empty one is what a model that does not load leaves
                file.truncate(0)
                _write_settings(out, settings)
            jsonl.drop_unfinished_line(file)
        yield file


def encoded_settings(settings: Mapping[str, Any]) -> bytes:
    """Return what stands beside a file of samples. Any: JSON values."""
    record = {"schema_version": SETTINGS_VERSION, "settings": settings}
    return json.dumps(record, indent=2).encode() + b"\n"


def _write_settings(out: Path, settings: Mapping[str, Any]) -> None:
    write_atomically(settings_path(out), encoded_settings(settings))


def _lock(file: BinaryIO, out: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"{out}: another process is writing it. Stop it, or wait for its end.") from None


def _append(file: BinaryIO, rows: Sequence[SampleRow], out: Path) -> None:
    with disk_errors(out, "then give the command again: it goes on where it was."):
        file.write(jsonl.encode(row.model_dump(mode="json") for row in rows))
        file.flush()
        os.fsync(file.fileno())


def _earlier_rows(out: Path, problems: Sequence[Problem], count: int) -> list[SampleRow]:
    """Return the rows that are there, each checked to be the one that belongs there."""
    rows = [sample_row(f"{out}:{number}", record) for number, record in enumerate(jsonl.read(out), start=1)]
    for place, row in enumerate(rows):
        expected = problems[place // count].id if place < len(problems) * count else row.problem_id
        if (row.problem_id, row.sample_index) != (expected, place % count):
            raise DataError(
                f"{out}:{place + 1}: is sample {row.sample_index} of problem {row.problem_id}, but sample "
                f"{place % count} of problem {expected} belongs there: the file or the task's data were changed. Give "
                "another --out, or --overwrite to begin anew."
            )
    return rows


def summarize_samples(rows: Sequence[SampleRow], out: Path) -> Summary:
    """Return what a file of samples holds."""
    scored = [row.score for row in rows if row.score is not None]
    score = {"mean": fmean(scored), "min": min(scored), "max": max(scored)} if scored else None
    values = {
        "completions": len(rows),
        "problems": len({row.problem_id for row in rows}),
        "mean_tokens": fmean(row.num_tokens for row in rows),
        "truncated": fmean(row.finish_reason == "length" for row in rows),
        "score": score,
        "rewards": {label: _mean(rows, label) for label in dict.fromkeys(name for row in rows for name in row.rewards)},
        "without_score": dict(Counter(row.outcome for row in rows if row.score is None)),
        "file": str(out),
    }
    return Summary(_render_samples(values), values)


def _mean(rows: Sequence[SampleRow], label: str) -> float | None:
    """Return a reward's mean over the completions that have a value; None without one."""
    values = [value for row in rows if label in row.rewards and (value := row.rewards[label].value) is not None]
    return fmean(values) if values else None


def _render_samples(values: Mapping[str, Any]) -> str:
    """Return a file's summary as text. Any: JSON values."""
    score = values["score"]
    lines = [
        f"{values['completions']} completions of {values['problems']} problems, {values['mean_tokens']:.1f} tokens on "
        f"average, {values['truncated']:.1%} truncated",
        "score: mean {mean:.3f}, from {min:.3f} to {max:.3f}".format(**score) if score else "score: none",
    ]
    for label, mean in values["rewards"].items():
        lines += [f"reward {label}: no value" if mean is None else f"reward {label}: mean {mean:.3f}"]
    lines += [f"without a score: {count} x {outcome}" for outcome, count in sorted(values["without_score"].items())]
    return "\n".join([*lines, f"Samples: {values['file']}"])
