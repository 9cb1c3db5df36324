"""Memory of a run by what holds it: weights, gradients and optimizer exactly, the rest by formula."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reasonrl.config.settings import RunConfig

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from reasonrl.learner.critic import Critic
    from reasonrl.models.compute import Compute
    from reasonrl.run.build import RunComponents

MOMENT_BYTES: Final = {"adamw": 4, "adamw_8bit": 1}
"""Bytes of a moment of one parameter."""


@dataclass(frozen=True, slots=True)
class StepSize:
    """How much is sampled and learned from at once."""

    sequences: int
    """Completions of a step."""
    prompt: int
    """Tokens of its longest prompt."""
    completion: int
    """Tokens of each completion."""
    longest: int
    """Tokens of the longest one."""

    @classmethod
    def at_limit(cls, config: RunConfig, prompt: int) -> "StepSize":
        """Return a step of which every completion reaches the limit."""
        sequences = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
        return cls(sequences, prompt, config.longest_completion, config.longest_completion)


def memory_parts(config: RunConfig, components: "RunComponents", size: StepSize) -> Mapping[str, float]:
    """Return bytes by part; a critic has weights, gradients and an optimizer of its own."""
    from reasonrl.models.fast.head import GROUP_LOGITS, KEPT_LOGITS
    from reasonrl.models.lora import is_base
    from reasonrl.run.computing import takes_fast_path

    model = components.learner.model
    weights = sum(parameter.nbytes for parameter in model.parameters())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    moment = MOMENT_BYTES[config.learner.optimizer]
    critic = 4 * sum(parameter.numel() for parameter in _critic_parameters(components.critic))
    compute, is_fast = components.compute, takes_fast_path(components.compute, model)
    rows, tokens = _microbatch(config, size)
    logits = tokens * model.config.get_text_config().vocab_size
    return {
        "weights": weights,
        "gradients": sum(parameter.nbytes for parameter in trainable),
        "optimizer": 2 * moment * sum(parameter.numel() for parameter in trainable),
        **({"critic": 4 * critic} if critic else {}),
        "reference": weights if config.algorithm.needs_reference and not is_base(config.model.name, model) else 0,
        **({"teacher": teacher} if (teacher := _teacher_bytes(components)) else {}),
        "cache": _cache_bytes(model, components.dtype, min(size.sequences, compute.rows or size.sequences), size),
        "copies": copied_bytes(model, compute) if is_fast else 0,
        "activations": tokens
        * activation_bytes(model, config.model.gradient_checkpointing, compute.dtype if is_fast else None),
        "attention": _filled_bytes(model, compute.dtype, rows, size) if is_fast else 0,
        "logits": 4 * (min(GROUP_LOGITS, logits) + min(KEPT_LOGITS, logits)),
    }


def _teacher_bytes(components: "RunComponents") -> int:
    """Return the memory of a teacher's own weights in this process, and of their copy in the type of products."""
    from reasonrl.run.computing import takes_fast_path

    teacher, policy, compute = components.teacher_model, components.learner.model, components.compute
    if teacher is None or teacher.model.model is policy:
        return 0
    parameters = list(teacher.model.model.parameters())
    has_type = all(each.dtype == compute.dtype for each in parameters if each.ndim >= 2)
    copied = 0 if has_type or not takes_fast_path(compute, teacher.model.model) else compute.dtype.itemsize
    return sum(each.nbytes + copied * each.numel() for each in parameters)


def copied_bytes(model: "PreTrainedModel", compute: "Compute") -> int:
    """Return the memory of the weights in the type and layout of products: the learner's copy, and the engine's two.

    Where the weights have that type already there is no copy but the packed one.
    """
    has_type = all(each.dtype == compute.dtype for each in model.parameters() if each.ndim >= 2)
    copies = (0 if has_type else 2) + compute.packed
    return copies * compute.dtype.itemsize * sum(parameter.numel() for parameter in model.parameters())


def activation_bytes(
    model: "PreTrainedModel", gradient_checkpointing: bool, fast_dtype: "torch.dtype | None" = None
) -> int:
    """Return the memory of one token of a micro-batch.

    In transformers' forward pass it is about 16 hidden-size and 4 intermediate-size values a layer. The fast path keeps
    the states before both halves of a layer in float32, and what its products return in their type. With gradient
    checkpointing it is one hidden-size value a layer.

    Args:
        model: that learns.
        gradient_checkpointing: whether it computes activations again in the backward pass.
        fast_dtype: type of products on the fast path; None for transformers' forward pass.
    """
    shape = model.config.get_text_config()
    hidden, inner = shape.hidden_size, getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    of_layer = 4 * (16 * hidden + 4 * inner)
    if fast_dtype is not None:
        heads, kv_heads, head_size = _heads(model)
        products = 2 * (heads + kv_heads) * head_size + 2 * inner
        of_layer = 4 * (2 * hidden + heads) + fast_dtype.itemsize * products
    total: int = shape.num_hidden_layers * (4 * hidden if gradient_checkpointing else of_layer)
    return total


def _microbatch(config: RunConfig, size: StepSize) -> tuple[int, int]:
    """Return rows and tokens of the largest micro-batch."""
    of_row = size.completion + size.prompt / config.rollout.samples_per_prompt
    budget = max(config.learner.microbatch_tokens, size.prompt + size.longest)
    rows = max(1, min(size.sequences, int(budget / of_row)))
    return rows, min(budget, round(rows * of_row))


def _cache_bytes(model: "PreTrainedModel", dtype: "torch.dtype", rows: int, size: StepSize) -> int:
    _, kv_heads, head_size = _heads(model)
    layers: int = model.config.get_text_config().num_hidden_layers
    return 2 * layers * kv_heads * head_size * dtype.itemsize * rows * (size.prompt + size.longest)


def _filled_bytes(model: "PreTrainedModel", dtype: "torch.dtype", rows: int, size: StepSize) -> int:
    """Return the memory of short rows that are filled up to one length: see :mod:`reasonrl.models.fast.padded`."""
    from reasonrl.models.fast.padded import LARGEST_MASK, LONGEST, MOST_FILLED

    keys = size.prompt + size.longest
    mask, needed = rows * size.longest * keys, rows * size.completion * (size.completion + size.prompt)
    if keys > LONGEST or mask > min(LARGEST_MASK, MOST_FILLED * needed):
        return 0
    heads, kv_heads, head_size = _heads(model)
    kept = rows * head_size * (2 * heads * size.longest + 2 * kv_heads * keys)
    layers: int = model.config.get_text_config().num_hidden_layers
    return layers * dtype.itemsize * kept + (4 + dtype.itemsize) * mask


def _heads(model: "PreTrainedModel") -> tuple[int, int, int]:
    """Return the number of heads, that of heads of keys and values, and their size."""
    shape = model.config.get_text_config()
    heads = shape.num_attention_heads
    kv_heads = getattr(shape, "num_key_value_heads", None) or heads
    return heads, kv_heads, getattr(shape, "head_dim", None) or shape.hidden_size // heads


def _critic_parameters(critic: "Critic | None") -> "Iterable[nn.Parameter]":
    return () if critic is None else critic.model.parameters()
