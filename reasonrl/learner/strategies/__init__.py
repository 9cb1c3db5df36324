"""How several processes learn one model: each holds all of it (DDP), or its part of it (FSDP2)."""

from typing import Final, Literal

import torch

from reasonrl.config.learner import ParallelSettings
from reasonrl.distributed.collectives import gather, num_ranks
from reasonrl.errors import ConfigError
from reasonrl.learner.strategies.protocol import Gradients, LoadModel, Strategy
from reasonrl.learner.strategies.replicated import DDP, SINGLE

__all__ = ["DDP", "SINGLE", "Gradients", "LoadModel", "Strategy", "choose_strategy"]

BYTES_PER_PARAMETER: Final = 16
"""Weight, gradient and AdamW's two moments, in float32."""

LARGEST_SHARE: Final = 0.6
"""Of a GPU's memory, that weights, gradients and optimizer may take; the rest is for activations and sampling."""


def choose_strategy(settings: ParallelSettings, device: torch.device, num_parameters: int) -> Strategy:
    """Return the strategy that a run asks for, or that fits; the same on every process, and all must call this.

    Args:
        settings: what is asked for.
        device: of this process.
        num_parameters: of all models that learn.

    Raises:
        ConfigError: a setting would be ignored.
    """
    name = _name(settings, device, num_parameters)
    _refuse_ignored(settings, name, device)
    if name == "fsdp2":
        from reasonrl.learner.strategies.fsdp2 import FSDP2  # its imports take time that others need not spend

        return FSDP2(device, reshard_after_forward=settings.reshard_after_forward, cpu_offload=settings.cpu_offload)
    return DDP() if name == "ddp" else SINGLE


def _name(settings: ParallelSettings, device: torch.device, num_parameters: int) -> Literal["single", "ddp", "fsdp2"]:
    """Name the strategy; fsdp2 may be tried with the group of one process that a launcher starts."""
    if num_ranks() == 1 and (settings.strategy != "fsdp2" or not torch.distributed.is_initialized()):
        return "single"
    return settings.strategy if settings.strategy != "auto" else _fitting(device, num_parameters)


def _fitting(device: torch.device, num_parameters: int) -> Literal["ddp", "fsdp2"]:
    """Return ddp on CPUs, and where what belongs to a parameter leaves room on the GPU of every process."""
    fits = device.type != "cuda" or (
        BYTES_PER_PARAMETER * num_parameters <= LARGEST_SHARE * torch.cuda.get_device_properties(device).total_memory
    )
    return "ddp" if all(gather(fits)) else "fsdp2"


def _refuse_ignored(settings: ParallelSettings, name: Literal["single", "ddp", "fsdp2"], device: torch.device) -> None:
    """Refuse settings of fsdp2 under another strategy, and to keep in the host's memory what is there.

    Raises:
        ConfigError: a setting would be ignored.
    """
    if settings.cpu_offload and device.type == "cpu":
        raise ConfigError(
            "learner.parallel.cpu_offload: true would be ignored, because the model computes on the CPU, in whose "
            "memory its weights are. Leave it out."
        )
    ignored = "cpu_offload: true" if settings.cpu_offload else "reshard_after_forward: false"
    if name != "fsdp2" and (settings.cpu_offload or (name == "ddp" and not settings.reshard_after_forward)):
        raise ConfigError(
            f"learner.parallel.{ignored} would be ignored, because the strategy is {name}. Leave it out, or start "
            "several processes with learner.parallel.strategy: fsdp2."
        )
