"""Groups of trajectories: every problem is sampled several times, and whoever waits is told of each at once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonrl.engines import Engine
from reasonrl.engines.batch import run_sampling
from reasonrl.errors import EngineError
from reasonrl.rollout.environment import Environment, Prompt
from reasonrl.types import Group, Problem, Rollout, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """A problem, to be sampled once for each seed."""

    problem: Problem
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Who is told of what is complete while the rest is still sampled; what it raises ends the sampling."""

    rollout: Callable[[Rollout], None] = lambda _: None
    group: Callable[[Group], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSampler:
    """Samples groups in an environment, all at once; each trajectory is a request of its own that ends by itself."""

    environment: Environment
    engine: Engine
    timeout_s: float | None = None
    """Longest time of one call of :meth:`sample` or :meth:`sample_one`; None sets no limit."""

    def sample(self, requests: Sequence[GroupRequest], progress: Progress | None = None) -> tuple[Group, ...]:
        """Return the groups in the order of the requests.

        Raises:
            ModelError: a prompt and its longest completion do not fit the model.
            EngineError: it took too long, was aborted, or the engine is lost.
        """
        prompts = [self.environment.prompt(request.problem) for request in requests]
        groups = self._groups(prompts, [request.seeds for request in requests], progress or Progress())
        return run_sampling(groups, self.engine, timeout_s=self.timeout_s)

    async def sample_one(self, request: GroupRequest, progress: Progress) -> Group:
        """Return one group, on an event loop where others are sampled.

        Raises:
            ModelError: the prompt and its longest completion do not fit the model.
            EngineError: it took too long, was aborted, or the engine is lost.
        """
        prompt = self.environment.prompt(request.problem)
        try:
            async with asyncio.timeout(self.timeout_s) as deadline:
                return await self._group(prompt, request.seeds, progress)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise EngineError(
                f"sampling the {len(request.seeds)} completions of problem {request.problem.id} took longer than "
                f"{self.timeout_s:g} s, together with what was begun before them, and was ended. Raise "
                "rollout.timeout_s, or sample less at once: lower rollout.async_steps or rollout.max_new_tokens."
            ) from None

    async def _groups(
        self, prompts: Sequence[Prompt], seeds: Sequence[tuple[int, ...]], progress: Progress
    ) -> tuple[Group, ...]:
        groups = [self._group(prompt, of_group, progress) for prompt, of_group in zip(prompts, seeds, strict=True)]
        return tuple(await asyncio.gather(*groups))

    async def _group(self, prompt: Prompt, seeds: tuple[int, ...], progress: Progress) -> Group:
        members = [self._member(prompt, index, seed, progress) for index, seed in enumerate(seeds)]
        group = prompt.group(tuple(await asyncio.gather(*members)))
        progress.group(group)
        return group

    async def _member(self, prompt: Prompt, index: int, seed: int, progress: Progress) -> Trajectory:
        trajectory = await self.environment.run(prompt, self.engine.generate, seed=seed, sample_index=index)
        progress.rollout(Rollout(problem=prompt.problem, prompt=prompt.text, trajectory=trajectory))
        return trajectory
