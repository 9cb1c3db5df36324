"""How far an update moves the parameters, from a few elements of each."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch import distributed as dist

from reasonrl.distributed.collectives import rank
from reasonrl.models.sharded import first_element, is_shard, shard_of

PROBED_ELEMENTS: Final = 2**16
"""About so many of the parameters are looked at."""


class UpdateProbe:
    """Looks at some elements of every parameter: the same each time, and however the parameters are divided."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._is_divided = any(map(is_shard, parameters))
        # What is whole on every process is counted once.
        self._parameters = [each for each in parameters if is_shard(each) or not self._is_divided or rank() == 0]
        self._most = max(1, PROBED_ELEMENTS // len(parameters))

    @torch.no_grad()
    def elements(self) -> Tensor:
        """Return the elements that this process has."""
        return torch.cat([self._of(parameter) for parameter in self._parameters])

    def relative_change(self, before: Tensor) -> Tensor:
        """Return how far the elements have moved [1], as a share of their norm before; the same on every process."""
        after = self.elements()
        if not self._is_divided:
            change: Tensor = (after - before).norm() / before.norm()
            return change.reshape(1)
        squares: Tensor = torch.stack([(after - before).square().sum(), before.square().sum()])
        dist.all_reduce(squares)
        return (squares[0] / squares[1]).sqrt().reshape(1)

    def _of(self, parameter: nn.Parameter) -> Tensor:
        """Return every k-th element of the whole parameter that is in this process's part of it."""
        flat = shard_of(parameter.detach()).reshape(-1)
        step, start = max(1, parameter.numel() // self._most), first_element(parameter)
        first = -start % step
        left = max(0, self._most - -(-start // step))
        return flat[first::step][:left].double()
