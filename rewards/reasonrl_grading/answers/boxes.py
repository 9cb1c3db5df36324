r"""Boxes of LaTeX: ``\boxed{x}``, ``\fbox{x}`` and ``\boxed x``."""

import re
from typing import Final, NamedTuple

from reasonrl_grading.answers.marks import MAX_MARKS, Mark, last_meant, only_meant

MAX_WRAPPINGS: Final = 4
"""Boxes and dollar signs that are removed from around one answer."""

_COMMAND = r"\\\\?(?:boxed|fbox)"
_BRACE = re.compile(
    rf"(?P<box>{_COMMAND}\s*+\{{)|(?P<bare>{_COMMAND}(?![A-Za-z])[ \t]*+(?=[-+.(\[\\0-9]|[A-Za-z](?![A-Za-z])))"
    r"|\\.|(?P<open>\{)|(?P<close>\})",
    re.DOTALL,
)
_BARE_ANSWER = re.compile(r"[^$\n.]{0,200}+(?=\$)|[^\s{}$]{0,200}+")
_MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(([^$]+)\\\)|\\\[([^$]+)\\\]")
_DELIMITER = re.compile(r"\\[()\[\]]")
_BRACED = re.compile(r"\{([^{},]+)\}")


class _Box(NamedTuple):
    """Positions in a text: where the command, the content, the closing brace and the text after it begin."""

    start: int
    content: int
    stop: int
    end: int


def boxed(text: str) -> str | None:
    """Return what the last box holds that the text stands by, or the last boxes that answer together."""
    return last_meant(text, _marks(text))


def only_box(answer: str) -> str:
    """Return what the boxes of an answer hold where they are one answer; one with other boxes, or none, as it is."""
    return only_meant(answer, _marks(answer)) or unwrapped(answer)


def unwrapped(answer: str) -> str:
    """Remove boxes around the whole answer, math delimiters around those, and braces that repeat a box's own."""
    for _ in range(MAX_WRAPPINGS if "box" in answer else 0):
        inside = in_math(answer)
        boxes = _boxes(inside)
        if not boxes or (boxes[-1].start, boxes[-1].end) != (0, len(inside)):
            break
        answer = _content(inside, boxes[-1])
    return answer


def in_math(answer: str) -> str:
    r"""Return what is between ``$``, ``$$``, ``\(`` or ``\[`` where they enclose the whole answer."""
    match = _MATH.fullmatch(answer)
    inside = next(filter(None, match.groups())).strip() if match else answer
    return answer if _DELIMITER.search(inside) else inside


def _content(text: str, box: _Box) -> str:
    inside = text[box.content : box.stop].strip()
    braced = _BRACED.fullmatch(inside)
    return braced[1].strip() if braced else inside


def _boxes(text: str) -> list[_Box]:
    """Return the boxes whose braces balance, in the order in which they close."""
    opened: list[re.Match[str]] = []
    boxes: list[_Box] = []
    if "box" not in text:
        return boxes
    for brace in _BRACE.finditer(text):
        if brace.lastgroup in ("box", "open"):
            opened.append(brace)
        elif brace.lastgroup == "bare":
            boxes.append(_measured(text, brace))
        elif brace.lastgroup == "close" and opened and (start := opened.pop()).lastgroup == "box":
            boxes.append(_Box(start.start(), start.end(), brace.start(), brace.end()))
    return boxes


def _measured(text: str, bare: re.Match[str]) -> _Box:
    """Return a box without braces with its end: that of the formula, or of the word."""
    match = _BARE_ANSWER.match(text, bare.end())
    end = bare.end() + len(match[0].rstrip(" .,;:") if match else "")
    return _Box(bare.start(), bare.end(), end, end)


def _marks(text: str) -> list[Mark]:
    """Return the boxes that are not empty and stand in no other one."""
    outer: list[_Box] = []
    for box in _boxes(text):
        while outer and outer[-1].start > box.start:
            outer.pop()
        outer.append(box)
    filled = [(box, content) for box in outer if (content := _content(text, box))][-MAX_MARKS:]
    return [Mark(box.start, box.end, unwrapped(content)) for box, content in filled]
