"""Give each reward to what runs it, and read what comes back as scores."""

import importlib
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Self, TypeAlias

from reasonrl.config import RewardRef, ScoringSettings
from reasonrl.cores import usable_cores
from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.plugins import Plugins
from reasonrl.scoring.contract import Reward, arguments_for, as_scores, bind, load_reward, read_score
from reasonrl.scoring.failures import explain
from reasonrl.scoring.pool import Pool
from reasonrl.scoring.remote import Limits, Loop
from reasonrl.scoring.runner import Call, Functions, Reply, Runner
from reasonrl.types import Opened, Rollout, Score


class Inline:
    """Calls rewards in this process, one after another: nothing can stop one, and nothing needs to be sent.

    Args:
        functions: the rewards, by name.
    """

    def __init__(self, functions: Functions) -> None:
        """Keep the functions."""
        self._functions = functions

    def submit(self, call: Call) -> "Future[Reply]":
        """Make the call, and return its reply; the future never raises."""
        future: Future[Reply] = Future()
        began = perf_counter()
        try:
            value = self._functions[call.function](**call.arguments)
        except (Exception, SystemExit) as error:  # a reward is anybody's code: whatever it raises is counted and named
            why = explain(error, self._functions[call.function])
            future.set_result(Reply(outcome="error", why=why, run_s=perf_counter() - began))
        else:
            future.set_result(Reply(outcome="returned", value=value, run_s=perf_counter() - began))
        return future

    def close(self) -> None:
        """Nothing is left running."""


class Caller:
    """Calls rewards: ordinary ones in worker processes, async ones on an event loop, the rest in this process.

    Args:
        rewards: what may be called, each by a name of its own.
        settings: workers, and limits of time and memory.

    Raises:
        PluginError: the workers could not load a reward, or one could not open what it needs.
        ReasonRLError: whatever else a reward says when it opens what it needs.
    """

    def __init__(self, rewards: Sequence[Reward], settings: ScoringSettings) -> None:
        """Start what the rewards need."""
        self._rewards = {reward.name: reward for reward in rewards}
        self._settings = settings
        self._open = ExitStack()
        self._runners: dict[str, Runner] = {}
        with self._open:
            self._opened = {reward.name: self._enter(reward) for reward in rewards}
            for kind in (_in_workers, _on_loop, _inline):
                mine = [reward for reward in rewards if _kind(reward) is kind]
                self._add(kind(mine, settings, self._opened) if mine else None, mine)
            self._open = self._open.pop_all()
        self.notes = {name: opened.note for name, opened in self._opened.items() if opened.note}
        """What rewards say of what they keep open, by name."""

    def _enter(self, reward: Reward) -> Opened:
        """Open what a reward keeps open, if anything, until this caller is closed."""
        if reward.opening is None:
            return Opened()
        try:
            return self._open.enter_context(reward.opening())
        except ReasonRLError:
            raise
        except Exception as error:  # a reward is anybody's code: whatever it raises is the cause
            why = explain(error, reward.source)
            raise PluginError(f"rewards: {reward.name!r} could not open what it needs: {why}") from error

    def _add(self, runner: Runner | None, rewards: Sequence[Reward]) -> None:
        """Remember who runs what, and whom to close."""
        if runner is not None:
            self._open.callback(runner.close)
            self._runners |= dict.fromkeys([reward.name for reward in rewards], runner)

    def submit(self, name: str, rollouts: Sequence[Rollout], step: int = 0) -> "Future[tuple[Score, ...]]":
        """Begin a call, from any thread; a reward that is not isolated has ended when this returns.

        Args:
            name: of the reward.
            rollouts: one, those of a problem, or those of a step, as the reward's unit says.
            step: number of the step.

        Returns:
            One score for each of the rollouts, in their order. The future never raises.
        """
        reward = self._rewards[name]
        timeout_s = reward.ref.timeout_s or self._opened[name].timeout_s or self._settings.timeout_s
        call = Call(function=name, arguments=arguments_for(reward, rollouts, step), timeout_s=timeout_s)
        scores: Future[tuple[Score, ...]] = Future()
        asked = self._runners[name].submit(call)
        asked.add_done_callback(lambda done: scores.set_result(read_reply(done.result(), reward, rollouts)))
        return scores

    def close(self) -> None:
        """Leave nothing running. Closing twice is closing once."""
        self._open.close()

    def __enter__(self) -> Self:
        """Return the caller itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def read_reply(reply: Reply, reward: Reward, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
    """Return what a reply says of each rollout, with the times of its call."""
    return tuple(replace(score, run_s=reply.run_s, queue_s=reply.queue_s) for score in _scores(reply, reward, rollouts))


def _scores(reply: Reply, reward: Reward, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
    """Read a reply as scores."""
    match reply.outcome:
        case "returned" if reward.unit == "rollout":
            return (read_score(reply.value),)
        case "returned":
            return as_scores(reply.value, rollouts)
        case "timeout":
            return (Score(reward.ref.timeout_value, reply.why, "timeout"),) * len(rollouts)
    return (Score(None, reply.why, "error"),) * len(rollouts)


Start: TypeAlias = Callable[[Sequence[Reward], ScoringSettings, Mapping[str, Opened]], Runner]
"""Starts what runs rewards of one kind, given what those that keep something open have opened."""


def _kind(reward: Reward) -> Start:
    """Choose what runs a reward."""
    if reward.is_async:
        return _on_loop
    return _in_workers if reward.ref.isolated else _inline


def _in_workers(rewards: Sequence[Reward], settings: ScoringSettings, _: Mapping[str, Opened]) -> Runner:
    """Start worker processes."""
    load = partial(load_functions, [_origin(reward) for reward in rewards])
    return Pool(load, workers=settings.workers or num_workers(), memory_mib=settings.memory_mib)


Origin: TypeAlias = tuple[RewardRef, Callable[..., Any] | None]
"""What another process makes a reward of: its entry in the run file, and a function that this does not lead to. Any:
its signature is the author's."""


def _origin(reward: Reward) -> Origin:
    """Return what a worker makes a reward of.

    Raises:
        PluginError: its function exists in this process only.
    """
    if reward.is_named:
        return reward.ref, None
    try:
        if b"__main__" in pickle.dumps(reward.source):
            raise pickle.PicklingError("it is defined in the main program")
    except Exception as error:  # whatever is bound to it
        raise PluginError(
            f"rewards: {reward.name!r} cannot be sent to a worker process: {error}. Put it into a module of its own, "
            "or set isolated: false."
        ) from error
    return reward.ref, reward.source


def load_functions(origins: Sequence[Origin]) -> Functions:
    """Return the functions of rewards by name, in another process, with what their modules import late.

    Raises:
        PluginError: one of them cannot be found or used.
    """
    plugins = Plugins()
    made = [load_reward(ref, plugins) if function is None else bind(ref, function) for ref, function in origins]
    for reward in made:
        _import_late_modules(reward.source)
    return {reward.name: reward.function for reward in made}


def _import_late_modules(function: Callable[..., Any]) -> None:
    """Import what a reward's module names in ``WORKER_IMPORTS``, once for all workers instead of within a deadline.

    Any: anybody's code.
    """
    while isinstance(function, partial):
        function = function.func
    module = sys.modules.get(getattr(function, "__module__", ""))
    for name in getattr(module, "WORKER_IMPORTS", ()):
        importlib.import_module(name)


def _on_loop(rewards: Sequence[Reward], settings: ScoringSettings, opened: Mapping[str, Opened]) -> Runner:
    """Start an event loop."""
    limits = {
        reward.name: Limits(
            concurrency=reward.ref.concurrency or opened[reward.name].slots or Limits().concurrency,
            per_minute=reward.ref.per_minute,
            retries=reward.ref.retries,
        )
        for reward in rewards
    }
    return Loop({reward.name: reward.function for reward in rewards}, limits)


def _inline(rewards: Sequence[Reward], settings: ScoringSettings, _: Mapping[str, Opened]) -> Runner:
    """Use this process."""
    return Inline({reward.name: reward.function for reward in rewards})


def num_workers() -> int:
    """Return the cores that this process may use but one, and at least one."""
    return max(1, usable_cores() - 1)
