"""Judge the form of a completion, whatever its answer."""

import re

from reasonrl import Rollout, Score
from reasonrl.answers import with_opening_tag

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_FORM = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


def r1_format(rollout: Rollout) -> Score:
    """1 for one ``<think>...</think>`` and then one ``<answer>...</answer>``, neither empty, else 0.

    Nothing but white space may stand around them. A ``<think>`` that the template put at the end of the
    prompt counts as the opening tag (DeepSeek-R1-Zero, arXiv:2501.12948).
    """
    text = with_opening_tag(rollout)
    for tag in TAGS:
        if (count := text.count(tag)) != 1:
            return Score(0.0, f"{count} times {tag}, wanted once")
    form = _FORM.fullmatch(text)
    if form is None:
        return Score(0.0, "tags out of order, or text outside them")
    if not all(part.strip() for part in form.groups()):
        return Score(0.0, "nothing between the tags")
    return Score(1.0, "well formed")
