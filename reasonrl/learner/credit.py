"""Turns group rewards into the advantages of trajectories and their tokens (credit assignment)."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from reasonrl.learner.distillation import TeacherCredit
from reasonrl.learner.token_rewards import Decode, outcome_reward, step_rewards, token_rewards
from reasonrl.types import Advantage, Batch, Group, TrainingSample, Trajectory

Advantages: TypeAlias = tuple[tuple[Advantage, ...], ...]
"""One advantage for each trajectory, in the order of the groups."""

TokenNumbers: TypeAlias = tuple[tuple[tuple[float, ...], ...], ...]
"""For each trajectory, in the order of the groups, one number for each token after the prompt, or none at all."""

Predict: TypeAlias = Callable[[Sequence[TrainingSample]], Sequence[Tensor]]
"""Returns for each sample the reward to come that a critic expects before each token [T] that the policy chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What every trajectory of a batch is worth."""

    advantages: Advantages
    values: TokenNumbers | None = None
    """What the critic expected; None without one."""
    returns: TokenNumbers | None = None
    """What it should have expected; nothing for a trajectory that it does not learn from, None without a critic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Compares trajectories with one another, or with what a critic expects of them."""

    estimator: Callable[..., Any]
    """From what it names of a batch (:data:`reasonrl.plugins.hookspecs.GIVEN`) to advantages ``[P, G]``, or
    ``[P, G, T]`` with one for each token after the prompt, T being the greatest length. One that names ``values_PGT``
    returns beside them what the critic should have expected. Any: one tensor or two."""
    truncated: Literal["penalize", "mask", "drop"] = "penalize"
    """What becomes of trajectories that were cut at the token limit."""
    decode: Decode | None = None
    """From tokens to text; needed where rewards give spans, to find their tokens."""
    predict: Predict | None = None
    """The critic; needed by an estimator that names ``values_PGT``."""
    teacher: TeacherCredit | None = None
    """Adds the advantages that a teacher gives; None without one."""

    def estimate(self, batch: Batch) -> Estimates:
        """Return the advantage of every trajectory, and what concerns a critic where there is one."""
        if not batch.groups:
            return Estimates(advantages=())
        if self.teacher is None:
            return self._of_rewards(batch)
        nothing = Estimates(advantages=tuple((0.0,) * len(group.trajectories) for group in batch.groups))
        of_rewards = self._of_rewards(batch) if self.teacher.reward_weight else nothing
        return replace(of_rewards, advantages=self._taught(self.teacher, batch, of_rewards.advantages))

    def _of_rewards(self, batch: Batch) -> Estimates:
        """Return what trajectories are worth by their rewards."""
        values_PGT = self._predicted(batch)
        critic = {} if values_PGT is None else {"values_PGT": values_PGT}
        estimated = self.estimator(**estimator_arguments(batch), **self._token_arguments(batch), **critic)
        advantages, returns = estimated if isinstance(estimated, tuple) else (estimated, None)
        return Estimates(
            advantages=self._advantages(batch, advantages),
            values=None if values_PGT is None else _cut(batch, values_PGT),
            returns=None if returns is None else self._returns(batch, returns),
        )

    def _taught(self, teacher: TeacherCredit, batch: Batch, of_rewards: Advantages) -> Advantages:
        """Return the advantages with those that the teacher gives; 0 for trajectories without a loss."""
        return tuple(
            tuple(
                0.0 if self._is_masked(member) else teacher.advantage(advantage, member, result)
                for member, result, advantage in zip(group.trajectories, results, row, strict=True)
            )
            for group, results, row in zip(batch.groups, batch.results, of_rewards, strict=True)
        )

    def samples(self, batch: Batch, estimates: Estimates) -> list[TrainingSample]:
        """Join every trajectory with what it is worth; those that are dropped are left out."""
        values, returns = estimates.values or _nothing(batch), estimates.returns or _nothing(batch)
        return [
            replace(
                TrainingSample.of(group, trajectory, advantage, masked=self._is_masked(trajectory)),
                values_T=values[p][g],
                returns_T=returns[p][g],
                teacher=batch.results[p][g].teacher,
            )
            for p, (group, row) in enumerate(zip(batch.groups, estimates.advantages, strict=True))
            for g, (trajectory, advantage) in enumerate(zip(group.trajectories, row, strict=True))
            if not (self.truncated == "drop" and trajectory.finish_reason == "length")
        ]

    def _is_masked(self, trajectory: Trajectory) -> bool:
        return self.truncated != "penalize" and trajectory.finish_reason == "length"

    def _names(self, argument: str) -> bool:
        """Say whether the estimator asks for something that costs time."""
        return argument in inspect.signature(self.estimator).parameters

    def _predicted(self, batch: Batch) -> Tensor | None:
        """Return the critic's values [P, G, T] where the estimator asks for them; 0 for tokens that were not chosen."""
        if not self._names("values_PGT"):
            return None
        assert self.predict is not None, "an estimator that names values_PGT makes the run build a critic"
        predicted = iter(self.predict([TrainingSample.of(*pair) for group in batch.groups for pair in _members(group)]))
        mask_PGT = _mask(batch)
        values_PGT = torch.zeros(mask_PGT.shape, dtype=torch.float64)
        for mask_GT, values_GT in zip(mask_PGT, values_PGT, strict=True):
            for mask_T, values_T in zip(mask_GT, values_GT, strict=True):
                values_T[mask_T] = next(predicted).to("cpu", torch.float64)
        return values_PGT

    def _token_arguments(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the estimator asks for of single tokens and of steps."""
        members = [
            list(zip(group.trajectories, results, strict=True))
            for group, results in zip(batch.groups, batch.results, strict=True)
        ]

        def of_tokens(kind: Callable[..., list[float]], filler: float) -> Tensor:
            return _padded([[kind(r, t, self.decode) for t, r in row] for row in members], filler)

        made: dict[str, Callable[[], Tensor]] = {
            "token_rewards_PGT": lambda: of_tokens(token_rewards, 0.0),
            "step_rewards_PGT": lambda: of_tokens(step_rewards, torch.nan),
            "outcome_rewards_PG": lambda: _values([[outcome_reward(r) for _, r in row] for row in members]),
            "mask_PGT": lambda: _mask(batch),
        }
        return {name: make() for name, make in made.items() if self._names(name)}

    def _advantages(self, batch: Batch, estimated: Tensor) -> Advantages:
        return tuple(
            tuple(
                0.0 if self._is_masked(member) else _advantage(value, member)
                for member, value in zip(group.trajectories, row, strict=True)
            )
            for group, row in zip(batch.groups, estimated.tolist(), strict=True)
        )

    def _returns(self, batch: Batch, returns_PGT: Tensor) -> TokenNumbers:
        """Return what the critic learns: nothing of trajectories without a score."""
        return tuple(
            tuple(() if result.value is None else returns_T for returns_T, result in zip(row, results, strict=True))
            for row, results in zip(_cut(batch, returns_PGT), batch.results, strict=True)
        )


def estimator_arguments(batch: Batch) -> dict[str, Tensor]:
    """Return what every advantage estimator may name; more is made for those that name it."""
    results = [result for group in batch.results for result in group]
    weights: dict[str, float] = {}  # of the rewards of all tasks; one label is one reward
    for result in results:
        weights |= {name: result.weight(name) for name in result.rewards}
    rewards = [_values([[r.counted(name) for r in group] for group in batch.results]) for name in weights]
    names = sorted({name for result in results for name in result.penalties})
    penalties = [_values([[r.penalties.get(name) for r in group] for group in batch.results]) for name in names]
    return {
        "rewards_PG": _values([[result.value for result in group] for group in batch.results]),
        "rewards_RPG": torch.stack([*rewards, *penalties]),
        "weights_R": torch.tensor([*weights.values(), *(-1.0 for _ in penalties)], dtype=torch.float64),
        "lengths_PG": torch.tensor([_lengths(group) for group in batch.groups]),
    }


def _values(rows: Sequence[Sequence[float | None]]) -> Tensor:
    """Return a number for every trajectory [P, G], NaN where there is none."""
    return torch.tensor([[torch.nan if value is None else value for value in row] for row in rows], dtype=torch.float64)


def _padded(rows: Sequence[Sequence[Sequence[float]]], filler: float) -> Tensor:
    """Return the numbers of tokens [P, G, T], shorter trajectories filled up."""
    longest = max(len(values_T) for row in rows for values_T in row)
    filled = [[[*values_T, *[filler] * (longest - len(values_T))] for values_T in row] for row in rows]
    return torch.tensor(filled, dtype=torch.float64)


def _mask(batch: Batch) -> Tensor:
    """Return for every token [P, G, T] whether the policy chose it."""
    return _padded([[t.mask for t in group.trajectories] for group in batch.groups], 0.0).bool()


def _cut(batch: Batch, values_PGT: Tensor) -> TokenNumbers:
    """Return the numbers of every trajectory's own tokens."""
    return tuple(
        tuple(
            tuple(values_T[: len(member.token_ids)]) for member, values_T in zip(group.trajectories, row, strict=True)
        )
        for group, row in zip(batch.groups, values_PGT.tolist(), strict=True)
    )


def _nothing(batch: Batch) -> TokenNumbers:
    """Return no number for every trajectory."""
    return tuple(tuple(() for _ in group.trajectories) for group in batch.groups)


def _members(group: Group) -> list[tuple[Group, Trajectory]]:
    return [(group, trajectory) for trajectory in group.trajectories]


def _lengths(group: Group) -> list[int]:
    return [len(trajectory.token_ids) for trajectory in group.trajectories]


def _advantage(value: float | Sequence[float], trajectory: Trajectory) -> Advantage:
    """Return one number as it is, and of padded values those of the trajectory's own tokens."""
    return tuple(value[: len(trajectory.token_ids)]) if isinstance(value, Sequence) else value
