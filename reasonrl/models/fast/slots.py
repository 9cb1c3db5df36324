"""Memory for keys and values: a slot for each row, whose tokens stand at their own positions."""

from typing import Final

import torch
from torch import Tensor

from reasonrl.models.fast.family import Family

BLOCK: Final = 128
"""Columns by which slots grow: copies of what they hold are then 2 % of what attention reads."""


def padded_columns(columns: int) -> int:
    """Return how many columns are allocated for so many."""
    return -(-columns // BLOCK) * BLOCK


class Slots:
    """Keys and values of rows in one tensor a layer: [slots, columns, key heads and then value heads, head size].

    Columns before heads, because attention reads them no slower and a token is written in one piece (SmolLM2, 64 rows:
    20 instead of 118 microseconds a layer). Columns beyond a row's last token hold anything finite.

    Args:
        family: whose layers.
        dtype: type of keys and values.
    """

    def __init__(self, family: Family, dtype: torch.dtype) -> None:
        self._num_kv_heads = family.num_kv_heads
        shape = (0, 0, 2 * family.num_kv_heads, family.head_dim)
        self._layers = [torch.zeros(shape, dtype=dtype, device=family.model.device) for _ in family.layers]

    @property
    def num_bytes(self) -> int:
        """What is allocated."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def num_columns(self) -> int:
        """Columns of each slot."""
        return self._layers[0].shape[1]

    def reserve(self, num_slots: int, num_columns: int) -> None:
        """Allocate exactly so many slots, with columns in whole blocks, where there are fewer of either.

        One layer after the other is copied, so that little more than the new memory is needed.
        """
        slots, columns, *_ = self._layers[0].shape
        if num_slots <= slots and num_columns <= columns:
            return
        padded = padded_columns(num_columns)
        for index, old in enumerate(self._layers):
            new = old.new_zeros(num_slots, padded, *old.shape[2:])
            kept = old[:num_slots, :padded]
            new[: kept.shape[0], : kept.shape[1]] = kept
            self._layers[index] = new

    def fill(self, layer: int, rows_P: Tensor, states_PLHD: Tensor) -> None:
        """Write the first columns of rows."""
        states = self._layers[layer]
        states[:, : states_PLHD.shape[1]].index_copy_(0, rows_P, states_PLHD.to(states.dtype))

    def write(self, layer: int, rows_N: Tensor, columns_N: Tensor, states_NHD: Tensor) -> None:
        """Write one column of each row."""
        states = self._layers[layer]
        states.index_put_((rows_N, columns_N), states_NHD.to(states.dtype))

    def read(self, layer: int, num_rows: int, num_columns: int) -> tuple[Tensor, Tensor]:
        """Return the keys and the values of the first rows and columns, [rows, kv heads, columns, head size] each."""
        states = self._layers[layer][:num_rows, :num_columns].transpose(1, 2)
        return states[:, : self._num_kv_heads], states[:, self._num_kv_heads :]

    def copy(self, sources_R: Tensor, rows_R: Tensor, num_columns: int) -> None:
        """Copy the first columns of rows to other rows."""
        for states in self._layers:
            columns = states[:, :num_columns]
            columns.index_copy_(0, rows_R, columns[sources_R])
