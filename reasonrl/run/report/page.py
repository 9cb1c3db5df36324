"""A report as one HTML file: it fetches nothing, runs no script but its own, and shows all text without one."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from reasonrl import __version__
from reasonrl.run.files.manifest import now
from reasonrl.run.history import History
from reasonrl.run.report import text
from reasonrl.run.report.charts import chart_values, pictured_charts
from reasonrl.run.report.content import Content, collect
from reasonrl.run.report.picture import COLORS, NUM_CHARTS, picture
from reasonrl.web import asset

if TYPE_CHECKING:
    from jinja2 import Template

HERE: Final = files("reasonrl.run.report")
SCRIPTS: Final = ("uPlot.iife.min.js", "charts.js")
STYLES: Final = ("uPlot.min.css", "base.css")
FILTERS: Final = (
    "shown",
    "shown_end",
    "percent",
    "points",
    "interval",
    "points_interval",
    "p_value",
    "number",
    "plain",
)
"""Functions of :mod:`reasonrl.run.report.text` that the page uses."""


def report_page(runs: Sequence[History]) -> str:
    """Return the report of one run, or of several beside one another.

    Every text in it is escaped: prompts, completions and reasons are anybody's.
    """
    from markupsafe import Markup

    content = collect(runs)
    script = "\n".join([*map(asset, SCRIPTS), _own("report.js")])
    style = "\n".join([*map(asset, STYLES), _own("report.css")])
    return _template().render(
        content=content,
        title=", ".join(run.name for run in content.runs),
        written=now(),
        version=__version__,
        num_colors=len(COLORS),
        policy=_policy(script, style),
        script=Markup(script),  # our own, and uPlot's
        style=Markup(style),
        data=Markup(json_for_script(_data(content))),
        picture=Markup(picture(pictured_charts(content.main, NUM_CHARTS), "main curves")),  # our own drawing
    )


def json_for_script(values: Any) -> str:
    """Return JSON that cannot end the script element it stands in. Any: JSON values."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(content: Content) -> dict[str, Any]:
    """Return what the page's script draws. Any: JSON values."""
    return {
        "charts": [chart_values(chart) for chart in (*content.main, *content.further)],
        "marks": [{"run": one.run, "step": one.step, "kind": one.kind, "text": one.text} for one in content.marks],
    }


def _policy(script: str, style: str) -> str:
    """Return the content security policy: nothing from anywhere, and no script or style but these."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update({name: getattr(text, name) for name in FILTERS})
    return environment.from_string(_own("page.html.jinja"))
