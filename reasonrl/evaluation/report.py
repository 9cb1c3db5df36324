"""One evaluation as text."""

from collections.abc import Mapping, Sequence
from typing import Final

from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.figures import figures, label, missing_figures
from reasonrl.evaluation.results import SuiteResult
from reasonrl.system.table import aligned

METHODS: Final[Mapping[str, str]] = {
    "wilson": "Wilson's score interval",
    "effective_wilson": "Wilson's with the effective sample size and Student's t",
    "range": "one problem or cluster leaves everything possible",
}
"""What a person reads of the method of an interval."""


def counted(estimate: Estimate | PairedDifference) -> str:
    """Return how many problems a figure rests on, and in how many clusters where they have some."""
    clusters = f" in {estimate.num_clusters} clusters" if estimate.num_clusters < estimate.num_problems else ""
    return f"{estimate.num_problems} problems{clusters}"


def described_sampling(result: SuiteResult) -> str:
    """Return how completions were sampled, after the number of samples."""
    sampling = result.sampling
    how = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    top_p = "" if sampling.top_p == 1 else f", top_p {sampling.top_p:g}"
    return f"{how}{top_p}, max_new_tokens {sampling.max_new_tokens}, template {result.template}"


def described_limit(result: SuiteResult) -> str:
    """Say that only the first problems of a suite were measured; empty where all were."""
    whole = result.num_problems_in_suite
    return "" if whole is None else f"limited: {result.num_problems} of {whole} problems"


def percent(estimate: Estimate) -> str:
    """Return a share with its interval."""
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


def render_result(result: SuiteResult, model: str, ks: Sequence[int] = ()) -> str:
    """Return the figures of one suite with their intervals and errors, and what decides them.

    Args:
        result: what was measured.
        model: its name.
        ks: as in :func:`reasonrl.evaluation.figures.figures`.
    """
    estimates = figures(result, ks)
    main = next(iter(estimates.values()))
    limit = described_limit(result)
    rows = [["", "value [95 % interval]", "se", "se_sampling"], *(_row(*item, result) for item in estimates.items())]
    return "\n".join(
        [
            f"{result.name} v{result.version} ({result.role})  {model}",
            f"  {counted(main)} x {result.sampling.num_samples}, {described_sampling(result)}",
            *([f"  {limit}"] if limit else []),
            *(f"  {line}" for line in aligned(rows)),
            f"  scored {result.num_scored} of {len(result.rows)} completions   mean tokens {result.mean_tokens:.1f}   "
            f"{result.seconds:.0f} s",
            f"  interval of {label(next(iter(estimates)), result.sampling.num_samples)}: {METHODS[main.method]}",
            *(f"  {missing}" for missing in missing_figures(result)),
        ]
    )


def _row(name: str, estimate: Estimate, result: SuiteResult) -> list[str]:
    sampling_error = "" if estimate.sampling_error is None else f"{estimate.sampling_error:.1%}"
    return [
        label(name, result.sampling.num_samples),
        percent(estimate),
        f"{estimate.standard_error:.1%}",
        sampling_error,
    ]
