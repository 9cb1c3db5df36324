"""Room for keys and values of a whole completion, so that a new token is written and nothing is copied."""

# transformers leaves parts of its caches untyped.
# mypy: disallow-untyped-calls=False

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """A layer of a cache that owns memory for more tokens than it holds.

    Args:
        keys: keys so far, [rows, heads, tokens, size].
        values: values so far.
        room: tokens that may come.
    """

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        """Copy what there is, with space behind it."""
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._all_keys, self._all_values = _with_room(keys, room), _with_room(values, room)
        self._shown()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write new keys and values behind the others; return all of them."""
        place = slice(self._length, self._length + key_states.shape[-2])
        self._all_keys[:, :, place] = key_states
        self._all_values[:, :, place] = value_states
        self._length = place.stop
        return self._shown()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of the given indices."""
        self._all_keys = self._all_keys.index_select(0, beam_idx)
        self._all_values = self._all_values.index_select(0, beam_idx)
        self._shown()

    def _shown(self) -> tuple[Tensor, Tensor]:
        """Let the layer hold what was written so far."""
        keys, values = self._all_keys[:, :, : self._length], self._all_values[:, :, : self._length]
        self.keys, self.values = keys, values
        return keys, values


def with_room(cache: Cache, rows_N: Tensor, room: int) -> None:
    """Keep, repeat or drop rows of a cache, and give its layers room for more tokens.

    Layers that do not simply grow, such as those of a sliding window, stay as they are.
    """
    cache.reorder_cache(rows_N)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
            cache.layers[index] = RoomyLayer(layer.keys, layer.values, room)


def _with_room(states: Tensor, room: int) -> Tensor:
    """Return keys or values with space behind them."""
    rows, heads, length, size = states.shape
    roomy = states.new_empty(rows, heads, length + room, size)
    roomy[:, :, :length] = states
    return roomy
