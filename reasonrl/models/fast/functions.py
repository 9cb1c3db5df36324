"""A model's products, and what stands between them, with gradients of their own.

A product keeps what its input is made from, and makes the input again in the backward pass: that is cheap, and memory
is what limits how many tokens go through a model together. What is done element by element is done in pieces that stay
in a CPU's cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from reasonrl.models.fast.family import Family, Projection
from reasonrl.models.fast.weights import CastWeights

PIECE: Final = 2**18
"""Elements that are worked on at once on a CPU: 1 MiB in float32."""


def pieces(x_TD: Tensor) -> Iterator[slice]:
    """Yield slices of rows that stay in a CPU's cache; all rows at once on another device."""
    size = max(1, PIECE // x_TD[0].numel() if x_TD.device.type == "cpu" else len(x_TD))
    return (slice(first, min(first + size, len(x_TD))) for first in range(0, len(x_TD), size))


@dataclass(frozen=True, slots=True)
class Gated:
    """``activation(gate) * up``, of gate and up side by side."""

    activation: Literal["silu", "gelu_tanh"]
    weight: None = None

    def made(self, x_TD: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what is gated, in its own type."""
        made_TI = x_TD.new_empty(len(x_TD), x_TD.shape[1] // 2)
        for piece in pieces(x_TD):
            gate_CI, up_CI = x_TD[piece].chunk(2, dim=1)
            torch.mul(self._activated(gate_CI), up_CI, out=made_TI[piece])
        return made_TI

    def with_gradient(self, x_TD: Tensor, grad_TI: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return what is gated again, and the gradient of gate and up side by side."""
        made_TI, gradient_TD = torch.empty_like(grad_TI), torch.empty_like(x_TD)
        for piece in pieces(x_TD):
            gate_CI, up_CI = x_TD[piece].chunk(2, dim=1)
            of_gate_CI, of_up_CI = gradient_TD[piece].chunk(2, dim=1)
            activated_CI = self._activated(gate_CI)
            torch.mul(activated_CI, up_CI, out=made_TI[piece])
            torch.mul(activated_CI, grad_TI[piece], out=of_up_CI)
            self._slope(grad_TI[piece] * up_CI, gate_CI, out=of_gate_CI)
        return made_TI, gradient_TD, None

    def _activated(self, gate_CI: Tensor) -> Tensor:
        return functional.silu(gate_CI) if self.activation == "silu" else functional.gelu(gate_CI, approximate="tanh")

    def _slope(self, grad_CI: Tensor, gate_CI: Tensor, *, out: Tensor) -> None:
        if self.activation == "silu":
            torch.ops.aten.silu_backward.grad_input(grad_CI, gate_CI, grad_input=out)
        else:
            torch.ops.aten.gelu_backward.grad_input(grad_CI, gate_CI, approximate="tanh", grad_input=out)


@dataclass(frozen=True, slots=True)
class Normed:
    """RMS norm of the last axis, computed in float32: ``x / sqrt(mean(x^2) + epsilon) * (weight + offset)``."""

    weight: nn.Parameter
    epsilon: float
    offset: float

    def made(self, x_TD: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what is normed, in a type."""
        made_TD, scale_D = torch.empty_like(x_TD, dtype=dtype), self._scale()
        for piece in pieces(x_TD):
            x_CD = x_TD[piece].float()
            made_TD[piece] = (x_CD * self._inverse(x_CD)).mul_(scale_D)
        return made_TD

    def with_gradient(self, x_TD: Tensor, grad_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is normed again, and the gradients of ``x`` and of the weight."""
        made_TD, gradient_TD, scale_D = torch.empty_like(grad_TD), torch.empty_like(x_TD), self._scale()
        of_weight_D = torch.zeros_like(scale_D)
        for piece in pieces(x_TD):
            x_CD, grad_CD = x_TD[piece].float(), grad_TD[piece].float()
            inverse_C1 = self._inverse(x_CD)
            unscaled_CD = x_CD * inverse_C1
            made_TD[piece] = unscaled_CD * scale_D
            product_CD = grad_CD * unscaled_CD
            of_weight_D += product_CD.flatten(0, -2).sum(dim=0)
            shared_C1 = (product_CD @ scale_D).div_(-len(scale_D))[..., None]
            gradient_TD[piece] = (grad_CD * scale_D).addcmul_(unscaled_CD, shared_C1).mul_(inverse_C1)
        return made_TD, gradient_TD, of_weight_D

    def _inverse(self, x_CD: Tensor) -> Tensor:
        """Return what rows are multiplied by for a mean square of 1."""
        square_C1: Tensor = torch.linalg.vector_norm(x_CD, dim=-1, keepdim=True).square_()
        return square_C1.div_(x_CD.shape[-1]).add_(self.epsilon).rsqrt_()

    def _scale(self) -> Tensor:
        return self.weight.detach().float() + self.offset


Input: TypeAlias = Normed | Gated | None
"""How the input of a product is made from what it is given; None takes it as it is."""


def norm(module: nn.Module, family: Family) -> Normed:
    """Return a norm of a model."""
    return Normed(cast(nn.Parameter, module.weight), family.norm_epsilon, family.norm_offset)


def normed(x_TD: Tensor, by: Normed, dtype: torch.dtype) -> Tensor:
    """Return the norm of the last axis of ``x_TD``, in a type."""
    return cast(Tensor, _Norm.apply(x_TD, by.weight, by, dtype))  # type: ignore[no-untyped-call]  # torch


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_D: Tensor, by: Normed, dtype: torch.dtype) -> Tensor:  # Any: torch's
        ctx.save_for_backward(x_TD)
        ctx.by = by
        return by.made(x_TD, dtype)

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:  # Any: torch's
        _, gradient_TD, of_weight_D = ctx.by.with_gradient(*ctx.saved_tensors, grad_TD)
        return gradient_TD, of_weight_D, None, None


def product(
    x_TD: Tensor, made: Input, projection: Projection, weights: CastWeights, residual_TO: Tensor | None = None
) -> Tensor:
    """Return the product of an input with the weights of a projection, and a residual added to it.

    Args:
        x_TD: what the input is made from.
        made: how.
        projection: whose parameters get a gradient.
        weights: holds them in the type of the product.
        residual_TO: its type is the result's; without it the result has the product's.
    """
    learned = (made.weight if made else None, projection.bias, *projection.parameters)
    result = _Product.apply(x_TD, residual_TO, made, projection, weights, *learned)  # type: ignore[no-untyped-call]
    return cast(Tensor, result)


class _Product(Function):
    @staticmethod
    def forward(
        ctx: Any,  # Any: torch's
        x_TD: Tensor,
        residual_TO: Tensor | None,
        made: Input,
        projection: Projection,
        weights: CastWeights,
        *learned: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x_TD)
        ctx.made, ctx.sizes, ctx.weight_OI = made, projection.sizes, weights.weight(projection)
        result_TO = weights.product(projection, made.made(x_TD, weights.dtype) if made else x_TD)
        if residual_TO is None:
            return result_TO
        return result_TO.add_(residual_TO) if result_TO.dtype == residual_TO.dtype else residual_TO + result_TO

    @staticmethod
    def backward(ctx: Any, of_result_TO: Tensor) -> tuple[Any, ...]:  # Any: torch's
        (x_TD,), (_, has_residual, *_, has_bias, learns) = ctx.saved_tensors, ctx.needs_input_grad[:8]
        grad_TO = of_result_TO.to(ctx.weight_OI.dtype)
        of_input_TI = grad_TO @ ctx.weight_OI
        input_TI, of_x_TD, of_made = (
            ctx.made.with_gradient(x_TD, of_input_TI) if ctx.made else (x_TD, of_input_TI, None)
        )
        of_bias_O = grad_TO.sum(dim=0, dtype=torch.float32) if has_bias else None
        of_weights = torch.split(grad_TO.t() @ input_TI, ctx.sizes) if learns else [None] * len(ctx.sizes)
        return of_x_TD, of_result_TO if has_residual else None, None, None, None, of_made, of_bias_O, *of_weights


def rotated(z_TE: Tensor, cos_T1R: Tensor, sin_T1R: Tensor, num_heads: int) -> Tensor:
    """Turn the first heads of ``z_TE`` by the angles of their positions, in place (RoPE, arXiv:2104.09864).

    Args:
        z_TE: heads side by side; overwritten and returned.
        cos_T1R: cosines of the angles, half as many as a head has numbers.
        sin_T1R: sines.
        num_heads: so many are turned.
    """
    turned = _Rotation.apply(z_TE, cos_T1R, sin_T1R, num_heads)  # type: ignore[no-untyped-call]  # torch
    return cast(Tensor, turned)


class _Rotation(Function):
    @staticmethod
    def forward(ctx: Any, z_TE: Tensor, cos_T1R: Tensor, sin_T1R: Tensor, num_heads: int) -> Tensor:  # Any: torch's
        ctx.mark_dirty(z_TE)
        ctx.save_for_backward(cos_T1R, sin_T1R)
        ctx.num_heads = num_heads
        return _turn(z_TE, cos_T1R, sin_T1R, num_heads)

    @staticmethod
    def backward(ctx: Any, grad_TE: Tensor) -> tuple[Tensor | None, ...]:  # Any: torch's
        cos_T1R, sin_T1R = ctx.saved_tensors
        return _turn(grad_TE.clone(), cos_T1R, -sin_T1R, ctx.num_heads), None, None, None


def _turn(z_TE: Tensor, cos_T1R: Tensor, sin_T1R: Tensor, num_heads: int) -> Tensor:
    """Turn heads in place, computed in float32 and rounded once."""
    heads_TH2R = z_TE.view(len(z_TE), -1, 2, cos_T1R.shape[-1])[:, :num_heads]
    for piece in pieces(z_TE):
        first_CHR, second_CHR = heads_TH2R[piece].float().unbind(dim=2)
        cos_C1R, sin_C1R = cos_T1R[piece], sin_T1R[piece]
        turned_CHR = (first_CHR * cos_C1R).addcmul_(second_CHR, sin_C1R, value=-1.0)
        heads_TH2R[piece, :, 1] = (second_CHR * cos_C1R).addcmul_(first_CHR, sin_C1R)
        heads_TH2R[piece, :, 0] = turned_CHR
    return z_TE
