"""What the benchmarks share: the machine, the limit that matrix products set, memory, and tables."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn
from transformers import PreTrainedModel

MIB = 2**20
LEARNING_ROWS = 1024
"""Rows of the products that set the limit of learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How fast this machine multiplies the model's matrices, in operations a second, and what is in them."""

    body: int
    """Weights that every token meets."""
    head: int
    """Weights of the output head."""
    sampling: float
    """Rate with as many rows as a step samples at once."""
    learning: float
    """Rate with :data:`LEARNING_ROWS` rows."""

    def products(self, prompts: int, predicted: int, completions: int) -> int:
        """Count weights times tokens: of a completion all but the last token, which is not fed.

        Args:
            prompts: tokens of the prompts, each prompt once.
            predicted: tokens of the completions.
            completions: how many there are.
        """
        return self.body * (prompts + predicted - completions) + self.head * predicted


def measure_limit(model: PreTrainedModel, rows: int) -> Limit:
    """Time products with all of the model's matrices, in the type they have."""
    head: nn.Linear = model.get_output_embeddings()
    body = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    return Limit(
        body=sum(module.weight.numel() for module in body),
        head=head.weight.numel(),
        sampling=product_rate([*body, head], rows),
        learning=product_rate([*body, head], LEARNING_ROWS),
    )


@torch.no_grad()
def product_rate(modules: Sequence[nn.Linear], rows: int, *, repeats: int = 5) -> float:
    """Return the operations a second of one product with each matrix; the best of several rounds."""
    dtype = modules[0].weight.dtype
    inputs = {module.in_features: torch.randn(rows, module.in_features, dtype=dtype) for module in modules}
    times = []
    for _ in range(repeats):
        began = perf_counter()
        for module in modules:
            module(inputs[module.in_features])
        times.append(perf_counter() - began)
    return 2 * rows * sum(module.weight.numel() for module in modules) / min(times)


def peak_memory() -> float:
    """Return the most memory, in MiB, that this process has had so far.

    Linux lets a process begin with the ``ru_maxrss`` of the one that started it, so its status is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def machine(*packages: str) -> Iterator[str]:
    """Say what is measured on, with the versions of packages beside our own."""
    named = ("reasonrl", "torch", "transformers", *packages)
    yield f"{platform.machine()} {cpu_name()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version_of(name)}" for name in named)


def version_of(package: str) -> str:
    """Return a package's version, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def row(name: str, *cells: str) -> str:
    """Return one line of a table."""
    return f"{name:24}" + "".join(f"{cell:>29}" for cell in cells)


def spread(values: Sequence[float]) -> str:
    """Return the median of some values with the least and the greatest."""
    chosen = (median(values), min(values), max(values))
    middle, least, greatest = (f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in chosen)
    return f"{middle} [{least}, {greatest}]"
