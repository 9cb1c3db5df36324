"""Which completions of a run a report shows: the best, the worst and the most disputed of a few steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from reasonrl.run.files.rollouts import RolloutRecord
from reasonrl.run.history import History

NUM_EACH: Final = 2
"""Most completions of each kind in a step, of different problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One completion, and why it is shown."""

    record: RolloutRecord
    dispute: float
    """How much is disputed about it, see :func:`disputes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRollouts:
    """The completions that are shown of one step."""

    step: int
    num_completions: int
    outcomes: Mapping[str, int]
    """Completions by what became of their score."""
    best: tuple[Shown, ...]
    worst: tuple[Shown, ...]
    """None where all have the same reward."""
    disputed: tuple[Shown, ...]


def shown_steps(run: History) -> list[int]:
    """Return the first, the middle and the last step whose completions were written."""
    steps = run.rollout_steps
    return sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []


def step_rollouts(run: History) -> Iterator[StepRollouts]:
    """Yield what is shown of each of those steps."""
    for step in shown_steps(run):
        yield choose(step, list(run.rollouts(step)))


def choose(step: int, records: Sequence[RolloutRecord]) -> StepRollouts:
    """Choose among a step's completions; ties go to the one that comes first, so a report is always the same."""
    found = disputes(records)
    scored = [record for record in records if record.reward is not None]

    def pick(order: Callable[[RolloutRecord], float], among: Sequence[RolloutRecord]) -> tuple[Shown, ...]:
        return tuple(Shown(record=record, dispute=found[record.id]) for record in _of_different_problems(among, order))

    highest = max((record.reward for record in scored if record.reward is not None), default=0.0)
    below = [record for record in scored if record.reward is not None and record.reward < highest]
    disputed = [record for record in scored if found[record.id] > 0]
    return StepRollouts(
        step=step,
        num_completions=len(records),
        outcomes={outcome: sum(record.outcome == outcome for record in records) for outcome in _outcomes(records)},
        best=pick(lambda record: -(record.reward or 0.0), scored),
        worst=pick(lambda record: record.reward or 0.0, below),
        disputed=pick(lambda record: -found[record.id], disputed),
    )


def disputes(records: Sequence[RolloutRecord]) -> dict[str, float]:
    """Return how much is disputed about each completion, by id.

    Where several rewards scored it, that is the greatest difference between two of them, each as a share of its range
    in the step; else the distance of its reward from the mean of its siblings'.
    """
    ranges = _ranges(records)
    groups: dict[int, list[RolloutRecord]] = {}
    for record in records:
        groups.setdefault(record.group_index, []).append(record)
    return {record.id: _dispute(record, groups[record.group_index], ranges) for record in records}


def _dispute(
    record: RolloutRecord, siblings: Sequence[RolloutRecord], ranges: Mapping[str, tuple[float, float]]
) -> float:
    shares = [
        (score.value - low) / (high - low)
        for name, score in record.rewards.items()
        if score.value is not None and (high := ranges[name][1]) > (low := ranges[name][0])
    ]
    if len(shares) > 1:
        return max(shares) - min(shares)
    others = [other.reward for other in siblings if other.id != record.id and other.reward is not None]
    return abs(record.reward - fmean(others)) if record.reward is not None and others else 0.0


def _ranges(records: Sequence[RolloutRecord]) -> dict[str, tuple[float, float]]:
    """Return the least and the greatest value of each reward."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, score in record.rewards.items():
            if score.value is not None:
                values.setdefault(name, []).append(score.value)
    return {name: (min(found), max(found)) for name, found in values.items()}


def _of_different_problems(
    records: Sequence[RolloutRecord], order: Callable[[RolloutRecord], float]
) -> list[RolloutRecord]:
    """Return the first few in an order, one for each problem."""
    by_problem: dict[str, RolloutRecord] = {}
    for record in sorted(records, key=order):
        by_problem.setdefault(record.group_id, record)
    return list(by_problem.values())[:NUM_EACH]


def _outcomes(records: Sequence[RolloutRecord]) -> list[str]:
    return list(dict.fromkeys(record.outcome for record in records))
