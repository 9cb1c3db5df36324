"""What the metrics of a step say of each alarm: whether its condition holds, and what was seen."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reasonrl.config.settings import AlarmSettings
from reasonrl.run.alarm_kinds import Kind
from reasonrl.run.events import StepMetrics
from reasonrl.types import StepRecord

MIN_KL, KL_UPDATES = 1e-5, 10
"""Divergence from the initial policy, in nats a completion, that a policy which learns has after so many updates."""


class Reading(NamedTuple):
    """One alarm's condition in a step."""

    kind: Kind
    is_bad: bool
    seen: str
    """What was measured, for the message."""
    of: str = ""
    """The reward or suite that it is about, where there may be several."""


def unanswered(record: StepRecord | StepMetrics) -> dict[str, str]:
    """Return, of each reward that found no answer in some completion, why it says so of one of them."""
    results = [result for group in record.batch.results for result in group] if isinstance(record, StepRecord) else []
    return {
        name: score.why
        for result in reversed(results)
        for name, score in result.rewards.items()
        if score.parts.get("answered") == 0
    }


def reward_readings(
    metrics: Mapping[str, float], limits: AlarmSettings, unanswered: Mapping[str, str]
) -> Iterator[Reading]:
    """Yield what is to be said of each reward.

    Args:
        metrics: of a step.
        limits: thresholds.
        unanswered: what rewards said of a completion without an answer.
    """
    for reward, rate in _named(metrics, "scoring/", "/failure_rate"):
        yield _failures(metrics, reward, rate, limits.max_reward_failures)
        yield _missing_scores(metrics, reward, rate > limits.max_reward_failures)
    for reward, share in _named(metrics, "reward/", "/answered"):
        seen = f"reward {reward!r} found an answer in {share:.1%} of completions"
        example = f"; one of them: {unanswered[reward]}" if reward in unanswered else ""
        healthy = f" (healthy: at least {limits.min_answered:.1%})"
        yield Reading("no_answer", share < limits.min_answered, seen + healthy + example, reward)
    for reward, share in _named(metrics, "reward/", "/out_of_range"):
        seen = (
            f"{share:.1%} of the scores of reward {reward!r} are above the 99.9th percentile of its training "
            f"data (healthy: at most {limits.max_out_of_range:.1%})"
        )
        yield Reading("out_of_range", share > limits.max_out_of_range, seen, reward)


def _named(metrics: Mapping[str, float], prefix: str, suffix: str) -> Iterator[tuple[str, float]]:
    """Yield the values of metrics named like this, with the reward's name in between."""
    for name, value in metrics.items():
        if name.startswith(prefix) and name.endswith(suffix):
            yield name.removeprefix(prefix).removesuffix(suffix), value


def _failures(metrics: Mapping[str, float], reward: str, rate: float, most: float) -> Reading:
    """Say whether a reward fails too often."""
    counts = ", ".join(_outcomes(metrics, reward, ("error", "timeout")))
    seen = f"reward {reward!r} failed on {rate:.1%} of samples ({counts})"
    return Reading("reward_failures", rate > most, seen, reward)


def _missing_scores(metrics: Mapping[str, float], reward: str, has_failed: bool) -> Reading:
    """Say whether a reward scored nothing at all, unless it is said already that it fails."""
    counts = ", ".join(_outcomes(metrics, reward, ("unscorable", "error", "timeout")))
    seen = f"reward {reward!r} gave no score to any completion ({counts})"
    return Reading("no_scores", f"reward/{reward}" not in metrics and not has_failed, seen, reward)


def _outcomes(metrics: Mapping[str, float], reward: str, outcomes: tuple[str, ...]) -> Iterator[str]:
    for outcome in outcomes:
        if count := metrics.get(f"outcome/{reward}/{outcome}", 0.0):
            yield f"{count:.0f} x {outcome}"


def group_readings(metrics: Mapping[str, float], limits: AlarmSettings, last_mean: float | None) -> Iterator[Reading]:
    """Yield what is to be said of rewards that do not differ.

    Args:
        metrics: of a step.
        limits: thresholds.
        last_mean: mean reward of the step before.
    """
    mean = metrics.get("reward/mean")
    is_constant = mean is not None and metrics.get("reward/std") == 0
    equal = f"; every completion has the reward {mean:.3f}" if is_constant else ""
    if (useful := metrics.get("groups/useful")) is not None:
        seen = f"useful groups {useful:.1%} (healthy: at least {limits.min_useful_groups:.1%}){equal}"
        yield Reading("no_useful_groups", useful < limits.min_useful_groups, seen)
    elif mean is not None:  # completions without siblings are compared with those of other problems and steps
        seen = f"every completion has the reward {mean:.3f}, as in the step before"
        yield Reading("constant_reward", is_constant and mean == last_mean, seen)


def learning_reading(metrics: Mapping[str, float], limits: AlarmSettings, num_updates: int) -> Reading | None:
    """Say whether the policy is being updated without effect; None where it was not updated.

    Args:
        metrics: of a step.
        limits: thresholds.
        num_updates: steps before this one in which the policy was updated.
    """
    if "policy/grad_norm" not in metrics:
        return None
    found = without_effect("policy", metrics, limits.min_update)
    kl = metrics.get("policy/kl_sequence")
    if kl is not None and num_updates >= KL_UPDATES and abs(kl) < MIN_KL:
        found.append(f"after {num_updates} updates the policy is where it began ({kl:.1e} nats a completion)")
    return Reading("no_learning", bool(found), "; ".join(found))


def without_effect(name: str, metrics: Mapping[str, float], min_update: float) -> list[str]:
    """Say why an update has changed nothing, if it has not.

    Args:
        name: prefix of the metrics of what learns, such as ``policy``.
        metrics: of a step.
        min_update: smallest healthy change of the weights, as a share of their size.
    """
    rate, norm, moved = (metrics.get(f"{name}/{measured}") for measured in ("learning_rate", "grad_norm", "update"))
    found = ["the learning rate is 0"] if rate == 0 else []
    found += ["the gradient is 0"] if norm == 0 else []
    if rate and moved is not None and moved < min_update:
        healthy = f"(healthy: at least {min_update:.1e})"
        found.append(f"an update moves the weights by {moved:.1e} of their size {healthy} at learning rate {rate:.1e}")
    return found
