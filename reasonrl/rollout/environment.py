"""How a problem becomes a prompt and a conversation with the policy: one piece of code for training and evaluation."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from reasonrl.engines import Request, SamplingParams
from reasonrl.rollout.templates import Renderer
from reasonrl.types import Group, Problem, Trajectory

Generate: TypeAlias = Callable[[Request], Awaitable[Trajectory]]
"""Samples one completion: an engine's ``generate``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A problem as the model sees it."""

    problem: Problem
    text: str
    token_ids: tuple[int, ...]
    max_new_tokens: int | None = None
    """The limit of each trajectory, in tokens that the policy chooses; None is the run's."""

    def group(self, trajectories: tuple[Trajectory, ...]) -> Group:
        """Return the group of these trajectories."""
        return Group(
            problem=self.problem,
            prompt=self.text,
            prompt_ids=self.token_ids,
            trajectories=trajectories,
            max_new_tokens=self.max_new_tokens,
        )


class Environment(Protocol):
    """Conducts the conversations about problems."""

    def prompt(self, problem: Problem) -> Prompt:
        """Return what every conversation about a problem begins with."""
        ...

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        """Conduct one conversation to its end.

        Args:
            prompt: what it begins with.
            generate: samples one turn of the policy.
            seed: of everything random in it.
            sample_index: its position among the conversations about the problem.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleTurn:
    """The policy answers the prompt once."""

    renderer: Renderer
    params: SamplingParams

    def prompt(self, problem: Problem) -> Prompt:
        """Render the problem with the template."""
        text, token_ids = self.renderer.render(problem)
        return Prompt(problem=problem, text=text, token_ids=token_ids, max_new_tokens=self.params.max_new_tokens)

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        """Sample the one completion."""
        return await generate(
            Request(prompt_ids=prompt.token_ids, seed=seed, sample_index=sample_index, params=self.params)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnvironments:
    """The environments of a mixture: each problem is conducted in that of its task."""

    environments: Mapping[str, Environment]
    """By the label of the task, which its problems have as their ``task``."""

    def prompt(self, problem: Problem) -> Prompt:
        """Return what the problem's task begins with."""
        return self.environments[problem.task].prompt(problem)

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        """Conduct the conversation as the problem's task does."""
        environment = self.environments[prompt.problem.task]
        return await environment.run(prompt, generate, seed=seed, sample_index=sample_index)
