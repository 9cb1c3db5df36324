"""Log-probabilities from hidden states, in chunks: a full [batch, time, vocabulary] tensor is never made."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from reasonrl.errors import ModelError
from reasonrl.learner.batching import Microbatch
from reasonrl.learner.forward import predicting_states
from reasonrl.learner.sharing import tokens_of_samples
from reasonrl.models.hardware import autocast
from reasonrl.models.lora import adapter_off
from reasonrl.models.sharded import forward_pass
from reasonrl.types import TrainingSample

CHUNK_LOGITS = 2**24
"""Most logits in memory at once: 64 MiB in float32."""


class TokenLogprobs(NamedTuple):
    """Log-probabilities of M tokens under a model, in nats."""

    logprobs_M: Tensor
    entropies_M: Tensor | None
    """Entropy of the distribution that each token was drawn from; None where it was not asked for."""


@dataclass(frozen=True, slots=True)
class LogprobModel:
    """A model that computes the log-probabilities of given tokens."""

    model: PreTrainedModel
    head: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    temperature: float
    without_adapter: bool = False
    """Compute them with the model's adapter disabled."""

    def logprobs(self, batch: Microbatch, *, with_entropy: bool = False) -> TokenLogprobs:
        """Return the log-probability of every token of a micro-batch that has a loss, and the entropy if asked for."""

        def compute() -> TokenLogprobs:
            hidden_MD = predicting_states(self.model, batch)
            return token_logprobs(hidden_MD, batch.targets_M, self.head, self.temperature, with_entropy=with_entropy)

        adapter = adapter_off(self.model) if self.without_adapter else nullcontext()
        with autocast(self.model.device, self.dtype), adapter:
            return forward_pass(self.model, compute)

    @torch.no_grad()
    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[Tensor]:
        """Return for each sample the log-probabilities [T] of its tokens that have a loss, computed by all processes.

        Args:
            samples: any number of them.
            max_tokens: budget of one forward pass, padding included.
        """

        def logprobs(batch: Microbatch) -> Tensor:
            return self.logprobs(batch).logprobs_M

        return tokens_of_samples(self.model, samples, logprobs, max_tokens=max_tokens)


def output_head(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Return the function from last hidden states to logits, checked against the model's own forward.

    Raises:
        ModelError: the model computes its logits in a way that is not known here.
    """
    projection: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)

    def head(hidden_MD: Tensor) -> Tensor:
        logits_MV: Tensor = projection(hidden_MD)
        logits_MV = logits_MV * scale if scale != 1.0 else logits_MV
        return torch.tanh(logits_MV / softcap) * softcap if softcap else logits_MV

    _check_head(model, head)
    return head


@torch.no_grad()
def _check_head(model: PreTrainedModel, head: Callable[[Tensor], Tensor]) -> None:
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
