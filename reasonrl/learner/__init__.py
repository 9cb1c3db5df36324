"""The learner: optimizer steps from samples, for any objective."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.config.settings import LearnerSettings
from reasonrl.distributed.collectives import sum_over_ranks
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Budget, Microbatch, Row
from reasonrl.learner.objectives import Objective
from reasonrl.learner.optimizer import learning_rate_at, make_optimizer
from reasonrl.learner.probe import UpdateProbe
from reasonrl.learner.sharing import Pass, passes, tokens_of_own_rows
from reasonrl.learner.state import LearnerState, restore_optimizer, save_optimizer
from reasonrl.learner.strategies import SINGLE, Strategy
from reasonrl.models.lora import exported_weights
from reasonrl.models.save import save_model
from reasonrl.models.sharded import full_tensor


class Learner:
    """Updates a model from samples; with several processes on each, and every public method is called on all.

    Args:
        model: in float32 on its device, as the strategy has loaded it; updated in place.
        objective: what is minimized.
        settings: optimizer, minibatches and micro-batches.
        num_steps: length of the learning rate's schedule.
        rate_factor: multiplies the learning rate: below 1 after the run was rolled back.
        strategy: how processes share the model.
        seed: of the run: decides how weights in bfloat16 are rounded.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        settings: LearnerSettings,
        *,
        num_steps: int,
        rate_factor: float = 1.0,
        strategy: Strategy = SINGLE,
        seed: int = 0,
    ) -> None:
        self.policy_version = 0
        self.model = model
        self.objective = objective
        self._settings = settings
        self._budget = Budget(
            tokens=settings.microbatch_tokens, rows_per_unit=objective.rows_per_unit, pads=objective.pads
        )
        self._num_steps = num_steps
        self.steps_taken = 0
        """Steps whose samples it was given, those whose update was left out included."""
        self._rate_factor = rate_factor
        groups = objective.parameter_groups(settings.weight_decay)
        self._optimizer = make_optimizer(groups, settings, seed=seed)
        self._parameters = _in_model_order(model, [p for group in groups for p in group.parameters])
        self._gradients = strategy.gradients(model, self._parameters)
        self._probe = UpdateProbe(self._parameters)

    def update(self, samples: Sequence[Any]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured. Any: samples of the objective's kind.

        With several processes each is given all samples and computes its share. An update whose gradient is not finite
        is left out with the rest of the step; earlier updates stay, and only ``NAME/grad_norm`` is returned, as NaN.
        """
        measured, rate = MetricAccumulator(), self._learning_rate()
        updates = [self.objective.rows(minibatch) for minibatch in self._minibatches(samples)]
        if len(updates) * self._settings.epochs > 1:
            updates = self.objective.prepare(updates, self._tokens_of_own_rows)
        self.steps_taken += 1
        for rows in updates * self._settings.epochs:
            if rows and not self._update_once(rows, rate, measured):
                self.objective.discard_step()
                return {f"{self.objective.name}/grad_norm": math.nan}
        moved = self.objective.end_step(len(samples), measured)
        return {**measured.metrics(), f"{self.objective.name}/learning_rate": rate, **moved}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the model's parameters by name, for an engine; those of an adapter alone, by peft's names.

        Those of a divided model are gathered one at a time: each is to be dropped before the next is asked for.
        """
        for name, parameter in exported_weights(self.model):
            yield name, full_tensor(parameter)

    def passes(self, rows: Sequence[Row]) -> Iterator[Pass]:
        """Yield this process's micro-batches of the rows of an update."""
        return passes(self.model, rows, self._budget)

    def save_state(self, folder: Path) -> None:
        """Write the model as transformers does, and the state of optimizer, schedule and objective beside it."""
        save_model(self.model, folder)
        save_optimizer(self._optimizer, self._named_parameters(), folder)
        state = LearnerState(self.policy_version, self.steps_taken, dict(self.objective.state()))
        state.save(folder)

    def restore_state(self, folder: Path) -> None:
        """Continue from the state of a checkpoint; the model was loaded from it already.

        The checkpoint may be of another number of processes, and of another strategy.

        Raises:
            RunError: the checkpoint lacks the state, or a part of it.
        """
        state = LearnerState.load(folder)
        self.policy_version = state.policy_version
        self.steps_taken = state.steps_taken
        self.objective.restore(state.objective)
        restore_optimizer(self._optimizer, self._named_parameters(), folder)

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        """Return what is updated, by name: the model's, and the objective's own by their places among them."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return {names.get(each, f"objective.{place}"): each for place, each in enumerate(self._parameters)}

    def _tokens_of_own_rows(self, rows: Sequence[Row], compute: Callable[[Microbatch], Tensor]) -> Mapping[int, Tensor]:
        return tokens_of_own_rows(self.model, rows, compute, self._budget)

    def _learning_rate(self) -> float:
        return self._rate_factor * learning_rate_at(self.steps_taken, self._num_steps, self._settings)

    def _minibatches(self, samples: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Yield the samples of each optimizer update of an epoch. Any: of the objective's kind."""
        size = self._settings.minibatch_sequences or max(1, len(samples))
        for first in range(0, len(samples), size):
            yield samples[first : first + size]

    def _update_once(self, rows: Sequence[Row], rate: float, measured: MetricAccumulator) -> bool:
        """Take one optimizer step; say whether the gradient was finite, without which nothing moves."""
        self.model.train(self.model.is_gradient_checkpointing)
        losses = [self._backward(one, measured) for one in self.passes(rows)]
        name, before = self.objective.name, self._probe.elements()
        norm = self._step(rate)
        if math.isfinite(norm):
            measured.add_mean(f"{name}/update", self._probe.relative_change(before))
        measured.add_mean(f"{name}/grad_norm", torch.tensor([norm]))
        measured.add_mean(f"{name}/loss", sum_over_ranks(torch.tensor([float(sum(losses))])))
        return math.isfinite(norm)

    def _backward(self, one: Pass, measured: MetricAccumulator) -> Tensor:
        """Add a micro-batch's gradient to the update's, and return its loss, which is not read yet."""
        self._gradients.before_backward(is_last=one.is_last)
        losses_M = self.objective.losses(one.batch, MetricAccumulator() if one.keeps_pace else measured)
        loss = losses_M.sum()
        torch.autograd.backward(loss)
        return loss.detach().double() * (not one.keeps_pace)

    def _step(self, rate: float) -> float:
        """Sum the gradients of all processes, clip them, and let the optimizer move the weights; return their norm."""
        self._gradients.sum_over_ranks()
        norm = self._gradients.clip(self._settings.max_grad_norm)
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["lr_factor"]
                group["update"] = self.policy_version
            self._optimizer.step()
            self.policy_version += 1
        self._gradients.clear()
        return norm


def _in_model_order(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Return parameters in the model's order, then those that are not its own.

    The norm of all gradients is a sum, whose rounding depends on the order.
    """
    wanted = {id(parameter) for parameter in parameters}
    own = [parameter for parameter in model.parameters() if id(parameter) in wanted]
    of_model = {id(parameter) for parameter in own}
    return [*own, *(parameter for parameter in parameters if id(parameter) not in of_model)]
