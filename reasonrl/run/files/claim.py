"""Whether the folder of a new run may be made, and what stands in its way.

A run that ended before its first step is no loss: the same command may use its folder again. Any other run is replaced
where the user says so, unless it is training; what is not a run never is.
"""

import json
import os
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

from reasonrl.errors import RunError
from reasonrl.run.files.lock import require_idle
from reasonrl.run.files.manifest import command_for
from reasonrl.run.files.steps import by_step
from reasonrl.system import jsonl
from reasonrl.system.atomic import partial_of, publish_folder


def require_free(path: Path, *, overwrite: bool, needs: str = "") -> None:
    """Refuse a folder that a new run may not have.

    Args:
        path: the run's folder.
        overwrite: the user wants a run that is there to be replaced.
        needs: the model that the new run begins with, which may be part of the run that is there.

    Raises:
        RunError: something is there; the message says what to do about it.
    """
    if not os.path.lexists(path) or _is_empty(path):
        return
    other = f"name={next_name(path)}"
    if not (path / "manifest.json").is_file():
        kept = ", so --overwrite does not replace it" if overwrite else ""
        raise RunError(f"{path} exists and is not a run directory{kept}. Choose another name, such as {other}.")
    if _is_within(needs, path):
        raise RunError(f"{path} holds the model that the new run begins with ({needs}). Choose another name: {other}.")
    require_idle(path)
    if not overwrite and has_steps(path):
        raise RunError("\n  ".join([f"{path} exists already.", *_ways_on(path, other)]))


def publish(building: Path, path: Path) -> None:
    """Give a finished folder the name of a run, in place of what :func:`require_free` found replaceable there."""
    replaced = partial_of(path.with_name(f"{path.name}.{os.getpid()}.replaced"))
    if path.exists():
        os.rename(path, replaced)
    try:
        publish_folder(building, path)
    except OSError:
        if replaced.exists():
            os.rename(replaced, path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def has_steps(path: Path) -> bool:
    """Say whether a run has learned anything: it has a checkpoint, or a line of metrics, of a step."""
    if any(step for step, _ in by_step(path / "checkpoints")):
        return True
    with suppress(RunError):
        return any(line.get("step", 1) for line in jsonl.read(path / "metrics.jsonl"))
    return True


def next_name(path: Path) -> str:
    """Return the first of ``NAME-2``, ``NAME-3`` and so on that nothing is called yet."""
    stem, number = path.name, 2
    if match := re.fullmatch(r"(.+)-(\d{1,6})", path.name):
        stem, number = match[1], int(match[2]) + 1
    while os.path.lexists(path.with_name(f"{stem}-{number}")):
        number += 1
    return f"{stem}-{number}"


def _ways_on(path: Path, other: str) -> list[str]:
    """List what can be done with a run that is there, as commands."""
    place, train = shlex.quote(str(path)), command_for(path)
    steps = [step for step, _ in by_step(path / "checkpoints")]
    ways = {
        "to keep both:": f"add {other}",
        "to replace it:": "add --overwrite",
        **({} if _is_finished(path) else {"to resume it:": f"{train} --resume {place}"}),
        **({"to fork it:": f"{train} --fork {place}@{max(steps)} {other}"} if steps else {}),
    }
    return [f"{way:<15}{command}" for way, command in ways.items()]


def _is_finished(path: Path) -> bool:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return bool(json.loads((path / "manifest.json").read_bytes())["status"] == "finished")
    return False


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _is_within(needs: str, path: Path) -> bool:
    """Say whether a path leads into a folder; a name of the hub does not."""
    return bool(needs) and Path(needs).exists() and Path(needs).resolve().is_relative_to(path.resolve())
