"""How much memory the embedded engine may use for keys and values, and how much a completion needs."""

import os
from typing import Final

import torch
from transformers import PreTrainedConfig

from reasonrl.distributed.collectives import num_ranks
from reasonrl.engines import Request
from reasonrl.errors import ConfigError

MIB: Final = 2**20

DEFAULT_SHARE: Final = 0.25
"""Of the memory of the machine or the GPU, where a run file says nothing: the learner needs most of the rest."""


def kv_bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return the size of the keys and values of one token, if every layer keeps them."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size * dtype.itemsize)


def kv_cache_bytes(kv_cache_mib: int | None, device: torch.device) -> int:
    """Return the memory for keys and values: what a run file says, or a share of all that there is.

    Never of what is free at the moment: how many completions are sampled side by side must not depend on it. Processes
    share a machine's memory.

    Raises:
        ConfigError: it is not positive.
    """
    if kv_cache_mib is not None:
        if kv_cache_mib < 1:
            raise ConfigError(f"rollout.engine.params.kv_cache_mib is {kv_cache_mib}: use 1 or more, or leave it out.")
        return kv_cache_mib * MIB
    if device.type == "cuda":
        return int(DEFAULT_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return int(DEFAULT_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / num_ranks())


def refuse_too_large(request: Request, needed_bytes: int, available_bytes: int) -> None:
    """Refuse a completion whose keys and values alone need more memory than there is for all.

    Raises:
        ConfigError: they do.
    """
    if needed_bytes > available_bytes:
        raise ConfigError(
            f"a prompt has {len(request.prompt_ids)} tokens and a completion may have {request.params.max_new_tokens}: "
            f"their keys and values need {needed_bytes / MIB:.0f} MiB, but the embedded engine may use "
            f"{available_bytes / MIB:.0f} MiB. Raise kv_cache_mib (rollout.engine: {{name: local, params: "
            "{kv_cache_mib: ...}}) or lower max_new_tokens."
        )
