"""What an engine with a model of its own is given: a folder to start on, and weights, all of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase

from reasonrl.errors import EngineError

SHAPE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)
"""What two configurations of one model agree in."""


def model_shape(config: PretrainedConfig) -> dict[str, Any]:
    """Return what a model's weights fit into. Any: numbers, words, or None where a model has no such thing."""
    text = config.get_text_config()
    return {name: getattr(text, name, None) for name in SHAPE}


def write_model_folder(folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write a model without weights: they are handed over when the engine runs."""
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def weight_names(config: PretrainedConfig) -> frozenset[str]:
    """Return the names of all parameters of a model; a tied output head is none."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers
    return frozenset(name for name, _ in model.named_parameters())


def require_all(weights: Iterable[tuple[str, Tensor]], names: frozenset[str]) -> dict[str, Tensor]:
    """Return the weights by name; an engine would keep its old ones, in silence, where one is missing.

    Raises:
        EngineError: a weight is missing, or belongs to another model.
    """
    given = {name: tensor.detach() for name, tensor in weights}
    for problem, found in {"are missing": names - given.keys(), "are not the model's": given.keys() - names}.items():
        if found:
            some = ", ".join(sorted(found)[:3]) + (", ..." if len(found) > 3 else "")
            raise EngineError(f"{len(found)} of the weights for the engine {problem}: {some}. None was taken.")
    return given
