"""What is minimised: policy loss, divergence and entropy of every completion token."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES, k3
from reasonrl.algorithms.importance import IMPORTANCE
from reasonrl.config import AlgorithmSettings
from reasonrl.errors import ConfigError
from reasonrl.hookspecs import LOSS_SETTINGS
from reasonrl.learner.batching import Microbatch
from reasonrl.learner.controller import KLController
from reasonrl.learner.logprobs import LogprobModel, TokenValues
from reasonrl.learner.tally import Tally
from reasonrl.plugins import named_arguments


def bind_loss(loss: Callable[..., Tensor], algorithm: AlgorithmSettings) -> Callable[..., Tensor]:
    """Give a policy loss the settings it names; the result may be called with every tensor a loss can name.

    Raises:
        ConfigError: a setting would be ignored, or one that the loss needs is null.
    """
    parameters = signature(loss).parameters
    values: dict[str, Any] = {name: getattr(algorithm, name) for name in LOSS_SETTINGS}
    for name, value in values.items():
        if value is not None and name not in parameters:
            raise ConfigError(
                f"algorithm.{name} is {value}, but loss {algorithm.loss.name!r} does not use it. Set it to null, or "
                "choose the preset that the loss belongs to."
            )
        if value is None and name in parameters and parameters[name].default is parameters[name].empty:
            raise ConfigError(f"algorithm.{name} is null, but loss {algorithm.loss.name!r} needs it.")
    chosen = {name: value for name, value in values.items() if name in parameters and value is not None}
    return named_arguments(partial(loss, **chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The loss of every completion token, before it is weighted and summed.

    Args:
        algorithm: the method's settings.
        loss: the policy loss, its settings bound; called with everything it may name.
        reference: the initial policy; None where the loss has no divergence.
        controller: the weight of the divergence.
    """

    algorithm: AlgorithmSettings
    loss: Callable[..., Tensor]
    reference: LogprobModel | None
    controller: KLController

    @property
    def has_entropy(self) -> bool:
        """Whether the entropy of every token is needed."""
        return self.algorithm.entropy_coefficient > 0

    @property
    def needs_every_row(self) -> bool:
        """Whether a row without advantage has a loss too."""
        return self.reference is not None or self.has_entropy

    def token_losses(self, values: TokenValues, batch: Microbatch, tally: Tally) -> Tensor:
        """Return the loss of every token [M], and note what it is made of."""
        logprobs_M = values.logprobs_M
        old_M = logprobs_M.detach() if batch.old_logprobs_M is None else batch.old_logprobs_M
        losses_M = self._policy_losses(logprobs_M, old_M, batch, tally)
        tally.add_policy(logprobs_M, old_M, batch.sampler_logprobs_M)
        if self.reference is not None:
            losses_M = losses_M + self._divergence(self.reference, logprobs_M, batch, tally)
        if values.entropies_M is not None:
            tally.add_mean("policy/entropy_exact", values.entropies_M.detach())
            losses_M = losses_M - self.algorithm.entropy_coefficient * values.entropies_M
        return losses_M

    def _policy_losses(self, logprobs_M: Tensor, old_M: Tensor, batch: Microbatch, tally: Tally) -> Tensor:
        """Return the policy loss, corrected for the sampler where that is asked for."""
        lengths_N = torch.tensor(batch.lengths, device=logprobs_M.device)
        losses_M = self.loss(
            logprobs_M=logprobs_M, old_logprobs_M=old_M, advantages_M=batch.advantages_M, lengths_N=lengths_N
        )
        if batch.old_logprobs_M is not None:
            tally.add_clipped(losses_M, logprobs_M, batch.advantages_M)
        if self.algorithm.importance == "none":
            return losses_M
        weights = IMPORTANCE[self.algorithm.importance]
        low, high = self.algorithm.importance_low, self.algorithm.importance_high
        weights_M = weights(old_M, batch.sampler_logprobs_M, lengths_N, low=low or 0.0, high=high or torch.inf)
        tally.add_mean("importance/mean", weights_M)
        return losses_M * weights_M

    def _divergence(self, reference: LogprobModel, logprobs_M: Tensor, batch: Microbatch, tally: Tally) -> Tensor:
        """Return the weighted divergence from the initial policy."""
        with torch.no_grad():
            reference_M = reference.values(batch).logprobs_M
        divergence_M = k3(logprobs_M.detach(), reference_M)
        tally.add_mean("policy/kl", divergence_M)
        self.controller.observe(float(divergence_M.sum()), len(divergence_M))
        return self.controller.coefficient * DIVERGENCE_LOSSES[self.algorithm.kl_estimator](logprobs_M, reference_M)
