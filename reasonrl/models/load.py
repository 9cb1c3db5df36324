"""Load a policy and its tokenizer, ready to sample and to learn."""

from typing import Any, Final

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from reasonrl.errors import ModelError
from reasonrl.models import locate
from reasonrl.models.attention import use_grouped_attention
from reasonrl.models.lora import adapter_base
from reasonrl.models.quiet import without_bars
from reasonrl.models.skeleton import generation_config, load_adapter_config

META: Final = torch.device("meta")


def load_model(
    name: str,
    device: torch.device,
    *,
    gradient_checkpointing: bool = False,
    weights_on: torch.device | None = None,
) -> PreTrainedModel:
    """Return a causal language model in float32, without dropout; with its adapter, where the name is one's.

    Dropout is off because the sampler and the learner must agree on the probability of a token.

    Args:
        name: of the model.
        device: that it computes on.
        gradient_checkpointing: compute activations again in the backward pass.
        weights_on: where its weights are until they are divided, if not on the device; they are not read to ``meta``.

    Raises:
        ModelError: it cannot be found or is not a causal language model.
    """
    place = locate(name)
    try:
        base = adapter_base(place)
        config = AutoConfig.from_pretrained(base or place)
        _switch_dropout_off(config)
        if weights_on == META:
            model = _without_weights(AutoModelForCausalLM, base or place, config)
        else:
            model = _complete(name, AutoModelForCausalLM, base or place, config)
        if base is not None:
            _load_adapter(model, place)
    except ModelError:
        raise
    except Exception as error:  # somebody's files: damaged ones raise errors of every library below
        raise ModelError(_not_loadable("model", name, error)) from None
    return _ready(model, device, gradient_checkpointing, weights_on)


def load_classifier(
    name: str,
    device: torch.device,
    *,
    num_labels: int,
    gradient_checkpointing: bool = False,
    weights_on: torch.device | None = None,
) -> PreTrainedModel:
    """Return a backbone in float32, without dropout, with a head of ``num_labels`` scores: ``model.score``.

    The head of a model that has none starts at random, with the spread 1 / sqrt(hidden size + 1).

    Args:
        name: of the model.
        device: that it computes on.
        num_labels: scores of a text.
        gradient_checkpointing: compute activations again in the backward pass.
        weights_on: as for :func:`load_model`.

    Raises:
        ModelError: it cannot be found or lacks weights, is an adapter, has a head of another size, or is of an
            architecture without such a head.
    """
    place = locate(name)
    try:
        if (base := adapter_base(place)) is not None:
            raise ModelError(
                f"{name!r} is an adapter of {base}: merge it into the model's weights first (docs/lora.md)."
            )
        config = AutoConfig.from_pretrained(place)
        is_new = not any("SequenceClassification" in each for each in config.architectures or ())
        _require_labels(name, config, num_labels, is_new)
        _switch_dropout_off(config)
        config.num_labels = num_labels
        if weights_on == META:
            model = _without_weights(AutoModelForSequenceClassification, place, config)
        else:
            may_lack = "score." if is_new else None
            model = _complete(name, AutoModelForSequenceClassification, place, config, may_lack=may_lack)
    except ModelError:
        raise
    except Exception as error:  # as above
        raise ModelError(_not_loadable("reward model", name, error)) from None
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.out_features != num_labels:
        raise ModelError(
            f"{type(model).__name__}: has no linear head named 'score' with {num_labels} outputs. Use a causal "
            "language model as the backbone, such as Llama, Qwen or Gemma."
        )
    if is_new:
        nn.init.normal_(head.weight, std=1.0 / (head.in_features + 1) ** 0.5)
    return _ready(model, device, gradient_checkpointing, weights_on)


def _complete(name: str, auto: Any, place: str, config: Any, may_lack: str | None = None) -> Any:
    """Load a model without transformers' report of missing weights, which it would fill with random numbers.

    Any: each architecture has classes of its own.

    Args:
        name: the model's, for messages.
        auto: the automatic class of transformers.
        place: folder or hub name.
        config: the model's.
        may_lack: how the names of weights begin that may be missing, as those of a new head.

    Raises:
        ModelError: other weights are missing.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers
    try:
        with without_bars():
            model, found = auto.from_pretrained(place, config=config, dtype=torch.float32, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
    missing = [key for key in sorted(found["missing_keys"]) if may_lack is None or not key.startswith(may_lack)]
    if missing:
        raise ModelError(
            f"{name!r}: lacks {len(missing)} of the weights of a {type(model).__name__}, such as {missing[0]}. Its "
            "files are incomplete, or of another architecture than its config.json says."
        )
    return model


def _without_weights(auto: Any, place: str, config: Any) -> Any:
    """Return a model whose parameters take no memory. Any: each architecture has classes of its own."""
    with META:
        model = auto.from_config(config, dtype=torch.float32)
    if model.can_generate():
        model.generation_config = generation_config(place, config)
    return model


def _load_adapter(model: Any, place: str) -> None:
    """Put an adapter from a folder into a model, whose weights may be left out. Any: as above."""
    if model.device != META:
        with without_bars():
            model.load_adapter(place, is_trainable=True)
    elif (config := load_adapter_config(place)) is not None:
        config.inference_mode = False
        model.add_adapter(config)


def _require_labels(name: str, config: Any, num_labels: int, is_new: bool) -> None:
    """Refuse a classifier with another number of labels. Any: each architecture has a configuration of its own."""
    if not is_new and config.num_labels != num_labels:
        raise ModelError(
            f"{name!r}: is a classifier with {config.num_labels} labels, where {num_labels} is needed. A reward model "
            "has one for each head."
        )


def _ready(
    model: Any, device: torch.device, gradient_checkpointing: bool, weights_on: torch.device | None
) -> PreTrainedModel:
    """Return a loaded model on its device, without dropout. Any: transformers' automatic classes are untyped."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if gradient_checkpointing:
        # Nothing is random in the model, so the process's generators are left to rewards in another thread.
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    loaded: PreTrainedModel = nn.Module.to(model, device if weights_on is None else weights_on)
    use_grouped_attention(loaded, device)
    loaded.train(False)
    return loaded


def hold_in_bfloat16(model: nn.Module) -> None:
    """Round a model's matrices to bfloat16, in place; norms and biases stay as they are."""
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data = parameter.data.bfloat16()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer.

    Raises:
        ModelError: it cannot be found.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(locate(name))
    except ModelError:
        raise
    except Exception as error:  # as above
        raise ModelError(_not_loadable("tokenizer", name, error)) from None
    return tokenizer


def _switch_dropout_off(config: Any) -> None:
    """Set every dropout rate of a configuration to 0. Any: each architecture has a class of its own."""
    for name, value in list(vars(config).items()):
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)


def _not_loadable(what: str, name: str, error: Exception) -> str:
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{what} {name!r} cannot be loaded: {cause}\n"
        "Give a local folder, a hub name that this machine can reach, or a name from: reasonrl models list"
    )
