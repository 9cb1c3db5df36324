"""Check the format of a completion, whatever its answer."""

import re

from reasonrl import Rollout, Score
from reasonrl_grading.answers import with_opening_tag

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_R1 = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)
_THINKING = re.compile(r"\s*<think>(.*)</think>(.*)", re.DOTALL)


def r1_format(rollout: Rollout) -> Score:
    """1 for one ``<think>...</think>`` and then one ``<answer>...</answer>``, neither empty, else 0.

    Only white space may surround them. A ``<think>`` that the template put at the end of the
    prompt counts as the opening tag (DeepSeek-R1-Zero, arXiv:2501.12948). One letter in each pair is enough:
    weigh it so that it cannot outbid the answer.
    """
    return _judge(with_opening_tag(rollout), TAGS, _R1)


def think_format(rollout: Rollout) -> Score:
    """1 for one ``<think>...</think>`` at the beginning and an answer in any form after it, else 0.

    Neither may be empty. A ``<think>`` that the template put at the end of the prompt counts as the opening
    tag. It is TRL's ``think_format_reward`` with an answer asked for.
    """
    return _judge(with_opening_tag(rollout), TAGS[:2], _THINKING)


def _judge(text: str, tags: tuple[str, ...], form: re.Pattern[str]) -> Score:
    """Score a text that should match a form and contain each tag once, with text in every group of the form."""
    for tag in tags:
        if (count := text.count(tag)) != 1:
            return Score(0.0, f"{count} times {tag}, wanted once")
    match = form.fullmatch(text)
    if match is None:
        return Score(0.0, "tags out of order, or text outside them")
    if not all(part.strip() for part in match.groups()):
        return Score(0.0, "nothing between the tags")
    return Score(1.0, "well formed")


def r1_format_graded(rollout: Rollout) -> Score:
    """A quarter for each of ``<think>``, ``</think>``, ``<answer>`` and ``</answer>`` in its place.

    A tag has its place when it occurs once and after those before it; a closing tag also needs something to
    close. It is the tag count of open-r1 without its trap, by which a repeated tag still paid. Text around
    the tags costs nothing; ``r1_format`` asks for more.
    """
    text = with_opening_tag(rollout)
    placed: list[str] = []
    end = 0
    for tag in TAGS:
        start = text.find(tag)
        is_filled = not tag.startswith("</") or bool(text[end:start].strip())
        if text.count(tag) == 1 and start >= end and is_filled:
            placed.append(tag)
            end = start + len(tag)
    return Score(len(placed) / len(TAGS), f"in their place: {' '.join(placed) or 'none'}")
