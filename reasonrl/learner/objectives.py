"""What an update minimizes, as a Protocol, and the policy objective: loss, divergence and entropy of every token."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES, k1, k3
from reasonrl.algorithms.importance import IMPORTANCE
from reasonrl.algorithms.masks import off_policy_tokens
from reasonrl.algorithms.reductions import REDUCTIONS
from reasonrl.config.settings import AlgorithmSettings
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Microbatch, Row
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.optimizer import ParameterGroup, decayed_groups
from reasonrl.models.fast.head import TokenLogprobs
from reasonrl.types import TrainingSample

ComputeTokens: TypeAlias = Callable[[Sequence[Row], Callable[[Microbatch], Tensor]], Mapping[int, Tensor]]
"""From an update's rows, and from a micro-batch to values of its tokens [M], to those of each row [T] that is this
process's, by index."""


class Objective(Protocol):
    """Rows in, weighted token losses out; the loss of an update is their plain sum over all of its micro-batches.

    The reduction is folded into the rows' weights while the samples of the whole update are known, so that gradients
    do not depend on how the update is cut into micro-batches or shared between processes.
    """

    @property
    def name(self) -> str:
        """Prefix of the metrics of its optimizer, such as ``policy``."""
        ...

    @property
    def rows_per_unit(self) -> int:
        """Rows in succession that go through the model together: 1, or 2 for pairs."""
        ...

    @property
    def pads(self) -> bool:
        """Whether its model computes padding, which then counts as tokens of a micro-batch."""
        ...

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """Return what its optimizer updates."""
        ...

    def rows(self, samples: Sequence[Any]) -> list[Row]:
        """Return the rows of an update, those that cannot have a loss left out. Any: samples of its own kind."""
        ...

    def prepare(self, updates: Sequence[list[Row]], tokens: ComputeTokens) -> list[list[Row]]:
        """Return the rows of all different updates of a step, completed before the first one changes the model."""
        ...

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the loss of every token [M], its weight included, and note what it is made of, nowhere else.

        Where a model is divided, a process may be given rows that weigh nothing, and what is measured is then dropped.
        """
        ...

    def end_step(self, num_samples: int, measured: MetricAccumulator) -> Mapping[str, float]:
        """Adapt to what was measured in a step; return the objective's own settings that moved, by metric name."""
        ...

    def discard_step(self) -> None:
        """Forget what was measured in a step whose update was refused."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what a checkpoint must hold of it. Any: numbers and tensors, such as those of a head of its own."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of a checkpoint. Any: as above."""
        ...


class KeepsNothing:
    """The part of an objective that looks at nothing before an update and keeps nothing from one step to the next."""

    __slots__ = ()

    @property
    def pads(self) -> bool:
        """Say that the model takes rows filled up to one length."""
        return True

    def prepare(self, updates: Sequence[list[Row]], tokens: ComputeTokens) -> list[list[Row]]:
        """Return the rows as they are."""
        return list(updates)

    def end_step(self, num_samples: int, measured: MetricAccumulator) -> Mapping[str, float]:
        """Adapt nothing."""
        return {}

    def discard_step(self) -> None:
        """Forget nothing."""

    def state(self) -> Mapping[str, Any]:
        """Return nothing: what is learned belongs to the model. Any: nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up nothing. Any: as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyObjective:
    """The policy-gradient loss of the tokens that the policy chose, with divergence and entropy where asked for."""

    algorithm: AlgorithmSettings
    loss: Callable[..., Tensor]
    """Per-token policy loss, its parameters bound; called with ``logprobs_M``, ``old_logprobs_M``,
    ``sampler_logprobs_M``, ``advantages_M`` and ``lengths_N``."""
    policy: LogprobModel
    max_new_tokens: int
    """Longest completion of samples that do not say theirs: the constant of the reduction ``fixed_length``."""
    controller: KLController
    """The weight of the divergence."""
    entropy: EntropyController
    """The weight of the entropy."""
    reference: LogprobModel | None = None
    """The initial policy; None where the loss has no divergence."""
    name: Literal["policy"] = "policy"
    rows_per_unit: Literal[1] = 1

    @property
    def pads(self) -> bool:
        """Whether the policy computes padding."""
        return self.policy.pads

    @property
    def has_entropy(self) -> bool:
        """Whether the entropy of every token is needed."""
        return self.algorithm.has_entropy

    @property
    def needs_every_row(self) -> bool:
        """Whether a row without advantage has a loss too."""
        return self.reference is not None or self.has_entropy

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """Return all trainable parameters; only matrices are decayed."""
        return decayed_groups(self.policy.model.parameters(), weight_decay)

    def rows(self, samples: Sequence[TrainingSample]) -> list[Row]:
        """Fold the reduction into a weight per sample; samples that cannot have a loss are not computed at all."""
        lengths_N = torch.tensor([sample.num_loss_tokens for sample in samples])
        reduction = REDUCTIONS[self.algorithm.reduction]
        limits_N = torch.tensor([sample.max_new_tokens or self.max_new_tokens for sample in samples])
        weights = reduction(lengths_N, max_new_tokens=limits_N).tolist()
        rows = [Row(sample=sample, weight=weight) for sample, weight in zip(samples, weights, strict=True)]
        return [row for row in rows if _has_loss(row.sample) and (row.sample.teaches or self.needs_every_row)]

    @torch.no_grad()
    def prepare(self, updates: Sequence[list[Row]], tokens: ComputeTokens) -> list[list[Row]]:
        """Note the log-probabilities before the first of several updates, in the micro-batches of the updates.

        The same micro-batches give the same rounding, so the first ratio of every sample is exactly 1. With one update
        the ratio is 1 by construction and nothing is computed.
        """
        noted = []
        for rows in updates:
            old = tokens(rows, lambda batch: self.policy.logprobs(batch).logprobs_M)
            noted.append([replace(row, old_logprobs_T=old.get(index)) for index, row in enumerate(rows)])
        return noted

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the weighted loss of every token [M]."""
        current = self.policy.logprobs(batch, with_entropy=self.has_entropy)
        return self.token_losses(current, batch, measured) * batch.weights_M

    def token_losses(self, current: TokenLogprobs, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the loss of every token [M] before it is weighted."""
        logprobs_M = current.logprobs_M
        old_M = logprobs_M.detach() if batch.old_logprobs_M is None else batch.old_logprobs_M
        losses_M = self._policy_losses(logprobs_M, old_M, batch, measured)
        measured.add_policy(logprobs_M, old_M, batch.sampler_logprobs_M)
        if self.reference is not None:
            losses_M = losses_M + self._divergence(self.reference, logprobs_M, old_M, batch, measured)
        if current.entropies_M is not None:
            measured.add_mean("policy/entropy_exact", current.entropies_M.detach())
            losses_M = losses_M - self.entropy.weight * current.entropies_M
        return losses_M

    def _policy_losses(
        self, logprobs_M: Tensor, old_M: Tensor, batch: Microbatch, measured: MetricAccumulator
    ) -> Tensor:
        """Return the policy loss, masked and corrected for the sampler where that is asked for."""
        lengths_N = torch.tensor(batch.lengths, device=logprobs_M.device)
        losses_M = self.loss(
            logprobs_M=logprobs_M,
            old_logprobs_M=old_M,
            sampler_logprobs_M=batch.sampler_logprobs_M,
            advantages_M=batch.advantages_M,
            lengths_N=lengths_N,
        )
        if batch.old_logprobs_M is not None:
            measured.add_clipped(losses_M, logprobs_M, batch.advantages_M)
        losses_M = self._near_policy(losses_M, logprobs_M, lengths_N, batch, measured)
        if self.algorithm.importance == "none":
            return losses_M
        weights = IMPORTANCE[self.algorithm.importance]
        low, high = self.algorithm.importance_low, self.algorithm.importance_high
        weights_M = weights(old_M, batch.sampler_logprobs_M, lengths_N, low=low or 0.0, high=high or torch.inf)
        measured.add_mean("importance/mean", weights_M)
        return losses_M * weights_M

    def _near_policy(
        self, losses_M: Tensor, logprobs_M: Tensor, lengths_N: Tensor, batch: Microbatch, measured: MetricAccumulator
    ) -> Tensor:
        """Return the losses without those of sequences that the policy has moved away from, where a limit is set."""
        threshold = self.algorithm.off_policy_threshold
        if threshold is None:
            return losses_M
        masked_M = off_policy_tokens(
            logprobs_M, batch.sampler_logprobs_M, batch.advantages_M, lengths_N, threshold=threshold
        )
        measured.add_mean("ratio/off_policy", masked_M.float())
        return losses_M.masked_fill(masked_M, 0.0)

    def _divergence(
        self, reference: LogprobModel, logprobs_M: Tensor, old_M: Tensor, batch: Microbatch, measured: MetricAccumulator
    ) -> Tensor:
        with torch.no_grad():
            reference_M = reference.logprobs(batch).logprobs_M
        divergence_M = k3(logprobs_M.detach(), reference_M)
        measured.add_mean("policy/kl", divergence_M)
        of_rows = torch.split(k1(logprobs_M.detach(), reference_M), list(batch.lengths))
        measured.add_mean("policy/kl_sequence", torch.stack([k1_T.sum() for k1_T in of_rows]))
        loss = DIVERGENCE_LOSSES[self.algorithm.kl_estimator]
        return self.controller.coefficient * loss(logprobs_M, reference_M, old_M)

    def end_step(self, num_samples: int, measured: MetricAccumulator) -> Mapping[str, float]:
        """Let the coefficients follow their targets."""
        self.controller.observe(*measured.total("policy/kl"))
        self.controller.adapt(num_samples)
        self.entropy.adapt(*measured.total("policy/entropy_exact"))
        moved = {"policy/kl_coefficient": self.controller.coefficient} if self.algorithm.kl_coefficient else {}
        return {**moved, "policy/entropy_weight": self.entropy.weight} if self.has_entropy else moved

    def discard_step(self) -> None:
        """Forget the divergence of a step whose update was refused: it says nothing about the policy."""
        self.controller.discard_observed()

    def state(self) -> Mapping[str, float | None]:
        """Return the coefficients, and the entropy that the next step's bonus depends on."""
        return {"kl_coefficient": self.controller.coefficient, **self.entropy.state()}

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Continue with a checkpoint's coefficients."""
        self.controller.coefficient = float(state["kl_coefficient"] or 0.0)
        self.entropy.restore(state)


def _has_loss(sample: TrainingSample) -> bool:
    return sample.num_loss_tokens > 0 and not sample.masked
