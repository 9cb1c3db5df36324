"""The layers of a model of the Llama family over flat tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from reasonrl.errors import ModelError
from reasonrl.models.fast.attention import Attention, attention_over
from reasonrl.models.fast.family import EQUAL, Family, Layer, family_of
from reasonrl.models.fast.functions import Gated, norm, normed, product, rotated
from reasonrl.models.fast.layout import Layout, lay_out
from reasonrl.models.fast.weights import CastWeights


@dataclass(frozen=True, slots=True, eq=False)
class FlatModel:
    """A model of the Llama family that computes over flat tokens, and learns."""

    family: Family
    weights: CastWeights
    """Those of its products."""

    def states(self, layout: Layout) -> Tensor:
        """Return the last hidden states [M, D] that predict tokens, in float32 as those between the layers are.

        With the model's gradient checkpointing only those between the layers are kept for the backward pass.
        """
        family = self.family
        self.weights.refresh()
        attend, angles = attention_over(layout, family, self.weights.dtype), family.rotary(layout.positions_T)
        x_TD = functional.embedding(layout.ids_T, family.embedding.weight, family.embedding.padding_idx).float()
        x_TD = x_TD * family.embedding_scale if family.embedding_scale != 1.0 else x_TD
        saves = family.model.is_gradient_checkpointing and torch.is_grad_enabled()
        # Nothing is random here, and the process's generators may be in use by rewards in another thread.
        run = partial(checkpoint, use_reentrant=False, preserve_rng_state=False) if saves else _call
        for layer in family.layers:
            x_TD = run(self._layer, layer, attend, angles, x_TD)
        return normed(x_TD.index_select(0, layout.predicting_M), norm(family.final_norm, family), torch.float32)

    def _layer(self, layer: Layer, attend: Attention, angles: tuple[Tensor, Tensor], x_TD: Tensor) -> Tensor:
        family, weights = self.family, self.weights
        z_TE = product(x_TD, norm(layer.attention_norm, family), layer.qkv, weights)
        z_TE = rotated(self._heads_normed(layer, z_TE), *angles, family.num_heads + family.num_kv_heads)
        x_TD = product(attend(z_TE), None, layer.output, weights, x_TD)
        z_TE = product(x_TD, norm(layer.mlp_norm, family), layer.gate_up, weights)
        return product(z_TE, Gated(family.activation), layer.down, weights, x_TD)

    def _heads_normed(self, layer: Layer, z_TE: Tensor) -> Tensor:
        """Return queries, keys and values with each head's queries and keys normed, where the model does that."""
        if layer.query_norm is None or layer.key_norm is None:
            return z_TE
        family = self.family
        sizes = [family.num_heads, family.num_kv_heads, family.num_kv_heads]
        q, k, v = torch.split(z_TE.view(len(z_TE), -1, family.head_dim), sizes, dim=1)
        q = normed(q, norm(layer.query_norm, family), z_TE.dtype)
        k = normed(k, norm(layer.key_norm, family), z_TE.dtype)
        return torch.cat([q, k, v], dim=1).flatten(1)


def _call(layer: Callable[..., Tensor], *given: object) -> Tensor:
    return layer(*given)


def flat_model(model: PreTrainedModel, dtype: torch.dtype) -> FlatModel | None:
    """Return a model that computes over flat tokens; None where it is not of the Llama family.

    Args:
        model: stays the truth: its parameters get the gradients, and its weights are read when they have moved.
        dtype: type of products.

    Raises:
        ModelError: it computes something else than its class says.
    """
    family = family_of(model)
    if family is None:
        return None
    _check(family)
    return FlatModel(family, CastWeights(family, dtype))


@torch.no_grad()
def _check(family: Family) -> None:
    """Compare hidden states with the model's own on a few tokens."""
    model, ids = family.model, (1, 2, 3, 4, 5)
    own_TD = model.base_model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).last_hidden_state[0]
    layout = lay_out([ids[:2]], [0], [(*ids[2:], 0)], [None], model.device)
    ours_TD = FlatModel(family, CastWeights(family, torch.float32)).states(layout)
    difference = (ours_TD - own_TD[1:].float()).abs().max()
    if not difference <= EQUAL * own_TD.abs().max():
        raise ModelError(
            f"{type(model).__name__}: its hidden states are not those of its layers as the fast path computes them. "
            "Set model.fast_path: false, which runs the model's own forward pass."
        )
