"""The page of a pipeline: its stages with links to their own reports, and the table of every suite."""

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from reasonrl import __version__
from reasonrl.evaluation.compare_text import p_text
from reasonrl.web import asset

if TYPE_CHECKING:
    from jinja2 import Template

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<title>{{ values.pipeline }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ values.pipeline }}</h1>
{% if values.description %}<p>{{ values.description }}</p>{% endif %}
<h2>Stages</h2>
<table>
<thead><tr><th>stage</th><th>kind</th><th>made</th></tr></thead>
<tbody>
{% for stage in values.stages %}
<tr><td>{% if stage.report %}<a href="{{ stage.name }}/report.html">{{ stage.name }}</a>\
{% else %}{{ stage.name }}{% endif %}</td><td>{{ stage.kind }}</td><td>{{ stage.made }}</td></tr>
{% endfor %}
</tbody>
</table>
{% for suite, rows in values.suites.items() %}
<h2>{{ suite }}</h2>
<table>
<thead><tr><th>stage</th><th>kind</th><th>figure (95 %)</th><th>from the row before (paired, 95 %)</th><th>p</th>\
<th>wins / ties / losses</th><th>mean tokens</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.stage }}</td><td>{{ row.kind }}</td>\
<td>{{ "%.3f [%.3f, %.3f]" | format(row.value.value, row.value.lower, row.value.upper) }}</td>
{% if row.difference %}
<td>{{ "%+.3f [%+.3f, %+.3f]" | format(row.difference.difference, row.difference.lower, row.difference.upper) }}</td>\
<td>{{ row.difference.p_value | p_text }}</td>\
<td>{{ row.difference.wins }} / {{ row.difference.ties }} / {{ row.difference.losses }}</td>
{% else %}
<td></td><td></td><td></td>
{% endif %}
<td>{{ "%.1f" | format(row.mean_tokens) }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endfor %}
<p>reasonrl {{ version }}. Intervals and tests are those of reasonrl compare; all figures are exploratory.</p>
</main>
</body>
</html>
"""


def pipeline_page(values: Mapping[str, Any]) -> str:
    """Return the page of a table; every text in it is escaped. Any: JSON values of :func:`stage_table`."""
    from markupsafe import Markup

    style = asset("base.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    stages = [{**stage, "report": stage["kind"] not in ("sample", "export")} for stage in values["stages"]]
    return _template().render(
        values={**values, "stages": stages},
        policy=policy,
        style=Markup(style),  # our own
        version=__version__,
    )


def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["p_text"] = p_text
    return environment.from_string(PAGE)
