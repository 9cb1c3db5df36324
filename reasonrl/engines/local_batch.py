"""The batch that the embedded engine samples: one row for each completion, and how rows leave and join."""

from dataclasses import dataclass, field
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache

from reasonrl.engines import SamplingParams
from reasonrl.engines.cache import can_join, join
from reasonrl.engines.running import PendingRequest
from reasonrl.engines.sampling import draw
from reasonrl.engines.tokens import SampledTokens
from reasonrl.types import FinishReason

SHRINK_BELOW: Final = 0.75
"""Finished rows leave the batch when fewer than this share of its rows is still sampling."""


@dataclass(slots=True, eq=False)
class Row:
    """One completion while it is sampled."""

    pending: PendingRequest
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_finished: bool = False
    """Whether an end token or a stop string ended it."""

    @property
    def is_done(self) -> bool:
        """Whether nobody waits for more of it, also because its request was cancelled."""
        return self.pending.future.done()

    def append(self, token: int, logprob: float) -> Self:
        """Add a sampled token."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        return self

    def sampled(self) -> SampledTokens:
        """Return what was sampled."""
        reason: FinishReason = "stop" if self.is_finished else "length"
        return SampledTokens(token_ids=tuple(self.tokens), logprobs=tuple(self.logprobs), finish_reason=reason)


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """Completions that are sampled side by side with equal parameters; prompts are filled up on the left."""

    params: SamplingParams
    rows: list[Row]
    cache: Cache
    mask_NT: Tensor
    """1 where a row has a token, 0 where it is filled up."""
    logits_NV: Tensor
    """Of each row's next token."""
    uniforms_NT: Tensor
    """The random numbers of each row, for its first token to its last."""
    tokens_N: Tensor = field(init=False)
    """The tokens that were drawn last."""
    steps_waited: int = 0
    """Tokens that were drawn while a request waited to join."""
    _drawn_N: Tensor = field(init=False)
    """Tokens drawn for each row."""

    def __post_init__(self) -> None:
        """Begin before the first token."""
        self._drawn_N = torch.zeros(len(self.rows), dtype=torch.long, device=self.uniforms_NT.device)

    @property
    def is_fixed(self) -> bool:
        """Whether no row can join, because of what the model keeps of a row."""
        return not can_join(self.cache)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return each row's next token with its log-probability."""
        last = self.uniforms_NT.shape[1] - 1  # of rows that are done; what they draw is not looked at
        uniforms_N = self.uniforms_NT.gather(1, self._drawn_N.clamp(max=last)[:, None])[:, 0]
        self.tokens_N, logprobs_N = draw(self.logits_NV, uniforms_N, self.params.temperature, self.params.top_p)
        self._drawn_N += 1
        return self.tokens_N, logprobs_N

    @property
    def is_done(self) -> bool:
        """Whether all rows are."""
        return all(row.is_done for row in self.rows)

    def keep_sampled(self, *, below: float) -> None:
        """Drop the rows that are done where fewer than a share of all is left; a copy of the others costs time too."""
        stay = [index for index, row in enumerate(self.rows) if not row.is_done]
        if len(stay) >= below * len(self.rows):
            return
        keep = torch.tensor(stay, device=self.mask_NT.device)
        self.rows = [self.rows[index] for index in stay]
        self.cache.reorder_cache(keep)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
        self.tokens_N, self.mask_NT, self.uniforms_NT = self.tokens_N[keep], self.mask_NT[keep], self.uniforms_NT[keep]
        self._drawn_N = self._drawn_N[keep]

    def add(self, newcomers: "Batch") -> None:
        """Put rows of another batch below these; columns that no row of either uses are dropped."""
        length = max(_used(self.mask_NT), _used(newcomers.mask_NT))
        join(self.cache, newcomers.cache, length=length, num_new_tokens=self.params.max_new_tokens)
        self.rows += newcomers.rows
        self.mask_NT = torch.cat([_aligned(self.mask_NT, length), _aligned(newcomers.mask_NT, length)])
        self.logits_NV = torch.cat([self.logits_NV, newcomers.logits_NV])
        self.uniforms_NT = torch.cat([self.uniforms_NT, newcomers.uniforms_NT])
        self._drawn_N = torch.cat([self._drawn_N, newcomers._drawn_N])


def _used(mask_NT: Tensor) -> int:
    """Return how many columns there are from the first that a row uses."""
    return mask_NT.shape[1] - int(mask_NT.any(dim=0).int().argmax())


def _aligned(mask_NT: Tensor, length: int) -> Tensor:
    missing = length - mask_NT.shape[1]
    return pad(mask_NT, (missing, 0)) if missing > 0 else mask_NT[:, -length:]
