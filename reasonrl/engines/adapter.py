"""A low-rank adapter on its way to vLLM, which has the model below it from where the learner has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import Tensor

from reasonrl.config import VLLMSettings
from reasonrl.engines.replica import RefusedError, Replica
from reasonrl.engines.transfer import FileWeights
from reasonrl.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What is learnt in place of a model's own weights."""

    config: "LoraConfig"
    """Its shape, and where the model below is: a folder, or a name on the hub."""
    names: frozenset[str]
    """Names of its weights."""


class AdapterFolder:
    """An adapter as peft writes it, for vLLM to read.

    Args:
        adapter: what is written.
        shared: a folder that learner and servers see; None keeps the weights in this machine's memory.
    """

    def __init__(self, adapter: Adapter, shared: str | None = None) -> None:
        """Write nothing yet."""
        self._config = adapter.config
        self._shared = shared and Path(shared).absolute()
        self._weights = FileWeights(shared)
        self._folder: TemporaryDirectory[str] | None = None

    def hold(self, weights: Mapping[str, Tensor]) -> Path:
        """Put new weights in place of the old ones; return the folder.

        Raises:
            EngineError: they cannot be written.
        """
        self._weights.hold(weights)
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="reasonrl-adapter-", dir=self._shared)
            self._config.save_pretrained(self._folder.name)
        file = Path(self._folder.name) / "adapter_model.safetensors"
        file.unlink(missing_ok=True)
        file.symlink_to(self._weights.path)
        return file.parent

    def close(self) -> None:
        """Remove everything."""
        self._weights.close()
        if self._folder is not None:
            self._folder.cleanup()


class AdapterWeights:
    """Gives servers an adapter; its weights go through a file wherever the learner is, because they are few.

    Args:
        adapter: what is given.
        settings: of vLLM.

    Raises:
        ConfigError: its weights are to go another way.
    """

    backend = "file"

    def __init__(self, adapter: Adapter, settings: VLLMSettings) -> None:
        """Hold nothing yet."""
        if settings.weights not in ("auto", "file"):
            raise ConfigError(f"vllm.weights is {settings.weights}, but an adapter goes through a file: use auto.")
        self._files = AdapterFolder(adapter, settings.weights_folder)
        self._path = ""
        self._us = f"reasonrl-{token_hex(4)}-adapter"
        self._version = 0

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Write the adapter. Each has a name of its own: vLLM finds kept prompts by the name of their adapter."""
        self._path = str(self._files.hold(weights))
        self._version += 1

    def send(self, replica: Replica) -> None:
        """Have a server read the adapter and sample with it, and forget earlier ones of ours.

        Raises:
            EngineError: the server cannot use it.
        """
        name = f"{self._us}-{self._version}"
        known = [model["id"] for model in replica.get("/v1/models")["data"]]
        try:
            if name not in known:
                replica.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": self._path})
        except RefusedError as error:
            raise EngineError(f"{error} A server that takes adapters is started as docs/lora.md says.") from None
        replica.model = name
        for earlier in known:
            if earlier.startswith(self._us) and earlier != name:
                replica.post("/v1/unload_lora_adapter", {"lora_name": earlier})

    def close(self) -> None:
        """Remove the files."""
        self._files.close()
