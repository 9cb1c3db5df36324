"""One evaluation as text."""

from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.files import metric_estimates
from reasonrl.evaluation.results import SuiteResult


def counted(estimate: Estimate | PairedDifference) -> str:
    """Return how many problems a figure rests on, and in how many clusters where they have some."""
    clusters = f" in {estimate.num_clusters} clusters" if estimate.num_clusters < estimate.num_problems else ""
    return f"{estimate.num_problems} problems{clusters}"


def render_result(result: SuiteResult, model: str) -> str:
    """Return the figures of one suite with their intervals, rates and sampling settings."""
    estimates = metric_estimates(result)
    figures = [
        f"{name} {estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"
        for name, estimate in estimates.items()
    ]
    sampling = result.sampling
    how = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    return "\n".join(
        [
            f"{result.name} v{result.version}  {model}",
            f"  {'   '.join(figures)}  (95 %, {counted(estimates['exact'])}, {sampling.num_samples} each, {how})",
            f"  truncated {result.truncated:.1%}   unparsed {result.unparsed:.1%}   "
            f"mean tokens {result.mean_tokens:.1f}   template {result.template}   {result.seconds:.0f} s",
        ]
    )
