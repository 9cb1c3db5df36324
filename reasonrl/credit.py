"""From verdicts to what the learner learns from: an advantage for every completion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reasonrl.types import Batch, Completion, TrainingSample, Verdict

Advantages = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Compares completions with one another.

    Args:
        estimator: from ``rewards_PG`` (and, where it names them, ``rewards_RPG`` and ``weights_R``) to advantages.
        truncated: what becomes of completions that were cut.
    """

    estimator: Callable[..., Tensor]
    truncated: Literal["penalise", "mask", "drop"] = "penalise"

    def advantages(self, batch: Batch) -> Advantages:
        """Return the advantage of every completion, in the order of the groups."""
        if not batch.groups:
            return ()
        (first, *_), *_ = batch.verdicts
        parts = [_components(batch, name) for name in first.rewards]
        penalties = [_penalties(batch, name) for name in sorted({n for v in _flat(batch) for n in v.penalties})]
        weights = [*map(first.weight, first.rewards), *(-1.0 for _ in penalties)]
        advantages_PG = self.estimator(
            rewards_PG=_tensor([[verdict.value for verdict in group] for group in batch.verdicts]),
            rewards_RPG=torch.stack([*parts, *penalties]),
            weights_R=torch.tensor(weights, dtype=torch.float64),
        )
        return tuple(
            tuple(
                0.0 if self._is_masked(member) else value for member, value in zip(group.completions, row, strict=True)
            )
            for group, row in zip(batch.groups, advantages_PG.tolist(), strict=True)
        )

    def samples(self, batch: Batch, advantages: Advantages) -> list[TrainingSample]:
        """Join every completion with its advantage; those that are dropped are left out."""
        return [
            TrainingSample.of(group, completion, advantage, masked=self._is_masked(completion))
            for group, row in zip(batch.groups, advantages, strict=True)
            for completion, advantage in zip(group.completions, row, strict=True)
            if not (self.truncated == "drop" and completion.finish_reason == "length")
        ]

    def _is_masked(self, completion: Completion) -> bool:
        """Say whether a completion's reward counts and its tokens do not."""
        return self.truncated != "penalise" and completion.finish_reason == "length"


def _flat(batch: Batch) -> list[Verdict]:
    """Return all verdicts of a step."""
    return [verdict for group in batch.verdicts for verdict in group]


def _components(batch: Batch, name: str) -> Tensor:
    """Return what one reward counts of every completion [P, G]: 0 behind a shut gate."""
    return _tensor([[verdict.counted(name) for verdict in group] for group in batch.verdicts])


def _penalties(batch: Batch, name: str) -> Tensor:
    """Return one penalty of every completion [P, G]."""
    return _tensor([[verdict.penalties.get(name) for verdict in group] for group in batch.verdicts])


def _tensor(values: Sequence[Sequence[float | None]]) -> Tensor:
    """Return values with NaN where there is none."""
    return torch.tensor([[torch.nan if v is None else v for v in row] for row in values], dtype=torch.float64)
