"""A training process that kills itself, as ``kill -9`` would, when it gets to a chosen place."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import reasonrl.engines.local
import reasonrl.evaluation.files
import reasonrl.finetune.training
import reasonrl.learner
import reasonrl.rollout.sampler
import reasonrl.run.files.directory
import reasonrl.run.finetune.heldout
import reasonrl.run.heldout
import reasonrl.run.recorder
import reasonrl.run.session
from reasonrl.config.kinds import KindName
from reasonrl.run.start import resume_run, start_run

PLACES: dict[str, tuple[Any, str]] = {
    "sampling": (reasonrl.engines.local.LocalEngine, "_sample"),
    "update": (reasonrl.learner.Learner, "_step"),
    "refill": (reasonrl.rollout.sampler.RolloutSampler, "sample_and_score"),
    "metrics": (reasonrl.run.files.directory.RunDirectory, "append_metrics"),
    "rollouts": (reasonrl.run.files.directory.RunDirectory, "write_rollouts"),
    "checkpoint begun": (reasonrl.learner.Learner, "save_state"),
    "checkpoint half written": (reasonrl.run.session, "save_rng"),
    "checkpoint without the pending batch": (reasonrl.run.session, "save_pending"),
    "checkpoint not sealed": (reasonrl.run.files.directory, "seal"),
    "checkpoint not published": (reasonrl.run.files.directory, "publish_folder"),
    "checkpoint not listed": (reasonrl.run.files.directory.RunDirectory, "_list_checkpoint"),
    "evaluation begun": (reasonrl.run.heldout, "measure"),
    "finetuning checkpoint half written": (reasonrl.finetune.training.Finetuning, "_save_tokenizer"),
    "finetuning evaluation begun": (reasonrl.run.finetune.heldout, "measure"),
    "evaluation not written": (reasonrl.run.recorder, "write_result"),
}
"""Where a process may die. Any: a class or a module, with the name of the function that is not entered."""
OF_POLICIES = tuple(place for place in PLACES if "finetuning" not in place)
"""Those that a run of reinforcement learning comes to."""

AHEAD = ("rollout.engine=copies:copy_engine", "rollout.async_steps=1", "algorithm.importance=token")
"""Settings of a run that samples ahead, with an engine that has weights of its own."""


def train(folder: Path, file: str | None, place: str | None = None, count: int = 0, *, ahead: bool = False) -> None:
    """Start a run file, or resume run ``killed``, in a folder; die at the ``count``-th visit to a place."""
    os.chdir(folder)
    if place is not None:
        die_at(place, count)
    if file:
        start_run(Path(file), AHEAD if ahead else (), [], argv=["test"])
    else:
        resume_run(Path("runs/killed"), [], [])


def train_reward_model(folder: Path, file: str | None) -> None:
    """Start a run file that trains a reward model in a folder, or resume run ``one``."""
    os.chdir(folder)
    if file:
        start_run(Path(file), (), [], argv=["test"], kind="reward_model")
    else:
        resume_run(Path("runs/one"), (), [], kind="reward_model")


def finetune(folder: Path, method: KindName, file: str | None, place: str | None = None, count: int = 0) -> None:
    """Start a run file of SFT, DPO or KTO in a folder, or resume run ``one``; die at the ``count``-th visit."""
    os.chdir(folder)
    if place is not None:
        die_at(place, count)
    if file:
        start_run(Path(file), (), [], argv=["test"], kind=method)
    else:
        resume_run(Path("runs/one"), (), [], kind=method)


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
