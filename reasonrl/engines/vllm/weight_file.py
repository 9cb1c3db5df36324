"""Weights in a file that servers read, written one tensor at a time: no process holds a second copy of a model."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias
from uuid import uuid4

from torch import Tensor

from reasonrl.engines import EngineInputs
from reasonrl.errors import EngineError
from reasonrl.models.lora import exported_weights
from reasonrl.models.safetensors_file import TensorSpec, write_safetensors

WeightLayout: TypeAlias = Mapping[str, TensorSpec]
"""Type and shape of every weight, by its name, in the order in which they come."""

SHARED_MEMORY: Final = Path("/dev/shm")
"""Files here are kept in memory."""


def weight_layout(inputs: EngineInputs) -> WeightLayout:
    """Return what the weights of an engine are like, without having them: those of a divided model are not gathered."""
    weights = exported_weights(inputs.model)
    return {name: TensorSpec.of(name, tensor) for name, tensor in weights if name in inputs.weight_names}


def in_layout(weights: Iterable[tuple[str, Tensor]], layout: WeightLayout) -> Iterator[tuple[str, Tensor]]:
    """Yield weights as they come, and refuse them at the end if they are not those that are expected.

    Raises:
        EngineError: a weight is missing, comes twice or with another shape, or belongs to another model.
    """
    names: set[str] = set()
    for name, tensor in weights:
        spec = layout.get(name)
        if spec is not None:
            if name in names or tuple(tensor.shape) != spec.shape:
                came = f"came with shape {list(tensor.shape)}, not {list(spec.shape)}, or twice"
                raise EngineError(f"weight {name} for the engine {came}. None was loaded.")
            yield name, tensor.detach().to(spec.dtype)
        del tensor  # else it would be there while the next one is made
        names.add(name)
    require_names(names, layout)


def require_names(given: Collection[str], expected: Collection[str]) -> None:
    """Refuse weights that are not all of a model's: where one is missing an engine would keep its old one, in silence.

    Raises:
        EngineError: a weight is missing, or belongs to another model.
    """
    missing, foreign = set(expected) - set(given), set(given) - set(expected)
    for problem, found in {"are missing": missing, "are not the model's": foreign}.items():
        if found:
            some = ", ".join(sorted(found)[:3]) + (", ..." if len(found) > 3 else "")
            raise EngineError(f"{len(found)} of the weights for the engine {problem}: {some}. None was loaded.")


class WeightFile:
    """A safetensors file with the current weights; it is kept, because a server that is restarted reads it again.

    Args:
        layout: what the weights are like.
        folder: where the file goes, and is removed by :meth:`close`. None keeps it in this machine's memory without a
            name, so that it goes with this process, however that ends; programs on the same machine can read it.
    """

    def __init__(self, layout: WeightLayout, folder: str | None) -> None:
        self.is_nameless = folder is None
        self.path = ""
        """Where the weights are; empty where there are none."""
        self._layout = layout
        self._folder = SHARED_MEMORY if folder is None else Path(folder).absolute()
        self._descriptor: int | None = None

    def write(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Write a new file. The old one is removed before: there may be room for one only.

        Raises:
            EngineError: it cannot be written, or the weights are not all of the model's.
        """
        self.close()
        self.path = str(self._folder / f"reasonrl-{uuid4().hex}.safetensors")
        try:
            write_safetensors(Path(self.path), list(self._layout.values()), in_layout(weights, self._layout))
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise EngineError(f"the weights for vLLM cannot be written: {error} (vllm.weights_folder)") from None
            raise
        if self.is_nameless:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            os.unlink(self.path)
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """Remove the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        elif self.path:
            Path(self.path).unlink(missing_ok=True)
        self.path, self._descriptor = "", None
