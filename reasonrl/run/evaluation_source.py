"""Open what ``reasonrl eval`` samples with: a model in an engine of this process or of servers, or an endpoint."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from reasonrl.config.settings import VLLMSettings
from reasonrl.evaluation.sources import EngineSource, SampleSource
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16"]


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
) -> SampleSource:
    """Open what the suites are sampled with; to be closed.

    Args:
        place: the model: a name, a folder or a checkpoint; for an endpoint also a name that it serves.
        engine: ``local``, ``vllm``, ``vllm_server``, an installed engine, or the address of an endpoint.
        suites: what will be measured.
        plugins: where engines and templates come from.
        device: where the model runs; an endpoint's is its own.
        dtype: type of matrix products; ``auto`` is what training takes on this hardware.
        max_concurrent: most completions that are sampled side by side; None takes the engine's own limit.
        vllm: settings of vLLM.

    Raises:
        ModelError: the model cannot be loaded.
        EngineError: the engine does not start, or the endpoint does not answer.
    """
    del suites, max_concurrent, vllm
    if engine != "local":
        raise NotImplementedError(engine)
    return _open_local(place, plugins, device, dtype)


def _open_local(place: str, plugins: Plugins, device_name: str, dtype_name: DtypeName) -> EngineSource:
    from reasonrl.engines.local import LocalEngine
    from reasonrl.models.hardware import compute_dtype, find_device
    from reasonrl.models.load import load_model, load_tokenizer

    device = find_device(device_name, setting="--device")
    tokenizer, model = load_tokenizer(place), load_model(place, device)
    dtype = compute_dtype(dtype_name, device, model.config.get_text_config().hidden_size)
    facts = {"dtype": str(dtype).removeprefix("torch."), "device": str(device)}
    return EngineSource(
        name="local", engine=LocalEngine(model, tokenizer, dtype), tokenizer=tokenizer, plugins=plugins, facts=facts
    )
