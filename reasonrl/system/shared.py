"""Values that several users in one process share: made for the first of them, dropped after the last."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedValues(Generic[Key, Value]):
    """Values by what they are made of, each with the number of its users."""

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}
        self._num_users: dict[Key, int] = {}
        self._lock = Lock()

    @contextmanager
    def used(self, key: Key, make: Callable[[], Value]) -> Iterator[Value]:
        """Keep a value for as long as the context lasts; ``make`` is called unless somebody uses it already."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._num_users[key] = self._num_users.get(key, 0) + 1
            value = self._values[key]
        try:
            yield value
        finally:
            self._leave(key)

    def _leave(self, key: Key) -> None:
        with self._lock:
            self._num_users[key] -= 1
            if not self._num_users[key]:
                del self._num_users[key], self._values[key]

    def get(self, key: Key) -> Value | None:
        """Return a value that somebody uses, or None."""
        return self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)
