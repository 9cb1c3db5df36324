"""Apply rewards to groups and turn whatever they do into typed scores."""

import math
import numbers
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction, signature
from typing import Any

from reasonrl.errors import PluginError, RunError
from reasonrl.types import Group, RewardFn, Score, Verdict


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """A reward function as a run uses it."""

    name: str
    function: RewardFn
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be called the way rewards are called."""
        if iscoroutinefunction(self.function):
            raise PluginError(f"reward {self.name!r} is async; make it an ordinary function.")
        if self.unit not in ("rollout", "group"):
            raise PluginError(
                f"reward {self.name!r}: its first parameter is {self.unit!r}. Call it 'rollout' to score one "
                "completion, or 'group' to score all completions of a problem at once."
            )

    @property
    def unit(self) -> str:
        """Name of the first parameter, which says what the function scores at once."""
        return next(iter(signature(self.function).parameters), "missing")


class Scorer:
    """Scores groups with several rewards; one that fails costs its samples their score, nothing else.

    Args:
        rewards: what to apply.
        max_failure_rate: share of a step's samples that one reward may lose by error before the run stops.
    """

    def __init__(self, rewards: Sequence[WeightedReward], max_failure_rate: float) -> None:
        """Keep the rewards; they hold no state."""
        self._rewards = rewards
        self._max_failure_rate = max_failure_rate

    def score(self, groups: Sequence[Group]) -> tuple[tuple[Verdict, ...], ...]:
        """Return one verdict a completion, in the order of the groups.

        Raises:
            RunError: a reward failed on more than ``max_failure_rate`` of the samples.
        """
        by_reward = {reward.name: [_apply(reward, group) for group in groups] for reward in self._rewards}
        for name, scores in by_reward.items():
            self._stop_if_failing(name, [score for group in scores for score in group])
        weights = {reward.name: reward.weight for reward in self._rewards}
        return tuple(
            _verdicts({name: scores[index] for name, scores in by_reward.items()}, weights)
            for index in range(len(groups))
        )

    def _stop_if_failing(self, name: str, scores: Sequence[Score]) -> None:
        """Stop the run when a reward fails too often, with its commonest cause."""
        causes = Counter(score.why for score in scores if score.outcome in ("error", "timeout"))
        failures = causes.total()
        if failures > self._max_failure_rate * len(scores):
            raise RunError(
                f"reward {name!r} failed on {failures} of {len(scores)} samples of this step, more than "
                f"scoring.max_failure_rate = {self._max_failure_rate} allows. Most often: {causes.most_common(1)[0][0]}"
            )


def _apply(reward: WeightedReward, group: Group) -> list[Score]:
    """Score the members of one group; what the reward raises becomes their outcome."""
    rollouts = group.rollouts()
    if reward.unit == "group":
        return _checked_list(partial(reward.function, rollouts), len(rollouts))
    return [_checked(partial(reward.function, rollout)) for rollout in rollouts]


def _checked(call: Callable[[], Any]) -> Score:
    """Call a reward and turn whatever comes of it into a score."""
    try:
        return as_score(call())
    except Exception as error:  # a reward is anybody's code: whatever it raises is counted and named
        return Score(None, f"{type(error).__name__}: {error}", "error")


def _checked_list(call: Callable[[], Any], count: int) -> list[Score]:
    """As :func:`_checked`, for a function that returns one value a rollout."""
    try:
        values = list(call())
        if len(values) != count:
            raise ValueError(f"returned {len(values)} values for {count} rollouts")
    except Exception as error:  # as above
        return [Score(None, f"{type(error).__name__}: {error}", "error")] * count
    return [_checked(partial(_same, value)) for value in values]


def _same(value: Any) -> Any:
    """Return a value that was computed already. Any: whatever a reward returned."""
    return value


def as_score(value: Any) -> Score:
    """Read what a reward returned: a Score, a number, or None for unscorable.

    Raises:
        TypeError: it is none of these.
        ValueError: it is a number that is not finite.
    """
    if isinstance(value, Score):
        return value
    if value is None:
        return Score.unscorable("the reward returned None")
    if isinstance(value, numbers.Real) or hasattr(value, "__float__"):
        return Score(float(value))
    raise TypeError(f"returned {value!r}; a reward returns a number, None or a Score")


def _verdicts(scores: Mapping[str, Sequence[Score]], weights: Mapping[str, float]) -> tuple[Verdict, ...]:
    """Sum the rewards of one group's members.

    A reward that is unscorable for every member does not apply to the problem and is left out. Otherwise a
    member without a value from some reward has no total: its sum could not be compared with its siblings'.
    """
    apply = [name for name, column in scores.items() if any(s.outcome != "unscorable" for s in column)]
    members = [dict(zip(scores, row, strict=True)) for row in zip(*scores.values(), strict=True)]
    return tuple(Verdict(total=_total(member, apply, weights), rewards=member) for member in members)


def _total(member: Mapping[str, Score], apply: Sequence[str], weights: Mapping[str, float]) -> Score:
    """Return the weighted sum of the rewards that apply, or the first reason why there is none."""
    if not apply:
        return Score.unscorable("no reward applies to this problem")
    for name in apply:
        if member[name].value is None:
            return Score(None, f"{name}: {member[name].why}", member[name].outcome)
    return Score(math.fsum(weights[name] * (member[name].value or 0.0) for name in apply))
