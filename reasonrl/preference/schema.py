"""From the rows of TRL's preference schemas to pairs and labeled completions."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, TypeAlias

from reasonrl.errors import DataError, and_known
from reasonrl.preference.data import IMPLICIT, Example, Kind, LabeledCompletion, Pair
from reasonrl.types import Problem, digest

Row: TypeAlias = Mapping[str, Any]
"""Columns by name. Any: they are whatever the source holds."""
Message: TypeAlias = Mapping[str, str]

TASK: Final = "preference"
NOT_RENDERED: Final = ("tools", "chat_template_kwargs")
"""Columns of TRL's schema that change what a chat template renders, which our templates do not know."""
NOT_TEXT: Final = ("tool_calls", "reasoning_content", "thinking")
"""Parts of a message beside its content that some chat templates render."""
SHOWN: Final = 60
"""Characters of a value in a message."""


def examples_of(where: str, row: Row, kind: Kind) -> Iterator[Example]:
    """Yield what a row gives: one example, or of ranked completions each two with a gap.

    Args:
        where: place of the row, for messages.
        row: with the schema's column names; a column that is null counts as absent.
        kind: what is wanted.

    Raises:
        DataError: the row is of another kind, or a column is missing or holds something else.
    """
    given = {name: value for name, value in row.items() if value is not None}
    for name in NOT_RENDERED:
        if given.get(name):
            raise DataError(
                f"{where}: column {name!r} is set, which the templates of reward models do not render. Render the "
                "prompts with it yourself, give them as texts, and use template: bare."
            )
    if given.keys() >= {"template", "problem_id"}:
        raise DataError(
            f"{where}: is a row of reasonrl sample for finetuning: its prompt is rendered already, and a reward model "
            "has a template of its own. Make pairs of all samples: reasonrl rm pairs SAMPLES --out FILE."
        )
    if kind == "outcome":
        yield _labeled(where, given)
    elif "completions" in given:
        yield from _ranked_pairs(where, given)
    else:
        yield _pair(where, given)


# Rows.


def _labeled(where: str, row: Row) -> LabeledCompletion:
    if "label" not in row and "chosen" in row:
        raise DataError(
            f"{where}: is a pair, but objective.kind outcome learns from columns prompt, completion and label. Use "
            "objective.kind: bradley_terry."
        )
    prompt = prompt_of(where, required_column(where, row, "prompt"))
    return LabeledCompletion(
        problem=problem_of(prompt),
        completion=completion_of(where, "completion", required_column(where, row, "completion"), prompt),
        label=_label(where, required_column(where, row, "label")),
        tags=_tags(where, row),
    )


def _pair(where: str, row: Row) -> Pair:
    if "chosen" not in row and "label" in row:
        raise DataError(
            f"{where}: is a labeled completion, but objective.kind bradley_terry learns from columns chosen and "
            "rejected. Use objective.kind: outcome."
        )
    chosen, rejected = (required_column(where, row, name) for name in ("chosen", "rejected"))
    extra: dict[str, Any] = {"margin": _margin(where, row), "tags": _tags(where, row)}
    if "prompt" in row:
        prompt = prompt_of(where, row["prompt"])
        texts = (completion_of(where, name, row[name], prompt) for name in ("chosen", "rejected"))
        return Pair(problem=problem_of(prompt), chosen=next(texts), rejected=next(texts), **extra)
    if isinstance(chosen, str) and isinstance(rejected, str):
        start = _common_text(where, chosen, rejected)
        problem = problem_of(({"role": "user", "content": chosen[:start]},), task=IMPLICIT)
        return Pair(problem=problem, chosen=chosen[start:], rejected=rejected[start:], **extra)
    return _implicit_conversation(where, chosen, rejected, extra)


def _implicit_conversation(where: str, chosen: object, rejected: object, extra: Mapping[str, Any]) -> Pair:
    """Split two conversations after the messages that both begin with. Any: fields of a pair."""
    talks = [messages_of(where, name, value) for name, value in (("chosen", chosen), ("rejected", rejected))]
    most = min(map(len, talks)) - 1
    common = next((at for at in range(most) if talks[0][at] != talks[1][at]), most)
    prompt = prompt_of(where, talks[0][:common], column="chosen, without its last message,")
    texts = [_answer(where, name, talk[common:]) for name, talk in zip(("chosen", "rejected"), talks, strict=True)]
    return Pair(problem=problem_of(prompt), chosen=texts[0], rejected=texts[1], **extra)


def _ranked_pairs(where: str, row: Row) -> Iterator[Pair]:
    """Yield all pairs of a row's completions with a gap between them, the better one chosen."""
    if "margin" in row:
        raise DataError(f"{where}: column 'margin' belongs to a pair, and a row with completions makes many of them.")
    prompt = prompt_of(where, required_column(where, row, "prompt"))
    completions = row["completions"]
    if not isinstance(completions, list) or len(completions) < 2:
        raise DataError(f"{where}: column 'completions' is {shown(completions)}, not a list of two texts or more.")
    texts = [completion_of(where, "completions", one, prompt) for one in completions]
    values = _values(where, row, len(texts))
    problem, tags = problem_of(prompt), _tags(where, row)
    for a, b in combinations(range(len(texts)), 2):
        better, worse = (a, b) if values[a] > values[b] else (b, a)
        if values[a] != values[b]:
            yield Pair(problem=problem, chosen=texts[better], rejected=texts[worse], tags=tags)


def _values(where: str, row: Row, count: int) -> list[float]:
    """Return a number for each of a row's completions, more for a better one."""
    given = [name for name in ("scores", "ranks") if name in row]
    if len(given) == 2:
        raise DataError(f"{where}: has both 'scores' and 'ranks'; keep one of them.")
    if not given:
        return [float(-place) for place in range(count)]
    (name,) = given
    values = row[name]
    if not isinstance(values, list) or len(values) != count:
        raise DataError(f"{where}: column {name!r} is {shown(values)}, not a list of {count} numbers.")
    sign = 1.0 if name == "scores" else -1.0
    return [sign * _number(where, name, value) for value in values]


# Columns.


def required_column(where: str, row: Row, name: str) -> Any:
    """Return a column. Any: it is not checked yet."""
    if name not in row:
        raise DataError(f"{where}: no column {name!r}, or it is null.{and_known(name, row)} data.columns renames them.")
    return row[name]


def _number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: column {name!r} holds {shown(value)}, which is not a finite number.")
    return float(value)


def _margin(where: str, row: Row) -> float | None:
    return _number(where, "margin", row["margin"]) if "margin" in row else None


def _label(where: str, value: object) -> float:
    label = float(value) if isinstance(value, bool) else _number(where, "label", value)
    if not 0 <= label <= 1:
        raise DataError(f"{where}: column 'label' is {label:g}; use false and true, or numbers from 0 to 1.")
    return label


def _tags(where: str, row: Row) -> tuple[str, ...]:
    value = row.get("tags", ())
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise DataError(f"{where}: column 'tags' is {shown(value)}, not a text or a list of texts.")
    return tuple(values)


# Texts and conversations.


def prompt_of(where: str, value: object, column: str = "column 'prompt'") -> tuple[Message, ...]:
    """Return a prompt as messages; a text is one of the user's."""
    if isinstance(value, str):
        messages: Sequence[Message] = ({"role": "user", "content": value},)
    else:
        messages = messages_of(where, "prompt", value)
    if not messages or not any(message["content"].strip() for message in messages):
        raise DataError(f"{where}: {column} is empty.")
    if messages[-1]["role"] == "assistant":
        raise DataError(
            f"{where}: {column} ends with a message of the assistant. A completion answers the message before it: end "
            "the prompt with the user's, and begin the completion with what the assistant said."
        )
    return tuple(messages)


def completion_of(where: str, column: str, value: object, prompt: tuple[Message, ...]) -> str:
    """Return a completion as text; messages may repeat the prompt before it."""
    if isinstance(value, str):
        return value
    messages = messages_of(where, column, value)
    repeats = len(messages) > len(prompt) and messages[: len(prompt)] == prompt
    return _answer(where, column, messages[len(prompt) :] if repeats else messages)


def _answer(where: str, column: str, messages: Sequence[Message]) -> str:
    """Return the text of the one message that a completion is."""
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise DataError(
            f"{where}: column {column!r} is not one message of the assistant after the prompt: its messages there are "
            f"of {roles}. Earlier turns belong to the prompt."
        )
    return messages[0]["content"]


def messages_of(where: str, column: str, value: object) -> tuple[Message, ...]:
    """Return a conversation, given as a list of messages or as an object that has one under ``messages``."""
    listed = value.get("messages") if isinstance(value, Mapping) else value
    if not isinstance(listed, list | tuple):
        raise DataError(f"{where}: column {column!r} is {shown(value)}, neither a text nor a list of messages.")
    return tuple(_message(where, column, one) for one in listed)


def _message(where: str, column: str, value: object) -> Message:
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        raise DataError(f"{where}: column {column!r} has {shown(value)} in place of a message with role and content.")
    for name in NOT_TEXT:
        if value.get(name):
            raise DataError(
                f"{where}: column {column!r} has a message with {name!r}, which is not rendered. Write it into the "
                "content, or leave the row out."
            )
    return {"role": value["role"], "content": _content(where, column, value.get("content"))}


def _content(where: str, column: str, value: object) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type", "text") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: column {column!r} has a message whose content is {shown(value)}, not a text.")
    return "".join(map(str, texts))


def problem_of(prompt: tuple[Message, ...], task: str = TASK) -> Problem:
    """Return a prompt as a problem; the same words make the same one, up to case and white space."""
    said = [(message["role"], " ".join(message["content"].split()).casefold()) for message in prompt]
    return Problem(
        id=digest(TASK, json.dumps(said)),
        task=task,
        prompt=prompt[-1]["content"],
        answer="",
        messages=None if [message["role"] for message in prompt] == ["user"] else prompt,
    )


def _common_text(where: str, chosen: str, rejected: str) -> int:
    """Return where two texts that begin with the same prompt go on by themselves: at the white space before that.

    Two texts of one beginning are told apart within a word at the latest, and tokens begin with the space before one.
    """
    most = min(len(chosen), len(rejected))
    same = next((at for at in range(most) if chosen[at] != rejected[at]), most)
    start = same
    while start and not chosen[start - 1].isspace():
        start -= 1
    while start and chosen[start - 1].isspace():
        start -= 1
    if not chosen[:start].strip():
        raise DataError(
            f"{where}: there is no column 'prompt', and chosen and rejected do not begin with the same words: "
            f"{shown(chosen)} and {shown(rejected)}."
        )
    return start


def shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
