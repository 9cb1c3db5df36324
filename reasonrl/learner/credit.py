"""Turns group rewards into the advantages of trajectories (credit assignment)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from reasonrl.types import Advantage, Batch, Group, TrainingSample, Trajectory

Advantages: TypeAlias = tuple[tuple[Advantage, ...], ...]
"""One advantage for each trajectory, in the order of the groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Compares trajectories with one another."""

    estimator: Callable[..., Tensor]
    """From ``rewards_PG`` (and, where it names them, ``rewards_RPG``, ``weights_R`` and ``lengths_PG``) to advantages
    ``[P, G]``, or ``[P, G, T]`` with one for each token after the prompt, T being the greatest length."""
    truncated: Literal["penalize", "mask", "drop"] = "penalize"
    """What becomes of trajectories that were cut at the token limit."""

    def advantages(self, batch: Batch) -> Advantages:
        """Return the advantage of every trajectory."""
        if not batch.groups:
            return ()
        estimated = self.estimator(**estimator_arguments(batch))
        return tuple(
            tuple(
                0.0 if self._is_masked(member) else _advantage(value, member)
                for member, value in zip(group.trajectories, row, strict=True)
            )
            for group, row in zip(batch.groups, estimated.tolist(), strict=True)
        )

    def samples(self, batch: Batch, advantages: Advantages) -> list[TrainingSample]:
        """Join every trajectory with its advantage; those that are dropped are left out."""
        return [
            TrainingSample.of(group, trajectory, advantage, masked=self._is_masked(trajectory))
            for group, row in zip(batch.groups, advantages, strict=True)
            for trajectory, advantage in zip(group.trajectories, row, strict=True)
            if not (self.truncated == "drop" and trajectory.finish_reason == "length")
        ]

    def _is_masked(self, trajectory: Trajectory) -> bool:
        return self.truncated != "penalize" and trajectory.finish_reason == "length"


def estimator_arguments(batch: Batch) -> dict[str, Tensor]:
    """Return everything that an advantage estimator may name."""
    (first, *_), *_ = batch.results
    rewards = [_values([[r.counted(name) for r in group] for group in batch.results]) for name in first.rewards]
    names = sorted({name for group in batch.results for result in group for name in result.penalties})
    penalties = [_values([[r.penalties.get(name) for r in group] for group in batch.results]) for name in names]
    weights = [*map(first.weight, first.rewards), *(-1.0 for _ in penalties)]
    return {
        "rewards_PG": _values([[result.value for result in group] for group in batch.results]),
        "rewards_RPG": torch.stack([*rewards, *penalties]),
        "weights_R": torch.tensor(weights, dtype=torch.float64),
        "lengths_PG": torch.tensor([_lengths(group) for group in batch.groups]),
    }


def _values(rows: Sequence[Sequence[float | None]]) -> Tensor:
    """Return a number for every trajectory [P, G], NaN where there is none."""
    return torch.tensor([[torch.nan if value is None else value for value in row] for row in rows], dtype=torch.float64)


def _lengths(group: Group) -> list[int]:
    return [len(trajectory.token_ids) for trajectory in group.trajectories]


def _advantage(value: float | Sequence[float], trajectory: Trajectory) -> Advantage:
    """Return one number as it is, and of padded values those of the trajectory's own tokens."""
    return tuple(value[: len(trajectory.token_ids)]) if isinstance(value, Sequence) else value
