"""The only module that touches vLLM's Python interface: to start it, sample with it, and load weights into it.

vLLM changes between versions, so what is used of it is kept small and in one place. Two faults of its CPU back end
are worked around here: see :func:`refresh_tied_heads` and :func:`arguments`.
"""

import gc
import logging
import os
import random
import socket
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor, nn
from torch import distributed as dist

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines import EngineInputs, Request
from reasonrl.engines.tokens import SampledTokens
from reasonrl.engines.vllm.limits import INSTALL, require_tested
from reasonrl.engines.vllm.model_folder import model_shape
from reasonrl.engines.vllm.weight_file import WeightLayout
from reasonrl.errors import ConfigError, EngineError, did_you_mean

if TYPE_CHECKING:
    from peft import LoraConfig

# vLLM reads these when it is imported.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])  # what it says before it has read them

try:
    import vllm
    from vllm.config import set_current_vllm_config
    from vllm.config.lora import MaxLoRARanks
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
    from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
    from vllm.lora.request import LoRARequest
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
    from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO
    from vllm.platforms import current_platform
except ModuleNotFoundError as missing:
    if missing.name == "vllm":
        raise EngineError(f"vLLM is not installed here. {INSTALL}") from None
    raise EngineError(f"vLLM is installed, but lacks {missing.name}. {INSTALL}") from None

OUR_NAMES = {"kv_cache_memory_bytes": "cpu_kv_cache_gib", "enable_sleep_mode": "sleep"}
"""Options of vLLM's that have settings of another name."""

NEED_PROCESSES = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "distributed_executor_backend",
)
"""Options with which vLLM starts processes."""

SHAPES_SAMPLING = ("generation_config", "override_generation_config", "logits_processors", "logprobs_mode")
"""Options that can change what completions are drawn from, or which log-probabilities vLLM returns."""


require_tested(vllm.__version__)


def arguments(folder: Path, inputs: EngineInputs) -> dict[str, Any]:
    """Return vLLM's arguments for the settings of a run. Any: of every kind.

    Raises:
        ConfigError: an option is unknown, or is set here.
    """
    settings, on_cpu = inputs.vllm, inputs.device.type == "cpu"
    fixed: dict[str, Any] = {
        "model": inputs.weights_from or str(folder),
        "load_format": "auto" if inputs.weights_from else "dummy",
        "use_tqdm_on_load": False,
        "dtype": str(inputs.dtype).removeprefix("torch.") if settings.dtype == "auto" else settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "enforce_eager": on_cpu if settings.enforce_eager is None else settings.enforce_eager,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "seed": 0,
    }
    if on_cpu:
        # A prompt is computed whole: after each piece of one vLLM rewinds the request's own generator, which fails on
        # a CPU.
        fixed |= {"kv_cache_memory_bytes": int(settings.cpu_kv_cache_gib * 2**30), "enable_chunked_prefill": False}
    else:
        fixed |= {"gpu_memory_utilization": settings.gpu_memory_utilization}
    if inputs.adapter is not None:
        tokenizer = inputs.weights_from or str(folder)
        fixed |= {"tokenizer": tokenizer, **adapter_arguments(inputs.adapter), "max_loras": 1, "max_cpu_loras": 1}
        _require_kernels(str(fixed["dtype"]), inputs.device)
    usual = {"enable_prefix_caching": True, **({"block_size": 32} if on_cpu else {})}
    refuse_options(settings.options, fixed)
    return {**usual, **settings.options, **fixed}


def adapter_arguments(adapter: "LoraConfig") -> dict[str, Any]:
    """Return the arguments with which vLLM loads the base model and takes an adapter. Any: of every kind.

    Raises:
        ConfigError: vLLM takes no adapter of such a rank.
    """
    max_ranks, rank = sorted(get_args(MaxLoRARanks)), adapter.r
    if rank > max_ranks[-1]:
        raise ConfigError(f"model.lora.rank is {rank}, but vLLM {vllm.__version__} takes at most {max_ranks[-1]}.")
    return {
        "model": adapter.base_model_name_or_path,
        "load_format": "auto",
        "enable_lora": True,
        "max_lora_rank": next(max_rank for max_rank in max_ranks if max_rank >= rank),
    }


def _require_kernels(dtype: str, device: torch.device) -> None:
    """Refuse a type for which vLLM's kernels for adapters are not written.

    Raises:
        ConfigError: it is float32 on a GPU.
    """
    if device.type == "cuda" and dtype == "float32":
        raise ConfigError("vLLM multiplies adapters in 16 bits only on a GPU: set vllm.dtype to bfloat16.")


def refuse_options(options: Mapping[str, object], fixed: Collection[str]) -> None:
    """Refuse options that vLLM does not know, or that would undo what the learner relies on.

    Raises:
        ConfigError: there is one.
    """
    known = [field.name for field in fields(vllm.EngineArgs)]
    for name in options:
        if (setting := OUR_NAMES.get(name, name)) in VLLMSettings.model_fields:
            raise ConfigError(f"vllm.options: {name!r} has a setting of its own: use vllm.{setting}.")
        if name in fixed or name in SHAPES_SAMPLING:
            raise ConfigError(f"vllm.options: {name!r} is set by reasonrl, which would learn wrongly otherwise.")
        if name not in known:
            raise ConfigError(f"vllm.options: vLLM {vllm.__version__} has no {name!r}.{did_you_mean(name, known)}")


class InProcessLLM:
    """vLLM in this process, one at a time.

    Args:
        arguments: of vLLM.
        device: where the learner is.

    Raises:
        ConfigError: it would not be in this process alone.
        EngineError: it cannot be started.
    """

    def __init__(self, arguments: Mapping[str, Any], device: torch.device) -> None:  # Any: of every kind
        self._keeps_base = bool(arguments.get("enable_lora"))
        self._adapter: LoRARequest | None = None
        self._num_adapters = 0
        _require_one_process(arguments)
        _require_device(device)
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            with _process_state_kept(device):
                self._llm = vllm.LLM(**arguments)
        except (ValueError, RuntimeError) as error:
            cleanup_dist_env_and_memory()
            raise EngineError(f"vLLM did not start: {_reason(error)}") from error
        self.max_model_len: int = self._llm.model_config.max_model_len

    def add(self, requests: Sequence[Request], end_ids: Collection[int]) -> list[str]:
        """Have requests sampled by the next steps, beside those that are running; return a name for each."""
        if not requests:
            return []
        internal_names = self._llm.enqueue(
            [{"prompt_token_ids": list(request.prompt_ids)} for request in requests],
            [sampling_params(request, end_ids) for request in requests],
            lora_request=self._adapter,
            use_tqdm=False,
        )
        return [name.partition("-")[0] for name in internal_names]  # as outputs call them

    def step(self) -> list[tuple[str, SampledTokens]]:
        """Compute a token of every running request, or prompts; return those that are finished, by name."""
        return [(output.request_id, _sampled(output)) for output in self._llm.llm_engine.step() if output.finished]

    def remove(self, names: Iterable[str]) -> None:
        """Do not sample some of the running requests any more."""
        self._llm.llm_engine.abort_request(list(names))

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace all weights, by reference, and drop what was computed with the old ones.

        Raises:
            EngineError: vLLM did not load all of them.
        """
        (left,) = self._llm.collective_rpc(load_weights, args=(weights.items(),))
        if left:
            raise EngineError(f"vLLM kept old weights for {len(left)} of its parameters: {', '.join(left[:3])}.")
        self._drop_cached_prompts()

    def load_adapter(self, folder: Path | str) -> None:
        """Replace the adapter by one in a folder or on the hub, and drop what was computed with the old one.

        Each has a name of its own, because vLLM finds cached prompts by the name of their adapter.

        Raises:
            EngineError: vLLM cannot use it.
        """
        self._num_adapters += 1
        request = LoRARequest(f"reasonrl-{self._num_adapters}", self._num_adapters, str(folder))
        try:
            self._llm.llm_engine.add_lora(request)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"vLLM cannot use the adapter (model.lora): {_reason(error)}") from error
        self._adapter = request
        self._drop_cached_prompts()

    def _drop_cached_prompts(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM still holds prompts that were computed with old weights.")

    def sleep(self) -> None:
        """Drop the memory for keys and values, and weights unless they are only here; CUDA only."""
        self._llm.sleep(level=1 if self._keeps_base else 2)

    def wake(self, what: str) -> None:
        """Take memory again for ``weights`` or ``kv_cache``."""
        self._llm.wake_up(tags=[what])

    def close(self) -> None:
        """Free everything, so that another one can be started in this process."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        LAYERWISE_INFO.clear()  # its values keep its weak keys alive, the layers: their memory would never be freed
        gc.collect()


def _require_one_process(arguments: Mapping[str, object]) -> None:
    """Refuse options that would put vLLM's workers where weights cannot be loaded by reference."""
    for name in NEED_PROCESSES:
        if name in arguments:
            raise ConfigError(f"vllm.options: {name!r} needs processes of vLLM's own: use rollout.engine=vllm_server.")


def _require_device(device: torch.device) -> None:
    """Refuse devices and processes in which vLLM cannot run beside the learner."""
    if current_platform.device_type != device.type:
        raise EngineError(
            f"this vLLM is built for {current_platform.device_type}, but the learner is on {device.type}: set "
            f"model.device to {current_platform.device_type}, or install the other vLLM."
        )
    if device.index:
        raise EngineError(f"vLLM in this process uses the first GPU: start with CUDA_VISIBLE_DEVICES={device.index}.")
    if dist.is_initialized():
        raise EngineError(
            "this process learns together with others, or has a vLLM engine already, and vLLM needs it alone: use "
            "rollout.engine=vllm_server."
        )


@contextmanager
def _process_state_kept(device: torch.device) -> Iterator[None]:
    """Undo what vLLM does to its process at the start, and do not show its warnings about its own code.

    It seeds all random generators and disables torch.set_num_threads.
    """
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng([] if device.type == "cpu" else [device]):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads = set_num_threads  # vLLM's own stand-in does nothing
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(arrays)


def _reason(error: Exception) -> str:
    message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).strip()
    line = (message or type(error).__name__).splitlines()[0]
    if "memory" in line or "KV cache" in line:
        line += " Here: vllm.cpu_kv_cache_gib or vllm.gpu_memory_utilization, and vllm.max_model_len."
    return line


def sampling_params(request: Request, end_ids: Collection[int]) -> Any:
    """Return vLLM's parameters of one completion. Any: vLLM's own class.

    Only ``end_ids`` and stop strings end a completion, whatever vLLM finds in the model's files. There is no top_k or
    min_p.
    """
    params = request.params
    return vllm.SamplingParams(
        temperature=params.temperature,
        top_p=params.top_p,
        max_tokens=params.max_new_tokens,
        seed=request.seed,
        logprobs=0,
        ignore_eos=True,
        stop_token_ids=sorted(end_ids),
        stop=list(params.stop),
        include_stop_str_in_output=True,
        skip_special_tokens=False,
        detokenize=bool(params.stop),
    )


def _sampled(output: Any) -> SampledTokens:
    """Read a finished request. Any: vLLM's own class."""
    (only,) = output.outputs
    return SampledTokens(
        token_ids=tuple(only.token_ids),
        logprobs=tuple(at[token].logprob for token, at in zip(only.token_ids, only.logprobs, strict=True)),
        finish_reason="stop" if only.finish_reason == "stop" else "length",
        num_cached_tokens=output.num_cached_tokens or 0,
    )


def load_weights(worker: Any, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Replace the weights of a vLLM worker; return its parameters that got none. Any: vLLM's own class."""
    with set_current_vllm_config(worker.vllm_config):
        return replace_weights(worker.get_model(), worker.model_config, weights)


@torch.no_grad()
def replace_weights(model: nn.Module, model_config: Any, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Replace the weights of vLLM's model; return its parameters that got none. Any: vLLM's own class."""
    wanted = {name for name, _ in model.named_parameters()}
    initialize_layerwise_reload(model)
    loaded: set[str] = model.load_weights(weights)  # type: ignore[operator]  # every model of vLLM's has it
    finalize_layerwise_reload(model, model_config)
    refresh_tied_heads(model)
    return sorted(wanted - loaded)


def refresh_tied_heads(model: nn.Module) -> None:
    """Pack the output heads that share the embedding again.

    On a CPU every linear layer multiplies with a packed copy of its weight. A reload packs the layers that received
    weights anew, and a tied head receives none: its copy would stay the old one, in silence.
    """
    for module in model.modules():
        if type(module).__name__ == "ParallelLMHead" and hasattr(module, "cpu_linear"):
            head: Any = module.quant_method
            head.process_weights_after_loading(module)


class WorkerExtension:
    """Naming this class to vLLM makes the workers of a server import this module, and so know ``file``."""

    model_config: Any
    """The worker's own. Any: vLLM's class."""

    def reasonrl_model_shape(self) -> dict[str, Any]:
        """Say what the model is like, so that no learner of another one attaches. Any: numbers and words."""
        return model_shape(self.model_config.hf_config)


@dataclass
class FileUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]  # vLLM is not seen by the type checker
    """Where the weights are."""

    path: str
    """A safetensors file that holds all of them."""


class FileTransfer(WeightTransferEngine):  # type: ignore[misc]  # vLLM is not seen by the type checker
    """Weights through a file that learner and server see: vLLM's own ways all need CUDA."""

    init_info_cls = WeightTransferInitInfo
    update_info_cls = FileUpdate

    def init_transfer_engine(self, init_info: WeightTransferInitInfo) -> None:
        """Nothing to connect."""

    def start_weight_update(self) -> None:
        """Nothing to prepare: one file holds a whole update."""

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Replace all weights.

        Raises:
            ValueError: the file lacks some.
        """
        with safe_open(update_info.path, "pt") as file:
            weights = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118  # it is no mapping
            left = replace_weights(self.model, self.model_config, weights)
        if left:
            raise ValueError(f"{update_info.path} has nothing for {', '.join(left[:3])}")

    def finish_weight_update(self) -> None:
        """Nothing is left to do."""

    def shutdown(self) -> None:
        """Nothing to disconnect."""


WeightTransferEngineFactory.register_engine("file", FileTransfer)


class DeviceSender:
    """Experimental: sends weights from GPU to GPU to one server, as vLLM itself does it. No test runs it.

    Args:
        backend: ``nccl`` for a server on other GPUs, ``ipc`` for one on the learner's.
        url: the server's address.
        layout: type and shape of every weight by its name, in order.
        num_workers: GPUs of the server.
    """

    def __init__(self, backend: str, url: str, layout: WeightLayout, num_workers: int) -> None:
        from vllm.distributed.weight_transfer import HTTPVLLMWeightSyncClient, WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        self._source = _streamed_source(layout)
        info = IPCTrainerInitInfo(rank=0)
        if backend == "nccl":
            address, port = _meeting_point(url)
            info = NCCLTrainerInitInfo(rank=0, master_address=address, master_port=port, world_size=1 + num_workers)
        client = HTTPVLLMWeightSyncClient(url)
        self._sender = WeightTransferTrainerFactory.trainer_init(info, client=client, source=self._source)

    def send(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the server's weights by these, which come in the order of the layout and are asked for once."""
        self._source.weights = weights
        self._sender.send_weights()


def _streamed_source(layout: WeightLayout) -> Any:
    """Return weights as vLLM's senders read them. Any: vLLM's own class."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class StreamedSource(WeightSource):  # type: ignore[misc]  # vLLM is not seen by the type checker
        """Weights that come one after the other."""

        weights: Iterable[tuple[str, Tensor]] = ()

        def metadata(self) -> list[Any]:
            """Say what will be sent. Any: vLLM's own class."""
            return [ParamMeta(spec.name, spec.dtype, spec.shape) for spec in layout.values()]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            yield from self.weights

    return StreamedSource()


def _meeting_point(url: str) -> tuple[str, int]:
    """Return this machine's address as a server sees it, and a free port."""
    parts = urlsplit(url)
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "", parts.port or 80))
        address = str(probe.getsockname()[0])
    with socket.socket() as probe:
        probe.bind((address, 0))
        return address, int(probe.getsockname()[1])
