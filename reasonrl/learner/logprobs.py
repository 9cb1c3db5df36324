"""Log-probabilities of tokens under a model, and how much of their logits is in memory at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from reasonrl.errors import ModelError
from reasonrl.learner.batching import Budget, Microbatch
from reasonrl.learner.forward import predicting_states
from reasonrl.learner.sharing import tokens_of_samples
from reasonrl.models.compute import Compute
from reasonrl.models.fast.forward import FlatModel, flat_model
from reasonrl.models.fast.head import (
    TokenLogprobs,
    TopLogprobs,
    head_logprobs,
    head_top_logprobs,
    joined,
    top_of_logits,
)
from reasonrl.models.fast.layout import lay_out
from reasonrl.models.hardware import autocast
from reasonrl.models.lora import adapter_off
from reasonrl.models.sharded import forward_pass, is_sharded
from reasonrl.types import TrainingSample

Found = TypeVar("Found", bound=tuple[Tensor | None, ...])


class _Asked(TypedDict):
    """What is asked for beside the log-probabilities of tokens."""

    with_entropy: bool
    further_MK: Tensor | None


class _AskedTop(TypedDict):
    """How many most probable tokens are asked for, and among which."""

    top_k: int
    vocabulary: int


CHUNK_LOGITS = 2**24
"""Most logits in memory at once, of a head that is not plain: 64 MiB in float32."""


@dataclass(frozen=True, slots=True)
class OutputHead:
    """From last hidden states to logits."""

    projection: nn.Module
    scale: float
    softcap: float | None

    def __call__(self, hidden_MD: Tensor) -> Tensor:
        """Return the logits [M, V]."""
        logits_MV: Tensor = self.projection(hidden_MD)
        logits_MV = logits_MV * self.scale if self.scale != 1.0 else logits_MV
        return torch.tanh(logits_MV / self.softcap) * self.softcap if self.softcap else logits_MV

    @property
    def plain_weight(self) -> nn.Parameter | None:
        """The weight [V, D] of a head that does nothing but multiply by it; None for any other."""
        projection = self.projection
        is_plain = type(projection) is nn.Linear and projection.bias is None and self.scale == 1.0 and not self.softcap
        return cast(nn.Parameter, projection.weight) if is_plain else None


@dataclass(frozen=True, slots=True)
class LogprobModel:
    """A model that computes the log-probabilities of given tokens."""

    model: PreTrainedModel
    head: OutputHead
    dtype: torch.dtype
    temperature: float
    without_adapter: bool = False
    """Compute them with the model's adapter disabled."""
    flat: FlatModel | None = None
    """The same model over flat tokens; None takes its own forward pass."""

    @property
    def pads(self) -> bool:
        """Whether it computes padding."""
        return self.flat is None

    def logprobs(
        self, batch: Microbatch, *, with_entropy: bool = False, further_MK: Tensor | None = None
    ) -> TokenLogprobs:
        """Return the log-probability of every token of a micro-batch that has a loss, and the entropy if asked for.

        Args:
            batch: M tokens that have a loss.
            with_entropy: compute the entropy in each place too.
            further_MK: compute the log-probabilities of these tokens in the same places too.
        """
        asked: _Asked = {"with_entropy": with_entropy, "further_MK": further_MK}
        return self._read(
            batch,
            lambda hidden_MD: token_logprobs(hidden_MD, batch.targets_M, self.head, self.temperature, **asked),
            lambda hidden_MD, weight_VD: head_logprobs(
                hidden_MD, batch.targets_M, weight_VD, self.dtype, self.temperature, **asked
            ),
        )

    @torch.no_grad()
    def top_logprobs(self, batch: Microbatch, top_k: int, vocabulary: int) -> TopLogprobs:
        """Return the log-probability of every token that has a loss, and the most probable tokens in its place.

        Args:
            batch: M tokens that have a loss.
            top_k: how many tokens.
            vocabulary: tokens from this one on are never among them.
        """
        asked: _AskedTop = {"top_k": top_k, "vocabulary": vocabulary}
        return self._read(
            batch,
            lambda hidden_MD: token_top_logprobs(hidden_MD, batch.targets_M, self.head, self.temperature, **asked),
            lambda hidden_MD, weight_VD: head_top_logprobs(
                hidden_MD, batch.targets_M, weight_VD, self.dtype, self.temperature, **asked
            ),
        )

    def _read(
        self, batch: Microbatch, through_head: Callable[[Tensor], Found], by_weight: Callable[[Tensor, Tensor], Found]
    ) -> Found:
        """Return what the output head says of a micro-batch, in one forward pass.

        Args:
            batch: what goes through the model.
            through_head: from the last hidden states, by the head as a module.
            by_weight: from them and the weight of a head that does nothing but multiply by it.
        """
        adapter = adapter_off(self.model) if self.without_adapter else nullcontext()
        weight_VD = None if is_sharded(self.model) else self.head.plain_weight
        with adapter:
            if weight_VD is None:
                with autocast(self.model.device, self.dtype):
                    return forward_pass(self.model, lambda: through_head(self._states(batch)))
            return by_weight(self._states(batch), weight_VD)

    def _states(self, batch: Microbatch) -> Tensor:
        """Return the last hidden states [M, D] that predict the tokens with a loss."""
        if self.flat is None:
            with autocast(self.model.device, self.dtype):
                return predicting_states(self.model, batch)
        rows = (batch.prompts, batch.prompt_of_row, batch.continuations, batch.chosen)
        return self.flat.states(lay_out(*rows, self.model.device))

    @torch.no_grad()
    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[Tensor]:
        """Return for each sample the log-probabilities [T] of its tokens that have a loss, computed by all processes.

        Args:
            samples: any number of them.
            max_tokens: budget of one forward pass, with the padding that it computes.
        """

        def logprobs(batch: Microbatch) -> Tensor:
            return self.logprobs(batch).logprobs_M

        return tokens_of_samples(self.model, samples, logprobs, Budget(tokens=max_tokens, pads=self.pads))


def logprob_model(
    model: PreTrainedModel, compute: Compute, temperature: float, *, without_adapter: bool = False
) -> LogprobModel:
    """Return what computes a model's log-probabilities, over flat tokens where it can and ``compute`` says so.

    Args:
        model: as it learns: with its adapter, and divided if it is.
        compute: type of products, and the path.
        temperature: what logits are divided by.
        without_adapter: compute with the model's adapter disabled.

    Raises:
        ModelError: the model computes something that is not known here.
    """
    flat = flat_model(model, compute.dtype) if compute.fast else None
    return LogprobModel(model, output_head(model), compute.dtype, temperature, without_adapter, flat)


def output_head(model: PreTrainedModel) -> OutputHead:
    """Return the function from last hidden states to logits, checked against the model's own forward.

    Raises:
        ModelError: the model computes its logits in a way that is not known here.
    """
    projection: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    head = OutputHead(projection, scale, softcap)
    _check_head(model, head)
    return head


@torch.no_grad()
def _check_head(model: PreTrainedModel, head: OutputHead) -> None:
    """Compare the head with the model's own logits on a few tokens."""
    ids_NT = torch.arange(1, 5, device=model.device)[None]
    own_NTV = model(input_ids=ids_NT, use_cache=False).logits.float()

    def compute() -> Tensor:
        return head(model.base_model(input_ids=ids_NT, use_cache=False).last_hidden_state)

    ours_NTV = forward_pass(model, compute).float()
    if own_NTV.shape != ours_NTV.shape or not torch.allclose(own_NTV, ours_NTV, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"{type(model).__name__}: its logits are not its output embedding applied to its last hidden states, "
            "so log-probabilities cannot be computed in chunks. This architecture is not supported for training."
        )


def token_logprobs(
    hidden_MD: Tensor,
    targets_M: Tensor,
    head: Callable[[Tensor], Tensor],
    temperature: float,
    *,
    with_entropy: bool = False,
    further_MK: Tensor | None = None,
) -> TokenLogprobs:
    """Return the log-probability of each target token under the temperature.

    Args:
        hidden_MD: last hidden states at the M positions that predict the targets.
        targets_M: the tokens that came next.
        head: from hidden states to logits.
        temperature: what the logits are divided by, as they were when the tokens were sampled.
        with_entropy: compute the entropy at each position too.
        further_MK: compute the log-probabilities of these tokens in the targets' places too.
    """
    ids_MK = targets_M[:, None] if further_MK is None else torch.cat([targets_M[:, None], further_MK], dim=1)
    if not len(targets_M):
        none_MK = hidden_MD.new_zeros(ids_MK.shape, dtype=torch.float32)
        return _token_logprobs(none_MK, none_MK[:, 0] if with_entropy else None)

    def chunk_logprobs(hidden_CD: Tensor, ids_CK: Tensor) -> tuple[Tensor, ...]:
        logits_CV = head(hidden_CD).float() / temperature
        normalizer_C1 = logits_CV.logsumexp(dim=1, keepdim=True)
        logprobs_CK = logits_CV.gather(1, ids_CK) - normalizer_C1
        if not with_entropy:
            return (logprobs_CK,)
        return logprobs_CK, normalizer_C1[:, 0] - (logits_CV.softmax(dim=1) * logits_CV).sum(dim=1)

    # Nothing is random here, and the process's generators may be in use by rewards in another thread.
    once = partial(checkpoint, chunk_logprobs, use_reentrant=False, preserve_rng_state=False)
    values = [once(hidden, ids) for hidden, ids in _chunks(hidden_MD, ids_MK, head)]
    logprobs_MK, *entropies_M = (torch.cat(column) for column in zip(*values, strict=True))
    return _token_logprobs(logprobs_MK, entropies_M[0] if entropies_M else None)


def _token_logprobs(logprobs_MK: Tensor, entropies_M: Tensor | None) -> TokenLogprobs:
    """Name what was computed: the first column is of the tokens that stand there.

    Copies, for what a forward pass returns must be no view (see :func:`reasonrl.models.sharded.forward_pass`).
    """
    further_MK = logprobs_MK[:, 1:].clone() if logprobs_MK.shape[1] > 1 else None
    return TokenLogprobs(logprobs_MK[:, 0].clone(), entropies_M, further_MK)


@torch.no_grad()
def token_top_logprobs(
    hidden_MD: Tensor,
    targets_M: Tensor,
    head: Callable[[Tensor], Tensor],
    temperature: float,
    *,
    top_k: int,
    vocabulary: int,
) -> TopLogprobs:
    """Return the log-probability of each target token and the most probable tokens in its place.

    Args:
        hidden_MD: last hidden states at the M > 0 positions that predict the targets.
        targets_M: the tokens that came next.
        head: from hidden states to logits.
        temperature: what the logits are divided by.
        top_k: how many tokens; all of them where there are fewer.
        vocabulary: tokens from this one on are never among them, though they have their probability.
    """
    return joined(
        [
            top_of_logits(head(hidden_CD).float() / temperature, targets_C, top_k, vocabulary)
            for hidden_CD, targets_C in _chunks(hidden_MD, targets_M, head)
        ]
    )


def _chunks(hidden_MD: Tensor, ids: Tensor, head: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield hidden states with their tokens, so many at once that their logits take a constant of memory."""
    size = max(1, CHUNK_LOGITS // _vocabulary_size(hidden_MD, head))
    return zip(torch.split(hidden_MD, size), torch.split(ids, size), strict=True)


@torch.no_grad()
def _vocabulary_size(hidden_MD: Tensor, head: Callable[[Tensor], Tensor]) -> int:
    return int(head(hidden_MD[:1]).shape[-1])
