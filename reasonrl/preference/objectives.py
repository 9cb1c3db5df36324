"""What a reward model minimizes: the Bradley-Terry loss of pairs, or the cross-entropy of labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import PreTrainedModel

from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Microbatch, Row
from reasonrl.learner.objectives import KeepsNothing
from reasonrl.learner.optimizer import ParameterGroup, decayed_groups
from reasonrl.preference.model import head_scores
from reasonrl.types import TrainingSample, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSample:
    """An encoded pair."""

    prompt: str
    """Id of the prompt."""
    chosen: TrainingSample
    rejected: TrainingSample
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSample:
    """An encoded completion with its label."""

    prompt: str
    """Id of the prompt."""
    completion: TrainingSample
    label: float


def bootstrap_counts(prompts: Sequence[str], num_heads: int, seed: int) -> Mapping[str, tuple[float, ...]]:
    """Return how often each prompt is in each head's sample: as many draws as prompts, with replacement.

    Args:
        prompts: ids of the training prompts; neither their order nor how often one comes matters.
        num_heads: heads; the sample of one does not depend on how many there are.
        seed: of the draws.
    """
    known = sorted(set(prompts))
    drawn = [Counter(Random(digest(seed, "head", head)).choices(known, k=len(known))) for head in range(num_heads)]
    return {prompt: tuple(float(counts[prompt]) for counts in drawn) for prompt in known}


@dataclass(frozen=True, kw_only=True)
class _HeadObjective(KeepsNothing):
    """What both objectives have in common: the heads, their parameters and their weights.

    The loss of an update is the mean over the heads of each one's own, in which a prompt counts as often as the head's
    sample of the prompts has it.

    Args:
        model: backbone with heads.
        dtype: type of the backbone's matrix products.
        head_rate_factor: multiplies the learning rate of the heads.
        head_weights: how often each prompt counts under each head, by its id; empty where it counts once under all.
    """

    model: PreTrainedModel
    dtype: torch.dtype
    head_rate_factor: float = 1.0
    head_weights: Mapping[str, tuple[float, ...]]
    name: ClassVar[Literal["rm"]] = "rm"

    @property
    def head(self) -> nn.Linear:
        """The heads: K rows of one matrix."""
        return cast(nn.Linear, self.model.score)

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """Return the trainable parameters of the backbone, and the heads with a learning rate of their own."""
        heads = {id(parameter) for parameter in self.head.parameters()}
        backbone = (parameter for parameter in self.model.parameters() if id(parameter) not in heads)
        own = ParameterGroup(
            parameters=list(self.head.parameters()),
            weight_decay=weight_decay,
            learning_rate_factor=self.head_rate_factor,
        )
        return [*decayed_groups(backbone, weight_decay), own]

    def row(self, sample: TrainingSample, weight: float, prompt: str, **columns: float) -> Row:
        """Return a row, whose columns hold the weights of the heads too."""
        heads = {f"head_{head}": value for head, value in enumerate(self.head_weights.get(prompt, ()))}
        before = (0.0,) * (len(sample.token_ids) - 1)  # only the last token has a loss
        named = {name: (*before, value) for name, value in {**columns, **heads}.items()}
        return Row(sample=sample, weight=weight, columns=named)

    def weighted(self, losses_NK: Tensor, batch: Microbatch, rows_per_loss: int) -> Tensor:
        """Return the loss of each unit of rows [N]: the weighted mean over heads, times the unit's weight."""
        names = [f"head_{head}" for head in range(losses_NK.shape[1])]
        if self.head_weights:
            losses_NK = losses_NK * torch.stack([batch.columns[name][::rows_per_loss] for name in names], dim=1)
        return losses_NK.mean(dim=1) * batch.weights_M[::rows_per_loss]

    def measure(self, scores_NK: Tensor, measured: MetricAccumulator) -> None:
        """Note mean and spread of the scores, and how far the heads are apart."""
        scores_N = scores_NK.mean(dim=1)
        measured.add_mean("rm/score_mean", scores_N)
        measured.add_mean("rm/score_square", scores_N.square())
        if scores_NK.shape[1] > 1:
            measured.add_mean("rm/head_std", scores_NK.std(dim=1, correction=0))


@dataclass(frozen=True, kw_only=True)
class BradleyTerryObjective(_HeadObjective):
    """``-log sigmoid(chosen - rejected - margin) + centering * (chosen + rejected)^2``, the mean over pairs.

    Bradley and Terry 1952, as in arXiv:1706.03741; margin: arXiv:2307.09288, equation 2; centering: arXiv:2312.09244.

    Args:
        margin: whether to take the pairs' own margins off the difference.
        centering: weight of the square of the sum.
        by_prompt: count prompts alike, whatever their number of pairs in the update (arXiv:2203.02155, equation 1).
    """

    margin: bool = True
    centering: float = 0.0
    by_prompt: bool = True
    rows_per_unit: ClassVar[Literal[2]] = 2

    def rows(self, samples: Sequence[PairSample]) -> list[Row]:
        """Return two rows a pair, the chosen completion first."""
        pairs_of = Counter(pair.prompt for pair in samples)
        rows = []
        for pair in samples:
            weight = 1.0 / (len(pairs_of) * pairs_of[pair.prompt]) if self.by_prompt else 1.0 / len(samples)
            margin = pair.margin if self.margin else 0.0
            rows += [self.row(one, weight, pair.prompt, margin=margin) for one in (pair.chosen, pair.rejected)]
        return rows

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the weighted loss of every pair."""
        scores_NK = head_scores(self.model, batch, self.dtype)
        chosen_NK, rejected_NK = scores_NK[0::2], scores_NK[1::2]
        losses_NK = -logsigmoid(chosen_NK - rejected_NK - batch.columns["margin"][0::2, None])
        if self.centering:
            losses_NK = losses_NK + self.centering * (chosen_NK + rejected_NK).square()
        self.measure(scores_NK.detach(), measured)
        differences_N = (chosen_NK - rejected_NK).detach().mean(dim=1)
        measured.add_mean("rm/margin", differences_N)
        measured.add_mean("rm/accuracy", credits(differences_N))
        return self.weighted(losses_NK, batch, rows_per_loss=2)


@dataclass(frozen=True, kw_only=True)
class OutcomeObjective(_HeadObjective):
    """Cross-entropy of the label under the sigmoid of the score, the mean over completions (arXiv:2110.14168)."""

    rows_per_unit: ClassVar[Literal[1]] = 1

    def rows(self, samples: Sequence[LabelSample]) -> list[Row]:
        """Return a row for each completion."""
        weight = 1.0 / max(len(samples), 1)
        return [self.row(one.completion, weight, one.prompt, label=one.label) for one in samples]

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the weighted loss of every completion."""
        scores_NK = head_scores(self.model, batch, self.dtype)
        labels_N = batch.columns["label"]
        labels_NK = labels_N[:, None].expand_as(scores_NK)
        losses_NK = binary_cross_entropy_with_logits(scores_NK, labels_NK, reduction="none")
        self.measure(scores_NK.detach(), measured)
        scores_N = scores_NK.detach().mean(dim=1)
        measured.add_mean("rm/accuracy", credits(scores_N * (labels_N - 0.5)))
        return self.weighted(losses_NK, batch, rows_per_loss=1)


def credits(values_N: Tensor) -> Tensor:
    """Return 1 where a value is positive, 0 where it is negative, and one half where it is 0."""
    return (values_N.sign() + 1) / 2
