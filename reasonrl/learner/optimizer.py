"""AdamW over float32 master weights, and the schedule of its learning rate."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from reasonrl.config.settings import OptimizerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters that are updated alike."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float = 0.0
    learning_rate_factor: float = 1.0
    """Multiplies the learning rate of the schedule."""


def decayed_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[ParameterGroup]:
    """Return the trainable parameters: matrices, which are decayed, and vectors (norms, biases), which are not."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        ParameterGroup(parameters=[p for p in trainable if p.ndim >= 2], weight_decay=weight_decay),
        ParameterGroup(parameters=[p for p in trainable if p.ndim < 2]),
    ]
    return [group for group in groups if group.parameters]


def adamw(groups: Sequence[ParameterGroup], settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW for these groups."""
    return torch.optim.AdamW(
        [
            {"params": list(g.parameters), "weight_decay": g.weight_decay, "lr_factor": g.learning_rate_factor}
            for g in groups
        ],
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        eps=settings.adam_epsilon,
        fused=True,
    )


def learning_rate_at(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of a step, counted from 0, of a schedule over ``num_steps``; past these its last."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = min(1.0, (step - settings.warmup_steps) / max(1, num_steps - settings.warmup_steps))
    shape = {"constant": 1.0, "linear": 1.0 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return settings.learning_rate * shape[settings.schedule]
