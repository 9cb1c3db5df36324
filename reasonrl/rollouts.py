"""What stands in front of the loop: problems in their order, rendered, sampled and scored, as one iterator."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter

from reasonrl.config import RolloutSettings
from reasonrl.engines import Arrived, Engine, Request, SamplingParams
from reasonrl.prompts import Renderer
from reasonrl.types import Batch, Completion, Grader, Group, Problem, Rollout, Verdicts, sample_seed, teaches


class DataOrder:
    """The order of training problems: a pure function of the seed and the position.

    Every epoch is a permutation of all problems, so no problem comes twice before each came once.
    """

    def __init__(self, problems: Sequence[Problem], seed: int) -> None:
        """Keep the problems; nothing is shuffled in place."""
        self._problems = problems
        self._seed = seed
        self._permutations: dict[int, list[int]] = {}

    def at(self, first: int, count: int) -> list[Problem]:
        """Return ``count`` problems from position ``first`` of the endless stream."""
        return [self._problem(position) for position in range(first, first + count)]

    def _problem(self, position: int) -> Problem:
        """Return the problem at one position."""
        epoch, index = divmod(position, len(self._problems))
        if epoch not in self._permutations:
            order = list(range(len(self._problems)))
            Random(f"{self._seed}/{epoch}").shuffle(order)
            self._permutations = {epoch - 1: self._permutations.get(epoch - 1, []), epoch: order}
        return self._problems[self._permutations[epoch][index]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Groups that were sampled and scored, and how long that took."""

    scored: list[tuple[Group, Verdicts]]
    seconds: Mapping[str, float]

    def __add__(self, other: "Drawn") -> "Drawn":
        """Put more behind."""
        seconds = {phase: self.seconds[phase] + other.seconds[phase] for phase in self.seconds}
        return Drawn([*self.scored, *other.scored], seconds)

    def missing(self, size: int) -> int:
        """Count the groups that a step of ``size`` lacks because these teach nothing."""
        return max(0, size - sum(teaches(verdicts) for _, verdicts in self.scored))

    def batch(self, step: int, size: int, position: int) -> Batch:
        """Make a step of ``size`` groups: those that teach, topped up with others when they are too few."""
        by_use = sorted(range(len(self.scored)), key=lambda index: not teaches(self.scored[index][1]))
        kept = sorted(by_use[:size])
        return Batch(
            step=step,
            groups=tuple(self.scored[index][0] for index in kept),
            verdicts=tuple(self.scored[index][1] for index in kept),
            discarded=tuple(self.scored[index] for index in sorted(by_use[size:])),
            position=position,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A problem of a step, as it is sampled."""

    problem: Problem
    prompt: str
    """The rendered prompt, as the model sees it."""
    request: Request

    def rollout(self, completion: Completion) -> Rollout:
        """Return one completion as rewards see it."""
        return Rollout(problem=self.problem, prompt=self.prompt, completion=completion)

    def group(self, completions: tuple[Completion, ...]) -> Group:
        """Return all completions of the problem."""
        prompt_ids = self.request.prompt_ids
        return Group(problem=self.problem, prompt=self.prompt, prompt_ids=prompt_ids, completions=completions)


class EarlyScoring:
    """Begins to score completions as they arrive, in any order.

    Args:
        asked: what is sampled.
        grader: who scores.
        step: the step they belong to.
    """

    def __init__(self, asked: Sequence[Asked], grader: Grader, step: int) -> None:
        """Wait for the first."""
        self._asked = asked
        self._grader = grader
        self._step = step
        self._members: list[list[Completion]] = [[] for _ in asked]

    def arrived(self, index: int, completion: Completion) -> None:
        """Begin with a completion, and with its group if it is the last of it."""
        asked, members = self._asked[index], self._members[index]
        self._grader.start(asked.rollout(completion), self._step)
        members.append(completion)
        if len(members) == len(asked.request.seeds):
            ordered = sorted(members, key=lambda member: member.sample_index)
            self._grader.start_group(asked.group(tuple(ordered)), self._step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Renders and samples groups, and has them scored from the moment their completions arrive."""

    order: DataOrder
    renderer: Renderer
    engine: Engine
    grader: Grader
    settings: RolloutSettings
    seed: int

    def batches(self, steps: range, position: int = 0, *, refill_attempts: int = 0) -> Generator[Batch, None, None]:
        """Yield each step when it is asked for, sampled with the engine's weights of that moment.

        Groups that teach nothing are replaced by groups of the next problems, at most ``refill_attempts`` times a
        step (dynamic sampling, DAPO, arXiv:2503.14476); the step keeps its size whatever comes.

        Args:
            steps: the steps to take.
            position: problems of the stream that earlier steps used.
            refill_attempts: how often a step may sample again.
        """
        size = self.settings.prompts_per_step
        for step in steps:
            drawn = self._draw(step, self.order.at(position, size))
            for _ in range(refill_attempts):
                if not drawn.missing(size):
                    break
                earlier = [group.problem for group, _ in drawn.scored]
                more = self.order.at(position + len(earlier), drawn.missing(size))
                drawn += self._draw(step, more, earlier)
            position += len(drawn.scored)
            yield drawn.batch(step, size, position)

    def _draw(self, step: int, problems: Sequence[Problem], earlier: Sequence[Problem] = ()) -> Drawn:
        """Sample and score one group for each problem; scoring begins while others are sampled."""
        began = perf_counter()
        asked = self._ask(step, problems, earlier)
        groups = self._sample(asked, EarlyScoring(asked, self.grader, step).arrived)
        sampled = perf_counter()
        verdicts = self.grader.score(groups, step)
        seconds = {"sampling": sampled - began, "scoring": perf_counter() - sampled}
        return Drawn(list(zip(groups, verdicts, strict=True)), seconds)

    def sample(self, step: int, problems: Sequence[Problem]) -> tuple[Group, ...]:
        """Render and sample one group for each problem, and score nothing."""
        return self._sample(self._ask(step, problems))

    def _ask(self, step: int, problems: Sequence[Problem], earlier: Sequence[Problem] = ()) -> list[Asked]:
        """Render problems; every completion has a seed of its own.

        A problem that the step had already, also among ``earlier`` ones, is sampled with further seeds.
        """
        seen, asked = Counter(problem.id for problem in earlier), []
        for problem in problems:
            prompt, ids = self.renderer.render(problem)
            request = Request(prompt_ids=ids, seeds=self._seeds(step, problem, seen[problem.id]))
            asked.append(Asked(problem, prompt, request))
            seen[problem.id] += 1
        return asked

    def _sample(self, asked: Sequence[Asked], arrived: Arrived | None = None) -> tuple[Group, ...]:
        """Sample the groups that are asked for."""
        params = SamplingParams(
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            stop=tuple(self.settings.stop),
            timeout_s=self.settings.timeout_s,
        )
        completions = self.engine.sample([one.request for one in asked], params, arrived)
        return tuple(one.group(members) for one, members in zip(asked, completions, strict=True))

    def _seeds(self, step: int, problem: Problem, occurrence: int) -> tuple[int, ...]:
        """Return the seeds of a group: a pure function of (seed, step, problem, sample)."""
        count = self.settings.samples_per_prompt
        samples = range(count * occurrence, count * (occurrence + 1))
        return tuple(sample_seed(self.seed, step, problem.id, sample) for sample in samples)
