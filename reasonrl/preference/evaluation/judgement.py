"""All that is measured of one reward model on one set of pairs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from reasonrl.evaluation.estimates import Estimate
from reasonrl.preference.card import HeldoutEvaluation, Interval
from reasonrl.preference.evaluation.accuracy import AccuracyReport, HeadsReport
from reasonrl.preference.evaluation.best_of_n import BestOfNReport
from reasonrl.preference.evaluation.calibration import CalibrationReport
from reasonrl.preference.evaluation.length import LengthReport
from reasonrl.preference.evaluation.outcomes import OutcomeReport
from reasonrl.preference.evaluation.perturbations import PerturbationReport
from reasonrl.preference.evaluation.rewardbench import RewardBenchReport
from reasonrl.preference.evaluation.scored import ScoredPair
from reasonrl.preference.evaluation.trained import TrainedPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What was judged."""

    name: str
    base_model: str
    kind: str
    num_heads: int
    aggregate: str | None
    """What became of the heads' scores; None for one head."""
    template: str
    max_length: int
    assumptions: tuple[str, ...]
    """What was assumed of a model without a card."""
    device: str
    dtype: str
    """Type of matrix products."""
    versions: Mapping[str, str]
    """Packages that scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What it was judged on."""

    source: str
    form: str
    """``pairs``, ``labels``, ``rewardbench`` or ``rewardbench2``."""
    digest: str
    """Stands for the pairs, whatever their order."""
    num_pairs: int
    """Pairs that were scored."""
    num_prompts: int
    equal_texts: int
    """Pairs that were left out because their texts are equal."""
    too_long: int
    """Pairs that were left out because a text is too long for the model."""
    trained: TrainedPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReport:
    """Pairs scored once more, one at a time and the rejected completion first: nothing should change."""

    num_pairs: int
    max_change: float
    """Largest change of a raw score."""
    num_changed: int
    """Pairs whose order changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The figures of a report."""

    schema_version: Literal[1] = 1
    model: ModelFacts
    data: DataFacts
    accuracy: AccuracyReport
    length: LengthReport
    calibration: CalibrationReport
    outcome: OutcomeReport | None
    """Of an outcome model on labeled completions, one by one; None for others."""
    heads: HeadsReport | None
    position: PositionReport
    score_std: float
    """Standard deviation of the scores: the unit of changes."""
    score_std_from: Literal["training", "these pairs"]
    """Where it was measured: on the chosen completions of the training data, or of these pairs."""
    perturbations: tuple[PerturbationReport, ...]
    num_perturbed: int
    """Completions that were changed in every way."""
    rewardbench: RewardBenchReport | None
    best_of_n: BestOfNReport | None
    seconds: float

    @property
    def verdict(self) -> str:
        """The finding that decides whether the model may be a reward."""
        length = self.length
        if not length.beats_length_only:
            return "does NOT beat length alone: as a reward it is refused unless forced"
        if length.difference.lower <= 0:
            return "beats length alone on these pairs, but the interval of the difference holds 0: take more prompts"
        if length.logistic_difference.lower <= 0:
            return f"beats the rule 'prefer the {length.rule}', but not clearly a regression on length"
        return "beats length alone"

    def heldout(self) -> HeldoutEvaluation:
        """Return what belongs on the model's card."""
        length = self.length
        return HeldoutEvaluation(
            accuracy=_interval(self.accuracy.accuracy),
            length_only=_interval(length.baseline),
            length_rule=length.rule,
            difference=Interval(
                value=length.difference.difference, lower=length.difference.lower, upper=length.difference.upper
            ),
            num_pairs=self.data.num_pairs,
            num_prompts=self.data.num_prompts,
        )

    def to_json(self) -> str:
        """Return the figures as JSON, the verdict among them; NaN is refused: strict readers do not take it."""
        figures = {**asdict(self), "beats_length_only": self.length.beats_length_only, "verdict": self.verdict}
        return json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, lower=estimate.lower, upper=estimate.upper)


def pair_line(pair: ScoredPair) -> str:
    """Return a pair with its scores as a line of ``pairs.jsonl``."""
    row = {
        "prompt_id": pair.prompt_id,
        "prompt": pair.pair.problem.prompt,
        "chosen": pair.pair.chosen,
        "rejected": pair.pair.rejected,
        "score_chosen": pair.chosen,
        "score_rejected": pair.rejected,
        "heads_chosen": pair.chosen_heads,
        "heads_rejected": pair.rejected_heads,
        "margin": pair.pair.margin,
        "tags": pair.pair.tags,
    }
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
