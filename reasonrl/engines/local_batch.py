"""The batch that the embedded engine samples: one row for each completion, and how rows leave and join."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from reasonrl.engines.running import PendingRequest
from reasonrl.engines.sampling import DrawParams, draw, entropies, request_uniforms
from reasonrl.engines.tokens import SampledTokens
from reasonrl.types import FinishReason


class Decoder(Protocol):
    """Computes the logits of the next token of every row of a batch."""

    @property
    def is_fixed(self) -> bool:
        """Whether no row can join those that there are."""
        ...

    keep_below: float
    """Rows that are done should leave where fewer than this share is still sampled: it costs a copy of the others."""

    def num_columns(self, prompt: int, new: int) -> int:
        """Return how many tokens each row will have memory for at most, if rows join.

        Args:
            prompt: tokens of the longest prompt among them.
            new: tokens of the longest completion among them.
        """
        ...

    def add(self, prompts: Sequence[tuple[int, ...]], limits: Sequence[int]) -> None:
        """Add rows behind the others: their prompts, and the most tokens that each may have, its prompt's included."""
        ...

    def step(self, tokens_N: Tensor) -> Tensor:
        """Compute each row's last token; return the logits [rows, vocabulary] of the next one."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Keep the rows at these positions, in this order."""
        ...


@dataclass(slots=True, eq=False)
class Row:
    """One completion while it is sampled."""

    pending: PendingRequest
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    """Empty where they are not measured."""
    is_finished: bool = False
    """Whether an end token or a stop string ended it."""

    @property
    def is_done(self) -> bool:
        """Whether nobody waits for more of it, also because its request was cancelled."""
        return self.pending.future.done()

    @property
    def num_left(self) -> int:
        """Tokens that may still come."""
        return self.pending.request.params.max_new_tokens - len(self.tokens)

    def sampled(self) -> SampledTokens:
        """Return what was sampled."""
        reason: FinishReason = "stop" if self.is_finished else "length"
        return SampledTokens(
            token_ids=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            finish_reason=reason,
            entropies=tuple(self.entropies),
        )


class Batch:
    """Completions that are sampled side by side, each with parameters and random numbers of its own.

    Args:
        decoder: computes them.
        device: where it does.
        token_entropy: whether the entropy of every token's distribution is measured; it changes no token.
    """

    def __init__(self, decoder: Decoder, device: torch.device, *, token_entropy: bool = False) -> None:
        self.decoder = decoder
        self._token_entropy = token_entropy
        self.rows: list[Row] = []
        self.tokens_waited = 0
        """Tokens that were drawn while a request waited to join."""
        self._tokens_N = torch.zeros(0, dtype=torch.long, device=device)
        """The last token of each row."""
        self._drawn_N = torch.zeros(0, dtype=torch.long, device=device)
        """Tokens drawn for each row."""
        self._uniforms_NT = torch.zeros(0, 0, dtype=torch.float64, device=device)
        """The random numbers of each row, for its first token to its last."""
        self._params = DrawParams()

    @property
    def sampled(self) -> list[Row]:
        """The rows that are not done."""
        return [row for row in self.rows if not row.is_done]

    def add(self, pending: Sequence[PendingRequest]) -> None:
        """Add a row for each request, in the order of the lengths of their prompts."""
        rows = [Row(one) for one in sorted(pending, key=lambda one: len(one.request.prompt_ids))]
        requests = [row.pending.request for row in rows]
        prompts = [request.prompt_ids for request in requests]
        self.decoder.add(prompts, [len(each.prompt_ids) + each.params.max_new_tokens for each in requests])
        self.rows += rows
        longest = max(row.pending.request.params.max_new_tokens for row in self.rows)
        uniforms = [
            self._uniforms_NT,
            *(request_uniforms([each.seed], each.params.max_new_tokens) for each in requests),
        ]
        self._uniforms_NT = torch.cat([_widened(each, longest).to(self._tokens_N.device) for each in uniforms])
        self._tokens_N = torch.cat([self._tokens_N, torch.tensor([ids[-1] for ids in prompts]).to(self._tokens_N)])
        self._drawn_N = pad(self._drawn_N, (0, len(rows)))
        self._set_params()

    def sample(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw tokens of all rows; return them with their log-probabilities, [rows, steps] each, and their entropies,
        [rows, steps] or, where they are not measured, [rows, 0].

        What is drawn for a row beyond its last token means nothing. Nothing waits for the device.
        """
        tokens, logprobs, measured = zip(*(self._step() for _ in range(steps)), strict=True)
        return torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1), torch.cat(measured, dim=1)

    @torch.no_grad()
    def _step(self) -> tuple[Tensor, Tensor, Tensor]:
        last = self._uniforms_NT.shape[1] - 1
        uniforms_N = self._uniforms_NT.gather(1, self._drawn_N.clamp(max=last)[:, None])[:, 0]
        logits_NV = self.decoder.step(self._tokens_N)
        measured = entropies(logits_NV, self._params)[:, None] if self._token_entropy else logits_NV[:, :0]
        self._tokens_N, logprobs_N = draw(logits_NV, uniforms_N, self._params)
        self._drawn_N = self._drawn_N + 1
        return self._tokens_N, logprobs_N, measured

    def drop_done(self, *, below: float) -> None:
        """Drop the rows that are done where fewer than a share of all is left; the last ones take their places."""
        stay = [index for index, row in enumerate(self.rows) if not row.is_done]
        if len(stay) == len(self.rows) or len(stay) >= below * len(self.rows):
            return
        moved = [index for index in stay if index >= len(stay)]
        order = [index if not self.rows[index].is_done else moved.pop() for index in range(len(stay))]
        self.decoder.keep(order)
        order_N = torch.tensor(order, dtype=torch.long).to(self._tokens_N)
        self.rows = [self.rows[index] for index in order]
        self._tokens_N, self._drawn_N = self._tokens_N[order_N], self._drawn_N[order_N]
        self._uniforms_NT = self._uniforms_NT[order_N]
        self._set_params()

    def _set_params(self) -> None:
        params = [row.pending.request.params for row in self.rows]
        self._params = DrawParams.of(params, self._tokens_N.device)


def _widened(uniforms_NT: Tensor, width: int) -> Tensor:
    return pad(uniforms_NT, (0, max(0, width - uniforms_NT.shape[1])))
