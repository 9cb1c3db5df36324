"""AdamW, over weights in float32 or rounded to bfloat16, with moments in float32 or 8 bits; and its learning rate."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from reasonrl.config.settings import AdamWSettings, OptimizerSettings
from reasonrl.system.extras import needs_extra
from reasonrl.types import digest

BITS_ROUNDED: Final = 16
"""Bits of a float32 that a bfloat16 does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters that are updated alike."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float = 0.0
    learning_rate_factor: float = 1.0
    """Multiplies the learning rate of the schedule."""


def decayed_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[ParameterGroup]:
    """Return the trainable parameters: matrices, which are decayed, and vectors (norms, biases), which are not."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        ParameterGroup(parameters=[p for p in trainable if p.ndim >= 2], weight_decay=weight_decay),
        ParameterGroup(parameters=[p for p in trainable if p.ndim < 2]),
    ]
    return [group for group in groups if group.parameters]


def make_optimizer(groups: Sequence[ParameterGroup], settings: OptimizerSettings, *, seed: int = 0) -> Optimizer:
    """Return the optimizer of a run; before a step its groups are given ``lr``, and ``update``, which counts the steps.

    Args:
        groups: what it updates.
        settings: kind, learning rate and moments.
        seed: of the rounding, where weights are in bfloat16.

    Raises:
        MissingExtraError: moments in 8 bits need a package that is not installed.
    """
    given: list[dict[str, Any]] = [
        {"params": list(g.parameters), "weight_decay": g.weight_decay, "lr_factor": g.learning_rate_factor}
        for g in groups
    ]  # Any: as torch's optimizers take them
    moments: Mapping[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.adam_betas,
        "eps": settings.adam_epsilon,
    }
    if settings.optimizer == "adamw_8bit":
        with needs_extra("adamw-8bit", "learner.optimizer: adamw_8bit"):
            from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found, unused-ignore]  # an extra
        in_8_bits: Optimizer = AdamW8bit(given, **moments)
        return in_8_bits
    if any(parameter.dtype == torch.bfloat16 for group in groups for parameter in group.parameters):
        return RoundingAdamW(given, **moments, seed=seed)
    return torch.optim.AdamW(given, **moments, fused=True)


class RoundingAdamW(Optimizer):
    """AdamW of weights in bfloat16: computed in float32, with moments in float32, and rounded stochastically.

    An update of less than half the distance to the next bfloat16, as most are, would be lost by rounding to the
    nearest; so it is made with a probability in proportion to it (arXiv:2010.06192). What is in float32 stays exact.

    Args:
        params: groups of parameters. Any: as torch's optimizers take them.
        seed: of the run: the rounding is a function of it, of the group's ``update`` and of the parameter's place.
        defaults: ``lr``, ``betas`` and ``eps``. Any: as above.
    """

    def __init__(self, params: list[dict[str, Any]], *, seed: int, **defaults: Any) -> None:
        super().__init__(params, {**defaults, "update": 0})
        self._seed = seed

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss is returned
        """Update every parameter that has a gradient; one copy in float32 is made at a time."""
        assert closure is None, "the gradients are there already"
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, place)
                place += 1

    def _update(self, parameter: nn.Parameter, group: Mapping[str, Any], place: int) -> None:
        """Update one parameter. Any: as above."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter, dtype=torch.float32) for _ in range(2))
        assert parameter.grad is not None
        exact = parameter.detach().float()
        adamw(
            [exact],
            [parameter.grad.float()],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        if parameter.dtype == torch.bfloat16:
            generator = torch.Generator(parameter.device)
            generator.manual_seed(int(digest(self._seed, group["update"], place), 16))
            parameter.copy_(stochastically_rounded(exact, generator))


def stochastically_rounded(exact: Tensor, generator: torch.Generator) -> Tensor:
    """Return numbers of float32 in bfloat16: each one of its two neighbors, such that the mean is the number itself.

    The nearer neighbor is the likelier one; a number that bfloat16 has stays what it is.
    """
    noise = torch.randint(2**BITS_ROUNDED, exact.shape, generator=generator, device=exact.device, dtype=torch.int32)
    bits = (exact.view(torch.int32) + noise) & -(2**BITS_ROUNDED)
    return bits.view(torch.float32).bfloat16()


def learning_rate_at(step: int, num_steps: int, settings: AdamWSettings) -> float:
    """Return the learning rate of a step, counted from 0, of a schedule over ``num_steps``; past these its last."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = min(1.0, (step - settings.warmup_steps) / max(1, num_steps - settings.warmup_steps))
    shape = {"constant": 1.0, "linear": 1.0 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return settings.learning_rate * shape[settings.schedule]
