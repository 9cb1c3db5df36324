"""Who samples: one Protocol, so that the loop does not know which engine it has."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from reasonrl.types import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """What every request of a batch shares."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy decoding."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; the string itself is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt, to be completed once for each seed."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]


class Engine(Protocol):
    """Samples completions of token ids; text is never tokenised again."""

    policy_version: int
    """Number of weight updates the sampling model has seen."""

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> list[tuple[Completion, ...]]:
        """Return, for each request in order, one completion for each of its seeds in order."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take new weights and call them ``version``."""
        ...

    def sleep(self) -> None:
        """Give up what the learner may need; nothing is sampled until :meth:`wake`."""
        ...

    def wake(self) -> None:
        """Be ready to sample again."""
        ...
