"""The embedded engine: samples from the learner's own module, so there is no copy and nothing to push."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import Arrived, Request, SamplingParams
from reasonrl.engines.arrivals import Arrivals, Place
from reasonrl.engines.cache import with_room
from reasonrl.engines.deadline import Deadline
from reasonrl.engines.limits import position_limit, refuse_too_long
from reasonrl.engines.sampling import draw, request_uniforms
from reasonrl.engines.tokens import completion_text, end_token_ids, ends_with_stop
from reasonrl.hardware import autocast
from reasonrl.types import Completion

SHRINK_BELOW = 0.75
"""Finished rows leave the batch when fewer than this share of its rows is still sampling."""


class LocalEngine:
    """Samples with any decoder-only transformers model.

    The prompt of a request is computed once, whatever the number of its completions; finished rows leave the
    batch.

    Args:
        model: the learner's module.
        tokenizer: turns sampled tokens into text.
        dtype: type of matrix products, the learner's.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32
    ) -> None:
        """Find out what ends a completion and what the model's forward accepts."""
        self.policy_version = 0
        self.shares_weights = True
        self.end_ids = end_token_ids(model, tokenizer)
        self._model = model
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._deadline = Deadline()

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Note the version; the weights are the learner's own."""
        self.policy_version = version

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._deadline.abort()

    def sleep(self) -> None:
        """Nothing to give up: there is no second copy."""

    def close(self) -> None:
        """Nothing to give back: the module is the learner's."""

    @torch.no_grad()
    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        """Return one completion for each seed of each request, in order; ``arrived`` is told of each when it is done.

        Raises:
            ModelError: a prompt and its longest completion do not fit the model.
            EngineError: it took too long, or was aborted.
        """
        refuse_too_long(requests, params, position_limit(self._model.config))
        self._deadline.start(params.timeout_s)
        self._model.train(False)
        arrivals = Arrivals(requests, arrived)
        rows = _Rows(arrivals.places, params, self._model.device)
        with autocast(self._model.device, self._dtype):
            cache, logits_NV = self._prefill(requests)
            with_room(cache, rows.request_N, params.max_new_tokens)
            logits_NV = logits_NV[rows.request_N]
            mask_NT = self._prompt_mask(requests)[rows.request_N]
            for position in range(params.max_new_tokens):
                self._deadline.check()
                tokens_N = rows.take(position, logits_NV, self._is_end)
                for row in rows.ended(position):
                    arrivals.add(row.place, self._completion(row))
                if rows.all_finished or position + 1 == params.max_new_tokens:
                    break
                keep = rows.shrink()
                if keep is not None:
                    cache.reorder_cache(keep)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
                    tokens_N, mask_NT = tokens_N[keep], mask_NT[keep]
                mask_NT = torch.cat([mask_NT, mask_NT.new_ones(len(mask_NT), 1)], dim=1)
                logits_NV = self._forward(tokens_N[:, None], mask_NT, cache)[1]
        return arrivals.in_order()

    def _prefill(self, requests: Sequence[Request]) -> tuple[Cache, Tensor]:
        """Compute every prompt once; return its cache and the logits after its last token."""
        mask_PT = self._prompt_mask(requests)
        ids_PT = torch.zeros_like(mask_PT)
        for row, request in enumerate(requests):
            ids_PT[row, -len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        return self._forward(ids_PT, mask_PT, None)

    def _prompt_mask(self, requests: Sequence[Request]) -> Tensor:
        """Mark the real tokens of the prompts, which stand at the right."""
        lengths_P = torch.tensor([len(request.prompt_ids) for request in requests], device=self._model.device)
        longest = int(lengths_P.max())
        return (torch.arange(longest, device=lengths_P.device) >= (longest - lengths_P)[:, None]).long()

    def _forward(self, ids_NT: Tensor, mask_NT: Tensor, cache: Cache | None) -> tuple[Cache, Tensor]:
        """Run the model on new tokens; return the cache and the logits after the last one."""
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0)[:, -ids_NT.shape[1] :]
        output = self._model(
            input_ids=ids_NT,
            attention_mask=mask_NT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **({"position_ids": positions_NT} if self._takes_positions else {}),
        )
        return output.past_key_values, output.logits[:, -1]

    def _is_end(self, tokens: Sequence[int], stop: tuple[str, ...]) -> bool:
        """Say whether a completion is finished by its last token or by a stop string in its last tokens."""
        if tokens[-1] in self.end_ids:
            return True
        if not stop:
            return False
        tail = tokens[-max(map(len, stop)) - 4 :]
        return ends_with_stop(str(self._tokenizer.decode(list(tail))), stop)

    def _completion(self, row: "_Row") -> Completion:
        """Assemble one completion."""
        return Completion(
            token_ids=tuple(row.tokens),
            text=completion_text(row.tokens, self._tokenizer, self.end_ids),
            logprobs=tuple(row.logprobs),
            finish_reason="stop" if row.finished else "length",
            policy_version=self.policy_version,
            sample_index=row.place.sample_index,
            seed=row.place.seed,
        )


@dataclass(slots=True)
class _Row:
    """One completion while it is sampled."""

    place: Place
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False


class _Rows:
    """The rows of a batch while it is sampled: which are alive, and what they hold."""

    def __init__(self, places: Sequence[Place], params: SamplingParams, device: torch.device) -> None:
        """Lay out one row for each completion."""
        self.request_N = torch.tensor([place.request_index for place in places], device=device)
        self._alive = [_Row(place) for place in places]
        self._params = params
        self._uniforms_NT = request_uniforms([place.seed for place in places], params.max_new_tokens).to(device)

    @property
    def all_finished(self) -> bool:
        """Whether no row is sampling any more."""
        return all(row.finished for row in self._alive)

    def take(
        self, position: int, logits_NV: Tensor, is_end: Callable[[Sequence[int], tuple[str, ...]], bool]
    ) -> Tensor:
        """Draw the next token of every row and note it where the row is still sampling."""
        tokens_N, logprobs_N = draw(logits_NV, self._uniforms_NT[:, position], self._params.temperature)
        for row, token, logprob in zip(self._alive, tokens_N.tolist(), logprobs_N.tolist(), strict=True):
            if not row.finished:
                row.tokens.append(token)
                row.logprobs.append(logprob)
                row.finished = is_end(row.tokens, self._params.stop)
        return tokens_N

    def ended(self, position: int) -> list[_Row]:
        """Return the rows whose last token is the one just drawn; at the limit, all that are left."""
        last = [row for row in self._alive if len(row.tokens) == position + 1]
        return last if position + 1 == self._params.max_new_tokens else [row for row in last if row.finished]

    def shrink(self) -> Tensor | None:
        """Drop finished rows once enough have finished; return the positions of those that stay."""
        stay = [index for index, row in enumerate(self._alive) if not row.finished]
        if len(stay) >= SHRINK_BELOW * len(self._alive):
            return None
        self._alive = [self._alive[index] for index in stay]
        keep = torch.tensor(stay, device=self._uniforms_NT.device)
        self._uniforms_NT = self._uniforms_NT[keep]
        return keep
