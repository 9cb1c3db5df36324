"""Calls on their way to the workers, oldest first: one socket that all workers read.

A worker never waits for the trainer's thread, a call never waits behind one that hangs, and a worker that is killed
takes nothing with it but the call it was making.
"""

import math
import selectors
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from reasonrl.plugins.failures import message
from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.scoring.workers.wire import CALL, HEADER, MAX_INLINE, pack

AHEAD: Final = 16
"""Calls in the socket for each worker: enough that none is ever idle while there is work."""

MAX_SENT: Final = 256
"""Calls in the socket at most: each may carry a file, and the system limits those."""

LOST_S: Final = 2.0
"""Time after which a call that a worker took, but never said it began, counts as lost with it."""

MAX_TRIES: Final = 3
"""How often a call is sent before it is given up, if every worker that takes it dies before it begins it."""


@dataclass(slots=True, eq=False)
class QueuedCall:
    """A call with what became of it so far."""

    call: FunctionCall
    body: bytes
    """Name of the function and arguments, pickled."""
    future: "Future[CallResult]"
    submitted_at: float
    tries: int = 0
    taken_at: float | None = None
    """When it was first seen to be out of the socket without having begun."""
    begun_at: float | None = None


class CallQueue:
    """Calls that no worker has begun.

    Args:
        num_workers: how many workers there may be.
        selector: wakes the thread that owns the queue when a full socket has room again.
        fail: called with a call that is given up, and why.
    """

    def __init__(
        self, num_workers: int, selector: selectors.BaseSelector, fail: Callable[[QueuedCall, str], None]
    ) -> None:
        self._socket, self.workers_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._selector, self._fail = selector, fail
        self._max_sent = min(AHEAD * num_workers, MAX_SENT)
        self._num_sent = 0
        self._waiting: deque[QueuedCall] = deque()
        self._sent: dict[int, QueuedCall] = {}

    def __len__(self) -> int:
        """Return the number of calls that a worker could take, or has taken and not begun."""
        return len(self._sent)

    def add(self, calls: Iterable[QueuedCall]) -> None:
        """Have calls sent after all others."""
        self._waiting += calls

    def fill(self) -> None:
        """Send as many waiting calls, oldest first, as there is room for."""
        full = False
        while self._waiting and not full and len(self._sent) < self._max_sent:
            full = not self._send(self._waiting[0])
            if not full:
                self._waiting.popleft()
        self._watch_for_room(full)

    def _send(self, queued: QueuedCall) -> bool:
        """Send a call under a new number, if there is room; one that is long goes into a file."""
        try:
            if len(queued.body) <= MAX_INLINE:
                self._socket.send(pack(CALL, self._num_sent + 1, body=queued.body))
            else:
                with tempfile.TemporaryFile() as file:
                    file.write(queued.body)
                    file.flush()
                    socket.send_fds(self._socket, [pack(CALL, self._num_sent + 1)], [file.fileno()])
        except BlockingIOError:
            return False
        except OSError as error:  # no room for the file
            self._fail(queued, f"its arguments cannot be sent to a worker: {message(error)}")
            return True
        self._num_sent += 1
        queued.tries, queued.taken_at = queued.tries + 1, None
        self._sent[self._num_sent] = queued
        return True

    def _watch_for_room(self, wanted: bool) -> None:
        watched = self._socket in self._selector.get_map()
        if wanted and not watched:
            # Waking up is all that is needed: the queue is filled whenever its thread has woken up.
            self._selector.register(self._socket, selectors.EVENT_WRITE, lambda: None)
        elif watched and not wanted:
            self._selector.unregister(self._socket)

    def begin(self, number: int) -> QueuedCall | None:
        """Remove and return the call that a worker has begun; None for one that was given up meanwhile."""
        return self._sent.pop(number, None)

    def find_lost(self, now: float) -> None:
        """Send again what a worker took with it when it died, unless that has been done too often."""
        oldest = self._oldest_in_socket()
        for number, queued in [(number, queued) for number, queued in self._sent.items() if number < oldest]:
            queued.taken_at = now if queued.taken_at is None else queued.taken_at
            if now - queued.taken_at < LOST_S:
                continue
            del self._sent[number]
            if queued.tries < MAX_TRIES:
                self._waiting.appendleft(queued)
            else:
                self._fail(queued, f"{MAX_TRIES} worker processes died before they began it")

    def has_untaken(self) -> bool:
        """Say whether there is a call for a worker to take."""
        return self._oldest_in_socket() < math.inf

    def _oldest_in_socket(self) -> float:
        """Return the number of the oldest call that no worker has taken; infinity where there is none."""
        try:
            header = self.workers_end.recv(HEADER.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return math.inf
        return float(HEADER.unpack(header)[2])

    def fail_all(self, why: str) -> None:
        """Give up every call."""
        for queued in [*self._sent.values(), *self._waiting]:
            self._fail(queued, why)
        self._sent.clear()
        self._waiting.clear()

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        self.workers_end.close()
