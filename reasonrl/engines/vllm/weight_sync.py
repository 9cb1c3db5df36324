"""Weight sync with vLLM servers: the learner's weights are exported once, and pushed to each server."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines.vllm.replica import RefusedError, Replica
from reasonrl.errors import EngineError

if TYPE_CHECKING:
    from reasonrl.engines.vllm.api import DeviceSender


SHARED_MEMORY = Path("/dev/shm")
"""Files here are kept in memory."""


class WeightSync(Protocol):
    """Keeps the exported weights, because a server that is restarted needs them too."""

    backend: str
    """What vLLM calls the way that weights take."""

    def export(self, weights: Mapping[str, Tensor]) -> None:
        """Make weights ready to be pushed, in place of the earlier ones.

        Raises:
            EngineError: they cannot be written.
        """
        ...

    def push(self, replica: Replica) -> None:
        """Have a server load what was exported last.

        Raises:
            LostError: it does not answer.
            RefusedError: it did not load them.
        """
        ...

    def close(self) -> None:
        """Remove what was exported."""
        ...


def choose_weight_sync(settings: VLLMSettings) -> WeightSync:
    """Return the way that a run asks for; a file works wherever learner and servers are, so ``auto`` is that."""
    if settings.weights in ("auto", "file"):
        return FileWeightSync(settings.weights_folder)
    return DeviceWeightSync(settings.weights)


def require_all(weights: Iterable[tuple[str, Tensor]], names: frozenset[str]) -> dict[str, Tensor]:
    """Return the weights by name; an engine would keep its old ones, in silence, where one is missing.

    Raises:
        EngineError: a weight is missing, or belongs to another model.
    """
    given = {name: tensor.detach() for name, tensor in weights}
    for problem, found in {"are missing": names - given.keys(), "are not the model's": given.keys() - names}.items():
        if found:
            some = ", ".join(sorted(found)[:3]) + (", ..." if len(found) > 3 else "")
            raise EngineError(f"{len(found)} of the weights for the engine {problem}: {some}. None was loaded.")
    return given


class FileWeightSync:
    """Weights in a safetensors file.

    Args:
        folder: where the file goes, and is removed by :meth:`close`. None keeps it in this machine's memory without a
            name, so that it goes with this process, however that ends; servers on the same machine can read it.
    """

    backend = "file"

    def __init__(self, folder: str | None) -> None:
        self._folder = SHARED_MEMORY if folder is None else Path(folder).absolute()
        self._is_nameless = folder is None
        self._descriptor: int | None = None
        self.path = ""

    def export(self, weights: Mapping[str, Tensor]) -> None:
        """Write a new file. The old one is removed before: there may be room for one only.

        Raises:
            EngineError: it cannot be written.
        """
        self.close()
        self.path = str(self._folder / f"reasonrl-{uuid4().hex}.safetensors")
        try:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, self.path)
        except (OSError, SafetensorError) as error:
            self.close()
            raise EngineError(f"the weights for vLLM cannot be written: {error} (vllm.weights_folder)") from None
        if self._is_nameless:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            os.unlink(self.path)
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def push(self, replica: Replica) -> None:
        """Have a server read the file."""
        replica.post("/start_weight_update")
        try:
            replica.post("/update_weights", {"update_info": {"path": self.path}})
        except RefusedError as error:
            hint = " If it is on another machine, set vllm.weights_folder." * (replica.is_given and self._is_nameless)
            raise RefusedError(f"{error}.{hint}") from None
        replica.post("/finish_weight_update")

    def close(self) -> None:
        """Remove the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        elif self.path:
            Path(self.path).unlink(missing_ok=True)
        self.path, self._descriptor = "", None


class NoWeightSync:
    """Of servers that read the weights by themselves when they start."""

    backend = "file"

    def export(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse others.

        Raises:
            EngineError: always.
        """
        raise EngineError("the servers have the weights that they were started with, and take no others.")

    def push(self, replica: Replica) -> None:
        """Do nothing: the server has them."""

    def close(self) -> None:
        """Remove nothing."""


class DeviceWeightSync:
    """Experimental: weights from the learner's GPU to those of a server, by vLLM's own ways. No test runs it.

    Args:
        backend: ``nccl`` for a server on other GPUs, ``ipc`` for one on the learner's.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._weights: Mapping[str, Tensor] = {}
        self._senders: dict[tuple[Replica, int], DeviceSender] = {}

    def export(self, weights: Mapping[str, Tensor]) -> None:
        """Keep the learner's own tensors."""
        self._weights = weights

    def push(self, replica: Replica) -> None:
        """Send them over a connection of this server's own, which ends with it."""
        from reasonrl.engines.vllm.api import DeviceSender

        key = (replica, replica.num_restarts)
        if key not in self._senders:
            workers = replica.get("/get_world_size")["world_size"]
            self._senders[key] = DeviceSender(self.backend, replica.url, self._weights, workers)
        try:
            self._senders[key].send(self._weights)
        except OSError as error:
            raise RefusedError(f"{replica.name} did not load weights over {self.backend}: {error}") from None

    def close(self) -> None:
        """Drop tensors and connections."""
        self._weights = {}
        self._senders.clear()
