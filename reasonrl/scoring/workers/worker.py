"""A worker: makes one call after another, and notes each beginning and end where the trainer finds them.

The notes are frames in the worker's socket, which outlive it. The trainer reads them when it is woken, once for a visit
of several calls, or when it looks by itself; so a short call costs a write, and wakes nobody.
"""

import math
import os
import pickle
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

from reasonrl.plugins.failures import explain, message
from reasonrl.scoring.runner import Functions
from reasonrl.scoring.workers.wire import (
    BEGUN,
    FAILED,
    LAST_CALL,
    MAX_BODY,
    READY,
    RELEASED,
    RETURNED,
    RING,
    TIMEOUT,
    Frame,
    Unpacker,
    pack,
)

CUT_OFF: Final = 113
"""Exit code of a worker whose sockets a function has closed."""


class Trainer(NamedTuple):
    """The trainer, as a worker sees it."""

    connection: socket.socket
    """Where calls come from and notes go."""
    bell: int
    """Descriptor of the pipe that wakes the trainer; writing to it never blocks."""
    worker: int
    """Number of this worker."""

    def receive(self) -> bytes:
        """Return further calls, or parts of them."""
        data = self.connection.recv(1 << 18)
        if not data:
            os._exit(0)  # the trainer is gone
        return data

    def note(self, frames: bytes) -> None:
        """Write frames; where there is no room for them, have the trainer make some."""
        while frames:
            try:
                frames = frames[self.connection.send(frames, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self.ring()
                select.select([], [self.connection], [])

    def ring(self) -> None:
        """Have the trainer read what was noted."""
        with suppress(BlockingIOError):  # nobody has answered thousands of rings yet
            os.write(self.bell, RING.pack(self.worker))


def work(trainer: Trainer, functions: Functions) -> NoReturn:
    """Make calls until this process is killed, or one of them has taken longer than it may."""
    incoming, calls = Unpacker(), _Calls(trainer, functions)
    trainer.note(pack(READY, trainer.worker))
    trainer.ring()
    while True:
        for call in incoming.feed(trainer.receive()):
            calls.make(call)


class _Calls:
    """Makes calls, and notes the end of one together with the beginning of the next."""

    def __init__(self, trainer: Trainer, functions: Functions) -> None:
        self._trainer, self._functions = trainer, functions
        self._own_pid = os.getpid()
        self._ended = b""
        """Notes on calls that have ended, which are still to be written."""
        self._deadline = math.inf
        """That of the last of these calls."""

    def make(self, call: Frame) -> None:
        """Make a call, or leave it to another worker where it is too late to begin it."""
        begun_at = time.monotonic()
        if begun_at < call.clock:
            self._write(pack(BEGUN, call.number, begun_at), call)
        # Read again, after the note is written: a call without one is the trainer's to give to another worker.
        if time.monotonic() < call.clock:
            self._make(call, begun_at)
        else:
            self._ended += pack(RELEASED, call.number)
        if call.kind == LAST_CALL:
            self._write(b"", call)
            self._trainer.ring()

    def _make(self, call: Frame, begun_at: float) -> None:
        kind, body = _outcome(call, self._functions)
        if os.getpid() != self._own_pid:  # the function forked, and this is the child coming back from it
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm left behind would strike the next call
        self._ended = pack(kind, call.number, time.monotonic(), body)
        self._deadline = begun_at + TIMEOUT.unpack_from(call.body)[0]

    def _write(self, beginning: bytes, call: Frame) -> None:
        """Write the notes on what has ended, and on the call that begins, if any.

        Where that is past the deadline of the call that has ended, the trainer may have read the notes between, has
        this process killed and gave the calls behind that one to others: none of them is begun.
        """
        self._trainer.note(self._ended + beginning)
        if time.monotonic() >= self._deadline:
            self._trainer.note(pack(RELEASED, call.number))
            os._exit(0)
        self._ended, self._deadline = b"", math.inf


def _outcome(call: Frame, functions: Functions) -> tuple[int, bytes]:
    """Make a call, and return the kind and body of the frame that says what became of it."""
    function: Callable[..., Any] | None = None
    try:
        name, arguments = pickle.loads(memoryview(call.body)[TIMEOUT.size :])
        function = functions[name]
        return _packed(function(**arguments))
    except BaseException as error:  # anybody's code: SystemExit and KeyboardInterrupt are its errors too
        return FAILED, explain(error, function).encode(errors="replace")


def _packed(value: Any) -> tuple[int, bytes]:
    """Pickle what a function returned. Any: it is checked where it is used."""
    try:
        body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # any object's own code runs here
        return FAILED, f"returned a {type(value).__name__} that cannot be pickled: {message(error)}".encode()
    if len(body) > MAX_BODY:
        return FAILED, f"returned a {type(value).__name__} of {len(body)} bytes; at most {MAX_BODY} fit".encode()
    return RETURNED, body
