"""What the layers of a model of the Llama family are, and whether a model is one."""

from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.models.sharded import is_sharded

NORM_OFFSETS: Final = {
    "LlamaForCausalLM": 0.0,
    "MistralForCausalLM": 0.0,
    "Qwen2ForCausalLM": 0.0,
    "Qwen3ForCausalLM": 0.0,
    "GemmaForCausalLM": 1.0,
}
"""Classes of transformers whose layers are known, with what is added to the weights of their norms."""

ACTIVATIONS: Final[dict[str, Literal["silu", "gelu_tanh"]]] = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}

ROTARY_TYPES: Final = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose angles depend on the position alone."""

EQUAL: Final = 1e-3
"""Largest difference of two ways to compute a hidden state, relative to the largest state."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Linear layers that read the same input, computed as one product."""

    linears: tuple[nn.Linear, ...]

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """The weights of the layers, which learn."""
        return tuple(cast(nn.Parameter, linear.weight) for linear in self.linears)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of each layer."""
        return tuple(linear.out_features for linear in self.linears)

    @property
    def bias(self) -> Tensor | None:
        """The biases of the layers one after another; None where none has one."""
        if all(linear.bias is None for linear in self.linears):
            return None
        biases: list[Tensor] = [
            linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
            for linear in self.linears
        ]
        return biases[0] if len(biases) == 1 else torch.cat(biases)

    def weight(self) -> Tensor:
        """Return the weights of all layers one below the other, [outputs, inputs], without a gradient or a copy.

        The layers' own weights become parts of one tensor the first time, so what moves them moves it.
        """
        first, *others = self.parameters
        if not others:
            return first.data
        total, end = sum(self.sizes), first.data_ptr()
        storage = first.untyped_storage().data_ptr()  # two tensors may stand side by side and still be apart
        for parameter in self.parameters:
            if parameter.data_ptr() != end or parameter.untyped_storage().data_ptr() != storage:
                return self._join()
            end += parameter.nbytes
        return first.data.as_strided((total, first.shape[1]), (first.shape[1], 1), first.storage_offset())

    def _join(self) -> Tensor:
        joined = torch.cat([parameter.data for parameter in self.parameters])
        for parameter, part in zip(self.parameters, torch.split(joined, list(self.sizes)), strict=True):
            parameter.data = part
        return joined


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer: norm and attention, then norm and feed-forward network, each added to its input."""

    attention_norm: nn.Module
    qkv: Projection
    query_norm: nn.Module | None
    """Norm of each head's queries (Qwen3)."""
    key_norm: nn.Module | None
    output: Projection
    mlp_norm: nn.Module
    gate_up: Projection
    down: Projection


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Family:
    """A model of the Llama family, as the fast path reads it."""

    model: PreTrainedModel
    layers: tuple[Layer, ...]
    embedding: nn.Embedding
    final_norm: nn.Module
    head: Projection
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_epsilon: float
    norm_offset: float
    """Added to the weights of norms: 1 for Gemma."""
    embedding_scale: float
    activation: Literal["silu", "gelu_tanh"]

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All products with weights, in the order in which a forward pass takes them."""
        of_layers = (each for layer in self.layers for each in (layer.qkv, layer.output, layer.gate_up, layer.down))
        return (*of_layers, self.head)

    @torch.no_grad()
    def rotary(self, positions_M: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of the angles of positions, [M, 1, head_dim / 2] each, in float32."""
        nothing = torch.zeros(1, device=positions_M.device)
        cos_1MD, sin_1MD = _base(self.model).rotary_emb(nothing, positions_M[None])
        half = self.head_dim // 2
        return cos_1MD[0, :, None, :half].contiguous(), sin_1MD[0, :, None, :half].contiguous()


def family_of(model: PreTrainedModel) -> Family | None:
    """Return a model's layers; None where it must be computed by its own forward pass.

    That is a model of another architecture, one with an adapter or with hooks, one that is divided among processes, and
    one whose attention has a window, a cap or angles that depend on the length.
    """
    return _read(model) if reason_against(model) is None else None


def reason_against(model: PreTrainedModel) -> str | None:
    """Return why a model cannot take the fast path; None where it can."""
    kind, config = type(model).__name__, model.config
    if kind not in NORM_OFFSETS:
        return f"{kind} is none of {', '.join(NORM_OFFSETS)}"
    if is_sharded(model):
        return "its weights are divided among processes"
    if any(type(part) is not nn.Linear for part in _linears(model)):
        return "it has layers of an adapter, or others than plain linear ones"
    # transformers' own hook for gradient checkpointing stands at the embedding, and only marks its output.
    hooked = [part for part in model.modules() if part._forward_hooks or part._forward_pre_hooks]
    if any(part is not model.get_input_embeddings() for part in hooked):
        return "its modules have hooks, which its own forward pass alone runs"
    if (activation := _activation(config)) not in ACTIVATIONS:
        return f"its activation is {activation}"
    rotary = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotary not in ROTARY_TYPES:
        return f"its rotary embedding is {rotary}"
    attention = model.model.layers[0].self_attn
    if any(getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers) or (
        kind == "MistralForCausalLM" and getattr(config, "sliding_window", None)
    ):
        return "its attention has a sliding window"
    if abs(attention.scaling - attention.head_dim**-0.5) > 1e-6:
        return f"its attention scores are multiplied by {attention.scaling:g}"
    return None


def _read(model: Any) -> Family:
    """Read the layers of a model of a known class. Any: each class has types of its own."""
    config, attention = model.config, model.model.layers[0].self_attn
    return Family(
        model=model,
        layers=tuple(map(_layer, model.model.layers)),
        embedding=model.model.embed_tokens,
        final_norm=model.model.norm,
        head=Projection((model.lm_head,)),
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
        norm_epsilon=config.rms_norm_eps,
        norm_offset=NORM_OFFSETS[type(model).__name__],
        embedding_scale=float(getattr(model.model.embed_tokens, "scalar_embed_scale", 1.0)),
        activation=ACTIVATIONS[_activation(config)],
    )


def _layer(layer: Any) -> Layer:
    """Read one layer. Any: as above."""
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        attention_norm=layer.input_layernorm,
        qkv=Projection((attention.q_proj, attention.k_proj, attention.v_proj)),
        query_norm=getattr(attention, "q_norm", None),
        key_norm=getattr(attention, "k_norm", None),
        output=Projection((attention.o_proj,)),
        mlp_norm=layer.post_attention_layernorm,
        gate_up=Projection((mlp.gate_proj, mlp.up_proj)),
        down=Projection((mlp.down_proj,)),
    )


def _linears(model: Any) -> list[nn.Module]:
    """Return what must be plain linear layers. Any: as above."""
    of_layers = [
        getattr(part, name)
        for layer in model.model.layers
        for part, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj", "o_proj")),
            (layer.mlp, ("gate_proj", "up_proj", "down_proj")),
        )
        for name in names
    ]
    return [*of_layers, model.lm_head]


def _activation(config: Any) -> str:
    """Return the name of a configuration's activation. Any: each architecture has a class of its own."""
    return str(getattr(config, "hidden_activation", None) or config.hidden_act)


def _base(model: Any) -> Any:
    """Return a model without its head. Any: as above."""
    return model.model
