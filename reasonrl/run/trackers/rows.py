"""The table of a step's rollouts that trackers show."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from reasonrl.plugins.types import TrackedRow
from reasonrl.run.files.rollouts import RolloutRecord, rollout_records
from reasonrl.types import StepRecord

MAX_CHARACTERS: Final = 10_000
"""Longest prompt or completion in a table; what is longer is cut, and says so."""


def table_rows(record: StepRecord, count: int) -> list[TrackedRow]:
    """Return the first rollouts of a step; the columns of each are the same."""
    shown = list(islice(rollout_records(record), count))
    labels = list(dict.fromkeys(label for rollout in shown for label in rollout.rewards))
    return [dict(_columns(rollout, labels)) for rollout in shown]


def _columns(rollout: RolloutRecord, labels: list[str]) -> Iterator[tuple[str, str | float | int | None]]:
    """Yield TRL's columns of completions (step, prompt, completion, each reward, advantage), and a few more."""
    yield "step", rollout.step
    yield "problem", rollout.group_id
    yield "prompt", _cut(rollout.prompt)
    yield "completion", _cut(rollout.completion)
    yield "answer", _cut(rollout.answer)
    yield "reward", rollout.reward
    for label in labels:
        score = rollout.rewards.get(label)
        yield label, None if score is None else score.value
    yield "advantage", _mean(rollout.advantage)
    yield "tokens", rollout.completion_tokens
    yield "finish", rollout.finish_reason
    yield "why", _cut("; ".join(f"{label}: {score.why}" for label, score in rollout.rewards.items() if score.why))


def _mean(advantage: float | tuple[float | None, ...] | None) -> float | None:
    """Return one number for a rollout: the mean over its tokens, where each has an advantage of its own."""
    if not isinstance(advantage, tuple):
        return advantage
    known = [value for value in advantage if value is not None]
    return sum(known) / len(known) if known else None


def _cut(text: str) -> str:
    """Return a text that any tracker takes: not too long, and without halves of characters, which UTF-8 has not."""
    shown = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}... ({len(text)} characters in all)"
    return shown.encode("utf-8", "backslashreplace").decode()
