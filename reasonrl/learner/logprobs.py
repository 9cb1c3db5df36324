"""Log-probabilities of tokens under a model, and how much of their logits is in memory at once."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

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
from reasonrl.models.fast.head import TokenLogprobs, head_logprobs
from reasonrl.models.fast.layout import lay_out
from reasonrl.models.hardware import autocast
from reasonrl.models.lora import adapter_off
from reasonrl.models.sharded import forward_pass, is_sharded
from reasonrl.types import TrainingSample

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

    def logprobs(self, batch: Microbatch, *, with_entropy: bool = False) -> TokenLogprobs:
        """Return the log-probability of every token of a micro-batch that has a loss, and the entropy if asked for."""
        adapter = adapter_off(self.model) if self.without_adapter else nullcontext()
        weight_VD = None if is_sharded(self.model) else self.head.plain_weight

        def compute() -> TokenLogprobs:
            hidden_MD = self._states(batch)
            return token_logprobs(hidden_MD, batch.targets_M, self.head, self.temperature, with_entropy=with_entropy)

        with adapter:
            if weight_VD is None:
                with autocast(self.model.device, self.dtype):
                    return forward_pass(self.model, compute)
            return head_logprobs(
                self._states(batch), batch.targets_M, weight_VD, self.dtype, self.temperature, with_entropy=with_entropy
            )

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
) -> TokenLogprobs:
    """Return the log-probability of each target token under the temperature.

    Args:
        hidden_MD: last hidden states at the M positions that predict the targets.
        targets_M: the tokens that came next.
        head: from hidden states to logits.
        temperature: what the logits are divided by, as they were when the tokens were sampled.
        with_entropy: compute the entropy at each position too.
    """
    if not len(targets_M):
        none_M = hidden_MD.new_zeros(0, dtype=torch.float32)
        return TokenLogprobs(none_M, none_M if with_entropy else None)

    def chunk_logprobs(hidden_CD: Tensor, targets_C: Tensor) -> tuple[Tensor, ...]:
        logits_CV = head(hidden_CD).float() / temperature
        normalizer_C = logits_CV.logsumexp(dim=1)
        logprobs_C = logits_CV.gather(1, targets_C[:, None])[:, 0] - normalizer_C
        if not with_entropy:
            return (logprobs_C,)
        return logprobs_C, normalizer_C - (logits_CV.softmax(dim=1) * logits_CV).sum(dim=1)

    size = max(1, CHUNK_LOGITS // _vocabulary_size(hidden_MD, head))
    chunks = zip(torch.split(hidden_MD, size), torch.split(targets_M, size), strict=True)
    # Nothing is random here, and the process's generators may be in use by rewards in another thread.
    once = partial(checkpoint, chunk_logprobs, use_reentrant=False, preserve_rng_state=False)
    values = [once(hidden, targets) for hidden, targets in chunks]
    logprobs_M, *entropies_M = (torch.cat(column) for column in zip(*values, strict=True))
    return TokenLogprobs(logprobs_M, entropies_M[0] if entropies_M else None)


@torch.no_grad()
def _vocabulary_size(hidden_MD: Tensor, head: Callable[[Tensor], Tensor]) -> int:
    return int(head(hidden_MD[:1]).shape[-1])
