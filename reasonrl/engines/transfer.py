"""How weights get from the learner to a vLLM server: through a file, or from GPU to GPU."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from reasonrl.config import VLLMSettings
from reasonrl.engines.replica import RefusedError, Replica
from reasonrl.errors import EngineError

if TYPE_CHECKING:
    from reasonrl.engines.vllm_api import DeviceSender


SHARED_MEMORY = Path("/dev/shm")
"""Files here are kept in memory."""


class Transfer(Protocol):
    """Holds the current weights, because a server that is started again needs them too."""

    backend: str
    """What vLLM calls the way."""

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights in place of the earlier ones."""
        ...

    def send(self, replica: Replica) -> None:
        """Give a server the weights.

        Raises:
            LostError: it does not answer.
            RefusedError: it did not take them.
        """
        ...

    def close(self) -> None:
        """Hold nothing any more."""
        ...


def choose_transfer(settings: VLLMSettings) -> Transfer:
    """Return the way of a run; through a file works wherever learner and servers are, so ``auto`` is that."""
    if settings.weights in ("auto", "file"):
        return FileWeights(settings.weights_folder)
    return DeviceWeights(settings.weights)


class FileWeights:
    """Weights in a safetensors file.

    Args:
        folder: where the file goes, and is removed by :meth:`close`. None keeps it in this machine's memory without a
            name, so that it goes with this process, however that ends; servers on the same machine can read it.
    """

    backend = "file"

    def __init__(self, folder: str | None) -> None:
        """Hold nothing yet."""
        self._folder = SHARED_MEMORY if folder is None else Path(folder).absolute()
        self._is_nameless = folder is None
        self._descriptor: int | None = None
        self.path = ""

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Write a new file; the old one makes room before.

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

    def send(self, replica: Replica) -> None:
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


class DeviceWeights:
    """Weights from the learner's GPU to those of a server, by vLLM's own ways. Written after vLLM's source, not run.

    Args:
        backend: ``nccl`` for a server on other GPUs, ``ipc`` for one on the learner's.
    """

    def __init__(self, backend: str) -> None:
        """Connect nothing yet."""
        self.backend = backend
        self._weights: Mapping[str, Tensor] = {}
        self._senders: dict[tuple[Replica, int], DeviceSender] = {}

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Keep the learner's own tensors."""
        self._weights = weights

    def send(self, replica: Replica) -> None:
        """Send them over a connection of this server's own, which ends with it."""
        from reasonrl.engines.vllm_api import DeviceSender

        key = (replica, replica.returns)
        if key not in self._senders:
            workers = replica.get("/get_world_size")["world_size"]
            self._senders[key] = DeviceSender(self.backend, replica.url, self._weights, workers)
        try:
            self._senders[key].send(self._weights)
        except OSError as error:
            raise RefusedError(f"{replica.name} did not take weights over {self.backend}: {error}") from None

    def close(self) -> None:
        """Forget tensors and connections."""
        self._weights = {}
        self._senders.clear()
