"""Low-rank adapters (LoRA, arXiv:2106.09685): a few small matrices learn, the model's own weights never change.

transformers' integration of peft puts them into the model in place, so that it keeps its class and its parts.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.peft_utils import find_adapter_config_file

from reasonrl.config.settings import LoraSettings
from reasonrl.errors import ModelError, and_known
from reasonrl.models import locate
from reasonrl.system.extras import needs_extra

if TYPE_CHECKING:
    from peft import LoraConfig

ALL_LINEAR = "all-linear"
"""Stands for every linear layer but the output head."""

OUR_NAMES: Final = {"r": "rank", "lora_alpha": "alpha"}
"""What a run file calls peft's settings."""

BESIDE: Final = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
"""What peft notes about an adapter beside what it computes."""


def adapter_base(place: str) -> str | None:
    """Return the model that an adapter belongs to, or None where a place holds no adapter.

    Raises:
        ModelError: that model is not where the adapter says.
    """
    file = find_adapter_config_file(place)
    if file is None:
        return None
    with needs_extra("lora", f"the adapter {place}"):
        from peft import PeftConfig

    base = str(PeftConfig.from_pretrained(place).base_model_name_or_path)
    try:
        return locate(base)
    except ModelError as error:
        raise ModelError(f"{file}: base_model_name_or_path is not right on this machine. {error}") from None


def adapter_of(model: PreTrainedModel) -> "LoraConfig | None":
    """Return what describes a model's adapter; None for a model without one."""
    adapters: dict[str, LoraConfig] = getattr(model, "peft_config", {})
    return next(iter(adapters.values()), None)


def prepare_adapter(model: PreTrainedModel, settings: LoraSettings | None, *, seed: int) -> None:
    """Give a model the adapter that a run asks for, or check the one that it was loaded with.

    A new adapter changes nothing yet: one of its two factors is zero, the other random.

    Args:
        model: in place.
        settings: the adapter that is asked for; None for none.
        seed: of the random factor.

    Raises:
        ModelError: there are no such layers, or the adapter at hand is another one than is asked for.
    """
    found = adapter_of(model)
    if found is not None:
        _require_same(found, settings, model)
    elif settings is not None:
        _add(model, settings, seed)


def exported_weights(model: PreTrainedModel) -> Iterable[tuple[str, torch.Tensor]]:
    """Return a model's parameters by name, for an engine; those of an adapter alone, by peft's names."""
    parameters = model.named_parameters()
    if adapter_of(model) is None:
        return parameters
    trainable = ((name.replace(".default", ""), tensor) for name, tensor in parameters if tensor.requires_grad)
    return ((f"base_model.model.{name}", tensor) for name, tensor in trainable)


@contextmanager
def adapter_off(model: PreTrainedModel) -> Iterator[None]:
    """Compute without a model's adapter inside.

    peft's own switch freezes the adapter beside it. A divided model that is gathered for the first time inside would
    stay frozen: its parts note then which weights learn.
    """
    with needs_extra("lora", "an adapter"):
        from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [part for part in model.modules() if isinstance(part, BaseTunerLayer)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merged_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the weights of a model with its adapter added to them, by the names of a model without one."""
    with needs_extra("lora", "an adapter"):
        from peft.tuners.lora.layer import Linear

    weights = {
        name.replace(".base_layer.", "."): weight for name, weight in model.state_dict().items() if ".lora_" not in name
    }
    for name, part in model.named_modules():
        if isinstance(part, Linear):
            for adapter in part.active_adapters:
                weights[f"{name}.weight"] = weights[f"{name}.weight"] + part.get_delta_weight(adapter)
    return weights


def merged_model(base: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """Return a model with the adapter of a folder merged into its weights; the model itself is used up."""
    with needs_extra("lora", f"the adapter {adapter}"):
        from peft import PeftModel

    merged: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    return merged


def is_base(name: str, model: PreTrainedModel) -> bool:
    """Say whether a model is, without its adapter, the model of a name."""
    adapter = adapter_of(model)
    return adapter is not None and adapter.base_model_name_or_path == _absolute(locate(name))


def _add(model: PreTrainedModel, settings: LoraSettings, seed: int) -> None:
    """Put a new adapter into a model."""
    config = _config(model, settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.add_adapter(config)
    # A folder must be found from wherever a checkpoint is read.
    config.base_model_name_or_path = _absolute(str(model.name_or_path))
    model.train(False)


def _config(model: PreTrainedModel, settings: LoraSettings) -> "LoraConfig":
    """Return the adapter that settings ask for, as peft describes it."""
    with needs_extra("lora", "model.lora"):
        from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=sorted(_targets(model, settings)),
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
        task_type="CAUSAL_LM",
    )


def _targets(model: PreTrainedModel, settings: LoraSettings) -> set[str]:
    """Return the names of the layers to adapt.

    Raises:
        ModelError: the model has no layer of some name.
    """
    known = _linear_layers(model)
    for name in settings.target_modules:
        if name not in (*known, ALL_LINEAR):
            raise ModelError(
                f"model.lora.target_modules: {type(model).__name__} has no linear layers called {name!r}."
                + and_known(name, [*known, ALL_LINEAR])
            )
    return known if ALL_LINEAR in settings.target_modules else set(settings.target_modules)


def _linear_layers(model: PreTrainedModel) -> set[str]:
    """Return the names, each in its parent, of all linear layers but the output head; adapted ones too."""
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers
    heads = (output, getattr(model, "score", None))  # of a language model, and of a reward model
    linear = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and not any(part is head for head in heads)
    ]
    return {name.removesuffix(".base_layer").rpartition(".")[2] for name in linear if ".lora_" not in name}


def _require_same(found: "LoraConfig", settings: LoraSettings | None, model: PreTrainedModel) -> None:
    """Refuse to go on with an adapter that is not the one that is asked for.

    Raises:
        ModelError: it is not.
    """
    base = found.base_model_name_or_path
    if settings is None:
        raise ModelError(
            f"model.name is an adapter of {base}, but model.lora is not set. To go on with the adapter, set model.lora "
            "to what it is; to train all weights, merge it into them first: docs/lora.md says how."
        )
    has, wanted = asdict(found), asdict(_config(model, settings))
    other = [
        f"{OUR_NAMES.get(key, key)} is {has.get(key)} in the adapter and {value} in model.lora"
        for key, value in wanted.items()
        if key not in BESIDE and value != has.get(key)
    ]
    if other:
        raise ModelError(
            f"model.name is another adapter of {base} than model.lora asks for: {'; '.join(other)}. Ask for that one, "
            "or start a new one with model.name set to the base model."
        )


def _absolute(place: str) -> str:
    """Return a folder's full path; a name on the hub stays as it is."""
    return os.path.abspath(place) if Path(place).is_dir() else place
