"""How figures and texts stand in a report."""

import json
from typing import Any, Final

from reasonrl.evaluation.compare_text import p_text
from reasonrl.evaluation.estimates import PairedDifference
from reasonrl.system.printable import visible

MAX_CHARACTERS: Final = 3_000
"""Most characters of a completion."""
PROMPT_CHARACTERS: Final = 1_200
"""Most characters of a prompt, from its end, where the question is."""


def shown(text: str, longest: int = MAX_CHARACTERS) -> str:
    """Return a text as it may stand in a page: cut, and with what steers or hides text written out."""
    cut = text if len(text) <= longest else f"{text[:longest]}\n... ({len(text):,} characters in all)"
    return "\n".join(visible(line) for line in cut.split("\n"))


def shown_end(text: str, longest: int = PROMPT_CHARACTERS) -> str:
    """Return the end of a text as it may stand in a page."""
    if len(text) <= longest:
        return shown(text, longest)
    return f"({len(text):,} characters in all) ...\n{shown(text[-longest:], longest)}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{value:.1%}"


def points(value: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * value:+z.1f} points"


def interval(value: Any) -> str:
    """Return the interval of a share. Any: whatever has ``lower`` and ``upper``."""
    return f"[{value.lower:.1%}, {value.upper:.1%}]"


def points_interval(value: Any) -> str:
    """Return the interval of a difference of shares. Any: whatever has ``lower`` and ``upper``."""
    return f"[{100 * value.lower:+z.1f}, {100 * value.upper:+z.1f}]"


def p_value(difference: PairedDifference) -> str:
    """Return the p-value of a difference."""
    text = p_text(difference.p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def number(value: float | None) -> str:
    """Return a number of any size, four digits long."""
    return "–" if value is None else f"{value:.4g}"


def plain(value: Any) -> str:
    """Return a setting's value as text of one line. Any: JSON values."""
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
