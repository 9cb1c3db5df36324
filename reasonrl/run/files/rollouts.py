"""The rollout files of a run: every trajectory of a step with its scores, one JSON object a line."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from reasonrl.errors import RunError
from reasonrl.system import jsonl
from reasonrl.types import Advantage, FinishReason, Group, RewardResult, StepRecord, TeacherTokens, Trajectory

ROLLOUT_VERSION: Literal[2] = 2

PLACES: Final = 4
"""Decimal places of what is recorded of each token."""

TokenEndsOf: TypeAlias = Callable[[Trajectory], tuple[int, ...]]
"""Returns for each token of a trajectory's last turn how many characters of the text are complete with it."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpanRecord(_Record):
    """What one reward gave a step of a completion: characters ``start`` to ``end`` of its text."""

    start: int
    end: int
    value: float
    why: str


class RewardRecord(_Record):
    """What one reward gave a trajectory."""

    value: float | None
    outcome: Literal["scored", "unscorable", "timeout", "error"]
    why: str
    parts: dict[str, float | None]
    spans: tuple[SpanRecord, ...] = ()
    """Steps of the completion that it gave rewards of their own."""


class SegmentRecord(_Record):
    """Consecutive tokens of one origin; without a policy version they are not the policy's."""

    num_tokens: int
    policy_version: int | None


class TokensRecord(_Record):
    """The tokens that the policy chose, of several turns in the last one; one entry each."""

    ends: tuple[int, ...]
    """Characters of the completion that are complete with the token; the one that ended it adds none."""
    logprobs: tuple[float | None, ...]
    """The sampler's log-probability in nats, rounded."""
    entropies: tuple[float | None, ...] = ()
    """Entropy in nats of what the token was drawn from, rounded; empty without ``rollout.token_entropy``."""
    teacher_logprobs: tuple[float | None, ...] = ()
    """The teacher's log-probability in nats, rounded; empty without ``distillation``."""


class RolloutRecord(_Record):
    """One line of ``rollouts/step_NNNNNN.jsonl``; null stands for numbers that are not finite."""

    schema_version: Literal[2] = ROLLOUT_VERSION
    step: int
    group_index: int
    """Position of the group in the step; groups that are not learned from stand after the others."""
    id: str
    group_id: str
    """Id of the problem."""
    sample_index: int
    task: str
    prompt: str
    """The rendered prompt, as the model saw it."""
    completion: str
    completion_tokens: int
    """Tokens that the policy chose."""
    segments: tuple[SegmentRecord, ...]
    policy_version: int
    """The oldest weights that any of the tokens was sampled with."""
    logprob_sum: float | None
    """The sampler's log-probability of all tokens that the policy chose, in nats."""
    finish_reason: FinishReason
    seed: int
    answer: str
    rewards: dict[str, RewardRecord]
    reward: float | None
    """The weighted sum, before penalties."""
    outcome: Literal["scored", "unscorable", "timeout", "error"]
    penalties: dict[str, float | None]
    advantage: float | tuple[float | None, ...] | None
    """One number, or one for each token after the prompt; null for a group that is not learned from."""
    unused: Literal["no_signal", "stale"] | None = None
    """Why the group is not learned from; null for one that is."""
    tokens: TokensRecord | None = None
    """Null where nobody knows which token is which part of the text."""


def rollout_records(record: StepRecord, token_ends: TokenEndsOf | None = None) -> Iterator[RolloutRecord]:
    """Describe every trajectory of a step, and its tokens where their ends are known."""
    batch = record.batch
    used = zip(batch.groups, batch.results, record.advantages, (None,) * len(batch.groups), strict=True)
    unused = ((one.group, one.results, (None,) * len(one.results), one.reason) for one in batch.unused)
    for index, (group, results, advantages, reason) in enumerate([*used, *unused]):
        for trajectory, result, advantage in zip(group.trajectories, results, advantages, strict=True):
            yield RolloutRecord(
                step=record.step,
                group_index=index,
                unused=reason,
                advantage=_finite_advantage(advantage),
                tokens=None if token_ends is None else _tokens(trajectory, token_ends(trajectory), result.teacher),
                **_trajectory_fields(group, trajectory),
                **_score_fields(result),
            )


def read_rollouts(path: Path) -> Iterator[RolloutRecord]:
    """Yield the records of a rollout file.

    Raises:
        RunError: a line is not one; the message names file and line.
    """
    for number, line in enumerate(jsonl.read(path), start=1):
        try:
            yield RolloutRecord.model_validate(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"{path}:{number}: {where}: {first['msg']}. Another version of reasonrl wrote it.") from None


def _trajectory_fields(group: Group, trajectory: Trajectory) -> dict[str, Any]:
    """Describe what was sampled. Any: fields of a record."""
    return {
        "id": group.rollout(trajectory).id,
        "group_id": group.problem.id,
        "sample_index": trajectory.sample_index,
        "task": group.problem.task,
        "prompt": group.prompt,
        "completion": trajectory.text,
        "completion_tokens": trajectory.num_sampled_tokens,
        "segments": tuple(
            SegmentRecord(num_tokens=segment.num_tokens, policy_version=segment.policy_version)
            for segment in trajectory.segments
        ),
        "policy_version": trajectory.policy_version,
        "logprob_sum": _finite(sum(trajectory.logprobs)),
        "finish_reason": trajectory.finish_reason,
        "seed": trajectory.seed,
        "answer": group.problem.answer,
    }


def _tokens(trajectory: Trajectory, ends: tuple[int, ...], teacher: TeacherTokens | None) -> TokensRecord:
    turn = trajectory.last_turn
    said = teacher.logprobs if teacher else ()
    return TokensRecord(
        ends=ends,
        logprobs=tuple(map(_rounded, trajectory.logprobs[turn.start : turn.stop])),
        entropies=tuple(map(_rounded, trajectory.entropies[turn.start : turn.stop])),
        teacher_logprobs=tuple(map(_rounded, said[max(0, len(said) - len(turn)) :])),
    )


def _rounded(value: float) -> float | None:
    return _finite(round(value, PLACES) + 0.0)  # -0.0 is written as 0.0


def _score_fields(result: RewardResult) -> dict[str, Any]:
    """Describe what the rewards gave. Any: fields of a record."""
    return {
        "rewards": {
            name: RewardRecord(
                value=score.value,
                outcome=score.outcome,
                why=score.why,
                parts=_all_finite(score.parts),
                spans=tuple(SpanRecord(**asdict(span)) for span in score.spans),
            )
            for name, score in result.rewards.items()
        },
        "reward": result.total.value,
        "outcome": result.total.outcome,
        "penalties": _all_finite(result.penalties),
    }


def _finite_advantage(advantage: Advantage | None) -> float | tuple[float | None, ...] | None:
    if isinstance(advantage, tuple):
        return tuple(map(_finite, advantage))
    return None if advantage is None else _finite(advantage)


def _all_finite(named: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in named.items()}


def _finite(value: float) -> float | None:
    """Return what JSON can hold: null stands for infinities and for what is not a number."""
    return value if math.isfinite(value) else None
