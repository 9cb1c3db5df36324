"""Stop a run cleanly: the first Ctrl-C finishes the step, the second stops at once."""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")


class Interrupt:
    """While entered, turns SIGINT and SIGTERM into a wish to stop after the current step."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; the second one stops at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def until_asked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on until a stop is asked for; none is begun after that."""
        iterator = iter(items)
        while not self.asked:
            for item in iterator:
                yield item
                break
            else:
                return
