"""AdamW over float32 master weights, and the course of its learning rate."""

import math

import torch
from torch import nn

from reasonrl.config import LearnerSettings


def adamw(model: nn.Module, settings: LearnerSettings) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and leaves vectors (norms, biases) alone."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        eps=settings.adam_epsilon,
        fused=True,
    )


def learning_rate_at(step: int, num_steps: int, settings: LearnerSettings) -> float:
    """Return the learning rate of a step, counted from 0, out of ``num_steps``."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, num_steps - settings.warmup_steps)
    shape = {"constant": 1.0, "linear": 1.0 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return settings.learning_rate * shape[settings.schedule]
