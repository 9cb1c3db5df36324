"""Pushes a LoRA adapter to vLLM. Requires that vLLM loaded the same base model as the learner."""

from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from reasonrl.engines import EngineInputs
from reasonrl.engines.vllm.replica import RefusedError, Replica
from reasonrl.engines.vllm.weight_file import WeightFile, WeightLayout, weight_layout
from reasonrl.engines.vllm.weight_sync import Weights
from reasonrl.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from peft import LoraConfig


class AdapterFolder:
    """An adapter as peft writes it, for vLLM to read.

    Args:
        config: describes the adapter.
        layout: what its weights are like.
        shared: a folder that learner and servers see; None keeps the weights in this machine's memory.
    """

    def __init__(self, config: "LoraConfig", layout: WeightLayout, shared: str | None = None) -> None:
        self._config = config
        self._shared = shared and Path(shared).absolute()
        self._weights = WeightFile(layout, shared)
        self._folder: TemporaryDirectory[str] | None = None

    def export(self, weights: Weights) -> Path:
        """Write new weights in place of the old ones; return the folder.

        Raises:
            EngineError: they cannot be written, or are not all of the adapter's.
        """
        self._weights.write(weights)
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


class AdapterWeightSync:
    """Pushes an adapter to servers; its weights go through a file wherever the learner is, because they are few.

    Args:
        inputs: with an adapter, which may be written already.

    Raises:
        ConfigError: its weights are to go another way.
    """

    backend = "file"

    def __init__(self, inputs: EngineInputs) -> None:
        assert inputs.adapter is not None, "there is one"
        settings = inputs.vllm
        if settings.weights not in ("auto", "file"):
            raise ConfigError(f"vllm.weights is {settings.weights}, but an adapter goes through a file: use auto.")
        self._folder = AdapterFolder(inputs.adapter, weight_layout(inputs), settings.weights_folder)
        self._path = inputs.weights_from or ""
        self._prefix = f"reasonrl-{token_hex(4)}-adapter"
        self._version = 0

    def send(self, weights: Weights, load_everywhere: Callable[[], None]) -> None:
        """Write the adapter. Each has a name of its own: vLLM finds cached prompts by the name of their adapter."""
        self._path = str(self._folder.export(weights))
        self._version += 1
        load_everywhere()

    def push(self, replica: Replica) -> None:
        """Have a server load the adapter and sample with it, and unload earlier ones of this run.

        Raises:
            EngineError: the server cannot use it.
        """
        name = f"{self._prefix}-{self._version}"
        loaded = [model["id"] for model in replica.get("/v1/models")["data"]]
        try:
            if name not in loaded:
                replica.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": self._path})
        except RefusedError as error:
            raise EngineError(f"{error} A server that takes adapters is started as docs/lora.md says.") from None
        replica.model = name
        for earlier in loaded:
            if earlier.startswith(self._prefix) and earlier != name:
                replica.post("/v1/unload_lora_adapter", {"lora_name": earlier})

    def close(self) -> None:
        """Remove the files."""
        self._folder.close()
