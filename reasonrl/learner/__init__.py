"""The learner: optimizer steps from samples, for any objective."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.config.settings import LearnerSettings
from reasonrl.distributed.collectives import sum_over_ranks
from reasonrl.errors import RunError
from reasonrl.learner import parallel
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Microbatch, Row, microbatches
from reasonrl.learner.objectives import Objective
from reasonrl.learner.optimizer import adamw, learning_rate_at
from reasonrl.models.lora import exported_weights

STATE_FILE = "learner.pt"

PROBED_ELEMENTS = 2**16
"""About so many of the parameters are looked at, to say how far an update moves them."""


class Learner:
    """Updates a model from samples.

    Args:
        model: in float32 on its device; updated in place.
        objective: what is minimized.
        settings: optimizer, minibatches and micro-batches.
        num_steps: length of the learning rate's schedule.
        rate_factor: multiplies the learning rate: below 1 after the run was rolled back.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        settings: LearnerSettings,
        *,
        num_steps: int,
        rate_factor: float = 1.0,
    ) -> None:
        self.policy_version = 0
        self.model = model
        self.objective = objective
        self._settings = settings
        self._num_steps = num_steps
        self.steps_taken = 0
        """Steps whose samples it was given, those whose update was left out included."""
        self._rate_factor = rate_factor
        groups = objective.parameter_groups(settings.weight_decay)
        self._optimizer = adamw(groups, settings)
        self._parameters = _in_model_order(model, [p for group in groups for p in group.parameters])

    def update(self, samples: Sequence[Any]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured. Any: samples of the objective's kind.

        With several processes each is given all samples and computes its share. An update whose gradient is not finite
        is left out with the rest of the step; earlier updates stay, and only ``NAME/grad_norm`` is returned, as NaN.
        """
        measured, rate = MetricAccumulator(), self._learning_rate()
        updates = [self.objective.rows(minibatch) for minibatch in self._minibatches(samples)]
        if len(updates) * self._settings.epochs > 1:
            updates = self.objective.prepare(updates, self.microbatches)
        self.steps_taken += 1
        for rows in updates * self._settings.epochs:
            if rows and not self._update_once(rows, rate, measured):
                self.objective.discard_step()
                return {f"{self.objective.name}/grad_norm": math.nan}
        moved = self.objective.end_step(len(samples))
        return {**measured.metrics(), f"{self.objective.name}/learning_rate": rate, **moved}

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the model's parameters by name, for an engine; those of an adapter alone, by peft's names."""
        return exported_weights(self.model)

    def microbatches(self, rows: Sequence[Row]) -> Iterator[tuple[list[int], Microbatch]]:
        """Cut this process's share of the rows into micro-batches, with the indices of their rows."""
        unit = self.objective.rows_per_unit
        own, budget = parallel.own_rows(rows, unit), self._settings.microbatch_tokens
        mine = [rows[index] for index in own]
        for chosen, batch in microbatches(mine, max_tokens=budget, device=self.model.device, rows_per_unit=unit):
            yield [own[index] for index in chosen], batch

    def save_state(self, folder: Path) -> None:
        """Write the model as transformers does, and the state of optimizer, schedule and objective beside it."""
        self.model.save_pretrained(folder)
        state = {
            "policy_version": self.policy_version,
            "steps_taken": self.steps_taken,
            "objective": dict(self.objective.state()),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, folder / STATE_FILE)

    def restore_state(self, folder: Path) -> None:
        """Continue from the state of a checkpoint; the model was loaded from it already.

        Raises:
            RunError: the checkpoint lacks the state, or a part of it.
        """
        if not (folder / STATE_FILE).is_file():
            raise RunError(f"{folder}: lacks {STATE_FILE}, so training cannot go on from it as it was.")
        state: Mapping[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
        if missing := {"policy_version", "steps_taken", "objective", "optimizer"} - state.keys():
            raise RunError(f"{folder / STATE_FILE}: lacks {', '.join(sorted(missing))}.")
        self.policy_version = int(state["policy_version"])
        self.steps_taken = int(state["steps_taken"])
        self.objective.restore(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])

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
        loss = 0.0
        for _, batch in self.microbatches(rows):
            microbatch_loss = self.objective.losses(batch, measured).sum()
            torch.autograd.backward(microbatch_loss)
            loss += float(microbatch_loss.detach())
        name, before = self.objective.name, self._probe()
        norm = self._step(rate)
        if math.isfinite(norm):
            measured.add_mean(f"{name}/update", ((self._probe() - before).norm() / before.norm()).reshape(1))
        measured.add_mean(f"{name}/grad_norm", torch.tensor([norm]))
        measured.add_mean(f"{name}/loss", sum_over_ranks(torch.tensor([loss])))
        return math.isfinite(norm)

    @torch.no_grad()
    def _probe(self) -> Tensor:
        """Return some elements of every parameter that is updated, the same each time."""
        most = max(1, PROBED_ELEMENTS // len(self._parameters))
        flat = (parameter.detach().reshape(-1) for parameter in self._parameters)
        return torch.cat([values[:: max(1, len(values) // most)][:most].double() for values in flat])

    def _step(self, rate: float) -> float:
        """Sum the gradients of all processes, clip them, and let the optimizer move the weights; return their norm."""
        parallel.sum_gradients(self._parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm))
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["lr_factor"]
            self._optimizer.step()
            self.policy_version += 1
        self._optimizer.zero_grad(set_to_none=True)
        return norm


def _in_model_order(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Return parameters in the model's order, then those that are not its own.

    The norm of all gradients is a sum, whose rounding depends on the order.
    """
    wanted = {id(parameter) for parameter in parameters}
    own = [parameter for parameter in model.parameters() if id(parameter) in wanted]
    of_model = {id(parameter) for parameter in own}
    return [*own, *(parameter for parameter in parameters if id(parameter) not in of_model)]
