"""Check the format of a completion, whatever its answer.

The tag for thinking is ``<think>``, or the one that the prompt opens or declares beside ``<answer> </answer>``.
"""

import re

from reasonrl import Rollout, Score
from reasonrl_grading.answers import shown_text, thinking_tag, with_opening_tag


def r1_format(rollout: Rollout) -> Score:
    """1 for one ``<think>...</think>`` and then one ``<answer>...</answer>``, neither empty, else 0.

    Only white space may surround them. A tag that the template put at the end of the prompt counts as the opening one,
    and a prompt that declares another tag for thinking, ``<reasoning> </reasoning>`` beside ``<answer> </answer>``, is
    held to that (DeepSeek-R1-Zero, arXiv:2501.12948). One letter in each pair is enough: weigh it so that it cannot
    outbid the answer.
    """
    opening, closing = _thinking(rollout)
    form = rf"\s*{opening}(.*){closing}\s*<answer>(.*)</answer>\s*"
    return _judge(with_opening_tag(rollout), (opening, closing, "<answer>", "</answer>"), form)


def think_format(rollout: Rollout) -> Score:
    """1 for one ``<think>...</think>`` at the beginning and an answer in any form after it, else 0.

    Neither may be empty. A tag that the template put at the end of the prompt counts as the opening one, and a prompt
    that declares another tag for thinking beside ``<answer> </answer>`` is held to that. It is TRL's
    ``think_format_reward`` with an answer asked for, which is no more thinking in other tags.
    """
    opening, closing = _thinking(rollout)
    score = _judge(with_opening_tag(rollout), (opening, closing), rf"\s*{opening}(.*){closing}(.*)")
    return score if not score.value or shown_text(rollout).strip() else Score(0.0, "nothing but thinking")


def r1_format_graded(rollout: Rollout) -> Score:
    """A quarter for each of ``<think>``, ``</think>``, ``<answer>`` and ``</answer>`` in its place.

    A tag has its place when it occurs once and after those before it; a closing tag also needs something to
    close. It is the tag count of open-r1 without its trap, by which a repeated tag still paid. Text around
    the tags costs nothing; ``r1_format`` asks for more, and has the same tag for thinking.
    """
    text, tags = with_opening_tag(rollout), (*_thinking(rollout), "<answer>", "</answer>")
    placed: list[str] = []
    end = 0
    for tag in tags:
        start = text.find(tag)
        is_filled = not tag.startswith("</") or bool(text[end:start].strip())
        if text.count(tag) == 1 and start >= end and is_filled:
            placed.append(tag)
            end = start + len(tag)
    return Score(len(placed) / len(tags), f"in their place: {' '.join(placed) or 'none'}")


def _thinking(rollout: Rollout) -> tuple[str, str]:
    name = thinking_tag(rollout.prompt)
    return f"<{name}>", f"</{name}>"


def _judge(text: str, tags: tuple[str, ...], form: str) -> Score:
    """Score a text that should match a form and contain each tag once, with text in every group of the form."""
    for tag in tags:
        if (count := text.count(tag)) != 1:
            return Score(0.0, f"{count} times {tag}, wanted once")
    match = re.fullmatch(form, text, re.DOTALL)
    if match is None:
        return Score(0.0, "tags out of order, or text outside them")
    if not all(part.strip() for part in match.groups()):
        return Score(0.0, "nothing between the tags")
    return Score(1.0, "well formed")
