"""Who learns: one optimizer step from scored completions.

The reduction of the loss is folded into a weight per sequence when the update's samples are known, so that a
micro-batch is a plain weighted sum and gradients do not depend on how the update is cut.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.algorithms.reductions import REDUCTIONS
from reasonrl.config import RunConfig
from reasonrl.errors import GradientError, RunError
from reasonrl.learner import parallel
from reasonrl.learner.batching import Microbatch, Row, microbatches
from reasonrl.learner.controller import KLController
from reasonrl.learner.logprobs import LogprobModel, output_head
from reasonrl.learner.objective import Objective, bind_loss
from reasonrl.learner.optimizer import adamw, learning_rate_at
from reasonrl.learner.tally import Tally
from reasonrl.types import TrainingSample

STATE_FILE = "learner.pt"


class Learner:
    """Updates a policy from samples with advantages.

    Args:
        model: the policy, in float32 on its device; updated in place.
        config: the run; its ``algorithm``, ``learner`` and ``rollout`` settings are used.
        loss: per-token policy loss, such as :func:`reasonrl.algorithms.losses.clipped_surrogate`.
        dtype: type of matrix products.
        reference: the initial policy, needed when the loss has a divergence.
        controller: the weight of the divergence, where something else needs it too.
        rate_factor: multiplies the learning rate: below 1 after the run was rolled back.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: RunConfig,
        *,
        loss: Callable[..., Tensor],
        dtype: torch.dtype = torch.float32,
        reference: LogprobModel | None = None,
        controller: KLController | None = None,
        rate_factor: float = 1.0,
    ) -> None:
        """Set up the optimizer and what is minimised."""
        self.policy_version = 0
        self.model = model
        self._config = config
        self._steps_taken = 0
        self._rate_factor = rate_factor
        self._optimizer = adamw(model, config.learner)
        self._policy = LogprobModel(model, output_head(model), dtype, config.rollout.temperature)
        self._controller = controller or KLController(config.algorithm)
        self._objective = Objective(
            algorithm=config.algorithm,
            loss=bind_loss(loss, config.algorithm),
            reference=reference,
            controller=self._controller,
        )

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples; return what was measured on the way.

        With several processes each is given all samples and computes its share.

        Raises:
            GradientError: a gradient is not finite; that update is left out, the step's earlier ones stay.
        """
        tally, rate = Tally(), self._learning_rate()
        minibatches = list(self._minibatches(samples))
        if len(minibatches) > 1:
            minibatches = self._with_old_logprobs(minibatches)
        self._steps_taken += 1
        for rows in minibatches:
            self._update_once(rows, rate, tally)
        self._controller.adapt(len(samples))
        return {**tally.metrics(), **self._settings_now(rate)}

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the policy's parameters by name, for an engine; those of an adapter alone, by peft's names."""
        parameters = self.model.named_parameters()
        if not hasattr(self.model, "peft_config"):
            return parameters
        learnt = ((name.replace(".default", ""), tensor) for name, tensor in parameters if tensor.requires_grad)
        return ((f"base_model.model.{name}", tensor) for name, tensor in learnt)

    @torch.no_grad()
    def logprobs(self, samples: Sequence[TrainingSample], temperature: float | None = None) -> list[Tensor]:
        """Return the log-probabilities [T] of each sample's completion, under the sampling temperature or another."""
        policy = self._policy if temperature is None else replace(self._policy, temperature=temperature)
        rows, budget = [Row(sample=sample, weight=0.0) for sample in samples], self._config.learner.microbatch_tokens
        found: dict[int, Tensor] = {}
        for indices, batch in microbatches(rows, max_tokens=budget, device=self.model.device):
            found |= zip(indices, torch.split(policy.values(batch).logprobs_M, batch.lengths), strict=True)
        return [found[index] for index in range(len(rows))]

    def save(self, folder: Path) -> None:
        """Write the policy as transformers does, and the state of optimizer, schedule and controller beside it."""
        self.model.save_pretrained(folder)
        state = {
            "policy_version": self.policy_version,
            "steps_taken": self._steps_taken,
            "kl_coefficient": self._controller.coefficient,
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, folder / STATE_FILE)

    def restore(self, folder: Path) -> None:
        """Take up the state of a checkpoint; the model was loaded from it already.

        Raises:
            RunError: the checkpoint lacks the state, or a part of it.
        """
        if not (folder / STATE_FILE).is_file():
            raise RunError(f"{folder}: lacks {STATE_FILE}, so training cannot go on from it as it was.")
        state: Mapping[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
        if missing := {"policy_version", "steps_taken", "kl_coefficient", "optimizer"} - state.keys():
            raise RunError(f"{folder / STATE_FILE}: lacks {', '.join(sorted(missing))}.")
        self.policy_version = int(state["policy_version"])
        self._steps_taken = int(state["steps_taken"])
        self._controller.coefficient = float(state["kl_coefficient"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _learning_rate(self) -> float:
        """Return the learning rate of this step, the same for all its updates."""
        planned = learning_rate_at(self._steps_taken, self._config.run.steps, self._config.learner)
        return self._rate_factor * planned

    def _settings_now(self, rate: float) -> dict[str, float]:
        """Return the settings that move."""
        kl = {"policy/kl_coefficient": self._controller.coefficient} if self._config.algorithm.kl_coefficient else {}
        return {"policy/learning_rate": rate, **kl}

    def _minibatches(self, samples: Sequence[TrainingSample]) -> Iterator[list[Row]]:
        """Yield the rows of each update: equal slices of the samples, in each epoch again."""
        size = self._config.learner.minibatch_sequences or max(1, len(samples))
        for _ in range(self._config.learner.epochs):
            for first in range(0, len(samples), size):
                yield self._weighted(samples[first : first + size])

    def _weighted(self, samples: Sequence[TrainingSample]) -> list[Row]:
        """Fold the reduction into a weight per sample; those that cannot matter are not computed at all."""
        lengths_N = torch.tensor([len(sample.completion_ids) for sample in samples])
        reduction = REDUCTIONS[self._config.algorithm.reduction]
        weights = reduction(lengths_N, max_new_tokens=self._config.rollout.max_new_tokens).tolist()
        rows = [Row(sample=sample, weight=weight) for sample, weight in zip(samples, weights, strict=True)]
        every = self._objective.needs_every_row
        return [row for row in rows if _has_loss(row.sample) and (row.sample.advantage or every)]

    @torch.no_grad()
    def _with_old_logprobs(self, minibatches: Sequence[list[Row]]) -> list[list[Row]]:
        """Note the log-probabilities before the first update, computed in the micro-batches of the updates.

        The same micro-batches give the same rounding, so the first ratio of every sample is exactly 1.
        """
        noted = []
        for rows in minibatches[: len(minibatches) // self._config.learner.epochs]:
            old: dict[int, Tensor] = {}
            for indices, batch in self._microbatches(rows):
                logprobs_M = self._policy.values(batch).logprobs_M
                old |= zip(indices, torch.split(logprobs_M, batch.lengths), strict=True)
            noted.append([replace(row, old_logprobs_T=old.get(index)) for index, row in enumerate(rows)])
        return noted * self._config.learner.epochs

    def _microbatches(self, rows: Sequence[Row]) -> Iterator[tuple[list[int], Microbatch]]:
        """Cut this process's share of the rows into micro-batches."""
        own, budget = parallel.own_rows(rows), self._config.learner.microbatch_tokens
        for chosen, batch in microbatches([rows[i] for i in own], max_tokens=budget, device=self.model.device):
            yield [own[i] for i in chosen], batch

    def _update_once(self, rows: Sequence[Row], rate: float, tally: Tally) -> None:
        """Take one optimizer step, or none when no row has a weight."""
        if not rows:
            return
        self.model.train(self.model.is_gradient_checkpointing)
        loss = 0.0
        for _, batch in self._microbatches(rows):
            values = self._policy.values(batch, with_entropy=self._objective.has_entropy)
            microbatch_loss = (self._objective.token_losses(values, batch, tally) * batch.weights_M).sum()
            torch.autograd.backward(microbatch_loss)
            loss += float(microbatch_loss.detach())
        self._step(rate, loss, tally)

    def _step(self, rate: float, loss: float, tally: Tally) -> None:
        """Sum the gradients of all processes, clip, and let the optimizer move the weights."""
        parallel.sum_gradients(self.model.parameters())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.learner.max_grad_norm))
        if not math.isfinite(norm):
            self._optimizer.zero_grad(set_to_none=True)
            self._controller.forget()
            raise GradientError(
                f"the gradient of update {self.policy_version + 1} is not finite ({norm}). Lower "
                "learner.learning_rate or learner.max_grad_norm and resume from the last checkpoint."
            )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.policy_version += 1
        tally.add_mean("policy/grad_norm", torch.tensor([norm]))
        tally.add_mean("policy/loss", parallel.sum_over_ranks(torch.tensor([loss])))


def _has_loss(sample: TrainingSample) -> bool:
    """Say whether a sample has tokens that may have a loss."""
    return bool(sample.completion_ids) and not sample.masked
