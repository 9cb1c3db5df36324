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


def learning_rate_at(update: int, num_updates: int, settings: LearnerSettings) -> float:
    """Return the learning rate of an update, counted from 0, out of ``num_updates``."""
    if update < settings.warmup_steps:
        return settings.learning_rate * (update + 1) / settings.warmup_steps
    progress = (update - settings.warmup_steps) / max(1, num_updates - settings.warmup_steps)
    shape = {"constant": 1.0, "linear": 1.0 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return settings.learning_rate * shape[settings.schedule]
