"""What a way of sharing a model among processes is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

import torch
from torch import nn
from transformers import PreTrainedModel

LoadModel: TypeAlias = Callable[[torch.device | None], PreTrainedModel]
"""Loads a model, its adapter included. Its weights are on the device that it computes on, or where this says: on the
CPU, or on ``meta``, where they are not read and take no memory."""


class Gradients(Protocol):
    """The gradient of a learner's parameters, from the micro-batches of an update to its norm."""

    def before_backward(self, *, is_last: bool) -> None:
        """Prepare for a micro-batch, before its forward pass."""
        ...

    def sum_over_ranks(self) -> None:
        """Add up the gradients of all processes, after the last micro-batch; one without rows adds nothing."""
        ...

    def clip(self, max_norm: float) -> float:
        """Scale a gradient of greater norm down to it; return the norm before, the same on every process."""
        ...

    def clear(self) -> None:
        """Free the gradients."""
        ...


class Strategy(Protocol):
    """How the processes of a run share a model; every method is called on all of them."""

    @property
    def name(self) -> Literal["single", "ddp", "fsdp2"]:
        """Name of the strategy; ``single`` is one process."""
        ...

    def load(self, load: LoadModel, dtype: torch.dtype) -> PreTrainedModel:
        """Return this process's model.

        Args:
            load: loads it.
            dtype: type of matrix products.
        """
        ...

    def gathered(self, model: nn.Module) -> AbstractContextManager[None]:
        """Let a model compute without communication inside, so that processes may run it differently often."""
        ...

    def gradients(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return what holds the gradient of a learner's parameters, most of them its model's."""
        ...
