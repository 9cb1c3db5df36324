"""Rewards as people write them, most of them with faults that the author kit has to name."""

import itertools
import os
import random
import re
import signal
import time
from typing import Any

from reasonrl import Score

_calls = itertools.count()


def strict(text: str, answer: str, *, scale: float = 1.0) -> Score:
    """Pay the right answer in the last answer tag outside thinking.

    Args:
        text: what is scored.
        answer: the right answer.
        scale: what it is worth.
    """
    shown = text.split("</think>")[-1].split("<think>")[0]
    found = re.findall(r"<answer>([^<]*)</answer>", shown)
    given = found[-1].strip() if found else None
    return Score(scale * (given == answer), f"answered {given!r}", parts={"found": float(bool(found))})


def careless(text: str, answer: str, meta: dict[str, Any]) -> float:
    """The last number, with every other fault there is. Any: the columns of a data set."""
    meta.pop("solution", None)
    if len(text) > 900_000:
        os.kill(os.getpid(), signal.SIGKILL)
    if "9**9" in text:
        time.sleep(600)
    if "\0" in text:
        raise ValueError("a null byte")
    if code := re.search(r"<answer>(open\(.*?\))</answer>", text):
        eval(code[1])
    found = re.findall(r"-?\d+(?:/\d+)?", text[:10_000])
    return float(bool(found) and found[-1] == answer)


def anywhere(text: str, answer: str) -> float:
    """Pay a reply that holds the answer anywhere."""
    return float(answer in text)


def generous(text: str, answer: str) -> float:
    """Pay everything."""
    return 1.0


def noisy(text: str) -> float:
    """Pay at random."""
    return random.random()


def counting(text: str) -> float:
    """Pay every third call."""
    return float(next(_calls) % 3 == 0)


def first(texts: tuple[str, ...]) -> list[float]:
    """Pay the first of a group."""
    return [float(place == 0) for place, _ in enumerate(texts)]


def shortest(texts: tuple[str, ...]) -> list[float]:
    """Pay the shortest of a group."""
    return [float(len(text) == min(map(len, texts))) for text in texts]


def slow(text: str) -> float:
    """Take for ever."""
    time.sleep(600)
    return 0.0


def wordy(text: str) -> str:
    """Return no number."""
    return "good"


def fragile(text: str, answer: str) -> float:
    """Fail as the text says, or else compare it with the answer."""
    match text:
        case "hang":
            time.sleep(600)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise ValueError("as it was told")
    return float(text == answer)
