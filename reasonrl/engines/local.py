"""The embedded engine: samples from the learner's own module, so there is no copy and no weight sync."""

import asyncio
import inspect
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.cache import with_capacity
from reasonrl.engines.limits import position_limit, refuse_too_long
from reasonrl.engines.local_batch import SHRINK_BELOW, Batch, Row
from reasonrl.engines.running import AbortSwitch, PendingRequest, RequestQueue
from reasonrl.engines.sampling import request_uniforms
from reasonrl.engines.tokens import completion, end_token_ids
from reasonrl.models.hardware import autocast
from reasonrl.types import Trajectory

JOIN_FROM: Final = 0.25
"""Requests join a batch as soon as they are this share of what is still sampled in it."""

JOIN_AFTER: Final = 16
"""Tokens after which fewer requests join it too."""

SIMILAR: Final = 1.25
"""Prompts are computed together where the longest is so many times as long as the shortest."""

MIN_GROUP: Final = 4
"""Requests that are computed together whatever their lengths."""


class LocalEngine:
    """Samples with any decoder-only transformers model.

    Requests that are submitted in one turn of the event loop with equal sampling parameters are one batch; those that
    come while it is sampled join it (continuous batching), unless requests with other parameters wait longer. A prompt
    is computed once for all requests with it that follow one another; finished rows leave the batch.

    Args:
        model: the learner's module.
        tokenizer: turns sampled tokens into text.
        dtype: type of matrix products, the learner's.
        max_rows: most completions that are sampled side by side; None sets no limit.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dtype: torch.dtype = torch.float32,
        *,
        max_rows: int | None = None,
    ) -> None:
        self.policy_version = 0
        self.shares_weights = True
        self.loads_while_sampling = False
        self.end_ids = end_token_ids(model, tokenizer)
        self._model = model
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._max_rows = max_rows
        self._position_limit = position_limit(model.config)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._queue = RequestQueue(self._sample_waiting)
        self._switch = AbortSwitch()

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`."""
        refuse_too_long(request, self._position_limit)
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
        while pending := self._queue.take(lambda request: request.params, most=self._max_rows):
            # The casts of the weights to `dtype` are kept until the outermost autocast ends: without this one, they
            # would be made again for every token. It is off, so that nothing else on the event loop runs under it.
            with torch.autocast(self._model.device.type, enabled=False):
                await self._sample_batch(pending)

    async def _sample_batch(self, pending: Sequence[PendingRequest]) -> None:
        self._model.train(False)
        batch = self._started(pending, num_new_tokens=pending[0].request.params.max_new_tokens)
        while True:
            for row in self._append(batch.rows, *batch.draw(), batch.params):
                request, future = row.pending.request, row.pending.future
                future.set_result(
                    completion(request, row.sampled(), self._tokenizer, self.end_ids, self.policy_version)
                )
            await asyncio.sleep(0)  # whoever waits for a row goes on at once; deadlines and aborts are noticed
            if batch.is_done:
                return
            newcomers = self._newcomers(batch)
            batch.keep_sampled(below=1.0 if newcomers else SHRINK_BELOW)
            self._advance(batch)
            if newcomers:
                batch.add(self._started(newcomers, num_new_tokens=0))

    def _newcomers(self, batch: Batch) -> list[PendingRequest]:
        """Return the requests that join a batch now.

        To join costs a copy of the batch's keys and values, so they wait for one another, but not for long.
        """
        if batch.is_fixed:
            return []
        num_sampled = sum(not row.is_done for row in batch.rows)
        num_free = sys.maxsize if self._max_rows is None else self._max_rows - num_sampled
        # Behind requests with other parameters none joins: those would wait forever.
        like_these = [request.params == batch.params for request in self._queue.waiting()]
        num_joining = min(sum(like_these), num_free) if any(like_these[:1]) else 0
        batch.steps_waited = batch.steps_waited + 1 if num_joining else 0
        if not num_joining or (num_joining < JOIN_FROM * num_sampled and batch.steps_waited < JOIN_AFTER):
            return []
        batch.steps_waited = 0
        return self._queue.take(lambda request: request.params, most=num_joining)

    def _started(self, pending: Sequence[PendingRequest], *, num_new_tokens: int) -> Batch:
        """Return requests as a batch whose prompts are computed, with memory for so many tokens.

        Where the number of rows is limited, as in evaluations, prompts are computed beside those of similar length: few
        columns are filled up. Training computes all at once, so that what it samples depends on nothing else.
        """
        first, *others = [pending] if self._max_rows is None else _by_length(pending)
        batch = self._computed(first, num_new_tokens)
        if others and batch.is_fixed:
            return self._computed(pending, num_new_tokens)
        for each in others:
            batch.add(self._computed(each, num_new_tokens=0))
        return batch

    @torch.no_grad()
    def _computed(self, pending: Sequence[PendingRequest], num_new_tokens: int) -> Batch:
        """Compute every prompt once, and return the requests as a batch."""
        requests = [one.request for one in pending]
        params = requests[0].params
        prompts, prompt_N = _distinct_prompts(requests)
        uniforms_NT = request_uniforms([request.seed for request in requests], params.max_new_tokens)
        uniforms_NT, prompt_N = uniforms_NT.to(self._model.device), prompt_N.to(self._model.device)
        mask_PT = _prompt_mask(prompts).to(self._model.device)
        cache, logits_PV = self._prefill(prompts, mask_PT)
        with_capacity(cache, prompt_N, num_new_tokens)
        return Batch(
            params=params,
            rows=[Row(one) for one in pending],
            cache=cache,
            mask_NT=mask_PT[prompt_N],
            logits_NV=logits_PV[prompt_N],
            uniforms_NT=uniforms_NT,
        )

    @torch.no_grad()
    def _advance(self, batch: Batch) -> None:
        """Compute the tokens that were drawn last."""
        ids_N1, batch.mask_NT = batch.tokens_N[:, None], pad(batch.mask_NT, (0, 1), value=1)
        batch.cache, batch.logits_NV = self._forward(ids_N1, batch.mask_NT, batch.cache)

    def _append(
        self, rows: "Sequence[Row]", tokens_N: Tensor, logprobs_N: Tensor, params: SamplingParams
    ) -> "list[Row]":
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
        # A finished row may stay in the batch beyond its last token, and no position is beyond the model's.
        last = None if self._position_limit is None else self._position_limit - 1
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0, max=last)[:, -ids_NT.shape[1] :]
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


def _by_length(pending: Sequence[PendingRequest]) -> list[list[PendingRequest]]:
    """Return requests in groups whose prompts are about as long; equal prompts stay together."""
    groups: list[list[PendingRequest]] = []
    for one in sorted(pending, key=lambda each: len(each.request.prompt_ids)):
        limit = SIMILAR * len(groups[-1][0].request.prompt_ids) if groups else 0
        if len(one.request.prompt_ids) > limit and (not groups or len(groups[-1]) >= MIN_GROUP):
            groups.append([])
        groups[-1].append(one)
    return groups


def _distinct_prompts(requests: Sequence[Request]) -> tuple[list[tuple[int, ...]], Tensor]:
    """Return each run of equal prompts once, and for every request the position of its prompt among them."""
    runs = [(prompt, len(list(run))) for prompt, run in groupby(request.prompt_ids for request in requests)]
    lengths_P = torch.tensor([length for _, length in runs])
    return [prompt for prompt, _ in runs], torch.arange(len(runs)).repeat_interleave(lengths_P)


def _prompt_mask(prompts: Sequence[tuple[int, ...]]) -> Tensor:
    lengths_P = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths_P.max())
    return (torch.arange(longest) >= (longest - lengths_P)[:, None]).long()
