"""A judgement as one HTML file: figures, pictures and mistakes, readable without a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reasonrl.preference.evaluation.figures import judgement_figures
from reasonrl.preference.evaluation.judgement import Judgement
from reasonrl.preference.evaluation.scored import ScoredPair
from reasonrl.preference.evaluation.table import interval, percent, signed_interval, signed_points
from reasonrl.system.printable import visible

PAGE: Final = Path(__file__).parent / "page.html.jinja"
NUM_MISTAKES: Final = 10
LONGEST_SHOWN: Final = 1500
"""Characters of a text in the page."""


def judgement_page(judgement: Judgement, pairs: Sequence[ScoredPair]) -> str:
    """Return the page. Every text in it is escaped: prompts and completions are anybody's."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters = {
        "percent": percent,
        "interval": interval,
        "points": signed_points,
        "signed_interval": signed_interval,
        "shown": shown,
    }
    environment.filters.update(filters)
    template = environment.from_string(PAGE.read_text(encoding="utf-8"))
    figures = {name: Markup(figure) for name, figure in judgement_figures(judgement, pairs).items()}  # our own drawings
    return template.render(j=judgement, figures=figures, mistakes=worst(pairs), **_lists(judgement))


def worst(pairs: Sequence[ScoredPair]) -> list[ScoredPair]:
    """Return the pairs that are ordered most confidently wrongly, at most one a prompt."""
    wrong = sorted((pair for pair in pairs if pair.difference < 0), key=lambda pair: pair.difference)
    by_prompt: dict[str, ScoredPair] = {}
    for pair in wrong:
        by_prompt.setdefault(pair.prompt_id, pair)
    return list(by_prompt.values())[:NUM_MISTAKES]


def shown(text: str) -> str:
    """Return a text as it may stand in a page: cut, and with what cannot be seen written out."""
    cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ... ({len(text):,} characters in all)"
    return "\n".join(visible(line) for line in cut.split("\n"))


def _lists(judgement: Judgement) -> Mapping[str, Any]:
    """Return what the page goes through. Any: parts of the judgement."""
    length = judgement.length
    return {
        "sides": [
            (name, estimate)
            for name, estimate in (("chosen", length.chosen_longer), ("rejected", length.rejected_longer))
            if estimate is not None
        ],
    }
