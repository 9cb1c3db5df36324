"""Completions of a policy with their scores, one a line: the file that ``reasonrl sample`` writes.

Of a file from elsewhere only ``completion`` is needed, with ``prompt`` or ``messages``; other columns are passed over.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reasonrl.errors import DataError
from reasonrl.preference.sources import READERS
from reasonrl.types import FinishReason, Group, Outcome, Problem, RewardResult, Rollout, Score, Trajectory, digest


class RewardRow(BaseModel):
    """What one reward gave a completion."""

    model_config = ConfigDict(frozen=True)

    value: float | None = Field(None, allow_inf_nan=False)
    outcome: Outcome
    why: str = ""
    parts: dict[str, float] = {}

    @classmethod
    def of(cls, score: Score) -> Self:
        """Describe a score; times, which differ from run to run, and spans are left out."""
        return cls(value=score.value, outcome=score.outcome, why=score.why, parts=dict(score.parts))


class SampleRow(BaseModel):
    """One completion with its problem and its scores."""

    model_config = ConfigDict(frozen=True)

    id: str = ""
    """Unlike that of any other row of the file."""
    problem_id: str = ""
    """Equal for completions of one problem; made of the prompt where a file has none."""
    task: str = "samples"
    prompt: str = ""
    """The question as text, before a template makes the model's prompt of it."""
    messages: tuple[Mapping[str, str], ...] | None = None
    """The conversation that was used in place of ``prompt``, if any."""
    answer: str = ""
    rendered_prompt: str = ""
    """The prompt as the model saw it."""
    completion: str
    finish_reason: FinishReason = "stop"
    num_tokens: int = Field(0, ge=0)
    sample_index: int = 0
    seed: int = 0
    score: float | None = Field(None, allow_inf_nan=False)
    """The weighted sum of the rewards; null where there is none, see ``outcome``."""
    outcome: Outcome = "unscorable"
    why: str = ""
    rewards: dict[str, RewardRow] = {}
    """What each reward gave, by label."""

    @model_validator(mode="after")
    def _require_prompt(self) -> Self:
        if not self.prompt.strip() and not self.messages:
            raise ValueError("has neither 'prompt' nor 'messages'")
        return self

    @classmethod
    def of(cls, group: Group, trajectory: Trajectory, result: RewardResult) -> Self:
        """Describe one member of a group."""
        problem = group.problem
        return cls(
            id=group.rollout(trajectory).id,
            problem_id=problem.id,
            task=problem.task,
            prompt=problem.prompt,
            messages=problem.messages,
            answer=problem.answer,
            rendered_prompt=group.prompt,
            completion=trajectory.text,
            finish_reason=trajectory.finish_reason,
            num_tokens=trajectory.num_sampled_tokens,
            sample_index=trajectory.sample_index,
            seed=trajectory.seed,
            score=result.total.value,
            outcome=result.total.outcome,
            why=result.total.why,
            rewards={label: RewardRow.of(score) for label, score in result.rewards.items()},
        )

    def problem(self) -> Problem:
        """Return the problem, without its ``meta``."""
        messages = None if self.messages is None else [dict(message) for message in self.messages]
        return Problem(
            id=self.problem_id or digest(self.prompt, json.dumps(messages)),
            task=self.task,
            prompt=self.prompt,
            answer=self.answer,
            messages=self.messages,
        )

    def trajectory(self, seed: int) -> Trajectory:
        """Return the completion as rewards see it: its text and its length are right, its token ids are not known."""
        return Trajectory.single_turn(
            token_ids=(0,) * self.num_tokens,
            logprobs=(0.0,) * self.num_tokens,
            policy_version=0,
            text=self.completion,
            finish_reason=self.finish_reason,
            sample_index=self.sample_index,
            seed=seed,
        )

    def rollout(self, problem: Problem) -> Rollout:
        """Return the completion with a problem."""
        return Rollout(problem=problem, prompt=self.rendered_prompt, trajectory=self.trajectory(self.seed))


def read_sample_rows(path: Path) -> Iterator[SampleRow]:
    """Yield the rows of a file of samples.

    Raises:
        DataError: the file cannot be read, or a line is no sample; the message has its place.
    """
    for where, row in READERS[".jsonl"](path):
        yield sample_row(where, row)


def sample_row(where: str, row: Mapping[str, Any]) -> SampleRow:
    """Check one row. Any: JSON values.

    Raises:
        DataError: it is no sample.
    """
    try:
        return SampleRow.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise DataError(f"{where}: {what}. Samples are written by reasonrl sample.") from None
