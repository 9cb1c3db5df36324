"""Log-probabilities of tokens from last hidden states, whose logits never take more than a constant of memory.

Logits are added up in float32 and made into unnormalized probabilities in place, once; the backward pass makes those
into the gradient of the logits, in place again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from reasonrl.models.fast.functions import pieces
from reasonrl.models.fast.weights import multiplied_in

GROUP_LOGITS: Final = 2**25
"""Most logits that are computed at once: 128 MiB."""

KEPT_LOGITS: Final = 2**27
"""Most logits that are kept for the backward pass: 512 MiB. Those of further tokens are computed again."""


class TokenLogprobs(NamedTuple):
    """Log-probabilities of M tokens under a model, in nats."""

    logprobs_M: Tensor
    entropies_M: Tensor | None
    """Entropy of the distribution that each token was drawn from; None where it was not asked for."""
    further_MK: Tensor | None = None
    """Log-probabilities of K further tokens in the place of each; None where they were not asked for."""


class TopLogprobs(NamedTuple):
    """What a model says in the places of M tokens."""

    logprobs_M: Tensor
    """Log-probabilities of the tokens that stand there."""
    top_ids_MK: Tensor
    """The most probable tokens, the best first."""
    top_logprobs_MK: Tensor


def head_logprobs(
    hidden_MD: Tensor,
    targets_M: Tensor,
    weight_VD: Tensor,
    dtype: torch.dtype,
    temperature: float,
    *,
    with_entropy: bool = False,
    further_MK: Tensor | None = None,
) -> TokenLogprobs:
    """Return the log-probability of each target token under the temperature.

    Args:
        hidden_MD: last hidden states at the M positions that predict the targets.
        targets_M: the tokens that came next.
        weight_VD: of the output head.
        dtype: type of the operands of its product; logits are float32.
        temperature: what the logits are divided by, as they were when the tokens were sampled.
        with_entropy: compute the entropy at each position too.
        further_MK: compute the log-probabilities of these tokens in the targets' places too.
    """
    head = _Head(dtype, temperature, with_entropy, torch.is_grad_enabled())
    ids_MK = targets_M[:, None] if further_MK is None else torch.cat([targets_M[:, None], further_MK], dim=1)
    return TokenLogprobs(*_Logprobs.apply(hidden_MD, weight_VD, ids_MK, head))  # type: ignore[no-untyped-call]


@torch.no_grad()
def head_top_logprobs(
    hidden_MD: Tensor,
    targets_M: Tensor,
    weight_VD: Tensor,
    dtype: torch.dtype,
    temperature: float,
    *,
    top_k: int,
    vocabulary: int,
) -> TopLogprobs:
    """Return the log-probability of each target token, and the most probable tokens in its place.

    Args:
        hidden_MD: last hidden states, as for :func:`head_logprobs`, and so are the next four.
        targets_M: see there.
        weight_VD: see there.
        dtype: see there.
        temperature: see there.
        top_k: how many tokens; all of them where there are fewer.
        vocabulary: tokens from this one on are never among them, though they have their probability.
    """
    head = _Head(dtype, temperature, with_entropy=False, learns=False)
    weight = head.operand(weight_VD)
    found = [
        top_of_logits(
            head.product(head.operand(hidden_MD[group]), weight.t()) / temperature, targets_M[group], top_k, vocabulary
        )
        for group in _groups(len(targets_M), len(weight))
    ]
    return joined(found)


def joined(found: Sequence[TopLogprobs]) -> TopLogprobs:
    """Return what was found of several groups of tokens, of which there is at least one."""
    return TopLogprobs(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def top_of_logits(logits_GV: Tensor, targets_G: Tensor, top_k: int, vocabulary: int) -> TopLogprobs:
    """Return the same of logits in float32, whose temperature is taken into account already."""
    normalizer_G1 = logits_GV.logsumexp(dim=1, keepdim=True)
    known_GV = logits_GV[:, :vocabulary]
    top_GK, top_ids_GK = known_GV.topk(min(top_k, known_GV.shape[1]), dim=1)
    targets_G1 = logits_GV.gather(1, targets_G[:, None]) - normalizer_G1
    return TopLogprobs(targets_G1[:, 0], top_ids_GK, top_GK - normalizer_G1)


@dataclass(frozen=True, slots=True)
class _Head:
    """How logits are computed, and what is asked of them."""

    dtype: torch.dtype
    temperature: float
    with_entropy: bool
    learns: bool

    def operand(self, x: Tensor) -> Tensor:
        """Return one side of a product: a GPU adds up products of narrow operands in float32, a CPU need not."""
        return x.detach().to(self.dtype if x.device.type == "cuda" else torch.float32)

    def product(self, a: Tensor, b: Tensor, total: Tensor | None = None) -> Tensor:
        """Return a product in float32, added to a total in place."""
        if a.dtype == torch.float32:
            with multiplied_in(self.dtype):
                return a @ b if total is None else total.addmm_(a, b)
        found = torch.mm(a, b, out_dtype=torch.float32)
        return found if total is None else total.add_(found)

    def exponentials(
        self, hidden_GD: Tensor, weight_VD: Tensor, ids_GK: Tensor, found_GK: Tensor, sums_2G1: Tensor
    ) -> Tensor:
        """Return ``e = exp(logits - largest)`` [G, V].

        Found are the logits of each position's tokens less the largest, the sum of e and, where asked for, that of
        -e log(e).
        """
        logits_GV = self.product(hidden_GD, weight_VD.t())
        for piece in pieces(logits_GV):
            logits_CV, (sum_C1, surprise_C1) = logits_GV[piece], sums_2G1[:, piece]
            if self.temperature != 1.0:
                logits_CV.div_(self.temperature)
            logits_CV.sub_(logits_CV.amax(dim=1, keepdim=True))
            found_GK[piece].copy_(logits_CV.gather(1, ids_GK[piece]))
            torch.sum(logits_CV.exp_(), dim=1, keepdim=True, out=sum_C1)
            if self.with_entropy:
                torch.sum(torch.special.entr(logits_CV), dim=1, keepdim=True, out=surprise_C1)
        return logits_GV

    def gradient(self, values_GV: Tensor, ids_GK: Tensor, of_ids_GK: Tensor, factors_2G1: Tensor) -> Tensor:
        """Return the gradient of the logits in place of e, from the factors of the tokens, of e and of -e log(e)."""
        for piece in pieces(values_GV):
            values_CV, (of_values_C1, of_surprise_C1) = values_GV[piece], factors_2G1[:, piece]
            surprise_CV = torch.special.entr(values_CV) if self.with_entropy else None
            values_CV.mul_(of_values_C1)
            if surprise_CV is not None:
                values_CV.addcmul_(surprise_CV, of_surprise_C1)
            values_CV.scatter_add_(1, ids_GK[piece], of_ids_GK[piece])
        return values_GV


def _groups(num_tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, GROUP_LOGITS // vocabulary)
    for first in range(0, num_tokens, size):
        yield slice(first, min(first + size, num_tokens))


class _Logprobs(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, ids_MK: Tensor, head: _Head
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # Any: torch's
        weight = head.operand(weight_VD)
        found_MK = hidden_MD.new_zeros(ids_MK.shape, dtype=torch.float32)
        sums_2M1 = hidden_MD.new_zeros(2, len(ids_MK), 1, dtype=torch.float32)
        kept: dict[int, Tensor] = {}
        for group in _groups(len(ids_MK), len(weight)):
            hidden_GD = head.operand(hidden_MD[group])
            values_GV = head.exponentials(hidden_GD, weight, ids_MK[group], found_MK[group], sums_2M1[:, group])
            if head.learns and group.stop * len(weight) <= KEPT_LOGITS:
                kept[group.start] = values_GV
        sum_M, surprise_M = sums_2M1[..., 0]
        normalizer_M = sum_M.log()
        entropies_M = normalizer_M + surprise_M / sum_M
        ctx.save_for_backward(hidden_MD, weight_VD, ids_MK, sum_M, entropies_M)
        ctx.head, ctx.kept = head, kept
        further_MK = found_MK[:, 1:] - normalizer_M[:, None] if ids_MK.shape[1] > 1 else None
        return found_MK[:, 0] - normalizer_M, entropies_M if head.with_entropy else None, further_MK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # Any: torch's
        hidden_MD, weight_VD, ids_MK, sum_M, entropies_M = ctx.saved_tensors
        head, kept, ctx.kept = ctx.head, ctx.kept, {}
        weight = head.operand(weight_VD)
        of_ids_MK, factors_2M1 = _factors(head, gradients, sum_M, entropies_M)
        of_hidden_MD, of_weight_VD = torch.empty_like(hidden_MD), None
        for group in _groups(len(ids_MK), len(weight)):
            hidden_GD, ids_GK, of_ids_GK = head.operand(hidden_MD[group]), ids_MK[group], of_ids_MK[group]
            values_GV = kept.pop(group.start, None)
            if values_GV is None:
                unused_GK, unused_2G1 = torch.empty_like(of_ids_GK), torch.empty_like(factors_2M1[:, group])
                values_GV = head.exponentials(hidden_GD, weight, ids_GK, unused_GK, unused_2G1)
            gradient_GV = head.operand(head.gradient(values_GV, ids_GK, of_ids_GK, factors_2M1[:, group]))
            of_hidden_MD[group] = head.product(gradient_GV, weight)
            if ctx.needs_input_grad[1]:
                of_weight_VD = head.product(gradient_GV.t(), hidden_GD, of_weight_VD)
        return of_hidden_MD, of_weight_VD, None, None


def _factors(
    head: _Head, gradients: Sequence[Tensor | None], sum_M: Tensor, entropies_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the gradient of the logits is made of: for the K tokens [M, K], and for e and -e log(e) [2, M, 1].

    With g and h the gradients of log-probabilities and entropy H, and s the sum of e, it is
    ``sum over K of g [token] + e (h (log s - H) - sum of g) / s + (-e log e) h / s``, over the temperature.
    """
    of_logprob_M, of_entropy_M, of_further_MK = gradients
    assert of_logprob_M is not None
    of_logprobs_MK = of_logprob_M[:, None]
    if of_further_MK is not None:
        of_logprobs_MK = torch.cat([of_logprobs_MK, of_further_MK], dim=1)
    of_all_M = of_logprobs_MK.sum(dim=1)
    factors = [-of_all_M / sum_M, torch.zeros_like(sum_M)]
    if head.with_entropy and of_entropy_M is not None:
        factors = [(of_entropy_M * (sum_M.log() - entropies_M) - of_all_M) / sum_M, of_entropy_M / sum_M]
    return of_logprobs_MK / head.temperature, torch.stack(factors).div_(head.temperature)[..., None]
