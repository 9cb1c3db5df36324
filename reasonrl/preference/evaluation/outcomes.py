"""An outcome model on labeled completions, one by one: sigmoid(score) as the probability of a right one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasonrl.evaluation.estimates import Estimate, mean_estimate
from reasonrl.preference.data import LabeledCompletion
from reasonrl.preference.evaluation.calibration import Calibration, calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReport:
    """What the scores say of single completions."""

    num_completions: int
    accuracy: Estimate
    """Share of completions that are on the side of one half that their label is on, averaged by prompt; a label or a
    probability of one half counts one half."""
    majority: float
    """Share that whoever always gives the more frequent side would get."""
    calibration: Calibration
    """Of the probabilities as they are."""


def outcome_report(labeled: Sequence[LabeledCompletion], logits_N: Sequence[float]) -> OutcomeReport:
    """Measure an outcome model.

    Args:
        labeled: completions, at least one.
        logits_N: the score of each.
    """
    labels_N, values_N = np.array([one.label for one in labeled]), np.array(logits_N)
    right_N = (1 + np.sign(values_N) * np.sign(labels_N - 0.5)) / 2
    by_prompt: dict[str, list[float]] = {}
    for one, right in zip(labeled, right_N.tolist(), strict=True):
        by_prompt.setdefault(one.problem.id, []).append(right)
    positive = float((1 + np.sign(labels_N - 0.5)).mean() / 2)
    return OutcomeReport(
        num_completions=len(labeled),
        accuracy=mean_estimate([float(np.mean(those)) for those in by_prompt.values()]),
        majority=max(positive, 1 - positive),
        calibration=calibration(values_N, labels_N),
    )
