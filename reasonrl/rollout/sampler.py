"""Batches for the loop: problems in their order, sampled, scored and refilled, as one iterator."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from reasonrl.rollout.groups import GroupRequest, GroupSampler, Progress
from reasonrl.rollout.order import ProblemOrder
from reasonrl.types import Batch, Group, Problem, RewardResults, Scorer, UnusedGroup, sample_seed, teaches


@dataclass(frozen=True, slots=True)
class ScoredGroups:
    """Groups that were sampled and scored, and how long that took."""

    scored: list[tuple[Group, RewardResults]]
    seconds: Mapping[str, float]

    def __add__(self, other: "ScoredGroups") -> "ScoredGroups":
        seconds = {phase: self.seconds[phase] + other.seconds[phase] for phase in self.seconds}
        return ScoredGroups([*self.scored, *other.scored], seconds)

    def num_missing(self, size: int) -> int:
        """Count the groups that a step of ``size`` lacks because these teach nothing."""
        return max(0, size - sum(teaches(results) for _, results in self.scored))

    def batch(self, step: int, size: int, position: int) -> Batch:
        """Make a step of ``size`` groups: those that teach, topped up with others when they are too few."""
        by_use = sorted(range(len(self.scored)), key=lambda index: not teaches(self.scored[index][1]))
        kept, left = sorted(by_use[:size]), sorted(by_use[size:])
        return Batch(
            step=step,
            groups=tuple(self.scored[index][0] for index in kept),
            results=tuple(self.scored[index][1] for index in kept),
            unused=tuple(
                UnusedGroup(group=group, results=results, reason="no_signal")
                for group, results in (self.scored[index] for index in left)
            ),
            position=position,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSampler:
    """Samples the problems of each step, and has the groups scored from the moment their members are complete."""

    order: ProblemOrder
    groups: GroupSampler
    scorer: Scorer
    prompts_per_step: int
    samples_per_prompt: int
    refill_attempts: int
    """How often a step may sample again in place of groups that teach nothing."""
    seed: int

    def batches(self, steps: range, position: int = 0) -> Generator[Batch, None, None]:
        """Yield each step when it is asked for, sampled with the engine's weights of that moment.

        Groups that teach nothing are replaced by groups of the next problems (dynamic sampling, DAPO,
        arXiv:2503.14476); the step keeps its size whatever comes.

        Args:
            steps: the steps to take.
            position: problems of the stream that earlier steps used.
        """
        size = self.prompts_per_step
        for step in steps:
            sampled = self.sample_and_score(step, self.order.at(position, size))
            for _ in range(self.refill_attempts):
                if not sampled.num_missing(size):
                    break
                earlier = [group.problem for group, _ in sampled.scored]
                more = self.order.at(position + len(earlier), sampled.num_missing(size))
                sampled += self.sample_and_score(step, more, earlier)
            position += len(sampled.scored)
            measured = self.order.observe(step, sampled.scored)
            yield replace(sampled.batch(step, size, position), measured=measured)

    def sample(self, step: int, problems: Sequence[Problem]) -> tuple[Group, ...]:
        """Sample one group for each problem, and score nothing."""
        return self.groups.sample(self._requests(step, problems))

    def sample_and_score(self, step: int, problems: Sequence[Problem], earlier: Sequence[Problem] = ()) -> ScoredGroups:
        """Sample and score one group for each problem; scoring begins while others are sampled.

        Args:
            step: number of the step, on which seeds and weights of rewards depend; 0 outside a run.
            problems: what to sample.
            earlier: problems that were sampled in this step already.
        """
        began = perf_counter()
        groups = self.groups.sample(self._requests(step, problems, earlier), self.scoring_early(step))
        sampled = perf_counter()
        results = self.scorer.score(groups, step)
        seconds = {"sampling": sampled - began, "scoring": perf_counter() - sampled}
        return ScoredGroups(list(zip(groups, results, strict=True)), seconds)

    def scoring_early(self, step: int) -> Progress:
        """Return what has rewards begin with what is complete while the rest is sampled."""
        return Progress(
            rollout=lambda rollout: self.scorer.submit_rollout(rollout, step),
            group=lambda group: self.scorer.submit_group(group, step),
        )

    def request_at(self, position: int) -> GroupRequest:
        """Return the problem at a position of the stream, with seeds of the step that it would be in without refills.

        They are a pure function of the seed and the position: a group that is begun again has the same ones.
        """
        index, place = divmod(position, self.prompts_per_step)
        *earlier, problem = self.order.at(position - place, place + 1)
        (request,) = self._requests(index + 1, [problem], earlier)
        return request

    def _requests(self, step: int, problems: Sequence[Problem], earlier: Sequence[Problem] = ()) -> list[GroupRequest]:
        """Give every trajectory a seed of its own.

        A problem that the step had already, also among ``earlier`` ones, is sampled with further seeds.
        """
        seen, requests = Counter(problem.id for problem in earlier), []
        for problem in problems:
            requests.append(GroupRequest(problem=problem, seeds=self._seeds(step, problem, seen[problem.id])))
            seen[problem.id] += 1
        return requests

    def _seeds(self, step: int, problem: Problem, occurrence: int) -> tuple[int, ...]:
        """Return the seeds of a group: a pure function of (seed, step, problem, sample)."""
        count = self.samples_per_prompt
        samples = range(count * occurrence, count * (occurrence + 1))
        return tuple(sample_seed(self.seed, step, problem.id, sample) for sample in samples)
