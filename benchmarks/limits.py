"""The limits that the machine sets: how fast it multiplies a model's matrices, and how fast it reads them."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from reasonrl.models.compute import dtype_name
from reasonrl.models.fast.family import family_of
from reasonrl.models.hardware import pack_weight, packed_product

LEARNING_ROWS: Final = 1024
"""Rows of the products that set the limit of learning."""
READ_COLUMNS: Final = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast products with some rows are, in the layout of the weights in which they are faster."""

    operations: float
    """A second."""
    layout: str
    """``plain``, or ``packed``: laid out in advance by oneDNN."""

    def __str__(self) -> str:
        return f"{self.operations / 1e9:.0f} GFLOP/s {self.layout}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How fast this machine multiplies the model's matrices in one type, and what is in them."""

    dtype: torch.dtype
    body: int
    """Weights that every token meets."""
    head: int
    """Weights of the output head."""
    rates: Mapping[int, Rate]
    """By rows of the products."""

    def products(self, prompts: int, predicted: int, completions: int) -> int:
        """Count weights times tokens: of a completion all but the last token, which is not fed.

        Args:
            prompts: tokens of the prompts, each prompt once.
            predicted: tokens of the completions.
            completions: how many there are.
        """
        return self.body * (prompts + predicted - completions) + self.head * predicted

    def told(self) -> str:
        """Say the rates."""
        rates = ", ".join(f"{rate} at {rows:,} rows" for rows, rate in self.rates.items())
        return f"The model's matrices are multiplied in {dtype_name(self.dtype)} at {rates}."


def measure_limit(model: PreTrainedModel, dtype: torch.dtype, rows: Sequence[int]) -> Limit:
    """Time products with all of the model's matrices: plain and, on a CPU, packed; the faster one counts."""
    *body, head = matrices(model)
    cast = [weight.to(dtype) for weight in (*body, head)]
    return Limit(
        dtype=dtype,
        body=sum(weight.numel() for weight in body),
        head=head.numel(),
        rates={each: max(product_rates(cast, each), key=lambda rate: rate.operations) for each in rows},
    )


def matrices(model: PreTrainedModel) -> list[Tensor]:
    """Return the weights of a model's products, the output head's last; those that are joined where it can be fast."""
    if (family := family_of(model)) is not None:
        return [projection.weight() for projection in family.projections]
    head: nn.Linear = model.get_output_embeddings()
    body = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    return [module.weight.detach() for module in (*body, head)]


@torch.no_grad()
def product_rates(weights: Sequence[Tensor], rows: int) -> Iterator[Rate]:
    """Yield the operations a second of one product with each matrix, for each layout that there is."""
    dtype, device = weights[0].dtype, weights[0].device
    inputs = {size: torch.randn(rows, size, dtype=dtype, device=device) for size in {w.shape[1] for w in weights}}
    operations = 2 * rows * sum(weight.numel() for weight in weights)
    yield Rate(operations / best_seconds(lambda: [linear(inputs[w.shape[1]], w) for w in weights]), "plain")
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    packed = [(inputs[w.shape[1]], pack_weight(w, rows)) for w in weights]
    seconds = best_seconds(lambda: [packed_product(x, w) for x, w in packed])
    yield Rate(operations / seconds, "packed")


def read_rate(size: int) -> float:
    """Return the bytes a second at which so many bytes are read in order, as products with one row read weights."""
    matrix_RC = torch.ones(size // (4 * READ_COLUMNS), READ_COLUMNS)
    vector_C = torch.ones(READ_COLUMNS)
    return matrix_RC.nbytes / min(best_seconds(matrix_RC.sum), best_seconds(lambda: matrix_RC @ vector_C))


def best_seconds(work: Callable[[], object]) -> float:
    """Return the least seconds of some calls after the first: three or more, for about half a second."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < 0.5:
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
    return min(times)


def bfloat16_units() -> str:
    """Say what this CPU has for products in bfloat16."""
    found = torch.cpu.get_capabilities()
    if found.get("amx_bf16"):
        return "This CPU has units for bfloat16 products (AMX)."
    if found.get("avx512_bf16"):
        return (
            "This CPU has no units of their own for bfloat16 products (no AMX), only AVX-512's instructions for them."
        )
    if found.get("bf16"):
        return "This CPU has instructions for bfloat16 products."
    return "This CPU has nothing for bfloat16 products: they are computed in float32."
