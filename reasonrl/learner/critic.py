"""The critic of PPO: a model that expects the reward to come before every token, learned beside the policy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.config.settings import LearnerSettings
from reasonrl.errors import RunError
from reasonrl.learner import Learner
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Budget, Microbatch, Row
from reasonrl.learner.forward import predicting_states
from reasonrl.learner.objectives import KeepsNothing
from reasonrl.learner.optimizer import ParameterGroup, decayed_groups
from reasonrl.learner.sharing import tokens_of_samples
from reasonrl.learner.strategies import SINGLE, Strategy
from reasonrl.models.hardware import autocast
from reasonrl.models.sharded import forward_pass
from reasonrl.types import TrainingSample

CRITIC_FOLDER: Final = "critic"
"""Where a checkpoint holds the critic: a sequence classifier of transformers with one label, and its optimizer."""


@dataclass(frozen=True, slots=True)
class ValueModel:
    """A backbone with a linear head ``score`` that reads the reward to come off its hidden states."""

    model: PreTrainedModel
    dtype: torch.dtype
    """Type of the backbone's products; the head's are float32."""

    def values(self, batch: Microbatch) -> Tensor:
        """Return the value [M] of the state before every token of a micro-batch that has a loss."""

        def compute() -> Tensor:
            with autocast(self.model.device, self.dtype):
                states_MD = predicting_states(self.model, batch)
            values_M1: Tensor = value_head(self.model)(states_MD.float())
            return values_M1

        return forward_pass(self.model, compute)[:, 0]

    @torch.no_grad()
    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[Tensor]:
        """Return for each sample the values [T] before its tokens that have a loss, computed by all processes.

        Args:
            samples: any number of them.
            max_tokens: budget of one forward pass, padding included.
        """
        return tokens_of_samples(self.model, samples, self.values, Budget(tokens=max_tokens))


def value_head(model: PreTrainedModel) -> nn.Linear:
    """Return the head of a sequence classifier."""
    return cast(nn.Linear, model.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueObjective(KeepsNothing):
    """Half the squared error of the value of every token, the mean over the tokens of an update.

    ``max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2``: with a ``clip`` c a value that has moved far from the
    one before the step is not moved farther (as in PPO's implementations; Huang et al. 2022, "The 37 implementation
    details of proximal policy optimization", detail 9).
    """

    model: ValueModel
    clip: float | None
    name: Literal["value"] = "value"
    rows_per_unit: Literal[1] = 1

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """Return all parameters, the head's included; only matrices are decayed."""
        return decayed_groups(self.model.model.parameters(), weight_decay)

    def rows(self, samples: Sequence[TrainingSample]) -> list[Row]:
        """Return the samples that have returns; every one of their tokens weighs the same."""
        learned = [sample for sample in samples if _has_returns(sample)]
        weight = 1.0 / max(1, sum(sample.num_loss_tokens for sample in learned))
        return [
            Row(sample=sample, weight=weight, columns={"values": sample.values_T, "returns": sample.returns_T})
            for sample in learned
        ]

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the weighted loss of every token [M]."""
        values_M, old_M, returns_M = self.model.values(batch), batch.columns["values"], batch.columns["returns"]
        errors_M = (values_M - returns_M).square()
        measured.add_mean("value/mean", values_M.detach())
        measured.add("learner/tokens", float(len(values_M)))
        if self.clip is not None:
            clipped_M = values_M.clamp(old_M - self.clip, old_M + self.clip)
            clipped_errors_M = (clipped_M - returns_M).square()
            measured.add_mean("value/clipped", (clipped_errors_M > errors_M).float())
            errors_M = errors_M.maximum(clipped_errors_M)
        return errors_M / 2 * batch.weights_M


class Critic(Learner):
    """Expects rewards, and learns to.

    Args:
        values: the model.
        settings: optimizer, minibatches and micro-batches.
        clip: how far a value may move in a step before its error counts as if it had not moved back; None for no limit.
        num_steps: length of the learning rate's schedule.
        rate_factor: multiplies the learning rate.
        strategy: how processes share the model.
    """

    def __init__(
        self,
        values: ValueModel,
        settings: LearnerSettings,
        *,
        clip: float | None,
        num_steps: int,
        rate_factor: float = 1.0,
        strategy: Strategy = SINGLE,
    ) -> None:
        objective, model = ValueObjective(model=values, clip=clip), values.model
        super().__init__(model, objective, settings, num_steps=num_steps, rate_factor=rate_factor, strategy=strategy)
        self._values = values
        self._max_tokens = settings.microbatch_tokens

    def predict(self, samples: Sequence[TrainingSample]) -> list[Tensor]:
        """Return for each sample the reward to come [T] that it expects before each token that the policy chose."""
        return self._values.of_samples(samples, max_tokens=self._max_tokens)


class ActorCritic:
    """A policy and its critic, which learn from the same samples; for the run it is the policy.

    Args:
        actor: learns the policy.
        critic: learns the values of the policy's tokens.
        pretrain_steps: first steps of the run in which the critic learns alone, and the policy stays what it is.
    """

    def __init__(self, actor: Learner, critic: Critic, *, pretrain_steps: int) -> None:
        self.actor = actor
        self.critic = critic
        self._pretrain_steps = pretrain_steps

    @property
    def policy_version(self) -> int:
        """Updates of the policy."""
        return self.actor.policy_version

    @policy_version.setter
    def policy_version(self, version: int) -> None:
        self.actor.policy_version = version

    @property
    def model(self) -> PreTrainedModel:
        """The policy's model."""
        return self.actor.model

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured of both.

        The critic is first: what it expected of the samples was computed before.
        """
        explained = _explained_variance(samples)
        is_pretraining = self.critic.steps_taken < self._pretrain_steps
        measured = {**explained, **self.critic.update(samples)}
        if is_pretraining:
            self.actor.objective.discard_step()
            return measured
        return {**measured, **self.actor.update(samples)}

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the policy's parameters by name, for an engine."""
        return self.actor.weights()

    def save_state(self, folder: Path) -> None:
        """Write the policy as without a critic, and the critic beside it in a folder of its own."""
        self.actor.save_state(folder)
        self.critic.save_state(folder / CRITIC_FOLDER)

    def restore_state(self, folder: Path) -> None:
        """Continue from the state of a checkpoint; both models were loaded from it already.

        Raises:
            RunError: the checkpoint lacks the state, or a part of it.
        """
        self.actor.restore_state(folder)
        self.critic.restore_state(folder / CRITIC_FOLDER)


def critic_of(checkpoint: Path) -> Path:
    """Return where a checkpoint holds its critic.

    Raises:
        RunError: it has none.
    """
    if not (checkpoint / CRITIC_FOLDER).is_dir():
        raise RunError(f"{checkpoint}: lacks {CRITIC_FOLDER}/, the critic, so training cannot go on from it as it was.")
    return checkpoint / CRITIC_FOLDER


def _has_returns(sample: TrainingSample) -> bool:
    return bool(sample.returns_T) and not sample.masked and sample.num_loss_tokens > 0


def _explained_variance(samples: Sequence[TrainingSample]) -> dict[str, float]:
    """Return the share of the returns' variance that the critic foresaw: 1 - Var(returns - values) / Var(returns).

    Over all tokens that it learns from; nothing where there are none, or all returns are equal.
    """
    pairs = [
        (expected, came)
        for sample in filter(_has_returns, samples)
        for expected, came, chosen in zip(sample.values_T, sample.returns_T, sample.mask, strict=True)
        if chosen
    ]
    if not pairs:
        return {}
    values_M, returns_M = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    variance = float(returns_M.var(correction=0))
    error = float((returns_M - values_M).var(correction=0))
    return {"value/explained_variance": 1.0 - error / variance} if variance > 0 else {}
