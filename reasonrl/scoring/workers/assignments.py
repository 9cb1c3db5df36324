"""One worker as the trainer sees it: the calls that it was given, which of them it has begun, when to look next."""

import math
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from reasonrl.scoring.workers.backlog import QueuedCall
from reasonrl.scoring.workers.wire import (
    BEGUN,
    CALL,
    LAST_CALL,
    MAX_BODY,
    READY,
    CorruptStreamError,
    Frame,
    Unpacker,
    pack,
)

LEASE_S: Final = 0.05
"""Time that a worker has to begin the calls that it was given behind others; then another worker may have them."""

READ_BYTES: Final = 1 << 18
"""Bytes of notes that are read at once."""

SLOW_S: Final = 30.0
"""Longest time that may be taken for what takes milliseconds: forking a worker, its death, taking a call."""


class Assignment(NamedTuple):
    """A call that a worker was given."""

    number: int
    queued: QueuedCall
    begin_by: float
    """When it is too late for the worker to begin it."""
    ends_visit: bool
    """Whether the worker rings when it has done with it."""


class Ended(NamedTuple):
    """What a worker noted of a call that it was given: what became of it, or that it was too late to begin it."""

    queued: QueuedCall
    begun_at: float
    frame: Frame


class Worker:
    """A worker process, from the trainer's side.

    A worker makes its calls in their order, so that of :attr:`assigned` only the first one may have begun. It notes
    that it begins a call, and then reads the clock: where ``begin_by`` has passed, it leaves the call. So a call of
    which the notes say nothing when they are read after that time can be given to another worker, and none is ever
    made twice. In the same way a worker begins no further call where the end of one was noted past its deadline.

    Args:
        number: tells it from all other workers of the pool.
        connection: carries calls to it, and its notes back.
    """

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number, self.connection = number, connection
        connection.setblocking(False)
        self.pid: int | None = None
        """None until it is known."""
        self.is_ready = False
        """Whether it has ever waited for a call."""
        self.assigned: deque[Assignment] = deque()
        """The calls that it was given and has not ended, oldest first."""
        self.begun_at: float | None = None
        """When it began the first of these, if it has."""
        self.dying = False
        self.needs_room = False
        """Whether some of what it was given has not been sent, because there is no room."""
        self.look_at = time.monotonic() + SLOW_S
        """When to look what it does, if it does not ring before."""
        self._given_at = self._looked_at = self._busy_until = 0.0
        self._frames: Unpacker | None = Unpacker(max_body=MAX_BODY)
        self._unsent = memoryview(b"")

    # Giving it calls.

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.is_ready and not self.assigned and not self.dying

    def may_wait_for_calls(self, now: float) -> bool:
        """Say whether it will soon have nothing to do: it is in the middle of short calls, and no others are behind."""
        return now < self._busy_until and sum(given.ends_visit for given in self.assigned) == 1 and not self.dying

    def give(self, calls: Sequence[QueuedCall], numbers: Iterator[int], now: float, *, are_short: bool) -> None:
        """Have it make the calls of a visit, behind those that it has."""
        first_by = now + LEASE_S if self.assigned else math.inf
        given = [
            Assignment(next(numbers), queued, now + LEASE_S if at else first_by, at == len(calls) - 1)
            for at, queued in enumerate(calls)
        ]
        self.assigned += given
        self._given_at = self._looked_at = now
        self._busy_until = now + LEASE_S if are_short else now
        kinds = (LAST_CALL if one.ends_visit else CALL for one in given)
        frames = [pack(kind, one.number, one.begin_by, one.queued.body) for kind, one in zip(kinds, given, strict=True)]
        self._unsent = memoryview(b"".join([self._unsent, *frames]))
        self._plan()

    def flush(self) -> None:
        """Send what there is room for."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it is dead, which the fork server will say
            self._unsent = memoryview(b"")
        self.needs_room = bool(self._unsent)

    # Learning what it does.

    def notes(self) -> Iterator[Ended]:
        """Read its notes, and yield what they say of calls that it has ended, or left.

        Raises:
            CorruptStreamError: a function wrote into the connection; the worker is not listened to any more.
        """
        looked_at = time.monotonic()
        try:
            for frame in self._received():
                if frame.kind == READY:
                    self.is_ready = True
                elif not self.assigned or frame.number != self.assigned[0].number:
                    continue  # it was taken back
                elif frame.kind == BEGUN:
                    self.begun_at = frame.clock
                else:
                    queued, begun_at = self.assigned.popleft().queued, self.begun_at
                    self.begun_at = None
                    yield Ended(queued, frame.clock if begun_at is None else begun_at, frame)
        except CorruptStreamError:
            self._frames = None
            raise
        finally:
            self._looked_at = looked_at
            self._plan()

    def _received(self) -> Iterator[Frame]:
        data, has_more = b"", True
        while has_more and self._frames is not None:
            with suppress(BlockingIOError, ConnectionResetError):
                data = self.connection.recv(READ_BYTES)
            has_more = len(data) == READ_BYTES
            yield from self._frames.feed(data)
            data = b""

    def is_past_deadline(self) -> bool:
        """Say whether the call that it made when its notes were read had run too long by then."""
        return self.begun_at is not None and self._looked_at >= self.begun_at + self.assigned[0].queued.call.timeout_s

    def is_stuck(self, now: float) -> bool:
        """Say whether it does not begin what it was given: a function has left it unable to."""
        return bool(self.assigned) and self.begun_at is None and now >= self._given_at + SLOW_S

    def take_back(self) -> list[QueuedCall]:
        """Remove and return the calls that it had not begun when its notes were read, and will not begin any more."""
        running = [] if self.begun_at is None else [self.assigned[0]]
        waiting = list(self.assigned)[len(running) :]
        self.assigned = deque([*running, *(given for given in waiting if given.begin_by > self._looked_at)])
        self._plan()
        return [given.queued for given in waiting if given.begin_by <= self._looked_at]

    def take_running(self) -> tuple[QueuedCall, float] | None:
        """Remove and return the call that it makes, with the time at which it began it."""
        if self.begun_at is None:
            return None
        queued, begun_at, self.begun_at = self.assigned.popleft().queued, self.begun_at, None
        return queued, begun_at

    def take_all(self) -> list[QueuedCall]:
        """Remove and return all calls that it has not ended."""
        taken, self.begun_at = [given.queued for given in self.assigned], None
        self.assigned.clear()
        return taken

    # When to look.

    def expect_death(self) -> None:
        """Note that it has been sent a signal that kills it."""
        self.dying, self.look_at = True, time.monotonic() + SLOW_S

    def _plan(self) -> None:
        """Set when to look next: when a call may be past its deadline, or can be taken back."""
        if self.dying or not self.is_ready:
            return
        if not self.assigned:
            self.look_at = math.inf
            return
        timeout_s, is_running = self.assigned[0].queued.call.timeout_s, self.begun_at is not None
        # What has not begun had not when it was last looked at.
        begun_at = self._looked_at if self.begun_at is None else self.begun_at
        stuck_at = math.inf if is_running else self._given_at + SLOW_S
        leases = [given.begin_by for given in islice(self.assigned, is_running, 2)]
        self.look_at = min(begun_at + timeout_s, stuck_at, *leases)
