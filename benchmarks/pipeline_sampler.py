"""A sampler of `pipeline_model.py`: a server with continuous batching.

All running sequences gain a token together, which takes longer the more there are and the longer they are. Left out:
memory for keys and values (choose ``slots`` for it), and prompts that are computed in pieces beside decoding.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

ROUNDING: Final = 1e-6
"""Parts of a token, or of a second, that count as none left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerRates:
    """What a server takes for its work, in seconds."""

    token_s: float
    """One token for every running sequence, whatever their number: reading the weights, starting kernels."""
    sequence_s: float = 0.0
    """More of that for each running sequence."""
    context_s: float = 0.0
    """More of that for each token of prompt and completion that the running sequences have: reading keys and values."""
    request_s: float = 0.0
    """Once for each completion."""
    prefill_s: float = 0.0
    """One token of a prompt, which is computed once for its group, or of a completion that goes on with new weights."""
    slots: int = 256
    """Most sequences side by side; others wait."""


@dataclass(frozen=True, slots=True, order=True)
class Draw:
    """A problem: the tokens of its prompt and of its completions."""

    prompt: int
    completions: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Group:
    """A problem on its way through the pipeline."""

    draw: Draw
    index: int
    """Its place in the stream of problems."""
    version: int
    """Updates of the weights that its first token was sampled with."""
    missing: int
    """Completions that are still sampled."""
    is_scored: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(self.draw.completions)


@dataclass(order=True, slots=True)
class _Sequence:
    end: float
    """The clock of its server when it is complete."""
    index: int
    start: float = field(compare=False)
    group: Group = field(compare=False)


class Server:
    """Samples sequences side by side; its clock counts the tokens that each running one gained since the start."""

    def __init__(self, rates: SamplerRates) -> None:
        self.busy_s = 0.0
        self.sequence_seconds = 0.0
        """Running sequences, summed over time."""
        self._rates = rates
        self._clock = 0.0
        self._prefill_s = 0.0
        self._context = 0.0
        self._running: list[_Sequence] = []
        self._waiting: deque[tuple[Group, int]] = deque()
        self._computed: set[int] = set()
        self._count = 0

    @property
    def num_requests(self) -> int:
        """Completions that it has to sample yet."""
        return len(self._running) + len(self._waiting)

    def submit(self, group: Group) -> None:
        """Take all completions of a group."""
        self._waiting.extend((group, tokens) for tokens in group.draw.completions)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._rates.slots:
            group, tokens = self._waiting.popleft()
            self._prefill_s += self._rates.request_s + self._prompt_s(group)
            self._count += 1
            self._context += group.draw.prompt
            heapq.heappush(self._running, _Sequence(self._clock + tokens, self._count, self._clock, group))

    def _prompt_s(self, group: Group) -> float:
        if group.index in self._computed:
            return 0.0
        self._computed.add(group.index)
        return self._rates.prefill_s * group.draw.prompt

    def drop_computed(self) -> None:
        """Load new weights: running sequences go on as new requests, whose prompts and tokens are computed again."""
        self._computed.clear()
        for sequence in self._running:
            sampled_s = self._rates.prefill_s * (self._clock - sequence.start)
            self._prefill_s += self._rates.request_s + self._prompt_s(sequence.group) + sampled_s

    def seconds_to_next(self) -> float:
        """Return the time until a sequence is complete, if nothing comes between."""
        if not self._running:
            return math.inf
        return self._prefill_s + self._seconds(self._running[0].end - self._clock)

    def _seconds(self, tokens: float) -> float:
        """Return the time of so many tokens for each running sequence, whose context grows by them."""
        return tokens * self._token_s() + 0.5 * self._growth() * tokens**2

    def _token_s(self) -> float:
        rates = self._rates
        return rates.token_s + rates.sequence_s * len(self._running) + rates.context_s * self._context

    def _growth(self) -> float:
        return self._rates.context_s * len(self._running)

    def _tokens(self, seconds: float) -> float:
        """Return how many tokens each running sequence gains in a time: the inverse of :meth:`_seconds`."""
        now, growth = self._token_s(), self._growth()
        if growth * seconds <= 1e-12 * now**2:
            return seconds / now if now else math.inf
        return (math.sqrt(now**2 + 2 * growth * seconds) - now) / growth

    def advance(self, seconds: float) -> list[Group]:
        """Work for a time, no longer than :meth:`seconds_to_next`; return a group for each completion that ended."""
        if not self._running:
            return []
        self.busy_s += seconds
        self.sequence_seconds += seconds * len(self._running)
        prefill = min(seconds, self._prefill_s)
        self._prefill_s -= prefill
        gained = min(self._tokens(seconds - prefill), self._running[0].end - self._clock)
        self._clock += gained
        self._context += gained * len(self._running)
        return list(self._completed())

    def _completed(self) -> Iterator[Group]:
        while self._running and self._prefill_s <= ROUNDING and self._running[0].end - self._clock <= ROUNDING:
            sequence = heapq.heappop(self._running)
            self._context -= sequence.group.draw.prompt + sequence.end - sequence.start
            yield sequence.group
        self._admit()
