"""Placeholder until the strategies land."""
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
import torch
from transformers import PreTrainedModel
from reasonrl.config.settings import ParallelSettings
class Strategy:
    name = "single"
    def load(self, load: Callable[[], PreTrainedModel], dtype: torch.dtype) -> PreTrainedModel:
        return load()
    def gathered(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        return nullcontext()
SINGLE = Strategy()
def choose_strategy(settings: ParallelSettings, device: torch.device, num_parameters: int) -> Strategy:
    return SINGLE
