"""Probes: replies that are sent to a reward, in worker processes, to see what it gives for them."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

from reasonrl import Rollout, Score
from reasonrl.config.settings import ScoringSettings
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import Reward
from reasonrl_author.attacks import companions
from reasonrl_author.cases import Case
from reasonrl_author.rollouts import rollout_of


@dataclass(frozen=True, slots=True)
class Probe:
    """A reply to be scored."""

    case: Case
    text: str
    says: str = ""
    """What it shows about a reward that pays it."""
    format: str = ""
    """Name of the format in which it marks its answer, if any."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe with its score."""

    probe: Probe
    score: Score

    @property
    def value(self) -> float | None:
        """The score's value."""
        return self.score.value


class ProbeRunner:
    """A reward with workers of its own.

    Args:
        reward: what scores the probes.
        settings: workers and time limit.
    """

    def __init__(self, reward: Reward, settings: ScoringSettings) -> None:
        self._reward = reward
        self._caller = RewardCaller([reward], settings)

    def __enter__(self) -> Self:
        """Return the runner itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers."""
        self._caller.close()

    def score_each(self, probes: Sequence[Probe]) -> list[ProbeResult]:
        """Score each probe by itself: alone, or beside the same companions where the reward compares several."""
        futures = [self._submit_one(probe) for probe in probes]
        return [ProbeResult(probe, future.result()[0]) for probe, future in zip(probes, futures, strict=True)]

    def score_together(self, probes: Sequence[Probe]) -> list[ProbeResult]:
        """Score probes as a run does: one by one, by problem, or all at once, as the reward's unit says."""
        rollouts = [rollout_of(item.case.problem, item.text, seed=number) for number, item in enumerate(probes)]
        scores: dict[str, Score] = {}
        for members, future in [(members, self._submit(members)) for members in self._units(rollouts)]:
            scores |= zip((rollout.id for rollout in members), future.result(), strict=True)
        return [ProbeResult(item, scores[one.id]) for item, one in zip(probes, rollouts, strict=True)]

    def _submit_one(self, probe: Probe) -> "Future[tuple[Score, ...]]":
        beside = () if self._reward.unit == "rollout" else companions(probe.case.answer)
        texts = (probe.text, *beside)
        return self._submit([rollout_of(probe.case.problem, text, seed=seed) for seed, text in enumerate(texts)])

    def _submit(self, rollouts: Sequence[Rollout]) -> "Future[tuple[Score, ...]]":
        return self._caller.submit(self._reward.name, rollouts)

    def _units(self, rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
        if self._reward.unit == "batch":
            return [list(rollouts)]
        units: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            units.setdefault(rollout.problem.id if self._reward.unit == "group" else rollout.id, []).append(rollout)
        return list(units.values())
