"""The device, its instructions, and the memory that it keeps."""

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from reasonrl.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""

GLIBC_DEFAULTS = {M_MMAP_THRESHOLD: 128 * 1024, M_TRIM_THRESHOLD: 128 * 1024}

LARGEST_KEPT = 8 * 2**20
"""Bytes: a step has too few larger tensors for their page faults to matter, but room that one of them leaves is of
little use to others, and what a run needs would grow with every step that is of another size."""


def find_device(name: str, *, setting: str = "model.device") -> torch.device:
    """Return the device that a run asks for.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        setting: where it is asked for; begins a message.

    Raises:
        ConfigError: the name is no device, or there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"{setting}: {name!r} is not a device; use auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{setting}: {name!r} is not here; this machine has {torch.cuda.device_count()} GPUs.")
    return device


def keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors of up to 8 MiB, which glibc may hand back to the system at once.

    They come again every step, and each return costs page faults. ``benchmarks/allocator.py`` measures what that gains.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Hand what is free back to the system, now and as it is freed, as glibc does unless told otherwise.

    Where a model is divided among processes, memory is what is scarce: what was needed once would stay with each.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in GLIBC_DEFAULTS.items():
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)


def cpu_multiplies_bfloat16() -> bool:
    """Say whether this CPU has instructions for bfloat16 products."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products in ``dtype``; float32 needs no context."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def pack_weight(weight_OI: Tensor, rows: int) -> Tensor:
    """Return a weight as oneDNN lays it out on a CPU for products with about so many rows; others work too."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI, rows)
    return packed


def packed_product(x_MI: Tensor, packed: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return ``x_MI`` times a weight of :func:`pack_weight`, and a bias added to it; without a gradient."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x_MI, packed, bias_O, "none", [], "")
    return product


def unrounded_product(x_MI: Tensor, packed: Tensor) -> Tensor:
    """Return the same in float32, of bfloat16 too, in which a product comes rounded; without a bias.

    What rounding took away is the product again less what it gave, which is so small that its own rounding is that of
    the 17th binary place.
    """
    rounded = packed_product(x_MI, packed)
    lost: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x_MI, rounded, packed, None, "sub")
    return rounded.float().add_(lost)
