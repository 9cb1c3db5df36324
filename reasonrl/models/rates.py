"""How fast this processor multiplies the matrices of a model: measured in well under a second, and kept in a file.

The file is read the next time, so that what is chosen by the rates does not change from run to run with the load of the
machine. It is one for each processor, version of torch, number of threads and shape of a model.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PretrainedConfig

from reasonrl.models import cache_folder
from reasonrl.models.hardware import cpu_multiplies_bfloat16, cpu_name, pack_weight, packed_product
from reasonrl.system.atomic import write_atomically
from reasonrl.types import digest

LEARNING_ROWS: Final = 1024
"""Rows of the products of a micro-batch; more are as fast."""

SAMPLING_ROWS: Final = (1, 4, 16, 64, 256)
"""Completions that are sampled side by side."""

MAX_WEIGHTS: Final = 2**21
"""Of a matrix that is multiplied: of a larger one the first rows, for which the rate is the same."""

MIN_ROUNDS: Final = 2
MAX_ROUNDS: Final = 8

LIMIT_S: Final = 0.6
"""After so long every product with one number of rows is timed once only: the machine is busy."""

IDLE_SHARE: Final = 0.75
"""Of the time of all threads, that the products had processors for where nothing else ran."""


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix that every token is multiplied with, and how many of its shape a model has."""

    outputs: int
    inputs: int
    count: int

    @property
    def measured(self) -> int:
        """Rows of the matrix that are multiplied to measure it."""
        return min(self.outputs, max(1, MAX_WEIGHTS // self.inputs))


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of a model's products by format and rows.

    Args:
        gflops: 10^9 operations a second by rows, under ``float32``, ``float32 packed``, ``bfloat16`` and ``bfloat16
            packed``; those of a format that the processor has no instructions for are left out.
        is_settled: whether the machine was idle beside the measurement; otherwise they say little.
        file: where they are kept.
    """

    gflops: Mapping[str, Mapping[int, float]]
    is_settled: bool = True
    file: Path | None = None

    def has(self, dtype: torch.dtype, *, packed: bool = False) -> bool:
        """Say whether a format was measured."""
        return format_name(dtype, packed=packed) in self.gflops

    def rate(self, dtype: torch.dtype, rows: int, *, packed: bool = False) -> float:
        """Return the rate of a format, in 10^9 operations a second; between two measured numbers of rows in proportion.

        That is linear in the logarithm of the rows; beyond the measured ones it is the nearest one's.
        """
        measured = sorted(self.gflops[format_name(dtype, packed=packed)].items())
        below = max((one for one in measured if one[0] <= rows), default=measured[0])
        above = min((one for one in measured if one[0] >= rows), default=measured[-1])
        if below[0] == above[0]:
            return below[1]
        share = math.log(rows / below[0]) / math.log(above[0] / below[0])
        return below[1] + share * (above[1] - below[1])


def format_name(dtype: torch.dtype, *, packed: bool) -> str:
    """Return what a format is called in files and in the plan of a run."""
    return str(dtype).removeprefix("torch.") + (" packed" if packed else "")


def products_of(config: PretrainedConfig) -> tuple[Product, ...]:
    """Return the products of a decoder: queries, keys and values, attention's output, gate and up, down, the head."""
    shape: Any = config.get_text_config()  # Any: each architecture has a configuration of its own
    hidden, layers, heads = shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads
    size = getattr(shape, "head_dim", None) or hidden // heads
    kv_heads = getattr(shape, "num_key_value_heads", None) or heads
    inner = getattr(shape, "intermediate_size", None) or 4 * hidden
    return (
        Product((heads + 2 * kv_heads) * size, hidden, layers),
        Product(hidden, heads * size, layers),
        Product(2 * inner, hidden, layers),
        Product(hidden, inner, layers),
        Product(shape.vocab_size, hidden, 1),
    )


def rates_of(config: PretrainedConfig, *, again: bool = False) -> Rates:
    """Return the rates of a model's products on this processor: of the file, or measured now and written to it.

    Args:
        config: the model's.
        again: measure anew where the machine was busy when those of the file were measured.
    """
    products = products_of(config)
    machine = {**_machine(), "products": [[each.outputs, each.inputs, each.count] for each in products]}
    path = rates_file(machine)
    found = _read(path, machine)
    if found is None or (again and not found.is_settled):
        found = replace(measure_rates(products), file=path)
        _write(path, machine, found)
    return found


def rates_file(machine: Mapping[str, Any]) -> Path:
    """Return where the rates of a machine, and of a model's shape, are kept. Any: JSON values."""
    return cache_folder("rates") / f"{digest(json.dumps(machine, sort_keys=True))}.json"


def _machine() -> dict[str, Any]:
    """Return what the rates depend on beside the shapes. Any: JSON values."""
    capabilities = sorted(name for name, value in torch.cpu.get_capabilities().items() if value is True)
    return {
        "cpu": cpu_name(),
        "instructions": capabilities,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _read(path: Path, machine: Mapping[str, Any]) -> Rates | None:
    """Return the rates of a file; None where there is none, or one that is damaged. Any: JSON values."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(path.read_bytes())
        gflops = {
            name: {int(rows): float(rate) for rows, rate in by_rows.items()} for name, by_rows in kept["gflops"].items()
        }
        is_whole = gflops.keys() == set(_formats()) and all(
            by_rows.keys() == set(_rows_of(name)) and all(math.isfinite(rate) and rate > 0 for rate in by_rows.values())
            for name, by_rows in gflops.items()
        )
        if kept["machine"] == machine and is_whole:
            return Rates(gflops, kept["is_settled"] is True, path)
    return None


def _write(path: Path, machine: Mapping[str, Any], rates: Rates) -> None:
    """Keep rates; where nothing can be written they are measured again the next time. Any: JSON values."""
    content = {"machine": machine, "gflops": rates.gflops, "is_settled": rates.is_settled}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1).encode())


def _formats() -> dict[str, torch.dtype]:
    """Return the formats that this processor has instructions for, by name."""
    dtypes = [torch.float32, *([torch.bfloat16] if cpu_multiplies_bfloat16() else [])]
    has_layouts = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch
    layouts = [False, *([True] if has_layouts else [])]
    return {format_name(dtype, packed=packed): dtype for dtype in dtypes for packed in layouts}


def _rows_of(name: str) -> tuple[int, ...]:
    """Return the rows that a format is measured with: the learner does not pack weights."""
    return SAMPLING_ROWS if name.endswith("packed") else (*SAMPLING_ROWS, LEARNING_ROWS)


@torch.inference_mode()
def measure_rates(products: Sequence[Product]) -> Rates:
    """Measure the rates of products on this processor, with the threads of the process.

    All formats take turns, so that what else the machine does slows all of them. The best of several rounds counts.
    """
    formats, used_s, taken_s = _formats(), 0.0, 0.0
    times: dict[str, dict[int, list[list[float]]]] = {name: {} for name in formats}
    weights = {name: _weights(products, dtype, is_packed=name.endswith("packed")) for name, dtype in formats.items()}
    for rows in (*SAMPLING_ROWS, LEARNING_ROWS):
        used_before, began = process_time(), perf_counter()
        measured = [name for name in formats if rows in _rows_of(name)]
        for name, rounds in _rounds(rows, {name: weights[name] for name in measured}, products).items():
            times[name][rows] = rounds
        if rows > SAMPLING_ROWS[-2]:  # with fewer, threads wait for one another
            used_s, taken_s = used_s + process_time() - used_before, taken_s + perf_counter() - began
    gflops = {
        name: {rows: round(_rate(products, rows, rounds), 2) for rows, rounds in by_rows.items()}
        for name, by_rows in times.items()
    }
    return Rates(gflops, used_s >= IDLE_SHARE * taken_s * torch.get_num_threads())


def _weights(products: Sequence[Product], dtype: torch.dtype, *, is_packed: bool) -> list[Tensor]:
    """Return a matrix for each product; what is in it makes no difference, and no random generator is moved."""
    plain = [torch.full((each.measured, each.inputs), 0.5, dtype=dtype) for each in products]
    return [pack_weight(each, SAMPLING_ROWS[-2]) for each in plain] if is_packed else plain


def _rounds(
    rows: int, weights: Mapping[str, Sequence[Tensor]], products: Sequence[Product]
) -> dict[str, list[list[float]]]:
    """Return the seconds of every product by format and round; the first round prepares the products and is dropped."""
    ends_at = perf_counter() + LIMIT_S
    least = max(MIN_ROUNDS, min(MAX_ROUNDS, LEARNING_ROWS // 2 // rows))
    inputs = {
        name: [torch.full((rows, each.inputs), 0.5, dtype=matrices[0].dtype) for each in products]
        for name, matrices in weights.items()
    }
    rounds: dict[str, list[list[float]]] = {name: [] for name in weights}
    for number in range(1 + least):
        for name, matrices in weights.items():
            rounds[name].append([_seconds(x, each) for x, each in zip(inputs[name], matrices, strict=True)])
        if number and perf_counter() > ends_at:
            break
    return {name: found[1:] for name, found in rounds.items()}


def _seconds(x: Tensor, weight: Tensor) -> float:
    """Multiply once."""
    began = perf_counter()
    if weight.is_mkldnn:
        packed_product(x, weight)
    else:
        linear(x, weight)
    return perf_counter() - began


def _rate(products: Sequence[Product], rows: int, rounds: Sequence[Sequence[float]]) -> float:
    """Return the rate of all products of a model, from the best time of each."""
    best = map(min, zip(*rounds, strict=True))
    seconds = sum(time * each.count * each.outputs / each.measured for time, each in zip(best, products, strict=True))
    weights = sum(each.outputs * each.inputs * each.count for each in products)
    return float(2e-9 * rows * weights / seconds)
