"""Two objectives beside the policy's, as somebody else would write them: supervised tokens, and preferred pairs."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Microbatch, Row
from reasonrl.learner.forward import predicting_states
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.objectives import KeepsNothing
from reasonrl.learner.optimizer import ParameterGroup, decayed_groups
from reasonrl.types import TrainingSample


@dataclass(frozen=True)
class Supervised(KeepsNothing):
    """The mean negative log-probability of the tokens of the update."""

    model: LogprobModel
    name: str = "sft"
    rows_per_unit: int = 1

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        return decayed_groups(self.model.model.parameters(), weight_decay)

    def rows(self, samples: Sequence[TrainingSample]) -> list[Row]:
        weight = 1.0 / sum(sample.num_loss_tokens for sample in samples)
        return [Row(sample=sample, weight=weight) for sample in samples if sample.num_loss_tokens]

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        losses_M = -self.model.logprobs(batch).logprobs_M
        measured.add_mean("sft/negative_logprob", losses_M.detach())
        return losses_M * batch.weights_M


@dataclass(frozen=True)
class BradleyTerry(KeepsNothing):
    """``-log sigmoid(score of the preferred - score of the other)``, the mean over pairs.

    A sample is a pair. The score is read off by a head of its own where the last token is predicted.
    """

    model: PreTrainedModel
    head: nn.Linear
    name: str = "preference"
    rows_per_unit: int = 2
    seen: list[Microbatch] = field(default_factory=list)

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        head = ParameterGroup(parameters=list(self.head.parameters()), learning_rate_factor=10.0)
        return [*decayed_groups(self.model.parameters(), weight_decay), head]

    def rows(self, samples: Sequence[tuple[TrainingSample, TrainingSample]]) -> list[Row]:
        return [Row(sample=sample, weight=1.0 / len(samples)) for pair in samples for sample in pair]

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        self.seen.append(batch)
        scores_N = self.head(predicting_states(self.model, batch))[:, 0]
        margins_P = scores_N[0::2] - scores_N[1::2]
        measured.add_mean("preference/accuracy", (margins_P > 0).float())
        return -nn.functional.logsigmoid(margins_P) * batch.weights_M[0::2]

    def state(self) -> Mapping[str, Tensor]:
        return self.head.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.head.load_state_dict(dict(state))


def scoring_head(model: PreTrainedModel, *, seed: int = 0) -> nn.Linear:
    """A head that reads a score off hidden states."""
    torch.manual_seed(seed)
    return nn.Linear(model.config.hidden_size, 1)
