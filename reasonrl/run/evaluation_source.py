"""Open what ``reasonrl eval`` samples with: a model in an engine of this process or of servers, or an endpoint."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from reasonrl.config.base import PluginRef
from reasonrl.config.settings import VLLMSettings
from reasonrl.errors import ConfigError, and_known
from reasonrl.evaluation.sources import EngineSource, SampleSource
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.checkpoints import checkpoint_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from reasonrl.engines import Engine
    from reasonrl.models.compute import Compute

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""Type of matrix products; ``auto`` is what training takes on this hardware."""

LOADS_WEIGHTS: Final = ("vllm", "vllm_server")
"""Engines that read a model's weights by themselves, so that this process needs no copy."""

MAX_ROWS: Final = 64
"""Completions that the embedded engine samples side by side, where neither the caller nor measured rates say it."""

EVALUATION_DEFAULTS: Final = {"gpu_memory_utilization": 0.9, "cpu_kv_cache_gib": 4.0, "sleep": False}
"""Settings of vLLM where no learner needs the rest of the memory."""


def is_url(engine: str) -> bool:
    """Say whether an engine is the address of an endpoint."""
    return "://" in engine


def require_engine(engine: str, plugins: Plugins) -> None:
    """Refuse an engine that is not installed and is no address.

    Raises:
        ConfigError: it is neither.
    """
    if is_url(engine):
        from reasonrl.engines.endpoint.address import api_url

        api_url(engine)
    elif engine not in (known := plugins.entries("engines")) and ":" not in engine:
        raise ConfigError(f"--engine: no {engine!r}.{and_known(engine, known)} Or an address: http://HOST:PORT/v1.")


def open_source(
    place: str,
    engine: str,
    suites: Sequence[Suite],
    *,
    plugins: Plugins,
    device: str = "auto",
    dtype: DtypeName = "auto",
    max_concurrent: int | None = None,
    vllm: VLLMSettings | None = None,
    request_timeout_s: float = 600.0,
) -> SampleSource:
    """Open what the suites are sampled with; to be closed.

    Args:
        place: the model: a name, a folder or a checkpoint; for an endpoint also a name that it serves.
        engine: ``local``, ``vllm``, ``vllm_server``, an installed engine, or the address of an endpoint.
        suites: what will be measured; an engine gets room for their longest prompts and completions.
        plugins: where engines and templates come from.
        device: where the model runs; an endpoint's is its own.
        dtype: type of matrix products.
        max_concurrent: most completions that are sampled side by side; None takes the engine's own limit.
        vllm: settings of vLLM.
        request_timeout_s: longest time of one request to an endpoint.

    Raises:
        ConfigError: there is no such engine or device, or a setting would be ignored.
        ModelError: the model cannot be loaded.
        EngineError: the engine does not start, or the endpoint does not answer.
    """
    require_engine(engine, plugins)
    if engine not in LOADS_WEIGHTS and vllm is not None and vllm.model_fields_set:
        raise ConfigError(f"settings of vLLM would be ignored by --engine {engine}.")
    if is_url(engine):
        from reasonrl.evaluation.endpoint import open_endpoint

        if (device, dtype) != ("auto", "auto"):
            raise ConfigError(f"--device and the type would be ignored by {engine}, which has its own.")
        return open_endpoint(
            checkpoint_of(place),
            engine,
            suites,
            plugins=plugins,
            max_concurrent=max_concurrent,
            request_timeout_s=request_timeout_s,
        )
    if engine == "local":
        return _open_local(place, plugins, device, dtype, max_concurrent)
    if engine in LOADS_WEIGHTS:
        settings = _vllm_settings(engine, vllm or VLLMSettings(), max_concurrent)
        return _open_vllm(place, engine, suites, plugins, device, dtype, settings)
    return _open_plugin(place, engine, plugins, device, dtype)


def _open_local(
    place: str, plugins: Plugins, device_name: str, dtype_name: DtypeName, max_rows: int | None
) -> EngineSource:
    from reasonrl.engines.local import LocalEngine
    from reasonrl.models.hardware import find_device
    from reasonrl.models.load import load_model, load_tokenizer

    device = find_device(device_name, setting="--device")
    tokenizer, model = load_tokenizer(place), load_model(place, device)
    compute = _compute(dtype_name, device, model)
    rows = max_rows or compute.rows or MAX_ROWS
    engine = LocalEngine(model, tokenizer, replace(compute, rows=rows))
    return EngineSource(
        name="local",
        engine=engine,
        tokenizer=tokenizer,
        plugins=plugins,
        facts=_facts(compute.dtype, device),
    )


def _open_vllm(
    place: str,
    engine: str,
    suites: Sequence[Suite],
    plugins: Plugins,
    device_name: str,
    dtype_name: DtypeName,
    settings: VLLMSettings,
) -> EngineSource:
    """Let vLLM read the weights from where they are: this process has the configuration and the tokenizer alone."""
    from reasonrl.engines import EngineInputs
    from reasonrl.engines.limits import position_limit
    from reasonrl.models import locate
    from reasonrl.models.hardware import find_device
    from reasonrl.models.load import load_tokenizer
    from reasonrl.models.skeleton import load_adapter_config, load_skeleton

    device = find_device(device_name, setting="--device")
    tokenizer, model = load_tokenizer(place), load_skeleton(place)
    compute = _compute(dtype_name, device, model)
    longest = _longest_prompt(suites, tokenizer, plugins) + max(suite.max_new_tokens for suite in suites)
    inputs = EngineInputs(
        model=model,
        tokenizer=tokenizer,
        compute=compute,
        device=device,
        weight_names=frozenset(),
        adapter=load_adapter_config(place),
        vllm=_with_room(settings, longest, position_limit(model.config)),
        weights_from=locate(place),
    )
    started: Engine = plugins.call("engines", PluginRef(name=engine), inputs)
    facts = _facts(compute.dtype if settings.dtype == "auto" else settings.dtype, device, "vllm")
    return EngineSource(name=engine, engine=started, tokenizer=tokenizer, plugins=plugins, facts=facts)


def _open_plugin(place: str, name: str, plugins: Plugins, device_name: str, dtype_name: DtypeName) -> EngineSource:
    """Give anybody's engine the weights as a run would."""
    from reasonrl.engines import EngineInputs
    from reasonrl.models.hardware import find_device
    from reasonrl.models.load import load_model, load_tokenizer
    from reasonrl.models.lora import adapter_of, exported_weights
    from reasonrl.run.guarded_engine import GuardedEngine

    device = find_device(device_name, setting="--device")
    tokenizer, model = load_tokenizer(place), load_model(place, device)
    compute = _compute(dtype_name, device, model)
    weights = dict(exported_weights(model))
    inputs = EngineInputs(
        model=model,
        tokenizer=tokenizer,
        compute=compute,
        device=device,
        weight_names=frozenset(weights),
        adapter=adapter_of(model),
    )
    engine = GuardedEngine(plugins.call("engines", PluginRef(name=name), inputs), name, None)
    try:
        engine.load_weights(weights.items(), 0)
    except BaseException:
        engine.close()
        raise
    return EngineSource(
        name=name,
        engine=engine,
        tokenizer=tokenizer,
        plugins=plugins,
        facts=_facts(compute.dtype, device),
    )


def _compute(name: DtypeName, device: "torch.device", model: "PreTrainedModel") -> "Compute":
    """Return how a model is computed that only samples."""
    from reasonrl.models.compute import Work, choose_compute

    return choose_compute(model.config, device, asked=name, work=Work(sampled=1.0)).compute


def _facts(dtype: object, device: object, library: str = "transformers") -> Mapping[str, object]:
    """Return what results record of an engine; the version of the library that computes is that of this process."""
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "torch": version("torch"),
        library: sys.modules[library].__version__,
    }


def _vllm_settings(engine: str, given: VLLMSettings, max_concurrent: int | None) -> VLLMSettings:
    """Return the settings of vLLM where no learner is beside it.

    Raises:
        ConfigError: one would be ignored.
    """
    ignored = {"urls", "weights", "weights_folder", "sleep"} | ({"replicas"} if engine == "vllm" else set())
    if found := sorted(ignored & given.model_fields_set):
        hint = " Give the address as --engine." if found[0] == "urls" else ""
        raise ConfigError(f"vllm.{found[0]} would be ignored by --engine {engine}.{hint}")
    limit = {} if max_concurrent is None else {"max_num_seqs": max_concurrent}
    chosen = {name: getattr(given, name) for name in given.model_fields_set}
    return VLLMSettings(**{**EVALUATION_DEFAULTS, **limit, **chosen})


def _with_room(settings: VLLMSettings, longest: int, limit: int | None) -> VLLMSettings:
    """Let vLLM have room for the longest prompt and completion: a model's limit may need more memory than there is."""
    if settings.max_model_len is not None:
        return settings
    return settings.model_copy(update={"max_model_len": longest if limit is None else min(longest, limit)})


def _longest_prompt(suites: Sequence[Suite], tokenizer: "PreTrainedTokenizerBase", plugins: Plugins) -> int:
    """Return the number of tokens of the longest prompt."""
    from reasonrl.rollout.templates import Renderer, find_template

    renderers = {
        name: Renderer(tokenizer, find_template(name, plugins)) for name in {suite.template for suite in suites}
    }
    return max(len(renderers[suite.template].render(problem)[1]) for suite in suites for problem in suite.problems)
