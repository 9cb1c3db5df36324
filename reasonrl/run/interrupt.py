"""Stop work cleanly: the first Ctrl-C finishes what cannot be cut, the second stops at once; both are answered."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Final, Self, TypeVar

from reasonrl.distributed.watch import is_losing, rank_watch
from reasonrl.system.stopping import named, say

Item = TypeVar("Item")

SAME_S: Final = 0.5
"""Seconds within which a launcher may pass on one and the same Ctrl-C twice."""


class Interrupt:
    """While entered, turns SIGINT and SIGTERM into a wish to stop, and says at once what it waits for.

    In a thread other than the main one, where Python gives nobody their signals, nothing can be asked.

    Args:
        loses: says what a second signal loses.
        tell: shows a line to the person who pressed Ctrl-C; called in the signal handler.
    """

    def __init__(self, loses: Callable[[], str], tell: Callable[[str], None] = say) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._loses = loses
        self._tell = tell
        self._work = ["the start"]

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self._previous = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def during(self, work: str) -> Iterator[None]:
        """Name what is done inside, which the first signal waits for: ``the evaluation after step 10``."""
        self._work.append(work)
        try:
            yield
        finally:
            self._work.pop()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; the second one stops at once. Where a rank is lost, its launcher ends all."""
        if is_losing() or (self.asked and rank_watch() and time.monotonic() - self._asked_at < SAME_S):
            return
        if self.asked:
            self._tell(f"{named(number)}: stopped at once; {self._loses()}.")
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, time.monotonic()
        self._tell(f"{named(number)}: stopping after {self._work[-1]}. Once more stops at once; then {self._loses()}.")

    def until_asked(self, items: Iterable[Item], work: Iterable[tuple[str, str]]) -> Iterator[Item]:
        """Pass items on until a stop is asked for; none is begun after that.

        Args:
            items: what is worked on.
            work: names what is done while each item is made, and then until the next one is asked for.
        """
        iterator, names = iter(items), iter(work)
        while not self.asked:
            making, using = next(names)
            try:
                with self.during(making):
                    item = next(iterator)
            except StopIteration:
                return
            with self.during(using):
                yield item
