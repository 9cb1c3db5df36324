"""Weights in a file that servers read, written one tensor at a time: no process holds a second copy of a model."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import torch
from torch import Tensor

from reasonrl.engines import EngineInputs
from reasonrl.errors import EngineError
from reasonrl.models.lora import exported_weights
from reasonrl.models.safetensors_file import write_safetensors

WeightLayout: TypeAlias = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of every weight, by its name, in the order in which they come."""

SHARED_MEMORY = Path("/dev/shm")
"""Files here are kept in memory."""


def weight_layout(inputs: EngineInputs) -> WeightLayout:
    """Return what the weights of an engine are like, without having them: those of a divided model are not gathered."""
    return {
        name: (tensor.dtype, tuple(tensor.shape))
        for name, tensor in exported_weights(inputs.model)
        if name in inputs.weight_names
    }


def in_layout(weights: Iterable[tuple[str, Tensor]], layout: WeightLayout) -> Iterator[tuple[str, Tensor]]:
    """Yield weights as they come, as long as they are those that are expected.

    Raises:
        EngineError: a weight is missing, or belongs to another model.
    """
    found, left = list[str](), iter(weights)
    for expected, (name, tensor) in zip(layout, left, strict=False):
        found.append(name)
        if name != expected or tuple(tensor.shape) != layout[expected][1]:
            break
        yield name, tensor.detach().to(layout[expected][0])
    found += [name for name, _ in left]
    require_names(found, layout)
