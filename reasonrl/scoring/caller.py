"""Call rewards, and read what comes back as scores."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.scoring.contract import Reward, arguments_for, as_scores, bind, load_reward, read_score
from reasonrl.scoring.functions import FunctionRunners, Loader, PickledFunction, PluginFunction, pickle_function
from reasonrl.scoring.metrics import MetricRunner, metric_functions
from reasonrl.scoring.runner import CallResult
from reasonrl.types import Rollout, Score


class RewardCaller:
    """Calls rewards: ordinary ones in worker processes, async ones on an event loop, the rest in this process.

    Args:
        rewards: what may be called, each by a name of its own.
        settings: workers, and limits of time and memory.
        suites: whose metrics run beside the rewards, in the same processes.
        device: of the model that learns, for rewards that compute with a model of their own.

    Raises:
        PluginError: the workers could not load a function, or one could not open what it needs.
        ReasonRLError: whatever else a function says when it opens what it needs.
    """

    def __init__(
        self,
        rewards: Sequence[Reward],
        settings: ScoringSettings,
        suites: Sequence[Suite] = (),
        *,
        device: str = "auto",
    ) -> None:
        self._rewards = {reward.name: reward for reward in rewards}
        self._timeout_s = settings.timeout_s
        metrics = [function for suite in suites for function in metric_functions(suite)]
        self._runners = FunctionRunners([*map(_reward_function, rewards), *metrics], settings, device=device)
        self.metrics = MetricRunner(self._runners, settings)
        """Applies the metrics of the suites."""
        opened = {reward.name: self._runners.opened[_function_name(reward)] for reward in rewards}
        self.notes = {name: one.note for name, one in opened.items() if one.note}
        """What rewards say of what they keep open, by name."""

    def submit(self, name: str, rollouts: Sequence[Rollout], step: int = 0) -> "Future[tuple[Score, ...]]":
        """Begin a call, from any thread; a reward in this process has ended when this returns.

        Args:
            name: of the reward.
            rollouts: one, those of a problem, or those of a step, as the reward's unit says.
            step: number of the step.

        Returns:
            One score for each of the rollouts, in their order. The future never raises.
        """
        reward = self._rewards[name]
        function = _function_name(reward)
        timeout_s = reward.ref.timeout_s or self._runners.opened[function].timeout_s or self._timeout_s
        scores: Future[tuple[Score, ...]] = Future()
        called = self._runners.submit(function, arguments_for(reward, rollouts, step), timeout_s)
        called.add_done_callback(lambda done: scores.set_result(_read_result(done.result(), reward, rollouts)))
        return scores

    def close(self) -> None:
        """Leave nothing running. Closing twice is closing once."""
        self._runners.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_result(result: CallResult, reward: Reward, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
    return tuple(_timed(score, result) for score in _scores(result, reward, rollouts))


def _timed(score: Score, result: CallResult) -> Score:
    """Return a score with the times of its call."""
    return Score(score.value, score.why, score.outcome, score.parts, score.spans, result.run_s, result.queue_s)


def _scores(result: CallResult, reward: Reward, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
    match result.outcome:
        case "returned" if reward.unit == "rollout":
            return (read_score(result.value, rollouts[0]),)
        case "returned":
            return as_scores(result.value, rollouts)
        case "timeout":
            return (Score(reward.ref.timeout_value, result.why, "timeout"),) * len(rollouts)
    return (Score(None, result.why, "error"),) * len(rollouts)


def _function_name(reward: Reward) -> str:
    return f"reward {reward.name!r}"


def _reward_function(reward: Reward) -> PluginFunction:
    return PluginFunction(
        name=_function_name(reward),
        function=reward.function,
        loader=partial(_loader, reward),
        isolated=not reward.in_process,
        opening=reward.opening,
        concurrency=reward.ref.concurrency,
        per_minute=reward.ref.per_minute,
        retries=reward.ref.retries,
    )


def _loader(reward: Reward) -> Loader:
    """Return what a worker process gets a reward from: its entry in the run file, or its pickled function.

    Raises:
        PluginError: its function exists in this process only.
    """
    if reward.is_named:
        return partial(_load_named, reward.ref)
    remedy = "Put it into a module of its own, or set isolated: false."
    return partial(_load_pickled, reward.ref, pickle_function(reward.source, f"rewards: {reward.name!r}", remedy))


def _load_named(ref: RewardRef, plugins: Plugins) -> Callable[..., Any]:
    return load_reward(ref, plugins).function


def _load_pickled(ref: RewardRef, function: PickledFunction, _: Plugins) -> Callable[..., Any]:
    return bind(ref, function.load()).function
