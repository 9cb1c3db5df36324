"""Conversations in rows: lists of messages with a role and a text. What is no text is refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from reasonrl import DataError

Message: TypeAlias = Mapping[str, str]

NOT_TEXT: Final = ("images", "image", "image_1", "videos", "video", "audio", "audios", "tools")
"""Columns that make a row more than text."""

ROLES: Final = ("system", "developer", "user", "assistant")


def conversation(where: str, column: str, value: object) -> tuple[Message, ...]:
    """Return a column as messages; parts of a text in one message are joined.

    Raises:
        DataError: it is no list of messages, or one has anything but a text.
    """
    items = value if isinstance(value, list) else []
    messages = tuple(_message(where, column, item) for item in items)
    if not messages:
        raise _malformed(where, column)
    return messages


def prompt_messages(where: str, column: str, value: object) -> tuple[Message, ...]:
    """Return a conversation to be answered: its last message is the user's.

    Raises:
        DataError: as for :func:`conversation`, or somebody else spoke last.
    """
    messages = conversation(where, column, value)
    if messages[-1]["role"] != "user":
        raise DataError(
            f"{where}: column {column!r} ends with a message of role {messages[-1]['role']!r}: a prompt ends with the "
            "user's. Remove what is to be answered from it."
        )
    return messages


def last_question(where: str, messages: Sequence[Message]) -> str:
    """Return what the user asked last.

    Raises:
        DataError: nothing.
    """
    asked = [message["content"] for message in messages if message["role"] == "user"]
    if not asked or not asked[-1].strip():
        raise DataError(f"{where}: the conversation has no message with role 'user' and a text.")
    return asked[-1].strip()


def refuse_other_media(where: str, row: Mapping[str, Any]) -> None:
    """Refuse a row with images, sound or tools; empty columns of these are fine. Any: columns hold whatever they do.

    Raises:
        DataError: it has any.
    """
    for name in NOT_TEXT:
        if row.get(name):
            raise DataError(f"{where}: column {name!r} is not empty, and problems are text alone: remove such rows.")


def _message(where: str, column: str, item: object) -> Message:
    match item:
        case {"role": str(role), "tool_calls": [_, *_]}:
            raise DataError(f"{where}: column {column!r} has a message of role {role!r} with tool_calls.")
        case {"role": str(role), "content": str() | list() as content} if role in ROLES:
            return {"role": role, "content": _text(where, column, content)}
        case {"role": str(role), "content": _} if role not in ROLES:
            known = ", ".join(ROLES)
            raise DataError(f"{where}: column {column!r} has a message of role {role!r}. Known: {known}.")
        case _:
            raise _malformed(where, column)


def _text(where: str, column: str, content: str | list[Any]) -> str:
    """Join the parts of a message. Any: parts of any shape."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content if _is_text(part)]
    if len(texts) != len(content) or not texts:
        kinds = {part.get("type") if isinstance(part, Mapping) else type(part).__name__ for part in content}
        others = ", ".join(sorted(map(str, kinds - {"text"}))) or "nothing"
        raise DataError(f"{where}: column {column!r} has a message that holds {others}, and problems are text alone.")
    return "".join(texts)


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _malformed(where: str, column: str) -> DataError:
    return DataError(f"{where}: column {column!r} is not a list of messages with texts 'role' and 'content'.")
