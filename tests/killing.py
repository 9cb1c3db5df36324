"""A training process that kills itself, as ``kill -9`` would, when it gets to a chosen place."""

import os
import signal
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from copies import copy_engine
from rich.console import Console

import reasonrl.assembly
import reasonrl.engines.local
import reasonrl.learner
import reasonrl.learner.rng
import reasonrl.rollouts
import reasonrl.runs.directory
import reasonrl.session
from reasonrl.training import resume_run, start_run
from reasonrl.view import PlainView

PLACES: dict[str, tuple[Any, str]] = {
    "sampling": (reasonrl.engines.local.LocalEngine, "_forward"),
    "update": (reasonrl.learner.Learner, "_step"),
    "refill": (reasonrl.rollouts.Sampler, "_draw"),
    "metrics": (reasonrl.runs.directory.RunDirectory, "append_metrics"),
    "rollouts": (reasonrl.runs.directory.RunDirectory, "write_rollouts"),
    "checkpoint begun": (reasonrl.learner.Learner, "save"),
    "checkpoint half written": (reasonrl.session, "save_rng"),
    "checkpoint without the pending batch": (reasonrl.session, "save_pending"),
    "checkpoint not sealed": (reasonrl.runs.directory, "seal"),
    "checkpoint not published": (reasonrl.runs.directory, "publish_folder"),
    "checkpoint not listed": (reasonrl.runs.directory.RunDirectory, "_list_checkpoint"),
}
"""Where a process may die. Any: a class or a module, with the name of the function that is not entered."""

AHEAD = ("rollout.engine=vllm", "vllm.sleep=false", "rollout.async_steps=1", "algorithm.importance=token")
"""Settings of a run that samples ahead, for an engine with weights of its own."""


def train(folder: Path, file: str | None, place: str | None = None, count: int = 0, *, ahead: bool = False) -> None:
    """Start a run file, or resume run ``killed``, in a folder; die at the ``count``-th visit to a place."""
    os.chdir(folder)
    if place is not None:
        die_at(place, count)
    if ahead:
        reasonrl.assembly._engine = copy_engine  # in place of vLLM
    view, changes = PlainView(Console(file=StringIO())), AHEAD if ahead else ()
    code = start_run(Path(file), changes, view, argv=["test"]) if file else resume_run(Path("runs/killed"), [], view)
    raise SystemExit(code)


def die_at(place: str, count: int) -> None:
    """Replace a function by one that kills the process at its ``count``-th call."""
    owner, name = PLACES[place]
    function: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += place != "refill" or _is_refill(arguments)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    setattr(owner, name, call)


def _is_refill(arguments: Sequence[Any]) -> bool:
    """Say whether a step samples again: then it has earlier problems."""
    return len(arguments) > 3 and bool(arguments[3])
