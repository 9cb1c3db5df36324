r"""Read the answer of a published row: each function takes a row's place, a column's name and its value.

What is no single answer is refused by name, never shortened to one.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Final

from reasonrl import DataError
from reasonrl_grading.answers.boxes import boxed, unwrapped

NOT_ANSWERS: Final = ("proof", "notfound", "none", "n/a")
"""What NuminaMath and its descendants write where a problem has no answer to compare with."""

MAX_CONTEST_ANSWER: Final = 999
"""Answers of the AIME are whole numbers from 0 to this."""

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_DEGREES = re.compile(r"\s*(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|°)\s*$")
_ZEROS = re.compile(r"(?<=[0-9])\.0+$")
_LAST_LINE = re.compile(r"^####\s*(\S.*)$", re.MULTILINE)
_HASHES = re.compile(r"####\s*(.+)")


def whole(where: str, column: str, value: object) -> str:
    r"""Return a column that is the answer, without ``<answer>`` or ``\boxed{}`` around all of it.

    Raises:
        DataError: it is empty, no text or number, says that there is none, or holds several or an unclosed tag.
    """
    text = unwrapped(_untagged(where, column, _scalar(where, column, value)))
    if text.casefold() in NOT_ANSWERS:
        raise DataError(f"{where}: column {column!r} says {text!r}: there is no answer to compare with.")
    return text


def after_hashes(where: str, column: str, value: object) -> str:
    """Return what follows the last ``####`` of a rationale of GSM8K.

    Raises:
        DataError: there is nothing after one.
    """
    text = _scalar(where, column, value)
    found: list[str] = _HASHES.findall(text)
    if not found or not found[-1].strip():
        raise DataError(f"{where}: column {column!r} has no answer after '####'; it ends in {text[-60:]!r}.")
    return found[-1].strip()


def last_box(where: str, column: str, value: object) -> str:
    r"""Return the content of the last ``\boxed{}`` of a solution of MATH.

    Raises:
        DataError: there is none.
    """
    text = _scalar(where, column, value)
    answer = boxed(text)
    if not answer:
        raise DataError(f"{where}: column {column!r} has no \\boxed{{}} with an answer; it ends in {text[-60:]!r}.")
    return answer


def box_or_whole(where: str, column: str, value: object) -> str:
    r"""Return the last ``\boxed{}`` of a solution, or what follows its last ``####``, else all of it."""
    text = _scalar(where, column, value)
    found: list[str] = _LAST_LINE.findall(text)
    return boxed(text) or (found[-1].strip() if found else whole(where, column, text))


def whole_number(where: str, column: str, value: object) -> str:
    """Return a column that is the answer, ``27.0`` as ``27``: some copies store whole numbers as decimals."""
    return _ZEROS.sub("", whole(where, column, value))


def contest_integer(where: str, column: str, value: object) -> str:
    """Return an answer of the AIME, without zeros before it or a degree sign after it.

    Raises:
        DataError: it is no whole number from 0 to 999.
    """
    text = _DEGREES.sub("", box_or_whole(where, column, value).strip("$ "))
    if not text.isdecimal() or not text.isascii() or int(text) > MAX_CONTEST_ANSWER:
        raise DataError(
            f"{where}: column {column!r} is {text[:40]!r}, not a whole number from 0 to {MAX_CONTEST_ANSWER}."
        )
    return str(int(text))


def ground_truth(where: str, column: str, value: object) -> str:
    """Return the answer within a ``reward_model`` of verl.

    Raises:
        DataError: there is none.
    """
    if not isinstance(value, Mapping) or "ground_truth" not in value:
        raise DataError(f"{where}: column {column!r} has no 'ground_truth', as a reward_model of verl has.")
    return whole(where, f"{column}.ground_truth", value["ground_truth"])


def one_or_several(where: str, column: str, value: object) -> str:
    """Return a list of answers of OlympiadBench as one text, with commas between them.

    Raises:
        DataError: it is empty, as where a proof is asked for, or an item is no answer.
    """
    items = value if isinstance(value, list) else [value]
    if not items:
        raise DataError(f"{where}: column {column!r} is empty: a proof, or no answer to compare with.")
    return ", ".join(whole(where, column, item) for item in items)


def _scalar(where: str, column: str, value: object) -> str:
    """Return a text or a number as text, a list of one as its item, and 3.0 as 3."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        raise DataError(f"{where}: column {column!r} holds {len(value)} answers, and one is wanted: {value!r:.80}.")
    if isinstance(value, bool | Mapping) or (isinstance(value, Collection) and not isinstance(value, str)):
        raise DataError(f"{where}: column {column!r} holds a {type(value).__name__}, not a text or a number.")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else str(value).strip()
    if not text:
        raise DataError(f"{where}: column {column!r} is empty.")
    return text


def _untagged(where: str, column: str, text: str) -> str:
    """Remove an ``<answer>`` around the whole text."""
    if "<answer>" not in text and "</answer>" not in text:
        return text
    match = _TAG.fullmatch(text)
    if match is None or "<answer>" in match[1] or not match[1].strip():
        raise DataError(f"{where}: column {column!r} is not one <answer>...</answer> and nothing else: {text!r:.80}.")
    return match[1].strip()
