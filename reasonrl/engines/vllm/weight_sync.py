"""Weight sync with vLLM servers: the learner's weights are streamed out once an update, and each server loads them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Full, Queue
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from torch import Tensor

from reasonrl.engines import EngineInputs
from reasonrl.engines.vllm.replica import RefusedError, Replica
from reasonrl.engines.vllm.weight_file import WeightFile, WeightLayout, in_layout, weight_layout
from reasonrl.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from reasonrl.engines.vllm.api import DeviceSender

POLL_S: Final = 0.2
"""Seconds between looks at a server that takes weights."""

Weights: TypeAlias = Iterable[tuple[str, Tensor]]
"""By name, one at a time: to make the next may take all ranks of a run, so they are asked for in one thread."""


class WeightSync(Protocol):
    """One way for weights to reach servers."""

    backend: str
    """What vLLM calls it."""

    def send(self, weights: Weights, load_everywhere: Callable[[], None]) -> None:
        """Take new weights in place of the earlier ones, and have servers load them.

        Args:
            weights: all of the model's.
            load_everywhere: calls :meth:`push` for each server that answers.

        Raises:
            EngineError: they are not all of the model's, cannot be written, or were not loaded.
        """
        ...

    def push(self, replica: Replica) -> None:
        """Have a server load the weights that were sent last; called from any thread.

        Raises:
            LostError: it does not answer.
            EngineError: it did not load them, or they are gone.
        """
        ...

    def close(self) -> None:
        """Remove what was written."""
        ...


def choose_weight_sync(inputs: EngineInputs) -> WeightSync:
    """Return the way that a run asks for; a file works wherever learner and servers are, so ``auto`` is that.

    Raises:
        ConfigError: it cannot reach so many servers.
    """
    settings = inputs.vllm
    if inputs.weights_from is not None:
        return NoWeightSync()
    if settings.weights in ("auto", "file"):
        return FileWeightSync(weight_layout(inputs), settings.weights_folder)
    if (num_servers := len(settings.urls) or settings.replicas) > 1:
        raise ConfigError(f"vllm.weights is {settings.weights}, which reaches one server, not {num_servers}: use file.")
    return DeviceWeightSync(settings.weights, weight_layout(inputs))


class FileWeightSync:
    """Weights in a safetensors file.

    Args:
        layout: what they are like.
        folder: where the file goes; None is this machine's memory.
    """

    backend = "file"

    def __init__(self, layout: WeightLayout, folder: str | None) -> None:
        self._file = WeightFile(layout, folder)

    def send(self, weights: Weights, load_everywhere: Callable[[], None]) -> None:
        """Write the file, while servers sample, and have all read it."""
        self._file.write(weights)
        load_everywhere()

    def push(self, replica: Replica) -> None:
        """Have a server read the file."""
        if not self._file.path:
            raise EngineError(f"{replica.name} has no weights, and none were given to the engine.")
        replica.post("/start_weight_update")
        try:
            replica.post("/update_weights", {"update_info": {"path": self._file.path}})
        except RefusedError as error:
            raise RefusedError(f"{error}.{self._hint() if replica.is_given else ''}") from None
        replica.post("/finish_weight_update")

    def _hint(self) -> str:
        if self._file.is_nameless:
            return " If it is on another machine, set vllm.weights_folder to a folder that both see."
        return " It must see vllm.weights_folder under the same path as this machine."

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class NoWeightSync:
    """Of servers that read the weights by themselves when they start."""

    backend = "file"

    def send(self, weights: Weights, load_everywhere: Callable[[], None]) -> None:
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
    """Experimental: weights from the learner's GPU to those of one server, by vLLM's own ways. No test runs it.

    They are not kept, so a server that is lost ends the run.

    Args:
        backend: ``nccl`` for a server on other GPUs, ``ipc`` for one on the learner's.
        layout: what the weights are like.
    """

    def __init__(self, backend: str, layout: WeightLayout) -> None:
        self.backend = backend
        self._layout = layout
        self._given: Iterator[tuple[str, Tensor]] | None = None
        self._sender: DeviceSender | None = None

    def send(self, weights: Weights, load_everywhere: Callable[[], None]) -> None:
        """Hand each weight on as soon as it is there."""
        handed = _Handover()
        self._given = iter(handed)
        with ThreadPoolExecutor(1) as threads:
            loading = threads.submit(load_everywhere)
            try:
                for weight in in_layout(weights, self._layout):
                    handed.put(weight, while_=lambda: not loading.done())
                handed.put(None, while_=lambda: not loading.done())
            except BaseException as error:
                handed.put(error, while_=lambda: not loading.done())
                raise
            finally:
                self._given = None
            loading.result()

    def push(self, replica: Replica) -> None:
        """Send the weights over a connection that ends with the server."""
        from reasonrl.engines.vllm.api import DeviceSender

        if self._given is None:
            raise EngineError(f"{replica.name} was lost, and weights that go over {self.backend} are not kept.")
        if self._sender is None:
            workers = replica.get("/get_world_size")["world_size"]
            self._sender = DeviceSender(self.backend, replica.url, self._layout, workers)
        try:
            self._sender.send(self._given)
        except OSError as error:
            raise RefusedError(f"{replica.name} did not load weights over {self.backend}: {error}") from None

    def close(self) -> None:
        """Drop the connection."""
        self._sender = None


class _Handover:
    """Weights from one thread to another that iterates over them; one waits in between."""

    def __init__(self) -> None:
        self._between: Queue[tuple[str, Tensor] | BaseException | None] = Queue(1)

    def put(self, given: tuple[str, Tensor] | BaseException | None, *, while_: Callable[[], bool]) -> None:
        """Hand on a weight, an error to be raised there, or None for the end, as long as somebody takes it."""
        while while_():
            with suppress(Full):
                return self._between.put(given, timeout=POLL_S)
        return None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        while (given := self._between.get()) is not None:
            if isinstance(given, BaseException):
                raise given
            yield given
