"""What waits for a tracker: never more than so much, whatever the tracker does."""

from collections import deque
from threading import Condition
from typing import Final

from reasonrl.run.trackers.messages import Closing, Item, Table

MAX_ROWS: Final = 2_000
"""Rollouts that may wait."""
MAX_ITEMS: Final = 20_000
"""Messages that may wait."""


class Backlog:
    """A queue that never blocks who puts something in: where it is full, the oldest tables go first.

    Args:
        max_rows: rollouts that it holds at most.
        max_items: messages that it holds at most.
    """

    def __init__(self, max_rows: int = MAX_ROWS, max_items: int = MAX_ITEMS) -> None:
        self.dropped_rows = 0
        self.dropped_items = 0
        """Messages other than tables."""
        self._max_rows, self._max_items = max_rows, max_items
        self._items: deque[Item] = deque()
        self._num_rows = 0
        self._closing: Closing | None = None
        self._changed = Condition()

    def put(self, item: Item) -> None:
        """Add something, at the price of what has waited longest."""
        with self._changed:
            self._items.append(item)
            self._num_rows += _rows(item)
            while self._num_rows > self._max_rows:
                self._drop_table()
            if len(self._items) > self._max_items and not self._drop_table():
                self._items.popleft()
                self.dropped_items += 1
            self._changed.notify()

    def _drop_table(self) -> bool:
        """Drop the table that has waited longest; say whether there was one."""
        oldest = next((item for item in self._items if isinstance(item, Table)), None)
        if oldest is None:
            return False
        self._items.remove(oldest)
        self._num_rows -= _rows(oldest)
        self.dropped_rows += _rows(oldest)
        return True

    def close(self, closing: Closing) -> None:
        """Say that nothing follows."""
        with self._changed:
            self._closing = closing
            self._changed.notify()

    def get(self, timeout_s: float) -> Item | Closing | None:
        """Return what comes next, :class:`Closing` after all else; None where nothing comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing, timeout_s)
            if not self._items:
                return self._closing
            item = self._items.popleft()
            self._num_rows -= _rows(item)
            return item


def _rows(item: Item) -> int:
    return len(item.rows) if isinstance(item, Table) else 0
