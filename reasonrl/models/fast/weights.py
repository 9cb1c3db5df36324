"""A model's weights in the type and layout that matrix products want, read again whenever the module's have moved."""

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import linear

from reasonrl.models.fast.family import Family, Projection

MKLDNN: Final = torch.ops.mkldnn
"""Products of oneDNN with weights that are laid out in advance."""


class CastWeights:
    """The weights of a model's products in one type.

    In the type of the module's weights, and not packed, they are the module's own and no copy. Otherwise they are a
    copy, which is made again when the module's have moved: by an optimizer, or by loading.

    Args:
        family: whose weights.
        dtype: type of the products.
        packed_rows: lay the weights out for products with about so many rows, on a CPU; None leaves them as they are.
        head_dtype: type of the product with the output head.
    """

    def __init__(
        self,
        family: Family,
        dtype: torch.dtype,
        *,
        packed_rows: int | None = None,
        head_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        self.head_dtype = head_dtype
        self._family = family
        self._packed_rows = packed_rows if family.model.device.type == "cpu" else None
        self._copies: dict[Projection, Tensor] = {}
        self._versions: tuple[tuple[int, int], ...] = ()

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

    def product(self, projection: Projection, x: Tensor) -> Tensor:
        """Return a projection of ``x`` [..., inputs] without a gradient, in the projection's type."""
        bias = projection.bias
        dtype = self._dtype_of(projection)
        bias = None if bias is None else bias.detach().to(dtype)
        if self._packed_rows is None:
            return linear(x.to(dtype), self.weight(projection), bias)
        product: Tensor = MKLDNN._linear_pointwise(x.to(dtype), self.weight(projection), bias, "none", [], "")
        return product

    def _dtype_of(self, projection: Projection) -> torch.dtype:
        return self.head_dtype if projection is self._family.head else self.dtype

    @torch.no_grad()
    def _made(self, projection: Projection) -> Tensor:
        cast = projection.weight().to(self._dtype_of(projection))
        if self._packed_rows is None:
            return cast
        packed: Tensor = MKLDNN._reorder_linear_weight(cast, self._packed_rows)
        return packed
