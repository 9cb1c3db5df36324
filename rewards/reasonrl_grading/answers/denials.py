"""Whether a text stands by an answer that it writes, or denies it, asks, supposes, quotes or takes it back."""

import re
from collections import deque
from typing import Final

from reasonrl_grading.answers.numbers import as_number, same_number
from reasonrl_grading.answers.statements import FORMULA, NUMBER

MAX_CONTEXT: Final = 200
"""Characters before and after an answer that say whether it is meant."""

_OPENERS = (
    r"(?:(?:oh|but|so|hold on|hmm+|wait|no|actually|sorry|oops|well|then again|and|yet|however)\b[\s,.!:—–-]{0,9}){0,4}"
)
_FALSE = (
    r"(?:(?:absolutely|clearly|obviously|actually|also|probably|completely|simply|just|likely) )?"
    r"(?:wrong|incorrect|false|mistaken|invalid|a mistake|an error|impossible"
    r"|not (?:right|correct|it|valid|true|possible|the (?:right |correct |final )?(?:answer|option|choice|one)))"
)
_BE = r"(?:'s| is| are| was| seems| looks| must be| would be| can(?:no|')t be| isn't| wasn't)"
_TAKEN_BACK = re.compile(
    rf"(?:^|[.!?\n)\]}}$*>][\s\"'*_]{{0,9}}){_OPENERS}(?:"
    r"(?:that|this|it|which|he|she|they|you|(?:the|my|this|that) (?:(?:above|previous|last|final|first) )?"
    r"(?:answer|result|box|value))"
    rf"(?:{_BE} {_FALSE}(?!\s(?:to|if|that|for|because|when)\b)"
    r"|(?: isn't| is not| wasn't| was not| can(?:no|')t be) (?:right|correct|it|the (?:right |correct |final )?answer))"
    r"|i (?:was wrong|am wrong|(?:have )?made an? (?:\w+ )?(?:mistake|error)|take (?:that|it) back|retract"
    r"|miscalculated|misread|am (?:just )?kidding)|just kidding"
    r"|is (?:that|this|it) (?:right|correct)\?\s*(?:\w+:\s*)?no\b"
    r"|(?:scratch|ignore|disregard|forget|strike) (?:that|this|it|the above|(?:my|the) (?:\w+ )?answer)\b)",
    re.IGNORECASE,
)
_CORRECTED = re.compile(
    r"(?:^|[.!?,;\n$)\]}*][\s*_]{0,9})(?:(?:no|nope|wait)(?=\s?[,.!:;—–-]|\s(?:it|that|this|the)\b)|actually|sorry"
    r"|correction|oops|or rather|rather|i mean|(?:however|but)(?=,?\s(?:it|that|this|the (?:\w+ )?answer)(?:'s| is)\b))"
    r"\b[\s,.!:;—–-]{0,9}(?:(?:no|wait|actually|sorry)\b[\s,.!:;—–-]{0,9}){0,3}"
    r"(?:(?:it|that|this|the (?:\w+ )?answer|i mean|make that)(?:'s| is| should be| must be)?\s)?"
    rf"(?:actually |rather |really )?(?P<value>{FORMULA}|{NUMBER}|\\boxed\{{[^{{}}]*\}})"
    r"(?=[\s*_]{0,9}(?:[.!?,;\n]|\Z))",
    re.IGNORECASE | re.DOTALL,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|rather than|instead of|other than|except|excluding|unlike|without"
    r"|ruled? out|reject(?:s|ed|ing)?|discard(?:s|ed|ing)?)\b|n't\b|≠|\\neq?\b|\\not\s?=)"
    r"(?:\s+(?:be|equal|to|by|simply|just|exactly|necessarily|always|really|actually|the|answer|answers|is|are|value"
    r"|option|choice|of|think|believe|say|true|the case|sure|that|it|my|our)\b)*[\s$*_`({\[\\]*\Z"
    r"|\b(?:wrong|incorrect|false|doubt(?: that)?(?: the)?(?: it is)?)\s*[:—–-]?[\s$*_`({\[\\]*\Z",
    re.IGNORECASE,
)
_NOT_OURS = (
    r"\b(?:wrong|incorrect|mistaken|erroneous|false|naive|tempting|common|previous|earlier|initial|first|claimed|proposed"
    r"|suggested|alleged|supposed|their|his|her|another|typical|[^\W\d_]+'s)\s+(?:[\w'-]+\s+)?"
)
_ANOTHERS = re.compile(
    rf"{_NOT_OURS}(?:answer|guess|result|choice|option|estimate|attempt|claim)\b[^.!?\n;]{{0,40}}\Z", re.IGNORECASE
)
_NOT_OURS_BEFORE = re.compile(rf"{_NOT_OURS}\Z", re.IGNORECASE)
_NOUN = re.compile(r"(?:answer|option|choice|result|solution)\b", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|suppos(?:e|es|ed|ing)|assum(?:e|es|ed|ing)|imagine|pretend|had|given|doubt|unlikely"
    r"|impossible)(?: that)?"
    r"(?:\s(?:it|this|that|the|my|our|your|we|you|answer|final|correct|result|had|got|get|was|were|be|is|been|gotten"
    r"|obtained|said|say)\b)*[\s$*_`({\[\\]*\Z",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"\b(?:says?|said|claims?|claimed|wrote|writes?|asks?|asked|states?|stated|prints?|outputs?|responds?|replied|replies"
    r"|thinks?|thought|told|format|example|prompt|template)\b[^.!?\n]*[\"“'‘`«][^\"”\n]*\Z"
    r"|\b(?:for example|for instance|e\.g\.|such as|in the (?:form|format)(?: of)?|like|(?:inside|within|in) a box)"
    r"[\s,:$*_`(\"“]*\Z"
    r"|\b(?:says?|said|claims?|claimed|thinks?|thought|believes?|believed|guess(?:es|ed)|wrote|writes?|stated?|states)[:,]?\s"
    r"(?:that\s)?(?:it|the)\s"
    r"(?:final\s|correct\s)?(?:(?:answer\s)?(?:is|was)\s)?[$*_`({\[\\]*\Z",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:i|we)\s(?:\w+\s){0,2}\Z", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"[\s$*_`).}\]\\]*[\s,(:—–←-]*(?:(?:but |and )?(?:that|this|which|it))?"
    rf"(?:{_BE} {_FALSE}(?!\s(?:to|if)\b)"
    r"|\s?(?:isn't|is not|cannot be|can't be|was not|wasn't)\s(?:right|correct|valid|it"
    r"|(?:the|an?) (?:right |correct |final |possible )?(?:answer|option|choice|solution))"
    r"|\s?(?:were|had been)\s(?:the|right|correct)|\s?does(?:n't| not) (?:work|satisfy|fit)|(?:just )?kidding)",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(
    rf"(?P<value>(?<![\w.,/^(]){NUMBER}|{FORMULA})\s(?:or|OR)(?: maybe| perhaps| possibly| else)?[\s$*_]*\Z"
)
_OR_AFTER = re.compile(
    rf"[\s$*_`).}}\]\\]*,?\s*(?:or|OR)(?: maybe| perhaps| possibly| else)?,?\s(?:it is |it's )?"
    rf"(?P<value>{NUMBER}(?![\w/])|{FORMULA})"
)
_LETTER = re.compile(r"[^\W\d_]")
_STOP_BEFORE = re.compile(r"[.!?](?=[\s\"”)])|\n")
_NEXT_STOP = re.compile(
    r"[.!?](?=[*_`\"'”)\]}$\\]*(?:\s|\Z))|\n|\s(?=(?:Is|Are|Do|Does|Did|Can|Could|Would|Should|What|Why|How|Which|Let"
    r"|Have|Shall|May|Please)\b)"
)


def is_meant(text: str, start: int, end: int, answer: str) -> bool:
    """Whether a text stands by an answer.

    Args:
        text: a completion without its thinking.
        start: where what announces or marks the answer begins.
        end: where it ends.
        answer: the answer itself.
    """
    before, after = _sentence_before(text, start), text[end : end + MAX_CONTEXT]
    if any(pattern.search(before) for pattern in (_DENIED_BEFORE, _SUPPOSED, _ANOTHERS)):
        return False
    if _NOUN.match(text, start) and _NOT_OURS_BEFORE.search(before):
        return False
    if _quotes(before) or _is_asked(after):
        return False
    if _LETTER.search(text, max(end - 1, 0)) is None:
        return True
    return not (_DENIED_AFTER.match(after) or _is_taken_back(text, end, answer))


def with_alternatives(text: str, start: int, end: int, answer: str) -> str:
    """Return an answer with the other number that its sentence offers for it: ``5 or 6``, but 0.5 for 1/2 is no other.

    Args:
        text: a completion without its thinking.
        start: where the mark around the answer begins.
        end: where it ends.
        answer: the answer itself.
    """
    around = text[max(start - MAX_CONTEXT, 0) : start], text[end : end + MAX_CONTEXT]
    if not any("or" in context or "OR" in context for context in around):
        return answer
    before = _OR_BEFORE.search(_sentence_before(text, start))
    after = _OR_AFTER.match(around[1])
    others = [found["value"].strip("$ ") for found in (before, after) if found]
    return " or ".join([answer, *(other for other in others if _are_different(other, answer))])


def _are_different(one: str, other: str) -> bool:
    values = as_number(one), as_number(other)
    return None not in values and values[0] != values[1]


def _sentence_before(text: str, start: int) -> str:
    """Return what stands before an answer in its sentence."""
    context = text[max(start - MAX_CONTEXT, 0) : start]
    return context[max((stop.end() for stop in _STOP_BEFORE.finditer(context)), default=0) :]


def _quotes(before: str) -> bool:
    """Whether a sentence attributes what follows to somebody else, or shows it as an example."""
    quoted = _QUOTED.search(before)
    return quoted is not None and _FIRST_PERSON.search(before[: quoted.start()]) is None


def _is_asked(after: str) -> bool:
    """Whether the sentence of an answer ends in a question mark."""
    stop = _NEXT_STOP.search(after) if "?" in after else None
    return stop is not None and stop[0] == "?"


def _is_taken_back(text: str, end: int, answer: str) -> bool:
    """Whether what follows says that an answer is wrong, or gives another one in its place."""
    rest = max(end - 1, 0)  # the sign before a sentence may be the last of the answer
    if _TAKEN_BACK.search(text, rest):
        return True
    corrections = deque(_CORRECTED.finditer(text, rest), maxlen=1)
    return bool(corrections) and not _agrees(corrections[0]["value"].strip("$ "), answer.strip("$ "))


def _agrees(value: str, answer: str) -> bool:
    """Whether a correction repeats an answer, alone or in an equation."""
    is_inside = re.search(rf"(?<![\w.]){re.escape(answer)}(?![\w.])", value) is not None
    return is_inside or same_number(value, answer)
