"""The embedded engine: samples from the learner's own module, so there is no copy and no weight sync."""

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Self

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.cache import with_capacity
from reasonrl.engines.limits import position_limit, refuse_too_long
from reasonrl.engines.running import AbortSwitch, PendingRequest, RequestQueue
from reasonrl.engines.sampling import draw, request_uniforms
from reasonrl.engines.tokens import SampledTokens, completion, end_token_ids
from reasonrl.models.hardware import autocast
from reasonrl.types import FinishReason, Trajectory

SHRINK_BELOW = 0.75
"""Finished rows leave the batch when fewer than this share of its rows is still sampling."""


class LocalEngine:
    """Samples with any decoder-only transformers model.

    Requests that are submitted in one turn of the event loop with equal sampling parameters are one batch. In a batch,
    a prompt is computed once for all requests with it that follow one another; finished rows leave the batch.

    Args:
        model: the learner's module.
        tokenizer: turns sampled tokens into text.
        dtype: type of matrix products, the learner's.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32
    ) -> None:
        self.policy_version = 0
        self.shares_weights = True
        self.end_ids = end_token_ids(model, tokenizer)
        self._model = model
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._queue = RequestQueue(self._sample_waiting)
        self._switch = AbortSwitch()

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`."""
        refuse_too_long(request, position_limit(self._model.config))
        async with self._switch.guard():
            return await self._queue.submit(request)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: there is no second copy."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Note the version; the weights are the learner's own."""
        self.policy_version = version

    def close(self) -> None:
        """Free nothing: the module is the learner's."""

    async def _sample_waiting(self) -> None:
        while pending := self._queue.take(lambda request: request.params):
            # The casts of the weights to `dtype` are kept until the outermost autocast ends: without this one, they
            # would be made again for every token. It is off, so that nothing else on the event loop runs under it.
            with torch.autocast(self._model.device.type, enabled=False):
                await self._sample_batch(pending)

    async def _sample_batch(self, pending: Sequence[PendingRequest]) -> None:
        self._model.train(False)
        rows = [_Row(one) for one in pending]
        for finished in self._decode(rows, pending[0].request.params):
            for row in finished:
                request, future = row.pending.request, row.pending.future
                future.set_result(
                    completion(request, row.sampled(), self._tokenizer, self.end_ids, self.policy_version)
                )
            await asyncio.sleep(0)  # whoever waits for a row goes on at once; deadlines and aborts are noticed

    @torch.no_grad()
    def _decode(self, rows: "list[_Row]", params: SamplingParams) -> "Iterator[list[_Row]]":
        """Sample token by token; yield the rows that end with the token just drawn.

        A row whose request is done by then, also because it was cancelled, is not sampled any more.
        """
        requests = [row.pending.request for row in rows]
        prompts, prompt_N = _distinct_prompts(requests)
        uniforms_NT = request_uniforms([request.seed for request in requests], params.max_new_tokens)
        uniforms_NT, prompt_N = uniforms_NT.to(self._model.device), prompt_N.to(self._model.device)
        mask_PT = _prompt_mask(prompts).to(self._model.device)
        cache, logits_PV = self._prefill(prompts, mask_PT)
        with_capacity(cache, prompt_N, params.max_new_tokens)
        logits_NV, mask_NT = logits_PV[prompt_N], mask_PT[prompt_N]
        for position in range(params.max_new_tokens):
            tokens_N, logprobs_N = draw(logits_NV, uniforms_NT[:, position], params.temperature)
            yield self._append(rows, tokens_N, logprobs_N, params)
            stay = [index for index, row in enumerate(rows) if not row.is_done]
            if not stay:
                return
            if len(stay) < SHRINK_BELOW * len(rows):
                rows, keep = [rows[index] for index in stay], torch.tensor(stay, device=self._model.device)
                cache.reorder_cache(keep)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
                tokens_N, mask_NT, uniforms_NT = tokens_N[keep], mask_NT[keep], uniforms_NT[keep]
            mask_NT = torch.cat([mask_NT, mask_NT.new_ones(len(mask_NT), 1)], dim=1)
            cache, logits_NV = self._forward(tokens_N[:, None], mask_NT, cache)

    def _append(
        self, rows: "Sequence[_Row]", tokens_N: Tensor, logprobs_N: Tensor, params: SamplingParams
    ) -> "list[_Row]":
        """Append a token to every row that is still sampled; return those that end with it."""
        sampled = [
            row.append(token, logprob)
            for row, token, logprob in zip(rows, tokens_N.tolist(), logprobs_N.tolist(), strict=True)
            if not row.is_done
        ]
        for row in sampled:
            row.is_finished = self._is_end(row.tokens, params.stop)
        return [row for row in sampled if row.is_finished or len(row.tokens) == params.max_new_tokens]

    def _is_end(self, tokens: Sequence[int], stop: tuple[str, ...]) -> bool:
        """Say whether the last token ends a completion, or a stop string in the last tokens."""
        if tokens[-1] in self.end_ids:
            return True
        if not stop:
            return False
        tail = tokens[-max(map(len, stop)) - 4 :]
        text = str(self._tokenizer.decode(list(tail)))
        return any(string in text for string in stop)

    def _prefill(self, prompts: Sequence[tuple[int, ...]], mask_PT: Tensor) -> tuple[Cache, Tensor]:
        """Compute every prompt once; return the cache and the logits after the last token."""
        ids_PT = torch.zeros_like(mask_PT)
        for row, prompt in enumerate(prompts):
            ids_PT[row, -len(prompt) :] = torch.tensor(prompt)
        return self._forward(ids_PT, mask_PT, None)

    def _forward(self, ids_NT: Tensor, mask_NT: Tensor, cache: Cache | None) -> tuple[Cache, Tensor]:
        """Run the model on new tokens; return the cache and the logits after the last one."""
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0)[:, -ids_NT.shape[1] :]
        with autocast(self._model.device, self._dtype):
            output = self._model(
                input_ids=ids_NT,
                attention_mask=mask_NT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **({"position_ids": positions_NT} if self._takes_positions else {}),
            )
        return output.past_key_values, output.logits[:, -1]


@dataclass(slots=True, eq=False)
class _Row:
    """One completion while it is sampled."""

    pending: PendingRequest
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_finished: bool = False
    """Whether an end token or a stop string ended it."""

    @property
    def is_done(self) -> bool:
        return self.pending.future.done()

    def append(self, token: int, logprob: float) -> Self:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        return self

    def sampled(self) -> SampledTokens:
        reason: FinishReason = "stop" if self.is_finished else "length"
        return SampledTokens(token_ids=tuple(self.tokens), logprobs=tuple(self.logprobs), finish_reason=reason)


def _distinct_prompts(requests: Sequence[Request]) -> tuple[list[tuple[int, ...]], Tensor]:
    """Return each run of equal prompts once, and for every request the position of its prompt among them."""
    runs = [(prompt, len(list(run))) for prompt, run in groupby(request.prompt_ids for request in requests)]
    lengths_P = torch.tensor([length for _, length in runs])
    return [prompt for prompt, _ in runs], torch.arange(len(runs)).repeat_interleave(lengths_P)


def _prompt_mask(prompts: Sequence[tuple[int, ...]]) -> Tensor:
    lengths_P = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths_P.max())
    return (torch.arange(longest) >= (longest - lengths_P)[:, None]).long()
