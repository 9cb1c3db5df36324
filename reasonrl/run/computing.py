"""How a run computes its models: chosen when it begins, recorded in its manifest, and told in words."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from transformers import PreTrainedModel

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.settings import RunConfig
from reasonrl.models.compute import Choice, Compute, Work, choose_compute, dtype_name
from reasonrl.models.fast.family import reason_against
from reasonrl.models.rates import LEARNING_ROWS, SAMPLING_ROWS, Rates
from reasonrl.models.skeleton import load_config

LEARNED: Final = 3.0
"""A forward and a backward pass, in forward passes."""


def run_choice(
    config: RunConfig, name: str, device: torch.device, recorded: Mapping[str, Any] | None, *, again: bool = False
) -> Choice:
    """Return how the models of a run are computed: as its manifest says, or chosen for its samples and updates.

    Args:
        config: the run.
        name: the model's, or the checkpoint that the run goes on from.
        device: that it computes on.
        recorded: what the run's manifest says; None for a run that begins. Any: JSON values.
        again: measure anew where the machine was busy the last time.
    """
    if recorded is not None:
        return Choice(compute=Compute.of_record(recorded), reason="as when the run began")
    sequences = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    is_embedded = config.rollout.engine.name == SHARING_ENGINE
    work = Work(
        sampled=1.0 if is_embedded else 0.0,
        learned=LEARNED * config.learner.epochs + bool(config.algorithm.needs_reference) + _has_teacher(config),
        rows=sequences,
    )
    model = config.model
    return choose_compute(
        load_config(name),
        device,
        asked=model.compute_dtype if model.weights_dtype == "float32" else model.weights_dtype,
        fast=model.fast_path,
        work=work,
        again=again,
    )


def _has_teacher(config: RunConfig) -> bool:
    """Say whether a step computes a teacher too."""
    return config.distillation is not None and config.distillation.is_in_process


def takes_fast_path(compute: Compute, model: PreTrainedModel) -> bool:
    """Say whether a model is computed over flat tokens."""
    return compute.fast and reason_against(model) is None


def described(compute: Compute, model: PreTrainedModel) -> str:
    """Say in which type and on which path a model is computed, and why not on the fast one."""
    against = reason_against(model) if compute.fast else "model.fast_path is false"
    products = f"{dtype_name(compute.dtype)} products"
    if against is not None:
        return f"{products}, by transformers' forward pass: {against}"
    return f"{products}, fast path{', packed weights for sampling' if compute.packed else ''}"


def choice_lines(choice: Choice, model: PreTrainedModel) -> Iterator[str]:
    """Yield what the plan of a run says of a choice: what it is, why, and the rates that were measured."""
    rows = "" if choice.compute.rows is None else f"; at most {choice.compute.rows} completions are sampled at once"
    yield f"products   {described(choice.compute, model)} ({choice.reason}){rows}"
    if choice.rates is not None:
        yield from _rate_lines(choice.rates)


def _rate_lines(rates: Rates) -> Iterator[str]:
    """Yield a line for each format."""
    rows = f"{', '.join(map(str, SAMPLING_ROWS))} and {LEARNING_ROWS} rows"
    yield f"rates      10^9 operations a second with {rows}, as in {rates.file}"
    for name, by_rows in rates.gflops.items():
        yield f"           {name:<16} " + "  ".join(f"{rate:.0f}" for rate in by_rows.values())
