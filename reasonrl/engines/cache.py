"""A cache with memory for keys and values of a whole completion: a new token is written, and nothing is copied."""

# transformers leaves parts of its caches untyped.
# mypy: disallow-untyped-calls=False

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)


class PreallocatedLayer(DynamicLayer):
    """A layer of a cache that owns memory for more tokens than it holds.

    Args:
        keys: keys so far, [rows, heads, tokens, size].
        values: values so far.
        num_new_tokens: tokens that may come.
    """

    def __init__(self, keys: Tensor, values: Tensor, num_new_tokens: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._all_keys, self._all_values = _extended(keys, num_new_tokens), _extended(values, num_new_tokens)
        self._expose()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write new keys and values behind the others; return all of them."""
        place = slice(self._length, self._length + key_states.shape[-2])
        self._all_keys[:, :, place] = key_states
        self._all_values[:, :, place] = value_states
        self._length = place.stop
        return self._expose()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of the given indices."""
        self._all_keys = self._all_keys.index_select(0, beam_idx)
        self._all_values = self._all_values.index_select(0, beam_idx)
        self._expose()

    def _expose(self) -> tuple[Tensor, Tensor]:
        """Set and return the attributes by which transformers reads what was written so far."""
        keys, values = self._all_keys[:, :, : self._length], self._all_values[:, :, : self._length]
        self.keys, self.values = keys, values
        return keys, values


def with_capacity(cache: Cache, rows_N: Tensor, num_new_tokens: int) -> None:
    """Keep, repeat or drop rows of a cache, and allocate memory for more tokens in its layers.

    Layers that do not simply grow, such as those of a sliding window, stay as they are.
    """
    cache.reorder_cache(rows_N)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
            cache.layers[index] = PreallocatedLayer(layer.keys, layer.values, num_new_tokens)


def can_join(cache: Cache) -> bool:
    """Say whether rows can be added to a cache: its layers hold keys and values of columns, and nothing else."""
    return all(type(layer) in (DynamicLayer, PreallocatedLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def join(cache: Cache, newcomers: Cache, *, length: int, num_new_tokens: int) -> None:
    """Put the rows of another cache below those of this one, and allocate memory for more tokens.

    Args:
        cache: changed in place; see :func:`can_join`.
        newcomers: of the same model.
        length: columns of both from then on. They are cut, or filled up with zeros, on the left.
        num_new_tokens: tokens that may come.
    """
    for index, (layer, other) in enumerate(zip(cache.layers, newcomers.layers, strict=True)):
        width = min(length, layer.sliding_window - 1) if isinstance(layer, DynamicSlidingWindowLayer) else length
        keys, values = (
            torch.cat([_aligned(above, width), _aligned(below, width)])
            for above, below in zip(_states(layer), _states(other), strict=True)
        )
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.keys, layer.values, layer.cumulative_length = keys, values, length
        else:
            cache.layers[index] = PreallocatedLayer(keys, values, num_new_tokens)


def _states(layer: CacheLayerMixin | LinearAttentionCacheLayerMixin) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, DynamicLayer), "see can_join"
    assert layer.keys is not None, "the prompt has been computed"
    assert layer.values is not None, "as above"
    return layer.keys, layer.values


def _aligned(states: Tensor, width: int) -> Tensor:
    """Return the last columns; zeros stand before them where there are fewer."""
    missing = width - states.shape[-2]
    return pad(states, (0, 0, missing, 0)) if missing > 0 else states[:, :, states.shape[-2] - width :]


def _extended(states: Tensor, num_new_tokens: int) -> Tensor:
    rows, heads, length, size = states.shape
    extended = states.new_empty(rows, heads, length + num_new_tokens, size)
    extended[:, :, :length] = states
    return extended
