"""Settings of rewards: which there are, what each counts, and how they are run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from reasonrl.config.base import PluginRef, Settings
from reasonrl.errors import and_known

ROUNDING: Final = 1e-9
"""A total that misses a threshold by no more than this reaches it."""


class WeightSchedule(Settings):
    """A weight that moves with the step: ``start`` at step 1, ``end`` from step ``steps`` on."""

    start: float = Field(allow_inf_nan=False)
    """Weight at step 1."""
    end: float = Field(allow_inf_nan=False)
    """Weight at step ``steps`` and later."""
    steps: int = Field(ge=2)
    """Step at which ``end`` is reached."""
    shape: Literal["linear", "cosine"] = "linear"
    """The way from one to the other: a line, or half a cosine, which begins and ends gently."""

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        done = min(max((step - 1) / (self.steps - 1), 0.0), 1.0)
        share = done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2
        return (1 - share) * self.start + share * self.end


def _kind_of_weight(given: object) -> str:
    """Tell a schedule from a number; the names have a space, so that no key can be confused with them."""
    return "a schedule" if isinstance(given, Mapping | WeightSchedule) else "a number"


Weight: TypeAlias = Annotated[
    Annotated[float, Field(allow_inf_nan=False), Tag("a number")] | Annotated[WeightSchedule, Tag("a schedule")],
    Discriminator(_kind_of_weight),
]
"""A number, or a :class:`WeightSchedule`."""


class RewardRef(PluginRef):
    """A reward, what it counts, and how it is run."""

    label: str | None = None
    """Its name in metrics, rollouts and messages, where it is not ``name``; needed where one reward is used twice."""
    weight: Weight = 1.0
    """Factor of this reward in the weighted sum that becomes the score; a schedule moves it with the step. At 0 the
    reward is only measured: neither its value nor the lack of one changes a score, but through a gate."""
    gate: str | None = None
    """Label of another reward: this one counts only where that one's value is at least ``gate_at_least``, else 0."""
    gate_at_least: float = Field(1.0, allow_inf_nan=False)
    """Smallest value of the reward named by ``gate`` that lets this one count."""
    style: Literal["auto", "plain", "trl", "trl_chat", "verl"] = "auto"
    """Whose signature the function has: reasonrl's (``plain``), TRL's with completions as text (``trl``) or as
    conversations (``trl_chat``), verl's ``compute_score``; ``auto`` tells by its parameters."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest time in seconds that one call may run; null is ``scoring.timeout_s``, or what the reward says."""
    timeout_value: float | None = Field(None, allow_inf_nan=False)
    """Value of a call that ran out of time; null gives its samples no score."""
    isolated: bool | None = None
    """Run it in worker processes, which can be stopped; false runs it in the run's own process without a time limit.
    Null is what the reward says: true, or false for one that needs the run's process, as a model on the GPU does."""
    concurrency: int | None = Field(None, ge=1)
    """Calls of an async reward that run side by side; null is as many as what it keeps open serves, or 16."""
    per_minute: int | None = Field(None, ge=1)
    """Most calls of an async reward begun in a minute; null sets no limit."""
    retries: int = Field(3, ge=0)
    """Times that an async reward is called again after a failed connection, a timeout of the service, or an answer
    that says to come back (HTTP 429 and 5xx)."""

    @property
    def key(self) -> str:
        """Return the name in metrics, rollouts and messages."""
        return self.label or self.name

    def weight_at(self, step: int) -> float:
        """Return the weight at a step."""
        return self.weight.at(step) if isinstance(self.weight, WeightSchedule) else self.weight

    @field_validator("label")
    @classmethod
    def _refuse_taken_labels(cls, given: str | None) -> str | None:
        """Refuse a label that would write over another metric, or names nothing."""
        if given is not None and (not given.strip() or given in ("mean", "std")):
            raise ValueError(f"{given!r} cannot be a label: reward/mean and reward/std are those of the total")
        return given

    @model_validator(mode="after")
    def _refuse_ignored_settings(self) -> Self:
        """Refuse a setting that has no effect beside the others."""
        if self.gate is None and self.gate_at_least != 1.0:
            raise ValueError("gate_at_least is set, but there is no gate: name the label of a reward in gate")
        if self.isolated is False and (self.timeout_s, self.timeout_value) != (None, None):
            raise ValueError(
                "timeout_s or timeout_value is set, but isolated is false: a call in the run's own process cannot be "
                "stopped. Leave them out, or use isolated: true"
            )
        return self


def refuse_bad_labels(rewards: Sequence[RewardRef], key: str = "rewards") -> None:
    """Refuse rewards that share a label, and gates that no other reward can open.

    Args:
        rewards: those that score the same completions.
        key: where they stand in the run file.

    Raises:
        ValueError: the first mistake, by key.
    """
    labels = [reward.key for reward in rewards]
    for index, reward in enumerate(rewards):
        if reward.key in labels[:index]:
            raise ValueError(f"{key}.{index}: {reward.key!r} is there already; give one of them a label of its own")
        others = [label for label in labels if label != reward.key]
        if reward.gate is not None and reward.gate not in others:
            raise ValueError(f"{key}.{index}.gate: no other reward {reward.gate!r}.{and_known(reward.gate, others)}")
    for cycle in _gate_cycles({reward.key: reward.gate for reward in rewards}):
        raise ValueError(f"{key}: the gates of {' and '.join(cycle)} wait for each other; remove one of them")


def refuse_no_weight(rewards: Sequence[RewardRef], key: str = "rewards") -> None:
    """Refuse rewards of which none ever counts: there would be nothing to learn from.

    Raises:
        ValueError: all weights are 0 at every step.
    """
    weights = [reward.weight for reward in rewards]
    ends = [(weight.start, weight.end) if isinstance(weight, WeightSchedule) else (weight,) for weight in weights]
    if not any(map(any, ends)):
        raise ValueError(f"{key}: every weight is 0, so there is nothing to learn from: give one of them a weight")


def passing_total(rewards: Sequence[RewardRef], step: int) -> float:
    """Return the total from which a completion passes, unless the user says another: 1, or what rewards of at most 1
    can add up to where that is less.
    """
    return min(1.0, math.fsum(max(reward.weight_at(step), 0.0) for reward in rewards))


def passes(total: float, pass_at: float) -> bool:
    """Say whether a total reaches a threshold, to within the rounding of a sum of floats."""
    return total >= pass_at - ROUNDING


def _gate_cycles(gates: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Yield the rewards of each circle of gates, once for each reward in it."""
    for first in gates:
        passed, label = [first], gates[first]
        while label is not None and label not in passed:
            passed.append(label)
            label = gates[label]
        if label == first:
            yield passed


class ScoringSettings(Settings):
    """How rewards are applied."""

    max_failure_rate: float = Field(0.1, ge=0, le=1)
    """Stop the run when more than this share of a step's samples get no score from some reward that counts, because it
    failed or ran out of time; the same share of a held-out suite's completions for its metrics."""
    workers: int | None = Field(None, ge=1)
    """Processes that rewards run in; null is the machine's cores but one, and at least one."""
    timeout_s: float = Field(10.0, gt=0)
    """Longest time in seconds that one call of a reward may run, waiting for a worker not counted."""
    metric_timeout_s: float = Field(60.0, gt=0)
    """Longest time in seconds that a metric of a held-out suite may run on one completion, unless the suite or what the
    metric keeps open has a limit of its own."""
    memory_mib: int | None = Field(None, ge=64)
    """Most memory of a worker, in MiB; a call that needs more fails. Null sets no limit."""
