"""Calls that wait for a worker, oldest first, and how many of them one visit takes."""

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from reasonrl.scoring.runner import CallResult, FunctionCall

VISIT_S: Final = 0.01
"""Time that the calls of one visit take together, as far as can be told: far above the way there and back."""

MAX_CALLS: Final = 128
"""Calls of one visit at most: the notes about them have room in a worker's socket."""

MAX_BYTES: Final = 1 << 17
"""Bytes of the arguments of a visit of more than one call."""

WEIGHT: Final = 0.25
"""Weight of the newest call in the time that a function usually takes."""


@dataclass(slots=True, eq=False)
class QueuedCall:
    """A call without a result."""

    call: FunctionCall
    body: bytes
    """As it is sent: its deadline, the name of the function, the arguments."""
    future: "Future[CallResult]"
    submitted_at: float = field(default_factory=time.monotonic)
    num_deaths: int = 0
    """Workers that died when they were about to begin it."""


class Backlog:
    """Calls that no worker has been given."""

    def __init__(self) -> None:
        self._waiting: deque[QueuedCall] = deque()
        self._usual_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, calls: Iterable[QueuedCall]) -> None:
        """Have calls wait behind all others."""
        self._waiting += calls

    def put_back(self, calls: Iterable[QueuedCall]) -> None:
        """Have calls, oldest first, wait before all others."""
        self._waiting.extendleft(reversed([*calls]))

    def note_time(self, function: str, run_s: float) -> None:
        """Learn how long a call of a function took."""
        usual_s = self._usual_s.get(function, run_s)
        self._usual_s[function] = usual_s + WEIGHT * (run_s - usual_s)

    def begins_short(self) -> bool:
        """Say whether the oldest call will take no longer than a visit, as far as can be told."""
        return bool(self._waiting) and self._expected_s(self._waiting[0]) <= VISIT_S

    def take(self, share: int) -> list[QueuedCall]:
        """Remove and return the calls of one visit: one that may be long, or up to ``share`` short ones."""
        taken: list[QueuedCall] = []
        expected_s, size = 0.0, 0
        while self._waiting and len(taken) < min(share, MAX_CALLS):
            expected_s += self._expected_s(self._waiting[0])
            size += len(self._waiting[0].body)
            if taken and (expected_s > VISIT_S or size > MAX_BYTES):
                break
            taken.append(self._waiting.popleft())
        return taken

    def take_all(self) -> list[QueuedCall]:
        """Remove and return everything."""
        taken, self._waiting = [*self._waiting], deque()
        return taken

    def _expected_s(self, queued: QueuedCall) -> float:
        """Return the time that a call will take; until its function has been called once, any."""
        return self._usual_s.get(queued.call.function, float("inf"))
