"""Placeholder until the processes land."""
import torch
from reasonrl.config.settings import ParallelSettings
def join(settings: ParallelSettings, device: str) -> torch.device:
    raise NotImplementedError
def leave() -> None:
    raise NotImplementedError
