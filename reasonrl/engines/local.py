"""The embedded engine: samples from the learner's own module, so there is no weight sync."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import Request
from reasonrl.engines.kv_memory import kv_bytes_per_token, kv_cache_bytes, refuse_too_large
from reasonrl.engines.limits import position_limit, refuse_too_long
from reasonrl.engines.local_batch import Batch, Decoder, Row
from reasonrl.engines.module_decoder import ModuleDecoder
from reasonrl.engines.running import AbortSwitch, RequestQueue
from reasonrl.engines.tokens import completion, end_token_ids
from reasonrl.models.compute import Compute
from reasonrl.models.fast.decode import SlotDecoder
from reasonrl.models.fast.family import family_of
from reasonrl.models.fast.slots import padded_columns
from reasonrl.models.fast.weights import CastWeights
from reasonrl.types import Trajectory

JOIN_FROM: Final = 0.125
"""Requests join a batch as soon as they are this share of what is still sampled in it."""

JOIN_AFTER: Final = 16
"""Tokens after which fewer requests join it too."""

TOKENS_PER_LOOK: Final = 16
"""Tokens of each row that a GPU draws before their values are read: to read them is to wait for it. What it draws
beyond the end of a completion is cut off."""

PACKED_ROWS: Final = 64
"""Number of rows for which weights are laid out where they are packed; they serve any other number too."""


class LocalEngine:
    """Samples with any decoder-only transformers model, those of the Llama family by the fast path.

    Requests that come while others are sampled join them (continuous batching), in the order in which they came, each
    with parameters of its own. A prompt is computed once for requests that stand together. Rows that are done make
    room. Who joins when depends on the order of the requests alone, never on time.

    On the fast path the weights are the module's own, and no copy, in the type of the module. In another type they are
    a copy in that type, and packed ones a copy besides: of all weights of products, kept from batch to batch.

    Args:
        model: the learner's module.
        tokenizer: turns sampled tokens into text.
        compute: how the model is computed; ``rows`` are the most completions that are sampled side by side.
        kv_cache_mib: most memory for keys and values, for each process; None takes a quarter of the machine's or the
            GPU's. Completions wait for one another where it does not hold all of them at their longest.
        token_entropy: whether completions have the entropy of every token's distribution; it changes no token.

    Raises:
        ConfigError: ``kv_cache_mib`` is not positive.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        compute: Compute | None = None,
        *,
        kv_cache_mib: int | None = None,
        token_entropy: bool = False,
    ) -> None:
        self.policy_version = 0
        self.shares_weights = True
        self.loads_while_sampling = False
        self.end_ids = end_token_ids(model, tokenizer)
        self._model = model
        self._tokenizer = tokenizer
        self._token_entropy = token_entropy
        self._compute = compute or Compute()
        self._position_limit = position_limit(model.config)
        self._family = family_of(model) if self._compute.fast else None
        packed_rows = PACKED_ROWS if self._compute.packed else None
        self._weights = (
            CastWeights(self._family, self._compute.dtype, packed_rows=packed_rows) if self._family else None
        )
        # On the general way a model may keep its own keys and values in float32 whatever its products' type is.
        kv_dtype = self._compute.dtype if self._family else torch.float32
        self._bytes_per_token = kv_bytes_per_token(model.config, kv_dtype)
        self._cache_bytes = kv_cache_bytes(kv_cache_mib, model.device)
        self._tokens_per_look = 1 if model.device.type == "cpu" else TOKENS_PER_LOOK
        self._queue = RequestQueue(self._sample_waiting)
        self._switch = AbortSwitch()

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`."""
        self.refuse(request)
        async with self._switch.guard():
            return await self._queue.submit(request)

    def refuse(self, request: Request) -> None:
        """Refuse what cannot be sampled.

        Raises:
            ModelError: the prompt and its longest completion do not fit the model.
            ConfigError: they do not fit the memory for keys and values.
        """
        refuse_too_long(request, self._position_limit)
        longest = len(request.prompt_ids) + request.params.max_new_tokens
        refuse_too_large(request, padded_columns(longest) * self._bytes_per_token, self._cache_bytes)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: there is no second copy of what learns."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Note the version; the weights are the learner's own."""
        self.policy_version = version

    def close(self) -> None:
        """Free nothing: the module is the learner's."""

    async def _sample_waiting(self) -> None:
        while self._queue.waiting():
            # The casts of the weights to `dtype` are kept until the outermost autocast ends: without this one, they
            # would be made again for every token. It is off, so that nothing else on the event loop runs under it.
            with torch.autocast(self._model.device.type, enabled=False):
                batch = Batch(self._decoder(), self._model.device, token_entropy=self._token_entropy)
                await self._sample_batch(batch)

    def _decoder(self) -> Decoder:
        if self._family is None or self._weights is None:
            return ModuleDecoder(self._model, self._compute.dtype)
        self._weights.refresh()
        return SlotDecoder(self._family, self._weights)

    async def _sample_batch(self, batch: Batch) -> None:
        """Sample until every row is done; requests join on the way."""
        while True:
            if joining := self._num_joining(batch):
                batch.drop_done(below=1.0)
                batch.add(self._queue.take(joining))
            self._sample(batch)
            await asyncio.sleep(0)  # whoever waits for a row goes on at once; deadlines and aborts are noticed
            if not batch.sampled:
                return
            batch.drop_done(below=batch.decoder.keep_below)

    def _num_joining(self, batch: Batch) -> int:
        """Return how many requests join a batch now: few wait for one another, but not for long."""
        num_sampled, num_fitting = len(batch.sampled), self._num_fitting(batch)
        if not num_sampled:
            return num_fitting
        batch.tokens_waited = batch.tokens_waited + self._tokens_per_look if num_fitting else 0
        if num_fitting < JOIN_FROM * num_sampled and batch.tokens_waited < JOIN_AFTER:
            return 0
        batch.tokens_waited = 0
        return num_fitting

    def _num_fitting(self, batch: Batch) -> int:
        """Return how many of the requests that wait there is room for: none overtakes another."""
        num_sampled = len(batch.sampled)
        if num_sampled and batch.decoder.is_fixed:
            return 0
        prompt, new = 0, 0
        room = sys.maxsize if self._compute.rows is None else self._compute.rows - num_sampled
        waiting = self._queue.waiting()[:room]
        for number, request in enumerate(waiting):
            prompt, new = max(prompt, len(request.prompt_ids)), max(new, request.params.max_new_tokens)
            columns = (num_sampled + number + 1) * batch.decoder.num_columns(prompt, new)
            if columns * self._bytes_per_token > self._cache_bytes and num_sampled + number:
                return number
        return len(waiting)

    def _sample(self, batch: Batch) -> None:
        """Draw tokens of every row, and give those that end to whoever waits for them."""
        most = max(row.num_left for row in batch.sampled)
        drawn = (each.tolist() for each in batch.sample(min(most, self._tokens_per_look)))
        for row, tokens, logprobs, entropies in zip(batch.rows, *drawn, strict=True):
            if not row.is_done:
                self._append(row, tokens, logprobs, entropies)

    def _append(self, row: Row, tokens: Sequence[int], logprobs: Sequence[float], entropies: Sequence[float]) -> None:
        """Append tokens to a row up to its end; what was drawn beyond it is cut off."""
        request = row.pending.request
        for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.entropies += entropies[place : place + 1]
            row.is_finished = self._is_end(row.tokens, request.params.stop)
            if row.is_finished or row.num_left == 0:
                ended = completion(request, row.sampled(), self._tokenizer, self.end_ids, self.policy_version)
                row.pending.future.set_result(ended)
                return

    def _is_end(self, tokens: Sequence[int], stop: tuple[str, ...]) -> bool:
        """Say whether the last token ends a completion, or a stop string in the last tokens."""
        if tokens[-1] in self.end_ids:
            return True
        if not stop:
            return False
        tail = tokens[-max(map(len, stop)) - 4 :]
        text = str(self._tokenizer.decode(list(tail)))
        return any(string in text for string in stop)
