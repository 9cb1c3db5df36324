"""How a problem becomes a prompt and a conversation with the policy: one piece of code for training and evaluation."""

from collections.abc import Awaitable, Callable
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

    def group(self, trajectories: tuple[Trajectory, ...]) -> Group:
        """Return the group of these trajectories."""
        return Group(problem=self.problem, prompt=self.text, prompt_ids=self.token_ids, trajectories=trajectories)


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
        return Prompt(problem=problem, text=text, token_ids=token_ids)

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        """Sample the one completion."""
        return await generate(
            Request(prompt_ids=prompt.token_ids, seed=seed, sample_index=sample_index, params=self.params)
        )
