"""Several comparisons as text and as JSON values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from reasonrl.evaluation.compare import Figure
from reasonrl.evaluation.compare_text import p_text, render_comparison
from reasonrl.evaluation.primaries import Model, Pair
from reasonrl.system.table import aligned


def render_pairs(pairs: Sequence[Pair]) -> str:
    """Return a table for each pair, then the primary figures of all of them with Holm's p-values."""
    tables = ["\n".join([render_comparison(pair.comparison, pair.a, pair.b), *_engines(pair)]) for pair in pairs]
    primary = [(pair, figure) for pair in pairs for figure in pair.comparison.figures if figure.is_primary]
    if not primary:
        return "\n\n".join([*tables, "No figure was named beforehand: all of them are exploratory."])
    header = ["primary figures", "A", "B", "B - A (paired, 95 %)", "p", "p (Holm)"]
    lines = aligned([header, *(_primary_row(pair, figure) for pair, figure in primary)])
    count = (
        f"Holm's correction is over {len(primary)} {'tests' if len(primary) > 1 else 'test'}; all else is exploratory."
    )
    return "\n\n".join([*tables, "\n".join([*lines, count])])


def left_out(models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[str]:
    """Say which suites of a model were compared with nothing."""
    for model in models:
        compared = {pair.suite for pair in pairs if model.name in (pair.a, pair.b)}
        if alone := [suite for suite in model.measured if suite not in compared]:
            yield f"not compared, because the other has no results of it: {', '.join(alone)} of {model.name}"


def pair_values(pair: Pair) -> Mapping[str, object]:
    """Return a comparison as JSON values."""
    comparison = pair.comparison
    return {
        "suite": pair.suite,
        "a": pair.a,
        "b": pair.b,
        "same_prompts": comparison.same_prompts,
        "figures": [asdict(figure) for figure in comparison.figures],
        "mean_tokens": {"a": comparison.a.mean_tokens, "b": comparison.b.mean_tokens},
    }


def _engines(pair: Pair) -> Iterator[str]:
    a, b = pair.engines
    if a and b and a != b:
        yield f"A was sampled by {a}, B by {b}: part of the difference may be theirs."


def _primary_row(pair: Pair, figure: Figure) -> list[str]:
    difference = figure.difference
    return [
        f"{pair.suite}/{figure.name}",
        pair.a,
        pair.b,
        f"{difference.difference:+z.3f} [{difference.lower:+z.3f}, {difference.upper:+z.3f}]",
        p_text(difference.p_value),
        "" if figure.adjusted_p is None else p_text(figure.adjusted_p),
    ]
