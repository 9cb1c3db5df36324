"""A tracker from the run's side: a thread that starts its process and feeds it, and that nobody waits for."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import IO, Final

from reasonrl.config.base import TrackerRef
from reasonrl.run.trackers.backlog import Backlog
from reasonrl.run.trackers.messages import Closed, Closing, Failed, Item, Opened, Opening, Reply
from reasonrl.scoring.workers.launch import exit_reason
from reasonrl.system import process_tree

POLL_S: Final = 0.2
"""Seconds between looks at what the process says."""
GRACE_S: Final = 1.0
"""Seconds beyond a tracker's time in which its process says itself which call has not returned."""
END_S: Final = 10.0
"""Seconds that the process has to end by itself when all is said."""


class TrackerProcess:
    """One tracker of a run. Nothing here blocks but :meth:`wait`, which has a deadline.

    Args:
        ref: which tracker, and what it may cost.
        opening: what its process is told first.
        output: the file for what it prints.
    """

    def __init__(self, ref: TrackerRef, opening: Opening, output: Path) -> None:
        self.name = ref.name
        self.timeout_s = ref.timeout_s
        self.failure: str | None = None
        """Why it is told nothing more."""
        self.is_told = False
        """Whether a person knows of the failure."""
        self.backlog = Backlog()
        self._opening = opening
        self._output = output
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = Event()
        self._closing_s = 0.0
        self._thread = Thread(target=self._run, name=f"tracker {ref.name}", daemon=True)
        self._thread.start()

    def send(self, item: Item) -> None:
        """Have the tracker told something, some time."""
        if self.failure is None:
            self.backlog.put(item)

    def close(self, last: Closing) -> None:
        """Have it told that the run is over, after all else."""
        self._closing_s = monotonic()
        self.backlog.close(last)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has everything or has failed; say whether that is so.

        Args:
            timeout_s: longest time; None is what is left of the tracker's own time since :meth:`close`.
        """
        left_s = self._closing_s + self.timeout_s + GRACE_S - monotonic()
        return self._is_over.wait(max(left_s if timeout_s is None else min(timeout_s, left_s), 0.0))

    def give_up(self, cause: str) -> None:
        """End its process at once."""
        self.failure = self.failure or cause
        if self._process is not None:
            process_tree.signal_group(self._process.pid, signal.SIGKILL)

    def notes(self) -> Iterator[str]:
        """Yield what a person should know of it, each sentence once."""
        with suppress(Empty):
            while True:
                yield self._notes.get_nowait()

    def _run(self) -> None:
        """Feed the process until all is said; whatever happens to it is its own failure."""
        try:
            with self._started() as (self._process, connection):
                self._feed(connection)
        except OSError as error:  # no process could be started, or no socket made
            self._fail(f"its process cannot be started: {error}")
        finally:
            self._is_over.set()

    @contextmanager
    def _started(self) -> "Iterator[tuple[subprocess.Popen[bytes], Connection]]":
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from reasonrl.run.trackers.child import main; "
            f"main({theirs.fileno()}, {os.getpid()})"
        )
        with theirs, _opened(self._output) as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,  # no tracker asks for an account
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal is for the trainer
            )
        try:
            with closing(Connection(ours.detach())) as connection:
                yield process, connection
        finally:
            self._is_over.set()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            process_tree.signal_group(process.pid, signal.SIGKILL)
            process.wait()

    def _feed(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):  # it has ended; what it said last is still there to be read
            connection.send(self._opening)
            while not self._heard_last(connection):
                if (item := self.backlog.get(POLL_S)) is not None:
                    connection.send(item)
                if isinstance(item, Closing):
                    break
            else:
                return
        with suppress(EOFError, OSError):
            while not self._hear(connection.recv()):
                pass
            return
        self._fail(f"its process {self._exit_reason()}; see {self._output}.")

    def _exit_reason(self) -> str:
        assert self._process is not None, "it was started"
        try:
            return exit_reason(self._process.wait(END_S))
        except subprocess.TimeoutExpired:
            return "has closed its connection"

    def _heard_last(self, connection: Connection) -> bool:
        """Take in what the process has said; tell whether it was its last word."""
        while connection.poll():
            if self._hear(connection.recv()):
                return True
        return False

    def _hear(self, reply: Reply) -> bool:
        match reply:
            case Opened(where=where):
                if where:
                    self._notes.put(f"tracker {self.name}: {where}")
                return False
            case Failed(cause=cause):
                self._fail(cause)
            case Closed():
                pass
        return True

    def _fail(self, cause: str) -> None:
        self.failure = self.failure or cause


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | int]:
    """Open the file for what a tracker prints; on a full disk that is lost."""
    try:
        path.parent.mkdir(exist_ok=True)
        output = path.open("ab")
    except OSError:
        yield subprocess.DEVNULL
        return
    with output:
        yield output
