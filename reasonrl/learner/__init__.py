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

from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES, k3
from reasonrl.algorithms.reductions import REDUCTIONS
from reasonrl.config import RunConfig
from reasonrl.errors import RunError
from reasonrl.learner.batching import Microbatch, Row, microbatches
from reasonrl.learner.logprobs import LogprobModel, output_head
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
        reference: the initial policy, needed when ``algorithm.kl_coefficient`` is above 0.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: RunConfig,
        *,
        loss: Callable[..., Tensor],
        dtype: torch.dtype = torch.float32,
        reference: PreTrainedModel | None = None,
    ) -> None:
        """Set up the optimizer, and the reference policy only when there is a KL term."""
        self.policy_version = 0
        self.model = model
        self._config = config
        self._loss = loss
        self._optimizer = adamw(model, config.learner)
        self._num_updates = config.run.steps * _updates_per_step(config)
        temperature = config.rollout.temperature
        self._policy = LogprobModel(model, output_head(model), dtype, temperature)
        self._reference = (
            None if reference is None else LogprobModel(reference, output_head(reference), dtype, temperature)
        )

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples; return what was measured on the way.

        Raises:
            RunError: a gradient is not finite.
        """
        tally = Tally()
        minibatches = list(self._minibatches(samples))
        if len(minibatches) > 1:
            minibatches = self._with_old_logprobs(minibatches)
        for rows in minibatches:
            self._update_once(rows, tally)
        return tally.metrics()

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the policy's parameters by name, for an engine."""
        return self.model.named_parameters()

    def save(self, folder: Path) -> None:
        """Write the policy as transformers does, and the optimizer's state beside it."""
        self.model.save_pretrained(folder)
        state = {"policy_version": self.policy_version, "optimizer": self._optimizer.state_dict()}
        torch.save(state, folder / STATE_FILE)

    def restore(self, folder: Path) -> None:
        """Take the optimizer's state from a checkpoint; the model was loaded from it already.

        Raises:
            RunError: the checkpoint lacks the optimizer's state.
        """
        if not (folder / STATE_FILE).is_file():
            raise RunError(f"{folder}: lacks {STATE_FILE}, so training cannot go on from it as it was.")
        state: Mapping[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
        self.policy_version = int(state["policy_version"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _minibatches(self, samples: Sequence[TrainingSample]) -> Iterator[list[Row]]:
        """Yield the rows of each update: equal slices of the samples, in each epoch again."""
        size = self._config.learner.minibatch_sequences or len(samples)
        for _ in range(self._config.learner.epochs):
            for first in range(0, len(samples), size):
                yield self._weighted(samples[first : first + size])

    def _weighted(self, samples: Sequence[TrainingSample]) -> list[Row]:
        """Fold the reduction into a weight per sample; those that cannot matter are not computed at all."""
        lengths_N = torch.tensor([len(sample.completion_ids) for sample in samples])
        reduction = REDUCTIONS[self._config.algorithm.reduction]
        weights = reduction(lengths_N, max_new_tokens=self._config.rollout.max_new_tokens).tolist()
        rows = [Row(sample=sample, weight=weight) for sample, weight in zip(samples, weights, strict=True)]
        return [row for row in rows if row.sample.completion_ids and (row.sample.advantage or self._reference)]

    @torch.no_grad()
    def _with_old_logprobs(self, minibatches: Sequence[list[Row]]) -> list[list[Row]]:
        """Note the log-probabilities before the first update, computed in the micro-batches of the updates.

        The same micro-batches give the same rounding, so the first ratio of every sample is exactly 1.
        """
        noted = []
        for rows in minibatches[: len(minibatches) // self._config.learner.epochs]:
            old: dict[int, Tensor] = {}
            for indices, batch in self._microbatches(rows):
                old |= zip(indices, torch.split(self._policy.logprobs(batch), batch.lengths), strict=True)
            noted.append([replace(row, old_logprobs_T=old[index]) for index, row in enumerate(rows)])
        return noted * self._config.learner.epochs

    def _microbatches(self, rows: Sequence[Row]) -> Iterator[tuple[list[int], Microbatch]]:
        """Cut rows into micro-batches."""
        return microbatches(rows, max_tokens=self._config.learner.microbatch_tokens, device=self.model.device)

    def _update_once(self, rows: Sequence[Row], tally: Tally) -> None:
        """Take one optimizer step, or none when no row has a weight."""
        self.model.train(self.model.is_gradient_checkpointing)
        for _, batch in self._microbatches(rows):
            torch.autograd.backward(self._microbatch_loss(batch, tally))
        if rows:
            self._step(tally)

    def _microbatch_loss(self, batch: Microbatch, tally: Tally) -> Tensor:
        """Return the weighted sum of token losses of a micro-batch."""
        algorithm = self._config.algorithm
        logprobs_M = self._policy.logprobs(batch)
        old_M = logprobs_M.detach() if batch.old_logprobs_M is None else batch.old_logprobs_M
        clip = {"clip_low": algorithm.clip_low, "clip_high": algorithm.clip_high}
        losses_M = self._loss(logprobs_M, old_M, batch.advantages_M, **clip)
        tally.add_policy(logprobs_M, old_M, batch.sampler_logprobs_M, algorithm)
        if self._reference is not None:
            losses_M = losses_M + self._kl_losses(self._reference, batch, logprobs_M, tally)
        loss = (losses_M * batch.weights_M).sum()
        tally.add("policy/loss", float(loss.detach()))
        return loss

    def _kl_losses(self, reference: LogprobModel, batch: Microbatch, logprobs_M: Tensor, tally: Tally) -> Tensor:
        """Return the weighted divergence from the reference policy, per token."""
        with torch.no_grad():
            reference_M = reference.logprobs(batch)
        tally.add_mean("policy/kl", k3(logprobs_M.detach(), reference_M))
        estimate = DIVERGENCE_LOSSES[self._config.algorithm.kl_estimator]
        return self._config.algorithm.kl_coefficient * estimate(logprobs_M, reference_M)

    def _step(self, tally: Tally) -> None:
        """Clip the gradient, set the learning rate and let the optimizer move the weights."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.learner.max_grad_norm))
        if not math.isfinite(norm):
            raise RunError(
                f"the gradient of update {self.policy_version + 1} is not finite ({norm}). Lower "
                "learner.learning_rate or learner.max_grad_norm and resume from the last checkpoint."
            )
        rate = learning_rate_at(self.policy_version, self._num_updates, self._config.learner)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.policy_version += 1
        tally.add_mean("policy/grad_norm", torch.tensor([norm]))
        tally.set("policy/learning_rate", rate)


def _updates_per_step(config: RunConfig) -> int:
    """Count the optimizer updates of a step."""
    sequences = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    return config.learner.epochs * sequences // (config.learner.minibatch_sequences or sequences)
