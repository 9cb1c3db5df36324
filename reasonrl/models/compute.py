"""How a model is computed on this machine: type of products, layout of weights, rows that are sampled at once."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, TypeAlias

import torch
from transformers import PretrainedConfig

from reasonrl.models.rates import LEARNING_ROWS, SAMPLING_ROWS, Rates, rates_of

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16"]

SMALLEST_WIDTH: Final = 512
"""Hidden size below which products are so small a part of a CPU's work that their type and layout do not matter."""

WORTHWHILE: Final = 1.1
"""How much faster bfloat16 must be to be chosen: it rounds, and rates are measured."""

WORTH_PACKING: Final = 1.1
"""How much faster packed weights must be: they are packed again after every update."""

NEARLY_BEST: Final = 0.9
"""Of the best rate, that the rows which are sampled side by side shall reach; more of them take memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a model is computed, chosen once a run and kept when it is resumed."""

    dtype: torch.dtype = torch.float32
    """Type of matrix products, of sampling and of learning."""
    fast: bool = True
    """Whether models of the Llama family take the fast path."""
    packed: bool = False
    """Whether the embedded engine lays weights out for its products: a copy of the weights more."""
    rows: int | None = None
    """Completions that the embedded engine samples side by side; None for all that wait."""

    def record(self) -> dict[str, Any]:
        """Return it as a manifest keeps it. Any: JSON values."""
        return {**asdict(self), "dtype": dtype_name(self.dtype)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return what :meth:`record` has kept. Any: JSON values."""
        return cls(**{**record, "dtype": getattr(torch, record["dtype"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a model is used for: how its rates are weighed."""

    sampled: float = 0.0
    """Tokens that the embedded engine samples, or any multiple of them."""
    learned: float = 0.0
    """Tokens of forward passes over whole texts, in the same unit; a backward pass counts as two more."""
    rows: int = SAMPLING_ROWS[-1]
    """Completions that there are to be sampled at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a model is computed, and why."""

    compute: Compute
    reason: str
    warnings: tuple[str, ...] = ()
    """What is slower than it need be."""
    rates: Rates | None = None
    """What was measured; None where nothing had to be."""


def choose_compute(
    config: PretrainedConfig,
    device: torch.device,
    *,
    asked: DtypeName = "auto",
    fast: bool = True,
    work: Work,
    again: bool = False,
) -> Choice:
    """Choose how a model is computed on this machine; on a CPU by rates that are measured, unless a file has them.

    Args:
        config: the model's.
        device: that it computes on.
        asked: type of its products.
        fast: whether it may take the fast path.
        work: what it is used for.
        again: measure anew where the machine was busy the last time; runs do not, so that they do not differ.
    """
    if device.type != "cpu":
        return _for_gpu(asked, fast)
    if config.get_text_config().hidden_size < SMALLEST_WIDTH:
        dtype = torch.bfloat16 if asked == "bfloat16" else torch.float32
        return Choice(compute=Compute(dtype=dtype, fast=fast), reason=_asked(asked) or "a small model")
    rates = rates_of(config, again=again)
    if not rates.is_settled:
        return _without_rates(rates, asked, fast)
    return choose_by_rates(rates, asked, fast=fast, work=work)


def choose_by_rates(rates: Rates, asked: DtypeName, *, fast: bool, work: Work) -> Choice:
    """Choose by measured rates: the type that makes the work faster, and for sampling the layout and the rows.

    Args:
        rates: of the model's products.
        asked: type of its products.
        fast: whether it may take the fast path, which alone has packed weights and rows of the engine's choice.
        work: what it is used for.
    """
    gain = _gain(rates, work, fast=fast)
    takes_bfloat16 = asked == "bfloat16" or (asked == "auto" and gain is not None and gain >= WORTHWHILE)
    dtype = torch.bfloat16 if takes_bfloat16 else torch.float32
    measured = "this processor has no instructions for bfloat16" if gain is None else f"bfloat16 is {gain:.2f}x as fast"
    return Choice(
        compute=_laid_out(rates, dtype, work) if fast else Compute(dtype=dtype, fast=False),
        reason=_asked(asked) or measured,
        warnings=tuple(_slower(gain)) if asked == "bfloat16" else (),
        rates=rates,
    )


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a type without its module."""
    return str(dtype).removeprefix("torch.")


def _without_rates(rates: Rates, asked: DtypeName, fast: bool) -> Choice:
    """Choose by the processor's instructions: with tiles of bfloat16 (AMX) it is several times as fast."""
    has_tiles = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    dtype = torch.bfloat16 if asked == "bfloat16" or (asked == "auto" and has_tiles) else torch.float32
    busy = "the machine was busy when its rates were measured; `reasonrl plan` measures them again"
    return Choice(compute=Compute(dtype=dtype, fast=fast), reason=_asked(asked) or busy, rates=rates)


def _for_gpu(asked: DtypeName, fast: bool) -> Choice:
    """Choose bfloat16 on GPUs that have instructions for it; weights are never packed there."""
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = torch.bfloat16 if asked == "bfloat16" or (asked == "auto" and supported) else torch.float32
    measured = f"this GPU has {'' if supported else 'no '}instructions for bfloat16"
    return Choice(compute=Compute(dtype=dtype, fast=fast), reason=_asked(asked) or measured)


def _slower(gain: float | None) -> Iterator[str]:
    """Say that bfloat16, which is asked for, costs time."""
    if gain is None:
        yield "products are in bfloat16, for which this processor has no instructions: float32 would be faster"
    elif gain < 1:
        yield f"products are in bfloat16, but float32 would be {1 / gain:.2f}x as fast on this processor"


def _asked(asked: DtypeName) -> str | None:
    return None if asked == "auto" else "as asked for"


def _gain(rates: Rates, work: Work, *, fast: bool) -> float | None:
    """Return how much faster bfloat16 is for some work; None where the processor has no instructions for it."""
    if not rates.has(torch.bfloat16):
        return None
    return _seconds(rates, torch.float32, work, fast=fast) / _seconds(rates, torch.bfloat16, work, fast=fast)


def _seconds(rates: Rates, dtype: torch.dtype, work: Work, *, fast: bool) -> float:
    """Return the time of some work in proportion, sampling with the layout and rows that the engine would have."""
    found = _laid_out(rates, dtype, work) if fast else Compute(dtype=dtype)
    sampling = rates.rate(dtype, min(work.rows, found.rows or work.rows), packed=found.packed)
    return work.sampled / sampling + work.learned / rates.rate(dtype, LEARNING_ROWS)


def _laid_out(rates: Rates, dtype: torch.dtype, work: Work) -> Compute:
    """Choose the fewest rows that are nearly as fast as any number of them, and whether packed weights are faster."""
    layouts = [packed for packed in (False, True) if rates.has(dtype, packed=packed)]
    if not layouts or not work.sampled:
        return Compute(dtype=dtype)
    best = {rows: max(rates.rate(dtype, rows, packed=packed) for packed in layouts) for rows in SAMPLING_ROWS}
    rows = min(rows for rows, rate in best.items() if rate >= NEARLY_BEST * max(best.values()))
    used = min(rows, work.rows)
    packed = True in layouts and (
        rates.rate(dtype, used, packed=True) >= WORTH_PACKING * rates.rate(dtype, used, packed=False)
    )
    return Compute(dtype=dtype, packed=packed, rows=rows)
