"""Lists, dicts and other containers that both processes of mode `split` hold: a change on one side reaches the other.

Each side sends, with every message, the content of those that changed since the last one. A container that a side no
longer holds itself is forgotten by both.
"""

import operator
import sys
from collections import deque
from typing import Any

from reasonrl_sandbox.child.codec import MalformedError

MAX_SHARED = 2000
"""Containers that both sides hold at most; further ones travel as copies."""

# Any: content of any container.
Content = tuple[Any, ...] | bytes


class _Entry:
    __slots__ = ("before", "container")

    def __init__(self, container: Any) -> None:
        self.container = container
        self.before = _items(container)


class SharedContainers:
    """The containers of one side, by their numbers."""

    def __init__(self, first: int) -> None:
        self.next_number = first
        self.entries: dict[int, _Entry] = {}
        self.numbers: dict[int, int] = {}
        self.forgotten: list[int] = []

    def mark(self, container: object) -> tuple[int, bool] | None:
        """Return the number of a container, and whether the other side has it; None where there are too many."""
        number = self.numbers.get(id(container))
        if number is not None:
            return number, True
        if len(self.entries) >= MAX_SHARED:
            return None
        self.next_number += 2
        self.adopt(self.next_number, container)
        return self.next_number, False

    def adopt(self, number: int, container: object) -> object:
        """Keep a container under a number."""
        self.entries[number] = _Entry(container)
        self.numbers[id(container)] = number
        return container

    def get(self, number: int) -> object:
        """Return the container of a number; raises MalformedError where there is none."""
        if number not in self.entries:
            raise MalformedError("no such container")
        return self.entries[number].container

    def forget(self, numbers: list[int]) -> None:
        """Forget containers that the other side no longer holds."""
        for number in numbers:
            entry = self.entries.pop(number, None)
            if entry is not None:
                self.numbers.pop(id(entry.container), None)

    def forget_after(self, number: int) -> None:
        """Forget containers that were numbered here after one, for a message that could not be written."""
        self.forget(list(range(number + 2, self.next_number + 1, 2)))

    def take_forgotten(self) -> list[int]:
        """Forget the containers that nothing else here holds, and return their numbers."""
        gone = []
        for number, entry in list(self.entries.items()):
            # One reference is the entry's, one the argument's. Entries of outer containers come first, and go first.
            if sys.getrefcount(entry.container) <= 2:
                self.forget([number])
                gone.append(number)
            del entry
        return gone

    def changes(self) -> list[tuple[int, Content]]:
        """Return the content of containers that have changed since they were last sent or received."""
        found = []
        for number, entry in self.entries.items():
            now = _items(entry.container)
            if not _is_same(now, entry.before):
                entry.before = now
                found.append((number, now))
        return found

    def apply(self, changes: Any) -> None:
        """Change containers as the other side has; raises MalformedError where that cannot be."""
        for number, content in changes:
            container: Any = self.get(number)
            _fill(container, content)
            self.entries[number].before = _items(container)


def _items(container: Any) -> Content:
    """Return the content of a container in its order; of a dict keys and values by turns."""
    if isinstance(container, bytearray):
        return bytes(container)
    if isinstance(container, dict):
        return tuple(part for pair in container.items() for part in pair)
    return tuple(container)


def _is_same(now: Content, before: Content) -> bool:
    """Return whether two contents hold the very same items: comparing them could run code of the program."""
    if isinstance(now, bytes):
        return now == before
    return len(now) == len(before) and all(map(operator.is_, now, before))


def _fill(container: Any, content: Content) -> None:
    if type(content) is not (bytes if isinstance(container, bytearray) else tuple):
        raise MalformedError("no content of such a container")
    if isinstance(container, (list, bytearray)):
        container[:] = content
        return
    container.clear()
    if isinstance(container, dict):
        dict.update(container, zip(content[::2], content[1::2], strict=True))
    elif isinstance(container, deque):
        container.extend(content)
    else:
        container.update(content)
