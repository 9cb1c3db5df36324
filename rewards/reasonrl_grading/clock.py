"""Times on the clock: ``7:45``, ``12:30 PM``, ``1:02:03``, ``3 p.m.``, ``5 o'clock``, ``noon``."""

import re

from reasonrl_grading.nodes import Clock, ParseError

_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:\s*:\s*(?P<minute>[0-5]\d)(?:\s*:\s*(?P<second>[0-5]\d))?)?"
    r"\s*(?P<period>[ap]\.?\s*m\b\.?|o'?\s?clock|noon|midnight)?(?:\s+in the (?P<part>morning|afternoon|evening))?",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text[a-z]*|mathrm|mbox|rm)(?![a-zA-Z])|[{}]")
_PARTS = {"morning": "am", "afternoon": "pm", "evening": "pm"}
_NAMED = {"noon": Clock(12, 0, None, "pm"), "midnight": Clock(0, 0, None, "am")}


def read_clock(text: str) -> Clock | None:
    """Return the time that a cleaned text is, or None.

    Two digits after a colon, from 00 to 59, after an hour from 0 to 24 are minutes: a proportion is read only where
    this is not so. A number without a colon is a time where a period or ``o'clock`` follows.

    Raises:
        ParseError: it has the form of a time that does not exist, such as ``13 AM``.
    """
    if ":" not in text and text[-1:] not in "mMk.nNt})gG":
        return None
    bare = " ".join(_TEXT.sub(" ", text).split())
    named = _NAMED.get(bare.lower())
    parts = None if named else _TIME.fullmatch(bare)
    if parts is None:
        return named
    period = _period(parts["period"] or "", parts["part"] or "")
    if not (parts["minute"] or parts["period"] or parts["part"]):
        return None
    if period is None or ((parts["period"] or "").lower() in {"noon", "midnight"} and parts["hour"] != "12"):
        raise ParseError
    return _on_the_clock(int(parts["hour"]), int(parts["minute"] or 0), parts["second"], period)


def _period(mark: str, part_of_day: str) -> str | None:
    """Return ``am``, ``pm`` or nothing; None where the words contradict each other."""
    mark = re.sub(r"[.\s']", "", mark).lower()
    named = {"noon": "pm", "midnight": "am", "oclock": ""}.get(mark, mark)
    stated = _PARTS.get(part_of_day.lower(), "")
    return None if named and stated and named != stated else named or stated


def _on_the_clock(hour: int, minute: int, second: str | None, period: str) -> Clock | None:
    seconds = None if second is None else int(second)
    if not period:
        return Clock(hour, minute, seconds) if hour <= 24 else None
    if not 1 <= hour <= 12:
        if period != "pm" or not 13 <= hour <= 23:
            raise ParseError
        return Clock(hour, minute, seconds, "pm")
    return Clock(hour % 12 + (12 if period == "pm" else 0), minute, seconds, "am" if period == "am" else "pm")
