"""How a run starts vLLM servers, and what a server that is given must be."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from reasonrl.config.settings import VLLMSettings
from reasonrl.distributed.environment import launch
from reasonrl.engines import EngineInputs
from reasonrl.engines.vllm.limits import require_tested
from reasonrl.engines.vllm.model_folder import model_shape
from reasonrl.engines.vllm.replica import RefusedError, Replica, ServerProcess
from reasonrl.errors import ConfigError, EngineError

MODULE = "vllm.entrypoints.openai.api_server"
"""The program; ``vllm serve`` needs the distribution to be called ``vllm``, which the one for CPUs is not."""


def needed_arguments(backend: str) -> dict[str, Any]:
    """Return the arguments without which a server cannot be trained with. Any: of every kind."""
    return {
        "logprobs_mode": "processed_logprobs",
        "worker_extension_cls": "reasonrl.engines.vllm.api.WorkerExtension",
        "weight_transfer_config": {"backend": backend},
    }


def own_replicas(
    folder: Path, inputs: EngineInputs, backend: str, *, beside_learner: bool | None = None, first: int = 0
) -> list[Replica]:
    """Return servers to be started on the model in a folder; their logs go beside it.

    Args:
        folder: of the model.
        inputs: what the servers are made from.
        backend: the way that weights take to them.
        beside_learner: whether a learner needs GPUs of its own; None: where the servers get their weights from it.
        first: servers of other models that have the GPUs before those of these.

    Raises:
        ConfigError: an option of vLLM's cannot be used.
        EngineError: vLLM is not installed here.
    """
    from reasonrl.engines.vllm import api

    settings = inputs.vllm
    fixed = {**needed_arguments(backend), "served_model_name": "reasonrl", "seed": 0}
    api.refuse_options(settings.options, fixed)
    serving = {"disable_uvicorn_access_log": True, "enable_prompt_tokens_details": True}
    arguments = {**api.arguments(folder, inputs), **fixed, **serving}
    spares = inputs.weights_from is None if beside_learner is None else beside_learner
    replicas = []
    for number in range(settings.replicas):
        environment = _environment(backend, inputs) | _gpus(first + number, settings, inputs, spares_learner=spares)
        process = ServerProcess(partial(_command, arguments), environment, folder.parent / f"server-{number + 1}.log")
        replicas.append(Replica(f"vLLM server {number + 1}", process, "", settings.start_timeout_s))
    return replicas


def _environment(backend: str, inputs: EngineInputs) -> dict[str, str]:
    """Return the variables of a server."""
    chosen = {"VLLM_SERVER_DEV_MODE": "1"}  # the routes that take weights
    if inputs.device.type == "cpu":
        chosen["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # saves the process of the worker, a third of the start
        chosen["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # the default keeps a core for the scheduler
    if inputs.adapter is not None:
        chosen["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"  # the route that takes adapters
    if backend == "ipc":
        chosen["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # handles are sent pickled
    return chosen


def _command(arguments: Mapping[str, Any], port: int) -> list[str]:
    # -P: the folder that the run is started in is not searched for modules.
    return [sys.executable, "-P", "-m", MODULE, "--host", "127.0.0.1", "--port", str(port), *flags(arguments)]


def flags(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield vLLM's arguments as its command line takes them."""
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        elif isinstance(value, Mapping):
            yield from (f"--{option}", json.dumps(value))
        elif isinstance(value, list | tuple):
            yield from (f"--{option}", *map(str, value))
        elif value is not None:
            yield from (f"--{option}", str(value))


def _gpus(number: int, settings: VLLMSettings, inputs: EngineInputs, *, spares_learner: bool) -> dict[str, str]:
    """Give a server the GPUs after those of the learner's ranks, in turn; the learner's own where there is no other.

    Without a learner they have all of them.
    """
    device = inputs.device
    if device.type != "cuda":
        return {}
    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    ranks = launch().local_num_ranks
    learners = range(ranks) if ranks > 1 else [device.index or 0] if spares_learner else []
    others = [name for index, name in enumerate(names) if index not in learners] or names
    wanted = settings.options.get("tensor_parallel_size", 1) * settings.options.get("pipeline_parallel_size", 1)
    if wanted > len(others):
        raise EngineError(f"a server needs {wanted} GPUs (vllm.options), but there are {len(others)} for servers.")
    taken = [others[(number * wanted + index) % len(others)] for index in range(wanted)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(taken)}


def given_replicas(settings: VLLMSettings) -> list[Replica]:
    """Return the servers that run already.

    Raises:
        ConfigError: an address is none.
    """
    for url in settings.urls:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"vllm.urls: {url!r} is no address; write it like http://10.0.0.2:8000.")
    addresses = [url.rstrip("/") for url in settings.urls]
    return [Replica(f"the vLLM server at {url}", None, url, settings.start_timeout_s) for url in addresses]


def require_usable(replica: Replica, model_config: PretrainedConfig, settings: VLLMSettings, backend: str) -> None:
    """Find out by which name a server serves its model, and whether one that is given can be trained with.

    Raises:
        EngineError: it cannot; the message says how to start it instead.
    """
    try:
        version, models = replica.get("/version")["version"], replica.get("/v1/models")["data"]
    except (RefusedError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{replica.name} is no vLLM server that samples: {error}") from None
    require_tested(version, whose=f"what {replica.name} runs")
    replica.model, replica.max_model_len = models[0]["id"], models[0]["max_model_len"]
    if not replica.is_given:
        return
    if lacks := _shortcoming(replica, settings, backend) or _difference(replica, model_config):
        needed = shlex.join(flags(needed_arguments(backend)))
        raise EngineError(
            f"{replica.name} {lacks}. Start it so: VLLM_SERVER_DEV_MODE=1 python -m {MODULE} --model MODEL {needed}"
        )


def _shortcoming(replica: Replica, settings: VLLMSettings, backend: str) -> str:
    """Return what a server was started without; nothing where it can be trained with."""
    try:
        config = replica.get("/server_info?config_format=json")["vllm_config"]
    except RefusedError:
        return "takes no weights: it is not in development mode"
    mode, transfer = config["model_config"]["logprobs_mode"], config["weight_transfer_config"] or {}
    if mode != "processed_logprobs":
        return f"gives {mode}, not the log-probabilities of what it samples from"
    if transfer.get("backend") != backend:
        return f"takes weights by {transfer.get('backend') or 'no way'}, not by {backend} (vllm.weights)"
    if (settings.max_model_len or 0) > replica.max_model_len:
        return f"has room for {replica.max_model_len} tokens, less than vllm.max_model_len, {settings.max_model_len}"
    return ""


def _difference(replica: Replica, model_config: PretrainedConfig) -> str:
    """Return how a server's model differs from the learner's; nothing where its weights will fit."""
    try:
        (theirs, *_) = replica.post("/collective_rpc", {"method": "reasonrl_model_shape"})["results"]
    except RefusedError:
        return "has no worker extension of reasonrl's"
    ours = model_shape(model_config)
    differing = [f"{name} {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    return f"serves another model than the learner's: {', '.join(differing)}" if differing else ""
