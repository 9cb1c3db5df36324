"""Attention on a CPU in which the query heads of a group share keys and values instead of getting copies.

transformers copies keys and values for every query head as soon as there is a mask, and there is one whenever
prompts of different lengths stand in a batch. torch's CPU kernel needs no copies.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "reasonrl_grouped_sdpa"


def use_grouped_attention(model: PreTrainedModel, device: torch.device) -> None:
    """Let a model that computes on a CPU use grouped attention, where it would use torch's own with copies."""
    grouped = getattr(model.config.get_text_config(), "num_key_value_heads", None)
    if device.type != "cpu" or grouped is None or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, _grouped_sdpa)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _grouped_sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Do as transformers' ``sdpa`` does, without copies. Any: what a model hands to its attention."""
    unusual = any(settings.get(name) for name in ("dropout", "output_attentions"))
    special = any(settings.get(name) is not None for name in ("position_bias", "cache"))
    if attention_mask is None or unusual or special:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        return output, None
    states: Tensor = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=settings.get("scaling"), enable_gqa=True
    )
    return states.transpose(1, 2).contiguous(), None
