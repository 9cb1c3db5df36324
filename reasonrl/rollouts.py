"""What stands in front of the loop: problems in their order, rendered and sampled, as one iterator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter

from reasonrl.config import RolloutSettings
from reasonrl.engines import Engine, Request, SamplingParams
from reasonrl.prompts import Renderer
from reasonrl.types import Group, Problem, sample_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """The groups of one step."""

    step: int
    groups: tuple[Group, ...]
    seconds: float
    """Time that sampling took."""


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


def rollouts(
    order: DataOrder,
    renderer: Renderer,
    engine: Engine,
    settings: RolloutSettings,
    *,
    seed: int,
    steps: range,
) -> Iterator[Rollouts]:
    """Sample the groups of each step when it is asked for, with the engine's weights of that moment."""
    for step in steps:
        started = perf_counter()
        problems = order.at((step - 1) * settings.prompts_per_step, settings.prompts_per_step)
        groups = sample_groups(problems, renderer, engine, settings, seed=seed, step=step)
        yield Rollouts(step=step, groups=groups, seconds=perf_counter() - started)


def sample_groups(
    problems: Sequence[Problem],
    renderer: Renderer,
    engine: Engine,
    settings: RolloutSettings,
    *,
    seed: int,
    step: int,
) -> tuple[Group, ...]:
    """Render and sample one group for each problem; every completion has a seed of its own."""
    prompts = [renderer.render(problem) for problem in problems]
    requests = [
        Request(
            prompt_ids=ids,
            seeds=tuple(sample_seed(seed, step, problem.id, i) for i in range(settings.samples_per_prompt)),
        )
        for problem, (_, ids) in zip(problems, prompts, strict=True)
    ]
    params = SamplingParams(
        max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, stop=tuple(settings.stop)
    )
    completions = engine.sample(requests, params)
    return tuple(
        Group(problem=problem, prompt=text, prompt_ids=ids, completions=members)
        for problem, (text, ids), members in zip(problems, prompts, completions, strict=True)
    )
