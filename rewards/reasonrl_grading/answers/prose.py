r"""Answers in prose: after ``the answer is``, alone on the last line, or at the end of a conclusion.

Only English phrases are known. The last one that the text stands by and that is no remark counts, and its answer goes
to the end of the sentence, without what follows ``because``, ``since`` or ``, which``.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from reasonrl_grading.answers.boxes import in_math, unwrapped
from reasonrl_grading.answers.denials import is_meant
from reasonrl_grading.answers.statements import CHOSEN, FORMULA, MAX_STATEMENT_LENGTH, NUMBER, stated, without_remark

MAX_LINE_LENGTH: Final = 2_000
"""Characters of a sentence or line that is an answer."""

MAX_PHRASES: Final = 8
"""Phrases that are examined, from the end."""

MAX_PLEASANTRIES: Final = 3
"""Sentences after a conclusion that say nothing about it, such as ``Let me know if you have questions.``."""

_GAP = r"[ \t]{1,3}"
_MARKS = r"[*_`}]{0,4}"
_CHOICE = r"(?:answer|option|choice|result|solution)"
_NOUN = (
    rf"(?:(?:final|correct|right|best|selected|chosen){_GAP}{_CHOICE}"
    rf"|(?:answer|option|choice){_GAP}(?:selected|chosen)|answer{_GAP}choice|answer|my{_GAP}choice)"
)
_SAYS = rf"(?:{_GAP}(?:to|of|for)\b[^.:\n]{{1,60}}?)?{_GAP}{_MARKS}(?:is|equals)\b"
_ADVERB = rf"(?:{_GAP}(?:therefore|thus|simply|equal to|given by))?"
_LEAD = re.compile(
    rf"(?<![^\W_]){_NOUN}(?:{_SAYS}{_ADVERB}{_MARKS}:?|{_MARKS}[ \t]?[:：=]){_MARKS}|(?m:^[ \t#*_]{{0,8}})"
    rf"{_NOUN}{_MARKS}[ \t]{{0,3}}(?=\n)"
    rf"|\bi(?:'d|'ll|{_GAP}will|{_GAP}would)?{_GAP}(?:choose|select|pick|go{_GAP}with){_GAP}"
    r"(?=(?:option|choice|answer)\b|(?-i:\(?[A-Z]\b))",
    re.IGNORECASE,
)
_NAMED = re.compile(
    rf"(?:{_CHOICE}{_GAP})?{_MARKS}(?P<answer>(?-i:\(?\b[A-Z]\b\)?)|{FORMULA}|(?<![\w.,/^(=+*-]){NUMBER}){_MARKS}"
    rf"{_GAP}(?:is|must{_GAP}be){_GAP}(?:the{_GAP}|our{_GAP})?{_MARKS}"
    rf"(?:(?:final|correct|right|best){_GAP})?(?:answer|option|choice)\b"
    rf"|(?:option|choice|answer){_GAP}{_MARKS}(?P<letter>(?-i:\(?\b[A-Z]\b\)?)){_MARKS}{_GAP}is{_GAP}(?:correct|right)\b",
    re.DOTALL | re.IGNORECASE,
)
_ALTERNATIVE = re.compile(
    r"\b(?:or|alternatively|otherwise|maybe|perhaps|possibly)\b[\s,]*(?:the|my|our)?\s*\Z", re.IGNORECASE
)
_REMARK = re.compile(
    r"(?:correct|right|reasonable|consistent|verified|confirmed|valid)(?:[ ,](?:and|as|because|since|with)\b.*)?"
    r"|in (?:(?:the|its) )?(?:correct|desired|lowest|reduced|required|simplest)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_PIECE = re.compile(rf"(?P<span>{FORMULA})|(?P<stop>\n|(?<!\\)[.!?]+(?=[*_`\"'”)\]}}]*(?:\s|\Z)))|.", re.DOTALL)
_OPENING_WORDS = re.compile(r"(?:\\text(?:bf)?\s?\{)?[A-Za-z ,*_#]{0,40}")

_NUMBER_LINE = re.compile(rf"{NUMBER}(?:\s?(?:%|°|\\%)|\s?[^\W\d_]{{1,20}}(?:[/^][^\W_]{{1,10}}){{0,2}})?")
_FORMULA_LINE = re.compile(rf"(?:{FORMULA})", re.DOTALL)
_BOLD = re.compile(r"(\*\*|__)(?P<inside>[^*_]+)\1")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MATH_SIGN = re.compile(r"[A-Za-z0-9\\]")
_DECIDED = re.compile(r"(?:yes|no|true|false)", re.IGNORECASE)
_PLEASANTRY = re.compile(
    r"[\s*_>#-]*(?:i hope|hope (?:this|that)|let me know|feel free|please let me|if you (?:have|need|would|want|'d)"
    r"|is there anything|(?:do|would) you (?:have|need|want|like)|happy to|glad to|thank|good luck|you're welcome"
    r"|\$?\\(?:blacksquare|square|qed|boxed\{\})\b|q\.?e\.?d|[∎■✅✔️😊]).*",
    re.IGNORECASE | re.DOTALL,
)


def phrase(text: str) -> str | None:
    """Return the answer in the last phrase that announces one."""
    answers = _announced_answers(text)
    for start, answer in answers:
        if _ALTERNATIVE.search(text, max(start - 40, 0), start):
            earlier = next((other for _, other in answers), None)
            return answer if earlier is None else f"{earlier} or {answer}"
        return answer
    return None


def _announced_answers(text: str) -> Iterator[tuple[int, str]]:
    """Yield where the text announces an answer, and the answer, from the last one that it stands by to the first."""
    leads = deque(_LEAD.finditer(text), maxlen=MAX_PHRASES)
    named = deque(_NAMED.finditer(text), maxlen=MAX_PHRASES)
    for lead in sorted((*leads, *named), key=lambda found: found.start(), reverse=True):
        said = lead.groupdict().get("answer") or lead.groupdict().get("letter")
        answer = _bare(said) if said else _said(text[lead.end() : lead.end() + MAX_LINE_LENGTH])
        if answer and not _REMARK.fullmatch(answer):
            end = lead.end() if said else max(text.find(answer, lead.end()), lead.end()) + len(answer)
            if is_meant(text, lead.start(), end, answer):
                yield lead.start(), answer


def announced(answer: str) -> str:
    """Return the answer in a marked answer that is one sentence such as ``The answer is 5.``, else all of it."""
    if len(answer) >= MAX_LINE_LENGTH or _WORD.search(answer) is None:
        return answer
    lead = _LEAD.search(answer)
    is_opening = lead is not None and _OPENING_WORDS.fullmatch(answer, 0, lead.start())
    said = _said(answer[lead.end() :]) if lead and is_opening else None
    is_all = said is not None and answer.rstrip(" .*`$)]}\\").endswith(said.rstrip(" .*`$)]}\\"))
    is_own = lead is not None and is_meant(answer, lead.start(), len(answer), said or "")
    return said if said is not None and is_all and is_own else answer


def _said(text: str) -> str | None:
    """Return the answer at the beginning of a text, or None where the text is a question, too long or empty."""
    is_cut = len(text) >= MAX_LINE_LENGTH
    text = text.lstrip(" \t\r\n*_`}")
    stop = next((piece for piece in _PIECE.finditer(text) if piece.lastgroup == "stop"), None)
    if (stop is None and is_cut) or (stop is not None and "?" in stop[0]):
        return None
    return _bare(without_remark(text[: stop.start()] if stop else text)) or None


def _bare(answer: str) -> str:
    """Return an answer without bold signs, quotation marks, final full stop and math delimiters."""
    stripped = answer.strip(' \t\r\n*`"“”').rstrip(" .,;:!*_")
    return unwrapped(in_math(stripped)).rstrip(" .,;")


def last_line(text: str) -> str | None:
    """Return the last line where the whole of it is one answer: a formula, a number with its unit, a bold word, yes."""
    text = _without_pleasantries(text.rstrip()[-MAX_LINE_LENGTH:])
    start = _start_of_last_line(text)
    line = without_remark(text[start:].strip())
    if len(line) >= MAX_LINE_LENGTH:
        return None
    bold = _BOLD.fullmatch(line.rstrip(" ."))
    answer = (bold["inside"] if bold else line).strip()
    found = _bare(answer) or None if is_answer(answer.rstrip(" ."), is_bold=bold is not None) else None
    label = text[:start].rstrip()
    says = len(label) - 1 if label.endswith(":") else start
    return found if found and is_meant(text, says, len(text), found) else None


def conclusion(text: str) -> str | None:
    r"""Return the one value that the last sentence of the text states, such as ``Hence the probability is $\frac13$.``.

    The sentence begins with a word such as ``so``, ``thus`` or ``we get``, or names what its value is, as
    ``The largest $n$ is 34.`` does. The end of a list is not an answer.
    """
    line = _without_pleasantries(text.rstrip()[-MAX_LINE_LENGTH:]).rpartition("\n")[2][-MAX_STATEMENT_LENGTH:]
    answer = stated(line[_start_of_last_sentence(line) :], is_conclusion=True)
    is_own = answer is not None and is_meant(line, line.rfind(answer), len(line), answer)
    return _bare(answer) or None if answer is not None and is_own else None


def _start_of_last_sentence(text: str) -> int:
    stops = (stop.end() for stop in _PIECE.finditer(text.rstrip(" .!*_")) if stop["stop"])
    return max(stops, default=0)


def _without_pleasantries(text: str) -> str:
    """Return a text without last sentences that are only polite."""
    for _ in range(MAX_PLEASANTRIES):
        start = _start_of_last_sentence(text)
        if not start or not _PLEASANTRY.fullmatch(text, start):
            break
        text = text[:start].rstrip()
    return text


def _start_of_last_line(text: str) -> int:
    """Return where the last line begins; displayed math counts as one line."""
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        inside = text.removesuffix(closing)
        if inside != text and (start := inside.rfind(opening)) >= 0:
            return text.rfind("\n", 0, start) + 1
    return text.rfind("\n") + 1


def is_answer(line: str, *, is_bold: bool = False) -> bool:
    """Whether a line is nothing but an answer."""
    if any(kind.fullmatch(line) for kind in (_NUMBER_LINE, _FORMULA_LINE, _DECIDED, CHOSEN)):
        return True
    if is_bold and len(line.split()) == 1:
        return not line.endswith(":")
    return bool(_MATH_SIGN.search(line)) and not _WORD.search(_TEXT.sub(" ", line))
