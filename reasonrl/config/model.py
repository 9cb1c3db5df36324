"""Settings of the model that learns."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from reasonrl.config.base import Settings
from reasonrl.errors import ConfigError

DEVICES: Final = "auto, cpu, cuda or cuda:N"


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


class LoraSettings(Settings):
    """The low-rank adapter (LoRA) that learns in place of the model's own weights; without one all of them learn."""

    rank: int = Field(16, ge=1)
    """Inner size of each pair of matrices."""
    alpha: int = Field(32, ge=1)
    """The adapter's product is multiplied by alpha / rank."""
    target_modules: Annotated[list[str], BeforeValidator(_listed)] = Field(["all-linear"], min_length=1)
    """Names of the layers to adapt, such as ``[q_proj, v_proj]``; ``all-linear`` is every one but the output head."""


def require_device(name: str, option: str) -> None:
    """Refuse what names no device, before torch is asked.

    Raises:
        ConfigError: it names none; ``option`` begins the message.
    """
    if not _is_device(name):
        raise ConfigError(f"{option}: {name!r} is not a device; use {DEVICES}.")


def _is_device(name: str) -> bool:
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


class ModelSettings(Settings):
    """Which model learns."""

    name: str
    """``tiny``, a name from ``reasonrl models list``, a local folder, a Hugging Face model name, or what another
    run has made: its directory, or ``RUN@STEP``."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of matrix products. ``auto`` is bfloat16 where it makes this run faster: on a CPU by rates that are measured
    once; ``reasonrl plan`` shows them."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrices that learn. ``bfloat16`` halves the memory of weights and gradients; updates are then
    rounded stochastically. Norms and biases stay float32, and products are in bfloat16."""
    fast_path: bool = True
    """Whether models of the Llama family take the fast path: the same function of the same weights, over tokens without
    padding and in fewer products. False computes them by transformers' own forward pass, as all others."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    device: str = "auto"
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``."""
    lora: LoraSettings | None = None
    """Train a low-rank adapter and leave the model's weights as they are; null trains all weights."""
    allow_other_template: bool = False
    """Go on with a model that another run has trained with another prompt template, which is refused otherwise."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: object) -> object:
        """Let ``model: tiny`` stand for ``model: {name: tiny}``."""
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        """Refuse weights in bfloat16 where they would be multiplied in float32, or where others learn."""
        if self.weights_dtype == "float32":
            return self
        if self.compute_dtype == "float32":
            raise ValueError(
                "weights_dtype is bfloat16, but compute_dtype float32, for which they would be cast back: set "
                "compute_dtype: auto or bfloat16, or weights_dtype: float32"
            )
        if self.lora is not None:
            raise ValueError(
                "weights_dtype is bfloat16, but with lora an adapter learns, which stays float32: leave one of them out"
            )
        return self

    @field_validator("device")
    @classmethod
    def _refuse_other_devices(cls, given: str) -> str:
        """Refuse what names no device, before torch is asked."""
        if not _is_device(given):
            raise ValueError(f"{given!r} is not a device; use {DEVICES}")
        return given
