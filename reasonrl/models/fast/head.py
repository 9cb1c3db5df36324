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


def head_logprobs(
    hidden_MD: Tensor,
    targets_M: Tensor,
    weight_VD: Tensor,
    dtype: torch.dtype,
    temperature: float,
    *,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """Return the log-probability of each target token under the temperature.

    Args:
        hidden_MD: last hidden states at the M positions that predict the targets.
        targets_M: the tokens that came next.
        weight_VD: of the output head.
        dtype: type of the operands of its product; logits are float32.
        temperature: what the logits are divided by, as they were when the tokens were sampled.
        with_entropy: compute the entropy at each position too.
    """
    head = _Head(dtype, temperature, with_entropy, torch.is_grad_enabled())
    logprobs_M, entropies_M = _Logprobs.apply(hidden_MD, weight_VD, targets_M, head)  # type: ignore[no-untyped-call]
    return TokenLogprobs(logprobs_M, entropies_M if with_entropy else None)


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

    def exponentials(self, hidden_GD: Tensor, weight_VD: Tensor, targets_G: Tensor, found_3G1: Tensor) -> Tensor:
        """Return ``e = exp(logits - largest)`` [G, V].

        Found are the logit of each target less the largest, the sum of e and, where asked for, that of -e log(e).
        """
        logits_GV = self.product(hidden_GD, weight_VD.t())
        for piece in pieces(logits_GV):
            logits_CV, (target_C1, sum_C1, surprise_C1) = logits_GV[piece], found_3G1[:, piece]
            if self.temperature != 1.0:
                logits_CV.div_(self.temperature)
            logits_CV.sub_(logits_CV.amax(dim=1, keepdim=True))
            target_C1.copy_(logits_CV.gather(1, targets_G[piece, None]))
            torch.sum(logits_CV.exp_(), dim=1, keepdim=True, out=sum_C1)
            if self.with_entropy:
                torch.sum(torch.special.entr(logits_CV), dim=1, keepdim=True, out=surprise_C1)
        return logits_GV

    def gradient(self, values_GV: Tensor, targets_G: Tensor, factors_3G1: Tensor) -> Tensor:
        """Return the gradient of the logits in place of e, from the factors of the target, of e and of -e log(e)."""
        for piece in pieces(values_GV):
            values_CV, (of_target_C1, of_values_C1, of_surprise_C1) = values_GV[piece], factors_3G1[:, piece]
            surprise_CV = torch.special.entr(values_CV) if self.with_entropy else None
            values_CV.mul_(of_values_C1)
            if surprise_CV is not None:
                values_CV.addcmul_(surprise_CV, of_surprise_C1)
            values_CV.scatter_add_(1, targets_G[piece, None], of_target_C1)
        return values_GV


def _groups(num_tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, GROUP_LOGITS // vocabulary)
    for first in range(0, num_tokens, size):
        yield slice(first, min(first + size, num_tokens))


class _Logprobs(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, targets_M: Tensor, head: _Head
    ) -> tuple[Tensor, Tensor | None]:  # Any: torch's
        weight = head.operand(weight_VD)
        found_3M1 = hidden_MD.new_zeros(3, len(targets_M), 1, dtype=torch.float32)
        kept: dict[int, Tensor] = {}
        for group in _groups(len(targets_M), len(weight)):
            hidden_GD = head.operand(hidden_MD[group])
            values_GV = head.exponentials(hidden_GD, weight, targets_M[group], found_3M1[:, group])
            if head.learns and group.stop * len(weight) <= KEPT_LOGITS:
                kept[group.start] = values_GV
        target_M, sum_M, surprise_M = found_3M1[..., 0]
        normalizer_M = sum_M.log()
        entropies_M = normalizer_M + surprise_M / sum_M
        ctx.save_for_backward(hidden_MD, weight_VD, targets_M, sum_M, entropies_M)
        ctx.head, ctx.kept = head, kept
        return target_M - normalizer_M, entropies_M if head.with_entropy else None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # Any: torch's
        hidden_MD, weight_VD, targets_M, sum_M, entropies_M = ctx.saved_tensors
        head, kept, ctx.kept = ctx.head, ctx.kept, {}
        weight, factors_3M1 = head.operand(weight_VD), _factors(head, gradients, sum_M, entropies_M)
        of_hidden_MD, of_weight_VD = torch.empty_like(hidden_MD), None
        for group in _groups(len(targets_M), len(weight)):
            hidden_GD, targets_G = head.operand(hidden_MD[group]), targets_M[group]
            values_GV = kept.pop(group.start, None)
            if values_GV is None:
                unused_3G1 = torch.empty_like(factors_3M1[:, group])
                values_GV = head.exponentials(hidden_GD, weight, targets_G, unused_3G1)
            gradient_GV = head.operand(head.gradient(values_GV, targets_G, factors_3M1[:, group]))
            of_hidden_MD[group] = head.product(gradient_GV, weight)
            if ctx.needs_input_grad[1]:
                of_weight_VD = head.product(gradient_GV.t(), hidden_GD, of_weight_VD)
        return of_hidden_MD, of_weight_VD, None, None


def _factors(head: _Head, gradients: Sequence[Tensor | None], sum_M: Tensor, entropies_M: Tensor) -> Tensor:
    """Return what the gradient of the logits is made of, [3, M, 1].

    With g and h the gradients of log-probability and entropy H, and s the sum of e, it is
    ``g [target] + e (h (log s - H) - g) / s + (-e log e) h / s``, over the temperature.
    """
    of_logprob_M, of_entropy_M = gradients
    assert of_logprob_M is not None
    factors = [of_logprob_M, -of_logprob_M / sum_M, torch.zeros_like(sum_M)]
    if head.with_entropy and of_entropy_M is not None:
        factors[1] = (of_entropy_M * (sum_M.log() - entropies_M) - of_logprob_M) / sum_M
        factors[2] = of_entropy_M / sum_M
    return torch.stack(factors).div_(head.temperature)[..., None]
