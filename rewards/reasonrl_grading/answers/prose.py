r"""Answers in prose: after ``the answer is``, alone on the last line, or at the end of a conclusion.

Only English phrases are known. The last one that is neither a question nor a remark counts, and its answer goes to the
end of the sentence, without what follows ``because``, ``since`` or ``, which``.
"""

import re
from collections import deque
from typing import Final

from reasonrl_grading.answers.boxes import in_math, unwrapped

MAX_LINE_LENGTH: Final = 2_000
"""Characters of a sentence or line that is an answer."""

MAX_SENTENCE_LENGTH: Final = 400
"""Characters at the end of a text that may be a conclusion."""

MAX_PHRASES: Final = 8
"""Phrases that are examined, from the end."""

_GAP = r"[ \t]{1,3}"
_MARKS = r"[*_`}]{0,4}"
_NOUN = rf"(?:(?:final|correct|right|best){_GAP}(?:answer|option|choice|result|solution)|answer)"
_SAYS = rf"(?:{_GAP}(?:to|of|for)\b[^.:\n]{{1,60}}?)?{_GAP}{_MARKS}(?:is|equals)\b"
_ADVERB = rf"(?:{_GAP}(?:therefore|thus|simply|equal to|given by))?"
_LEAD = re.compile(
    rf"(?<![^\W_]){_NOUN}(?:{_SAYS}{_ADVERB}{_MARKS}:?|{_MARKS}[ \t]?[:：=]){_MARKS}|(?m:^[ \t#*_]{{0,8}})"
    rf"{_NOUN}{_MARKS}[ \t]{{0,3}}(?=\n)",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?:correct|right|reasonable|consistent|verified|confirmed|valid)(?:[ ,](?:and|as|because|since|with)\b.*)?"
    r"|in (?:(?:the|its) )?(?:correct|desired|lowest|reduced|required|simplest)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_DOLLARS = r"\$\$[^$]+\$\$|\$(?!\s)(?:(?![.!?]\s)[^$\n])+(?<!\s)\$(?!\d)"
_SPAN = rf"{_DOLLARS}|\\\((?:(?!\\[()]).)+\\\)|\\\[(?:(?!\\[\[\]]).)+\\\]"
_PIECE = re.compile(rf"(?P<span>{_SPAN})|(?P<stop>\n|[.!?]+(?=[*_`\"'”)\]}}]*(?:\s|\Z)))|.", re.DOTALL)
_OPENING_WORDS = re.compile(r"(?:\\text(?:bf)?\s?\{)?[A-Za-z ,*_#]{0,40}")
_REASON = re.compile(r",?\s+\(?(?:because|since)\b.*|,\s+(?:which|as required|as desired)\b.*", re.DOTALL)

_NUMBER = r"[-+\N{MINUS SIGN}]?\$?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?"
_NUMBER_LINE = re.compile(rf"{_NUMBER}(?:\s?(?:%|°|\\%)|\s?[^\W\d_]{{1,20}}(?:[/^][^\W_]{{1,10}}){{0,2}})?")
_SPAN_LINE = re.compile(rf"(?:{_SPAN})", re.DOTALL)
_CONCLUDES = re.compile(
    r"[*_ \t]*(?:so|thus|therefore|hence|consequently|finally|in conclusion|this gives"
    r"|we (?:get|have|find|obtain|conclude))\b",
    re.IGNORECASE,
)
_ENDING = re.compile(
    rf"(?P<list>(?:\$|\\\)|[0-9])(?:,|,? (?:and|or)) )?(?P<answer>{_SPAN}"
    rf"|(?<![\w.,/$^(=+*-]){_NUMBER}(?:\s?(?:%|°|\\%|[^\W\d_]{{1,20}}))?)\Z",
    re.DOTALL,
)
_BOLD = re.compile(r"(\*\*|__)(?P<inside>[^*_]+)\1")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MATH_SIGN = re.compile(r"[A-Za-z0-9\\]")


def phrase(text: str) -> str | None:
    """Return the answer in the last phrase that announces one."""
    for lead in reversed(deque(_LEAD.finditer(text), maxlen=MAX_PHRASES)):
        answer = _said(text[lead.end() : lead.end() + MAX_LINE_LENGTH])
        if answer is not None and not _REMARK.fullmatch(answer):
            return answer
    return None


def announced(answer: str) -> str:
    """Return the answer in a marked answer that is one sentence such as ``The answer is 5.``, else all of it."""
    lead = _LEAD.search(answer) if len(answer) < MAX_LINE_LENGTH else None
    is_opening = lead is not None and _OPENING_WORDS.fullmatch(answer, 0, lead.start())
    said = _said(answer[lead.end() :]) if lead and is_opening else None
    is_all = said is not None and answer.rstrip(" .*`$)]}\\").endswith(said.rstrip(" .*`$)]}\\"))
    return said if said is not None and is_all else answer


def _said(text: str) -> str | None:
    """Return the answer at the beginning of a text, or None where the text is a question, too long or empty."""
    is_cut = len(text) >= MAX_LINE_LENGTH
    text = text.lstrip(" \t\r\n*_`}")
    stop = next((piece for piece in _PIECE.finditer(text) if piece.lastgroup == "stop"), None)
    if (stop is None and is_cut) or (stop is not None and "?" in stop[0]):
        return None
    return _bare(_REASON.sub("", text[: stop.start()] if stop else text)) or None


def _bare(answer: str) -> str:
    """Return an answer without bold signs, quotation marks, final full stop and math delimiters."""
    stripped = answer.strip(' \t\r\n*`"“”').rstrip(" .,;:!*_")
    return unwrapped(in_math(stripped)).rstrip(" .,;")


def last_line(text: str) -> str | None:
    """Return the last line where the whole of it is one answer: a formula, a number with its unit, a bold word."""
    text = text.rstrip()[-MAX_LINE_LENGTH:]
    line = text[_start_of_last_line(text) :].strip()
    if len(line) >= MAX_LINE_LENGTH:
        return None
    bold = _BOLD.fullmatch(line.rstrip(" ."))
    answer = (bold["inside"] if bold else line).strip()
    return _bare(answer) or None if is_answer(answer.rstrip(" ."), is_bold=bold is not None) else None


def conclusion(text: str) -> str | None:
    r"""Return the one formula or number at the end of the text where its last sentence draws a conclusion.

    Such as ``Hence the probability is $\frac13$.``. The end of a list is not an answer, nor is a sentence that does not
    begin with a word such as ``so``, ``thus`` or ``we get``.
    """
    line = text.rstrip()[-MAX_SENTENCE_LENGTH:].rpartition("\n")[2]
    sentence = line[max((stop.end() for stop in _PIECE.finditer(line.rstrip(" .*_")) if stop["stop"]), default=0) :]
    ending = _ENDING.search(sentence.strip().rstrip(" .*_")) if _CONCLUDES.match(sentence) else None
    return _bare(ending["answer"]) or None if ending and not ending["list"] else None


def _start_of_last_line(text: str) -> int:
    """Return where the last line begins; displayed math counts as one line."""
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        inside = text.removesuffix(closing)
        if inside != text and (start := inside.rfind(opening)) >= 0:
            return text.rfind("\n", 0, start) + 1
    return text.rfind("\n") + 1


def is_answer(line: str, *, is_bold: bool = False) -> bool:
    """Whether a line is nothing but an answer."""
    if _NUMBER_LINE.fullmatch(line) or _SPAN_LINE.fullmatch(line):
        return True
    if is_bold and len(line.split()) == 1:
        return not line.endswith(":")
    return bool(_MATH_SIGN.search(line)) and not _WORD.search(_TEXT.sub(" ", line))
