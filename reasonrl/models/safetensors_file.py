"""Writes a safetensors file tensor by tensor, so that no more than one of them is in memory.

The format (https://github.com/safetensors/safetensors): the length of the header in 8 bytes, the header in JSON, which
says where each tensor is, then the tensors. The header comes first, so names, types and shapes are needed before the
values.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from itertools import accumulate
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

DTYPES: Final[Mapping[torch.dtype, str]] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What the format calls torch's types."""

_HEADER_ALIGNMENT: Final = 8
_CHUNK_BYTES: Final = 2**26
"""So much of a tensor that is on a GPU is in the host's memory at once."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What the header says of a tensor before it is there."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> "TensorSpec":
        """Describe a tensor, which may be one on ``meta``."""
        return cls(name, tensor.dtype, tuple(tensor.shape))

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_safetensors(path: Path, specs: Sequence[TensorSpec], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a file that ``safetensors`` and transformers read.

    Args:
        path: of the file, which is replaced.
        specs: of all tensors, each with a name of its own.
        tensors: all that were announced, each once and in any order; each is dropped before the next is asked for.
    """
    ordered = sorted(specs, key=lambda spec: (-spec.dtype.itemsize, spec.name))  # so each is aligned to its type
    ends = list(accumulate(spec.num_bytes for spec in ordered))
    header = _header(ordered, ends)
    missing = {spec.name: (spec, len(header) + end - spec.num_bytes) for spec, end in zip(ordered, ends, strict=True)}
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + max(ends, default=0))
        for name, tensor in tensors:
            spec, place = missing.pop(name)
            assert TensorSpec.of(name, tensor) == spec, f"{name}: {tensor.dtype} {tuple(tensor.shape)}, not {spec}"
            file.seek(place)
            _write_bytes(file, tensor)
            del tensor
    assert not missing, f"{path}: lacks {', '.join(missing)}"


def _write_bytes(file: BufferedWriter, tensor: Tensor) -> None:
    """Write the bytes of a tensor; of one on a GPU a part at a time."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for part in torch.split(flat, _CHUNK_BYTES):
        file.write(part.cpu().numpy().data)  # a view of its memory, no copy


def _header(specs: Sequence[TensorSpec], ends: Sequence[int]) -> bytes:
    entries = {
        spec.name: {"dtype": DTYPES[spec.dtype], "shape": spec.shape, "data_offsets": (end - spec.num_bytes, end)}
        for spec, end in zip(specs, ends, strict=True)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    return len(text).to_bytes(_HEADER_ALIGNMENT, "little") + text
