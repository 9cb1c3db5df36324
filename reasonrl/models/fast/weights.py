"""A model's weights in the type and layout that matrix products want, read again whenever the module's have moved."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.functional import linear
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from reasonrl.models.fast.family import Family, Projection
from reasonrl.models.hardware import pack_weight, packed_product, unrounded_product


@contextmanager
def multiplied_in(dtype: torch.dtype) -> Iterator[None]:
    """Let a CPU that can multiply float32 operands as if they were bfloat16, and add up in float32."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch's stubs lack it
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16" if dtype == torch.bfloat16 else before
    try:
        yield
    finally:
        matmul.fp32_precision = before


@cache
def _count_updates() -> None:
    """Let a step of any optimizer of this process count as a change of its parameters.

    torch's fused ones write to the memory of parameters and leave their version as it was.
    """

    def count(optimizer: Optimizer, *_: object) -> None:
        increment_version([parameter for group in optimizer.param_groups for parameter in group["params"]])

    register_optimizer_step_post_hook(count)


class CastWeights:
    """The weights of a model's products in one type.

    In the type of the module's weights, and not packed, they are the module's own and no copy. Otherwise they are a
    copy of all of them, which is made again when the module's have moved: by an optimizer, or by loading. On a CPU the
    copy of the head is in float32, unless it is packed.

    Args:
        family: whose weights.
        dtype: type of the products.
        packed_rows: lay the weights out for products with about so many rows, on a CPU; None leaves them as they are.
    """

    def __init__(self, family: Family, dtype: torch.dtype, *, packed_rows: int | None = None) -> None:
        self.dtype = dtype
        self._family = family
        self._packed_rows = packed_rows if family.model.device.type == "cpu" else None
        self._copies: dict[Projection, Tensor] = {}
        self._versions: tuple[tuple[int, int], ...] = ()
        _count_updates()

    def refresh(self) -> None:
        """Read the module's weights if they have moved; called before what is computed together."""
        versions = tuple(
            (parameter._version, parameter.data_ptr())
            for projection in self._family.projections
            for parameter in projection.parameters
        )
        if versions != self._versions:
            self._copies.clear()
            self._versions = versions

    def weight(self, projection: Projection) -> Tensor:
        """Return the weights of a projection, [outputs, inputs], or packed."""
        found = self._copies.get(projection)
        if found is None:
            found = self._copies[projection] = self._made(projection)
        return found

    def product(self, projection: Projection, x_MD: Tensor) -> Tensor:
        """Return a projection of ``x`` without a gradient, in the products' type; of the head always in float32.

        Logits are added up in float32: rounded to bfloat16 they would be off by a quarter of a nat.
        """
        if projection is self._family.head and self.dtype != torch.float32:
            return self._logits(projection, x_MD)
        bias = projection.bias
        bias = None if bias is None else bias.detach().to(self.dtype)
        if self._packed_rows is None:
            return linear(x_MD.to(self.dtype), self.weight(projection), bias)
        return packed_product(x_MD.to(self.dtype), self.weight(projection), bias)

    def _logits(self, head: Projection, x_MD: Tensor) -> Tensor:
        """Return the product with the head in float32; a CPU has no such product of bfloat16, but one that rounds."""
        weight_VD = self.weight(head)
        if self._packed_rows is not None:
            return unrounded_product(x_MD.to(self.dtype), weight_VD)
        if weight_VD.dtype == torch.float32:
            with multiplied_in(self.dtype):
                return linear(x_MD.to(self.dtype).float(), weight_VD)
        return torch.mm(x_MD.to(self.dtype), weight_VD.t(), out_dtype=torch.float32)

    @torch.no_grad()
    def _made(self, projection: Projection) -> Tensor:
        weight = projection.weight().to(self.dtype)
        if self._packed_rows is not None:
            return pack_weight(weight, self._packed_rows)
        return weight.float() if projection is self._family.head and weight.device.type == "cpu" else weight
