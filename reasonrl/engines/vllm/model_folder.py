"""The folder of a model without its weights, on which vLLM starts, and what two models must agree in."""

from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

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
    """Write a model without weights: they are loaded when the engine runs."""
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
