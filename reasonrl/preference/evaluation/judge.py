"""Measure one reward model on pairs, and perhaps on samples of a policy."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from statistics import fmean, pstdev
from typing import Final, Literal, TypeAlias

from reasonrl.errors import DataError
from reasonrl.preference.evaluation.accuracy import accuracy_report, heads_report
from reasonrl.preference.evaluation.best_of_n import BestOfNReport, RankedSample, best_of_n_report
from reasonrl.preference.evaluation.calibration import calibration_report
from reasonrl.preference.evaluation.judged import Item, JudgedModel
from reasonrl.preference.evaluation.judgement import DataFacts, Judgement, ModelFacts, PositionReport
from reasonrl.preference.evaluation.length import length_report
from reasonrl.preference.evaluation.outcomes import OutcomeReport, outcome_report
from reasonrl.preference.evaluation.pairs import ChoiceRow, JudgedData
from reasonrl.preference.evaluation.perturbations import perturbation_reports
from reasonrl.preference.evaluation.rewardbench import Choice, RewardBenchReport, choice_scores, section_scores
from reasonrl.preference.evaluation.samples import GoldSamples
from reasonrl.preference.evaluation.scored import ScoredPair, first_pairs
from reasonrl.preference.evaluation.trained import TrainedPrompts

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many texts are scored, and of how many."""

NUM_POSITION_CHECKS: Final = 100
"""Pairs that are scored once more in the other order."""
PACKAGES: Final = ("reasonrl", "torch", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A model to be judged, and how much of it is measured."""

    judged: JudgedModel
    num_perturbed: int
    """Completions, each of another prompt, that are changed in every way; 0 leaves this out."""
    progress: Progress

    def judge(
        self,
        data: JudgedData,
        found: TrainedPrompts,
        samples: GoldSamples | None = None,
        trained: frozenset[str] | None = None,
    ) -> tuple[Judgement, list[ScoredPair]]:
        """Return the figures, and the pairs with their scores.

        Args:
            data: the pairs.
            found: what is known of their prompts.
            samples: of a policy, for best-of-n.
            trained: ids of the prompts that the model was trained on, where that is known.

        Raises:
            DataError: no pair is short enough for the model, or the samples cannot be ranked.
        """
        start = time.monotonic()
        pairs = self.scored(data)
        std, std_from = self._spread(pairs)
        originals = [(pair.pair.problem, pair.pair.chosen) for pair in first_pairs(pairs)[: self.num_perturbed]]
        card = self.judged.card
        rule = None if card is None or card.evaluation is None else card.evaluation.length_rule
        judgement = Judgement(
            model=self._model_facts(),
            data=_data_facts(data, pairs, found),
            accuracy=accuracy_report(pairs),
            length=length_report(pairs, rule),
            calibration=calibration_report(pairs),
            outcome=self._outcome(data),
            heads=heads_report(pairs),
            position=self._position(pairs),
            score_std=std,
            score_std_from=std_from,
            perturbations=perturbation_reports(originals, self._scores, std),
            num_perturbed=len(originals),
            rewardbench=rewardbench_report(data, pairs),
            best_of_n=None if samples is None else self._best_of_n(samples, trained),
            seconds=time.monotonic() - start,
        )
        return judgement, pairs

    def scored(self, data: JudgedData) -> list[ScoredPair]:
        """Score the pairs; those with a text that is too long are left out.

        Raises:
            DataError: none is left.
        """
        items = [(pair.problem, text) for pair in data.pairs for text in (pair.chosen, pair.rejected)]
        heads = iter(self._head_scores(items))
        pairs = [
            ScoredPair(
                pair=pair,
                chosen=self.judged.combined(chosen),
                rejected=self.judged.combined(rejected),
                chosen_heads=chosen,
                rejected_heads=rejected,
            )
            for pair, chosen, rejected in zip(data.pairs, heads, heads, strict=False)
            if chosen is not None and rejected is not None
        ]
        if not pairs:
            raise DataError(
                f"{data.source}: every pair has a text above {self.judged.model.card.max_length:,} tokens, which is "
                "the most that the model takes."
            )
        return pairs

    def _head_scores(self, items: Sequence[Item]) -> list[tuple[float, ...] | None]:
        return self.judged.head_scores(items, self.progress)

    def _scores(self, items: Sequence[Item]) -> list[float | None]:
        return [None if heads is None else self.judged.combined(heads) for heads in self._head_scores(items)]

    def _spread(self, pairs: Sequence[ScoredPair]) -> tuple[float, Literal["training", "these pairs"]]:
        """Return the standard deviation that changes are measured in."""
        card = self.judged.card
        if card is not None and card.num_heads == 1:
            return card.scales[0].std, "training"
        return pstdev([pair.chosen for pair in pairs]) or 1.0, "these pairs"

    def _position(self, pairs: Sequence[ScoredPair]) -> PositionReport:
        changes, num_changed = [0.0], 0
        checked = pairs[:: max(1, len(pairs) // NUM_POSITION_CHECKS)][:NUM_POSITION_CHECKS]
        for pair in checked:
            sides = [(pair.pair.problem, pair.pair.rejected), (pair.pair.problem, pair.pair.chosen)]
            rejected, chosen = (heads for heads in self.judged.scores_together(sides) if heads is not None)
            before, after = (*pair.rejected_heads, *pair.chosen_heads), (*rejected, *chosen)
            changes += [abs(old - new) for old, new in zip(before, after, strict=True)]
            difference = self.judged.combined(chosen) - self.judged.combined(rejected)
            num_changed += (difference > 0) != (pair.difference > 0)
        return PositionReport(num_pairs=len(checked), max_change=max(changes), num_changed=num_changed)

    def _outcome(self, data: JudgedData) -> OutcomeReport | None:
        """Judge an outcome model's scores as logits; of several heads their mean, before any standardization."""
        if self.judged.model.card.kind != "outcome" or not data.labeled:
            return None
        scores = self._head_scores([(one.problem, one.completion) for one in data.labeled])
        scored = [(one, fmean(heads)) for one, heads in zip(data.labeled, scores, strict=True) if heads is not None]
        return outcome_report([one for one, _ in scored], [score for _, score in scored])

    def _best_of_n(self, samples: GoldSamples, trained: frozenset[str] | None) -> BestOfNReport:
        card = self.judged.card
        scores = self._scores([(one.problem, one.completion) for one in samples.samples])
        ranked = [
            RankedSample(problem_id=one.problem.id, score=score, gold=one.gold)
            for one, score in zip(samples.samples, scores, strict=True)
            if score is not None
        ]
        p999 = card.scales[0].p999 if card is not None and card.num_heads == 1 else None
        report = best_of_n_report(ranked, samples.metric, p999)
        left_out = report.left_out + samples.without_gold + len(scores) - len(ranked)
        return replace(report, left_out=left_out, num_trained=samples.num_trained(trained))

    def _model_facts(self) -> ModelFacts:
        model, card = self.judged.model, self.judged.model.card
        return ModelFacts(
            name=self.judged.name,
            base_model=card.base_model,
            kind=card.kind,
            num_heads=card.num_heads,
            aggregate=self.judged.aggregate,
            template=card.template.name,
            max_length=card.max_length,
            assumptions=self.judged.assumptions,
            device=str(model.model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            versions={name: version(name) for name in PACKAGES},
        )


def _data_facts(data: JudgedData, pairs: Sequence[ScoredPair], trained: TrainedPrompts) -> DataFacts:
    return DataFacts(
        source=data.source,
        form=data.form,
        digest=data.digest,
        num_pairs=len(pairs),
        num_prompts=len({pair.prompt_id for pair in pairs}),
        equal_texts=data.equal_texts,
        too_long=len(data.pairs) - len(pairs),
        trained=trained,
    )


def rewardbench_report(data: JudgedData, pairs: Sequence[ScoredPair]) -> RewardBenchReport | None:
    """Return the figures of a benchmark by its own rules; None for other data.

    A row of RewardBench 2 with a text that was not scored is left out, and its subset then counts as incomplete.
    """
    if data.form == "rewardbench":
        return section_scores([(pair.pair.tags[0], pair.difference) for pair in pairs])
    if data.form != "rewardbench2":
        return None
    scores = {(pair.pair.problem.prompt, pair.pair.chosen): pair.chosen for pair in pairs}
    scores |= {(pair.pair.problem.prompt, pair.pair.rejected): pair.rejected for pair in pairs}
    return choice_scores([choice for row in data.choices if (choice := _choice(row, scores)) is not None])


def _choice(row: ChoiceRow, scores: Mapping[tuple[str, str], float]) -> Choice | None:
    right, wrong = ([scores.get((row.problem.prompt, text)) for text in texts] for texts in (row.right, row.wrong))
    there = [score for score in (*right, *wrong) if score is not None]
    if len(there) < len(right) + len(wrong):
        return None
    return Choice(id=row.id, subset=row.subset, right=tuple(there[: len(right)]), wrong=tuple(there[len(right) :]))
