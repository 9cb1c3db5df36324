"""Tell thinking from what a completion says, in the spellings of the models that think in tags."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from reasonrl import Rollout

THINKING: Final = ("think", "thinking", "thought", "thoughts", "reason", "reasoning", "reflection", "scratchpad")
"""Names of tags that always hold thinking, in any case."""

_NAME = r"[A-Za-z][\w:-]{0,40}"
_MARKED = (
    r"<\|(?:begin_of_(?P<begin>\w{1,20})|start_(?P<start>\w{1,20}))\|>|<\|end_(?:of_)?(?P<end>\w{1,20})\|>"
    r"|\[(?P<square>/?)THINK\]|◁(?P<wedge>/?)think▷"
)
_DECLARED = re.compile(rf"<(?P<name>{_NAME})>\s{{0,3}}(?:\.\.\.\s?|…\s?)?</(?P=name)>")
_OPENED = re.compile(
    rf"(?P<tag><(?P<name>{_NAME})(?:\s[^<>]{{0,200}})?>|<\|\w{{1,40}}\|>|\[THINK\]|◁think▷)\s*\Z", re.IGNORECASE
)
_ANSWER: Final = "answer"


def shown_text(rollout: Rollout) -> str:
    """Return a completion without its thinking, by the tags that its prompt declares or opens, and the usual ones.

    A prompt declares a tag for thinking by a pair ``<name> </name>`` beside the pair ``<answer> </answer>``.
    """
    return outside_thinking(with_opening_tag(rollout), also=declared_tags(rollout.prompt))


def with_opening_tag(rollout: Rollout) -> str:
    """Return the completion, after the tag for thinking or the answer that the template put at the prompt's end."""
    return _opened(rollout.prompt) + rollout.text


def thinking_tag(prompt: str) -> str:
    """Return the name of the tag that a prompt opens or declares for thinking, ``think`` where it does neither."""
    opened = re.match(rf"<(?P<name>{_NAME})", _opened(prompt))
    name = opened["name"] if opened is not None else _ANSWER
    return name if name.lower() != _ANSWER else next(iter(declared_tags(prompt)), "think")


def outside_thinking(text: str, *, also: tuple[str, ...] = ()) -> str:
    """Return the text without its thinking.

    An opening tag hides what follows up to a closing one of any spelling, or up to the end. A closing tag that nothing
    opened hides everything before it, because the template opened the thinking.

    Args:
        text: a completion.
        also: names of tags that hold thinking too.
    """
    if "<" not in text and "[" not in text and "◁" not in text:
        return text
    shown: list[str] = []
    thinking, position = False, 0
    for start, end, closes in _tags(text, (*THINKING, *also)):
        if not thinking:
            shown.append(text[position:start])
        if closes and not thinking:
            shown.clear()
        thinking, position = not closes, end
    return "\n".join([*shown, *([] if thinking else [text[position:]])])


def _tags(text: str, names: tuple[str, ...]) -> Iterator[tuple[int, int, bool]]:
    """Yield where each tag for thinking begins and ends, and whether it closes; one that closes itself is none."""
    for found in _pattern(names).finditer(text):
        begins = found["begin"] or found["start"]
        if (begins or found["end"] or names[0]).lower() in names:
            yield found.start(), found.end(), bool(found["closes"] or found["end"] or found["square"] or found["wedge"])


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    tag = rf"<\s{{0,3}}(?P<closes>/?)\s{{0,3}}(?:\w{{1,20}}:)?(?:{known})(?:\s[^<>]{{0,200}})?(?<!/)>"
    return re.compile(f"{tag}|{_MARKED}", re.IGNORECASE)


def declared_tags(prompt: str) -> tuple[str, ...]:
    """Return the names of the pairs of tags in a prompt that stand beside a pair for the answer."""
    if "</" not in prompt:
        return ()
    names = {found["name"]: None for found in _DECLARED.finditer(prompt)}
    others = tuple(name for name in names if name.lower() != _ANSWER)
    return others if len(others) < len(names) else ()


def _opened(prompt: str) -> str:
    """Return the tag at the end of a prompt, if it is one for thinking or for the answer, or nothing."""
    end = prompt[-300:]
    if not end.rstrip().endswith((">", "]", "▷")):
        return ""
    opened = _OPENED.search(end)
    known = (*THINKING, *declared_tags(prompt), _ANSWER)
    return opened["tag"] if opened and any(not closes for _, _, closes in _tags(opened["tag"], known)) else ""
