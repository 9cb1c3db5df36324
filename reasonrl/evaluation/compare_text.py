"""A comparison as text."""

from reasonrl.evaluation.compare import Comparison, Figure
from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.report import counted, described_limit
from reasonrl.system.table import aligned


def render_comparison(comparison: Comparison, name_a: str, name_b: str) -> str:
    """Return the comparison as text in aligned columns."""
    lines = [comparison_title(comparison), f"A: {name_a}", f"B: {name_b}", ""]
    return "\n".join([*lines, *aligned(comparison_rows(comparison)), "", *_notes(comparison)])


def comparison_rows(comparison: Comparison) -> list[list[str]]:
    """Return the header and a row for each figure and for the lengths; a row may have fewer cells than the header."""
    header = ["", "A", "B", "B - A (paired, 95 %)", "p", "W/T/L"]
    if any(figure.is_primary for figure in comparison.figures):
        header.append("p (Holm)")
    return [header, *(_figure_row(figure, len(header)) for figure in comparison.figures), _token_row(comparison)]


def comparison_title(comparison: Comparison) -> str:
    """Return the suite, how many problems of it, and how completions were sampled."""
    a, sampling = comparison.a, comparison.a.sampling
    samples = f" x {sampling.num_samples} samples" if sampling.num_samples > 1 else ""
    top_p = "" if sampling.top_p == 1 else f"top_p {sampling.top_p:g}, "
    return (
        f"suite {a.name} v{a.version} ({a.role}): {counted(comparison.figures[0].a)}{samples}, "
        f"temperature {sampling.temperature:g}, {top_p}max_new_tokens {sampling.max_new_tokens}, "
        f"template {a.template}, prompts {a.prompt_sha[:8]}"
    )


def _figure_row(figure: Figure, num_columns: int) -> list[str]:
    difference = figure.difference
    interval = f"[{difference.lower:+z.3f}, {difference.upper:+z.3f}]"
    row = [
        figure.name,
        with_interval(figure.a),
        with_interval(figure.b),
        f"{difference.difference:+z.3f} {interval}",
        p_text(difference.p_value),
        f"{difference.wins}/{difference.ties}/{difference.losses}",
        "exploratory" if figure.adjusted_p is None else p_text(figure.adjusted_p),
    ]
    return row[:num_columns]


def p_text(p_value: float) -> str:
    """Return a p-value with three digits."""
    return "<.001" if p_value < 0.001 else f"{p_value:.3f}"


def with_interval(estimate: Estimate) -> str:
    """Return a value with its interval, three digits each."""
    return f"{estimate.value:.3f} [{estimate.lower:.3f}, {estimate.upper:.3f}]"


def _token_row(comparison: Comparison) -> list[str]:
    a, b = comparison.a.mean_tokens, comparison.b.mean_tokens
    return ["mean tokens", f"{a:.1f}", f"{b:.1f}", f"{b - a:+z.1f}"]


def _notes(comparison: Comparison) -> list[str]:
    first = comparison.figures[0].difference
    notes = [_methods(first), _sensitivity(first)]
    if limit := described_limit(comparison.a):
        notes.append(limit)
    if not comparison.same_prompts:
        notes.append("The models read different prompts: the difference is not the weights' alone.")
    return notes


def _methods(difference: PairedDifference) -> str:
    if difference.method == "tango":
        return "interval: Tango's score interval; p: exact McNemar test"
    by = "clusters" if difference.num_clusters < difference.num_problems else "problems"
    return f"interval: Tango's score interval with the effective number of {by}; p: sign-flip test over {by}"


def _sensitivity(difference: PairedDifference) -> str:
    if difference.num_clusters == 1:
        return "One problem or cluster: nothing follows for others."
    correlation = "" if difference.correlation is None else f"; correlation {difference.correlation:.2f}"
    return (
        f"minimum detectable effect {difference.minimum_detectable_effect:.3f} "
        f"({counted(difference)}, 80 % power){correlation}"
    )
