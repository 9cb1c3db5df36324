"""TRL's trainers as a run needs them: rows that are tokens already, one hook after each step, and state of their own.

What is learned, and how, is TRL's. What is overridden is where a run has its own: data (``_prepare_dataset``), weights
in a checkpoint (``_load_from_checkpoint``), the length of a schedule, and an update whose gradient is not finite.
"""

# TRL and transformers' Trainer are untyped.
# mypy: disallow-subclassing-any=False, disallow-untyped-calls=False, disallow-untyped-defs=False

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeAlias

import torch
from torch import nn
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import DPOTrainer, KTOTrainer, SFTTrainer

from reasonrl.models.lora import adapter_off

AfterStep: TypeAlias = Callable[[int, Mapping[str, float]], bool]
"""Told of a step and of what TRL logs of it; says whether training goes on."""

TRAINER_STATE: Final = "trainer_state.json"
"""File of a checkpoint with where transformers' Trainer stands."""


class RunTrainer:
    """What a run needs of any of TRL's trainers; stands before it among the base classes.

    ``schedule_steps`` is the length of the learning rate's schedule, ``rate`` its peak.
    """

    schedule_steps: int
    rate: float

    def _send_telemetry(self) -> None:
        """Send nothing: who trains what is nobody's business."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Take tokens as they are. Any: TRL's arguments."""
        return dataset

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        """Load nothing: the run has loaded the model from the checkpoint."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Spread the schedule over its own length, which may be that of a longer run. Any: torch's."""
        return super().create_scheduler(self.schedule_steps, optimizer)  # type: ignore[misc]  # the trainer's

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Take up the optimizer's state, with the rate that this run has at this step: another after a roll-back."""
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]  # the trainer's
        schedule, optimizer = self.lr_scheduler, self.optimizer  # type: ignore[attr-defined]  # the trainer's
        if checkpoint is not None:
            schedule.base_lrs = [self.rate for _ in schedule.base_lrs]
            rates = [self.rate * shape(schedule.last_epoch) for shape in schedule.lr_lambdas]
            schedule._last_lr = rates
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["initial_lr"], group["lr"] = self.rate, rate

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Leave an update out whose gradient is not finite: an optimizer passes over absent ones. Any: a tensor."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]  # the trainer's
        if norm is not None and not math.isfinite(float(norm)):
            model.zero_grad(set_to_none=True)
        return norm

    def train_from(self, checkpoint: Path | None, after_step: AfterStep) -> None:
        """Train until the last step, or until ``after_step`` says no; on from a checkpoint where there is one."""
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]  # the trainer's; it prints each line
        steps = _Steps(after_step)
        self.add_callback(steps)  # type: ignore[attr-defined]  # the trainer's
        try:
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))  # type: ignore[attr-defined]
        finally:
            self.remove_callback(steps)  # type: ignore[attr-defined]

    def save_state(self, folder: Path) -> None:
        """Write what it goes on from beside the weights: optimizer, schedule, random generators, and its own state."""
        trainer: Any = self  # transformers' parts of a checkpoint, each of which it can also read alone
        trainer._save_optimizer_and_scheduler(str(folder))
        trainer._save_rng_state(str(folder))
        trainer.state.log_history = []  # metrics.jsonl has it
        trainer.state.save_to_json(str(folder / TRAINER_STATE))


class RunSFTTrainer(RunTrainer, SFTTrainer):
    """TRL's SFT."""

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        """Let TRL pack rows where that is asked for. Any: TRL's arguments."""
        if not packing:
            return dataset
        return SFTTrainer._prepare_dataset(self, dataset, processing_class, args, packing, *rest)


class RunDPOTrainer(RunTrainer, DPOTrainer):
    """TRL's DPO."""


class RunKTOTrainer(RunTrainer, KTOTrainer):
    """TRL's KTO."""


class _Steps(TrainerCallback):
    """Tells of each step as soon as its metrics are there, and stops the trainer where that is wanted."""

    def __init__(self, after_step: AfterStep) -> None:
        self._after_step = after_step
        self._began = 0.0
        self._num_tokens = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:  # the trainer's own summary after the last step
            return
        seconds = perf_counter() - self._began
        tokens, self._num_tokens = logs["num_tokens"] - self._num_tokens, logs["num_tokens"]
        step = {"seconds/step": seconds, "tokens": tokens, "tokens_per_second/learning": tokens / seconds}
        if not self._after_step(state.global_step, {**logs, **step}):
            control.should_training_stop = True


class WithoutAdapter(nn.Module):
    """A model with its adapter off, which is the reference of one whose adapter began at nothing.

    TRL calls it as it calls a second model, and no second one is in memory.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.config = model.config
        self._model = (model,)  # in a tuple, so that its parameters are not counted twice

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute as the model does. Any: as the model takes and gives."""
        (model,) = self._model
        with torch.no_grad(), adapter_off(model):
            return model(*args, **kwargs)


@contextmanager
def own_configs(model: PreTrainedModel, kept: tuple[Any, Any]) -> Iterator[None]:
    """Give a model back the configurations that it came with: trainers write their tokenizer's tokens into them.

    Any: each architecture has configurations of its own.
    """
    now = model.config, model.generation_config
    model.config, model.generation_config = kept
    try:
        yield
    finally:
        model.config, model.generation_config = now


def configs_of(model: PreTrainedModel) -> tuple[Any, Any]:
    """Return copies of a model's configurations. Any: each architecture has configurations of its own."""
    return deepcopy(model.config), deepcopy(model.generation_config)
