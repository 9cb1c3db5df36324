"""What pages in a browser share: style sheet, charts and uPlot, vendored so that no page needs a network."""

from functools import cache
from importlib.resources import files
from typing import Final

STATIC: Final = files("reasonrl.web") / "static"


@cache
def asset(name: str) -> str:
    """Return the text of a file in ``static/``: a style sheet or a script."""
    return (STATIC / name).read_text(encoding="utf-8")
