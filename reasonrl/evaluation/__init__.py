"""Held-out measurement: suites, estimates, comparison, overlap.

:func:`reasonrl.evaluation.measure.measure` samples and therefore needs torch; everything else, imported here
or not, does without it.
"""

from reasonrl.evaluation.at_k import pass_at_k
from reasonrl.evaluation.estimates import (
    Estimate,
    PairedDifference,
    mean_estimate,
    paired_difference,
)
from reasonrl.evaluation.files import read_result, write_result
from reasonrl.evaluation.matches import Overlap
from reasonrl.evaluation.overlap import find_overlap, require_apart
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult
from reasonrl.evaluation.shared_code import shared_functions

__all__ = [
    "Estimate",
    "Overlap",
    "PairedDifference",
    "SampleResult",
    "Sampling",
    "SuiteResult",
    "find_overlap",
    "mean_estimate",
    "paired_difference",
    "pass_at_k",
    "read_result",
    "require_apart",
    "shared_functions",
    "write_result",
]
