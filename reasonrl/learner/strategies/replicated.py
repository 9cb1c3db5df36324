"""Every process holds the whole model: one process alone, or several that sum their gradients once an update (DDP)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from transformers import PreTrainedModel

from reasonrl.learner.strategies.protocol import Gradients, LoadModel, Strategy


class OwnGradients:
    """The gradients of one process, as torch leaves them.

    Args:
        parameters: in the order in which their squares are summed.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters

    def before_backward(self, *, is_last: bool) -> None:
        """Prepare nothing."""

    def sum_over_ranks(self) -> None:
        """Add nothing."""

    def clip(self, max_norm: float) -> float:
        """Scale a gradient of greater norm down to it; return the norm before."""
        return float(nn.utils.clip_grad_norm_(self._parameters, max_norm))

    def clear(self) -> None:
        """Free the gradients."""
        for parameter in self._parameters:
            parameter.grad = None


class SummedGradients(OwnGradients):
    """The gradients of several processes, summed by one communication: they are views into one buffer.

    A parameter that no process computed with keeps no gradient, as in one process: AdamW would decay it otherwise.

    Args:
        parameters: equal on all processes, and in equal order.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters)
        self._buffer: Tensor | None = None
        self._was_used = [0.0] * len(parameters)
        for index, parameter in enumerate(parameters):
            parameter.register_post_accumulate_grad_hook(partial(self._note_use, index))  # type: ignore[no-untyped-call]

    def before_backward(self, *, is_last: bool) -> None:
        """Lay out the buffer, once an update; its end says which parameters have a gradient."""
        if self._buffer is not None or not self._parameters:
            return
        sizes = [parameter.numel() for parameter in self._parameters]
        self._buffer = self._parameters[0].new_zeros(sum(sizes) + len(sizes), requires_grad=False)
        for parameter, part in zip(self._parameters, torch.split(self._buffer[: sum(sizes)], sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def sum_over_ranks(self) -> None:
        """Add up the gradients of all processes."""
        self.before_backward(is_last=True)  # a process without rows has no buffer yet
        if self._buffer is None:
            return
        used = self._buffer[-len(self._parameters) :]
        used.copy_(torch.tensor(self._was_used))
        dist.all_reduce(self._buffer)
        for parameter, count in zip(self._parameters, used.tolist(), strict=True):
            if not count:
                parameter.grad = None

    def clear(self) -> None:
        """Free the gradients."""
        super().clear()
        self._buffer = None
        self._was_used = [0.0] * len(self._parameters)

    def _note_use(self, index: int, _: Tensor) -> None:
        self._was_used[index] = 1.0


@dataclass(frozen=True, slots=True)
class Single:
    """One process."""

    name: Literal["single"] = "single"

    def load(self, load: LoadModel, dtype: torch.dtype) -> PreTrainedModel:
        """Return the model as it is loaded."""
        return load(None)

    def gathered(self, model: nn.Module) -> AbstractContextManager[None]:
        """Change nothing: the model is whole."""
        return nullcontext()

    def gradients(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return the gradients as torch leaves them."""
        return OwnGradients(parameters)


@dataclass(frozen=True, slots=True)
class DDP:
    """Several processes, each with the whole model."""

    name: Literal["ddp"] = "ddp"

    @torch.no_grad()
    def load(self, load: LoadModel, dtype: torch.dtype) -> PreTrainedModel:
        """Return the model with the weights of rank 0, to the last bit: a new head or adapter starts at random."""
        model = load(None)
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, src=0)
        return model

    def gathered(self, model: nn.Module) -> AbstractContextManager[None]:
        """Change nothing: the model is whole."""
        return nullcontext()

    def gradients(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return gradients that are summed over the processes."""
        return SummedGradients(parameters)


SINGLE: Final[Strategy] = Single()
