r"""Boxes of LaTeX: ``\boxed{x}``, ``\fbox{x}`` and ``\boxed x``."""

import re
from typing import Final, NamedTuple

MAX_WRAPPINGS: Final = 4
"""Boxes and dollar signs that are removed from around one answer."""

_COMMAND = r"\\\\?(?:boxed|fbox)"
_BRACE = re.compile(
    rf"(?P<box>{_COMMAND}\s*+\{{)|(?P<bare>{_COMMAND}(?![A-Za-z])[ \t]*+(?=[-+.(\[\\0-9]|[A-Za-z](?![A-Za-z])))"
    r"|\\.|(?P<open>\{)|(?P<close>\})",
    re.DOTALL,
)
_BARE_ANSWER = re.compile(r"[^$\n.]*+(?=\$)|[^\s{}$]*")
_MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(([^$]+)\\\)|\\\[([^$]+)\\\]")
_DELIMITER = re.compile(r"\\[()\[\]]")


class _Box(NamedTuple):
    """Positions in a text: where the command, the content, the closing brace and the text after it begin."""

    start: int
    content: int
    stop: int
    end: int


def boxed(text: str) -> str | None:
    """Return the content of the last box to close, so of an outer box and not of the one inside it."""
    boxes = _boxes(text)
    return unwrapped(_content(text, boxes[-1])) if boxes else None


def only_box(answer: str) -> str:
    """Return the content of the only box of an answer; an answer with several boxes, or none, stays as it is."""
    boxes = _boxes(answer)
    return unwrapped(_content(answer, boxes[0]) if len(boxes) == 1 else answer)


def unwrapped(answer: str) -> str:
    """Remove boxes around the whole answer, and math delimiters around those."""
    for _ in range(MAX_WRAPPINGS):
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
    return text[box.content : box.stop].strip()


def _boxes(text: str) -> list[_Box]:
    """Return the boxes whose braces balance, in the order in which they close."""
    opened: list[re.Match[str]] = []
    boxes: list[_Box] = []
    for brace in _BRACE.finditer(text):
        if brace.lastgroup in ("box", "open"):
            opened.append(brace)
        elif brace.lastgroup == "bare":
            boxes.append(_Box(brace.start(), brace.end(), brace.end(), brace.end()))
        elif brace.lastgroup == "close" and opened and (start := opened.pop()).lastgroup == "box":
            boxes.append(_Box(start.start(), start.end(), brace.start(), brace.end()))
    if boxes and boxes[-1].content == boxes[-1].end:
        boxes[-1] = _measured(text, boxes[-1])
    return boxes


def _measured(text: str, bare: _Box) -> _Box:
    """Return a box without braces with its end: that of the formula, or of the word."""
    match = _BARE_ANSWER.match(text, bare.content)
    answer = match[0].rstrip(" .,;:") if match else ""
    end = bare.content + len(answer)
    return bare._replace(stop=end, end=end)
