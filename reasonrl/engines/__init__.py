"""Who samples: one Protocol, so that the loop does not know which engine it has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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
    timeout_s: float | None = None
    """Longest time that the whole batch may take; None waits for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt, to be completed once for each seed."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]


Arrived: TypeAlias = Callable[[int, Completion], None]
"""Told the position of a request and one of its completions; what it raises ends the sampling."""


class Engine(Protocol):
    """Samples completions of token ids; text is never tokenised again."""

    policy_version: int
    """Number of weight updates the sampling model has seen."""
    shares_weights: bool
    """Whether it samples from the learner's own module, so that nothing is pushed and nothing can differ."""

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        """Return, for each request in order, one completion for each of its seeds in order.

        Args:
            requests: what is sampled.
            params: what all requests share.
            arrived: called with each completion once, as soon as that one is finished; one call at a time, and it may
                come from another thread.

        Raises:
            ModelError: a prompt and its longest completion do not fit the model.
            EngineError: it took longer than ``params.timeout_s``, was aborted, or the engine is lost. An engine that
                is not lost can be asked again.
        """
        ...

    def abort(self) -> None:
        """Make :meth:`sample`, running in another thread, raise soon; nothing happens when none runs."""
        ...

    def sleep(self) -> None:
        """Give up what the learner may need; nothing is sampled until :meth:`load`."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Wake, take new weights, forget what was computed with the old ones, and call them ``version``.

        Raises:
            EngineError: the weights did not arrive.
        """
        ...

    def close(self) -> None:
        """Give everything back; nothing of the engine is left running. Closing twice is closing once."""
        ...
