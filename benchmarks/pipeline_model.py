"""A pipeline of samplers and a learner as discrete events: what `pipeline_simulator.py` computes its tables with.

Between two events every activity goes on in a way that is known, so the simulation steps from event to event. Left out:
refills, several updates a step, faults, and noise.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Literal, Protocol

from pipeline_sampler import ROUNDING, Draw, Group, SamplerRates, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerRates:
    """What a step of the learner takes, in seconds."""

    step_s: float = 0.0
    """Whatever is in it, and however many devices share it."""
    token_s: float
    """For each token of its completions, on one device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpus:
    """CPUs that samplers, scoring and learner share: one each while they work, and more a sampler if it has threads."""

    count: float = math.inf
    """Infinite where each has devices of its own."""
    others: float = 0.0
    """Threads of others that want these CPUs too, mean."""
    of_sampler: float = 1.0
    """Threads that a sampler works with."""

    def speed(self, *, samplers: int = 0, rest: int = 0) -> float:
        """Return how fast so many busy samplers and others of us go on, as a share of what they would alone."""
        return min(1.0, self.count / max(self.of_sampler * samplers + rest + self.others, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Samplers, a learner, and how they are coupled."""

    sampler: SamplerRates
    learner: LearnerRates
    samplers: int = 1
    learners: int = 1
    """Devices that share a step of the learner."""
    push_s: float = 0.0
    """New weights to all samplers, which sample nothing meanwhile."""
    scoring_s: float = 0.0
    """Scoring one group, one after another."""
    groups_per_step: int
    async_steps: int = 0
    """Steps that sampling may run ahead, as in ``rollout.async_steps``."""
    max_staleness: int | None = None
    """Most updates between sampling and learning where it is 2 or more; None is twice as many, as in a run."""
    cpus: Cpus = Cpus()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step was like."""

    end_s: float
    staleness: tuple[int, ...]
    """Weight updates between the first token of each group and its learning."""
    draws: tuple[Draw, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(sum(draw.completions) for draw in self.draws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a simulation counted."""

    steps: tuple[Step, ...]
    sampler_busy: float
    """Share of the time that a sampler had something to sample, mean over samplers."""
    sequences: float
    """Sequences that a sampler had running, mean over time and samplers."""
    learner_busy: float
    """Share of the time that the learner learned."""

    @property
    def steps_per_hour(self) -> float:
        """Return the rate after the first step, which has nothing sampled ahead."""
        first, last = self.steps[0], self.steps[-1]
        spent = last.end_s - first.end_s if len(self.steps) > 1 else last.end_s
        return 3600 * max(len(self.steps) - 1, 1) / spent if spent else math.inf

    @property
    def staleness_mean(self) -> float:
        """Return the mean over the groups of all steps but the first, which has nothing stale."""
        return fmean(lag for step in self.steps[1:] or self.steps for lag in step.staleness)

    @property
    def staleness_max(self) -> int:
        """Return the largest of any group."""
        return max(lag for step in self.steps for lag in step.staleness)


class Schedule(Protocol):
    """When groups are started, which of them a step takes, and when weights are pushed."""

    def wanted(self, steps_taken: int, steps_done: int) -> int:
        """Return how many groups of the stream may have been started by now."""
        ...

    def take(self, outstanding: Sequence[Group], version: int) -> Sequence[Group]:
        """Return the groups of the next step out of those that no step has had; none while it must wait.

        Args:
            outstanding: in the order of the stream.
            version: updates that the learner has made, one a step.
        """
        ...

    def may_push(self, outstanding: Sequence[Group]) -> bool:
        """Say whether new weights may replace those that groups are sampled with."""
        ...


@dataclass(frozen=True, slots=True)
class InBatches:
    """Steps have the groups of the stream in order, one batch after another; ``ahead`` is 0 or 1."""

    size: int
    ahead: int

    def wanted(self, steps_taken: int, steps_done: int) -> int:
        """A batch is begun when the step before it is done, or when its batch is taken if sampling is ahead."""
        return self.size * ((steps_taken if self.ahead else steps_done) + 1)

    def take(self, outstanding: Sequence[Group], version: int) -> Sequence[Group]:
        """Return the next batch when it is complete."""
        batch = outstanding[: self.size]
        return batch if len(batch) == self.size and all(group.is_scored for group in batch) else ()

    def may_push(self, outstanding: Sequence[Group]) -> bool:
        """Weights wait for the batch that is being sampled."""
        return all(group.is_scored for group in outstanding)


@dataclass(frozen=True, slots=True)
class Continuous:
    """Steps have finished groups, first those that must not wait longer; weights are pushed while others are sampled.

    The rule is that of ``reasonrl.rollout.buffer`` with one update a step and no refills.
    """

    size: int
    ahead: int
    max_staleness: int

    def wanted(self, steps_taken: int, steps_done: int) -> int:
        """Groups of the current step and of ``ahead`` more have a place."""
        return self.size * (steps_done + 1 + self.ahead)

    def take(self, outstanding: Sequence[Group], version: int) -> Sequence[Group]:
        """Return those that are due and others by position, if all due ones and enough others are finished."""
        finished = [group for group in outstanding if group.is_scored]
        if len(finished) < self.size:
            return ()
        due = self._due(outstanding, version)
        if not all(group.is_scored for group in due):
            return ()
        is_due = {group.index for group in due}
        others = [group for group in finished if group.index not in is_due]
        return [*due, *others[: self.size - len(due)]]

    def _due(self, outstanding: Sequence[Group], version: int) -> Sequence[Group]:
        """Return those that later steps cannot all take in time (earliest deadline first)."""
        oldest_first = sorted(outstanding, key=lambda group: (group.version, group.index))
        num_due = 0
        for index, group in enumerate(oldest_first):
            num_due = max(num_due, index + 1 - self.size * max(0, group.version + self.max_staleness - version))
        return oldest_first[: min(num_due, self.size)]

    def may_push(self, outstanding: Sequence[Group]) -> bool:
        """Weights wait for nothing."""
        return True


class Simulation:
    """Runs a pipeline over a stream of problems.

    Args:
        pipeline: what is run.
        draws: the stream; as many as the steps ask for.
        schedule: how sampling and learning are coupled.
    """

    def __init__(self, pipeline: Pipeline, draws: Iterable[Draw], schedule: Schedule) -> None:
        self._pipeline = pipeline
        self._draws = iter(draws)
        self._schedule = schedule
        self._servers = [Server(pipeline.sampler) for _ in range(pipeline.samplers)]
        self._to_score: deque[Group] = deque()
        self._score_left_s = 0.0
        self._outstanding: list[Group] = []
        self._learning: Sequence[Group] = ()
        self._phase: Literal["waiting", "learning", "learned", "pushing"] = "waiting"
        self._phase_left_s = 0.0
        self._now_s = self._learned_s = 0.0
        self._num_started = self._steps_taken = 0
        self._steps: list[Step] = []

    def run(self, steps: int) -> Outcome:
        """Take so many steps."""
        while len(self._steps) < steps:
            self._proceed()
            self._advance()
        total = max(self._now_s, ROUNDING)
        return Outcome(
            steps=tuple(self._steps),
            sampler_busy=fmean(server.busy_s for server in self._servers) / total,
            sequences=fmean(server.sequence_seconds for server in self._servers) / total,
            learner_busy=self._learned_s / total,
        )

    def _proceed(self) -> None:
        """Do all that takes no time."""
        self._start_groups()
        if self._phase == "waiting" and (batch := self._schedule.take(self._outstanding, len(self._steps))):
            self._learn(batch)
            self._start_groups()
        if self._phase == "learned" and self._schedule.may_push(self._outstanding):
            self._phase, self._phase_left_s = "pushing", self._pipeline.push_s

    def _learn(self, batch: Sequence[Group]) -> None:
        rates, self._learning = self._pipeline.learner, batch
        taken = {group.index for group in batch}
        self._outstanding = [group for group in self._outstanding if group.index not in taken]
        self._steps_taken += 1
        tokens = sum(group.tokens for group in batch)
        self._phase = "learning"
        self._phase_left_s = rates.step_s + rates.token_s * tokens / self._pipeline.learners

    def _start_groups(self) -> None:
        """Start all that have a place; a server is given whole groups."""
        wanted = self._schedule.wanted(self._steps_taken, len(self._steps))
        for draw in islice(self._draws, max(0, wanted - self._num_started)):
            group = Group(draw, self._num_started, len(self._steps), len(draw.completions))
            self._num_started += 1
            self._outstanding.append(group)
            min(self._servers, key=lambda server: server.num_requests).submit(group)

    def _advance(self) -> None:
        """Go on to the next event."""
        is_pushing = self._phase == "pushing"
        sampling = [] if is_pushing else [server for server in self._servers if server.num_requests]
        num_rest = bool(self._to_score) + (self._phase in ("learning", "pushing"))
        speed = self._pipeline.cpus.speed(samplers=len(sampling), rest=num_rest)
        work = min([server.seconds_to_next() for server in sampling] + self._other_work())
        assert work < math.inf, "something goes on until the last step is done"
        self._now_s += work / speed
        self._score(work)
        for server in sampling:
            for group in server.advance(work):
                self._count_completion(group)
        self._work_on_step(work, work / speed)

    def _other_work(self) -> list[float]:
        """Return what is left of the group that is scored and of the learner's phase."""
        score = [self._score_left_s] if self._to_score else []
        return [*score, *([self._phase_left_s] if self._phase in ("learning", "pushing") else [])]

    def _count_completion(self, group: Group) -> None:
        group.missing -= 1
        if group.missing:
            return
        if not self._to_score:
            self._score_left_s = self._pipeline.scoring_s
        self._to_score.append(group)

    def _score(self, work: float) -> None:
        self._score_left_s -= work
        while self._to_score and self._score_left_s <= ROUNDING:
            self._to_score.popleft().is_scored = True
            self._score_left_s = self._pipeline.scoring_s

    def _work_on_step(self, work: float, seconds: float) -> None:
        self._phase_left_s -= work
        self._learned_s += seconds * (self._phase == "learning")
        if self._phase_left_s > ROUNDING:
            return
        if self._phase == "learning":
            self._phase = "learned"
        elif self._phase == "pushing":
            self._finish_step()

    def _finish_step(self) -> None:
        for server in self._servers:
            server.drop_computed()
        staleness = tuple(len(self._steps) - group.version for group in self._learning)
        draws = tuple(group.draw for group in self._learning)
        self._steps.append(Step(end_s=self._now_s, staleness=staleness, draws=draws))
        self._phase = "waiting"


def simulate(pipeline: Pipeline, draws: Iterable[Draw], steps: int) -> Outcome:
    """Run a pipeline for so many steps; ``async_steps`` says how sampling and learning are coupled."""
    stream = islice(draws, steps * pipeline.groups_per_step)  # nothing is begun that no step will take
    return Simulation(pipeline, stream, schedule_of(pipeline)).run(steps)


def schedule_of(pipeline: Pipeline) -> Schedule:
    """Return how sampling and learning are coupled."""
    size, ahead = pipeline.groups_per_step, pipeline.async_steps
    return InBatches(size, ahead) if ahead <= 1 else Continuous(size, ahead, pipeline.max_staleness or 2 * ahead)
