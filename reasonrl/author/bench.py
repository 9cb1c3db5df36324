"""A reward that can be asked about single replies, in worker processes, whatever it scores at once."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from reasonrl.author.cases import Case
from reasonrl.author.samples import rollout_of
from reasonrl.author.tricks import companions
from reasonrl.config import ScoringSettings
from reasonrl.scoring.caller import Caller
from reasonrl.scoring.contract import Reward
from reasonrl.types import Rollout, Score


@dataclass(frozen=True, slots=True)
class Question:
    """A reply to be scored."""

    case: Case
    text: str
    says: str = ""
    """What it says of a reward that pays it."""
    mark: str = ""
    """How its answer is marked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply with its score."""

    question: Question
    score: Score

    @property
    def value(self) -> float | None:
        """The score's value."""
        return self.score.value


class Bench:
    """A reward with workers of its own.

    Args:
        reward: what is asked.
        settings: workers and time limit.
    """

    def __init__(self, reward: Reward, settings: ScoringSettings) -> None:
        """Start the workers."""
        self._reward = reward
        self._caller = Caller([reward], settings)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave nothing running."""
        self._caller.close()

    def ask(self, questions: Sequence[Question]) -> list[Answered]:
        """Score each reply by itself: alone, or beside the same companions where the reward compares several."""
        futures = [self._begin(question, number) for number, question in enumerate(questions)]
        return [Answered(question, future.result()[0]) for question, future in zip(questions, futures, strict=True)]

    def ask_together(self, questions: Sequence[Question]) -> list[Answered]:
        """Score replies as a run does: one by one, by problem, or all at once, as the reward's unit says."""
        rollouts = [rollout_of(item.case.problem, item.text, seed=number) for number, item in enumerate(questions)]
        scores: dict[str, Score] = {}
        for members, future in [(members, self._submit(members)) for members in self._units(rollouts)]:
            scores |= zip((rollout.id for rollout in members), future.result(), strict=True)
        return [Answered(item, scores[one.id]) for item, one in zip(questions, rollouts, strict=True)]

    def _begin(self, question: Question, number: int) -> "Future[tuple[Score, ...]]":
        """Begin to score one reply, which comes first among its companions."""
        beside = () if self._reward.unit == "rollout" else companions(question.case.answer)
        texts = (question.text, *beside)
        return self._submit([rollout_of(question.case.problem, text, seed=seed) for seed, text in enumerate(texts)])

    def _submit(self, rollouts: Sequence[Rollout]) -> "Future[tuple[Score, ...]]":
        """Hand rollouts to the reward."""
        return self._caller.submit(self._reward.name, rollouts)

    def _units(self, rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
        """Divide rollouts into what the reward scores at once."""
        if self._reward.unit == "batch":
            return [list(rollouts)]
        units: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            units.setdefault(rollout.problem.id if self._reward.unit == "group" else rollout.id, []).append(rollout)
        return list(units.values())
