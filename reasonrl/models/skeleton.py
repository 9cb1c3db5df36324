"""A model without weights, and the adapter that belongs to it: what an engine is made from that reads the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from reasonrl.errors import ModelError
from reasonrl.models import locate
from reasonrl.models.lora import adapter_base
from reasonrl.system.extras import needs_extra

if TYPE_CHECKING:
    from peft import LoraConfig


def load_skeleton(name: str) -> PreTrainedModel:
    """Return a causal language model whose parameters take no memory; of an adapter, the model that it belongs to.

    Raises:
        ModelError: it cannot be found or is not a causal language model.
    """
    place, config = _located(name)
    with _errors_of(name):
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        model.generation_config = generation_config(place, config)
    return model


def load_config(name: str) -> PretrainedConfig:
    """Return the configuration of a model; of an adapter, that of the model that it belongs to.

    Raises:
        ModelError: it cannot be found or read.
    """
    return _located(name)[1]


def _located(name: str) -> tuple[str, PretrainedConfig]:
    place = locate(name)
    place = adapter_base(place) or place
    with _errors_of(name):
        return place, AutoConfig.from_pretrained(place)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn whatever reading a model's files raises into one error: damaged ones raise errors of every library below."""
    try:
        yield
    except Exception as error:
        raise ModelError(f"model {name!r} cannot be loaded: {str(error).strip() or type(error).__name__}") from None


def generation_config(place: str, config: Any) -> GenerationConfig:
    """Read generation_config.json, or make it of the model's. Any: each architecture has a class of its own."""
    try:
        return GenerationConfig.from_pretrained(place)
    except OSError:
        return GenerationConfig.from_model_config(config)


def load_adapter_config(name: str) -> "LoraConfig | None":
    """Return what describes the adapter in a folder, or on the hub; None where a model is there.

    Raises:
        ModelError: its base model is not where it says.
    """
    place = locate(name)
    base = adapter_base(place)
    if base is None:
        return None
    with needs_extra("lora", f"the adapter {place}"):
        from peft import PeftConfig

    found = copy(PeftConfig.from_pretrained(place))
    found.base_model_name_or_path = base
    adapter: LoraConfig = found
    return adapter
