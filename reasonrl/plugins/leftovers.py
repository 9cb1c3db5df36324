"""Threads and processes that a plugin starts when it is imported: they must not keep a command from ending."""

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


@dataclass(frozen=True, slots=True)
class Leftover:
    """A thread or a process that an import started."""

    owner: str
    started: "threading.Thread | BaseProcess"

    @property
    def holds_the_process(self) -> bool:
        """Whether Python would wait for it before it ends."""
        return self.started.is_alive() and not self.started.daemon

    def __str__(self) -> str:
        what = "thread" if isinstance(self.started, threading.Thread) else "process"
        return f"its import starts the {what} {self.started.name!r}, which is ended with the command"


_leftovers: Final[list[Leftover]] = []


@contextmanager
def watched(owner: str) -> Iterator[None]:
    """Note what the body starts."""
    before = {*_running()}
    try:
        yield
    finally:
        _leftovers.extend(Leftover(owner, started) for started in _running() if started not in before)


def _running() -> "Sequence[threading.Thread | BaseProcess]":
    used = sys.modules.get("multiprocessing")  # which takes a while to import, and has no processes before it is
    return [*threading.enumerate(), *(used.active_children() if used else ())]


def leftovers() -> list[Leftover]:
    """Return what imports started and Python would wait for."""
    return [leftover for leftover in _leftovers if leftover.holds_the_process]


def leave(code: object) -> NoReturn:
    """End this process as ``sys.exit`` does, without waiting for what imports started; all else ends as it should."""
    if not (waiting := leftovers()):
        sys.exit(code)  # type: ignore[arg-type]  # what somebody else's sys.exit was given
    for leftover in waiting:
        if not isinstance(leftover.started, threading.Thread):
            leftover.started.terminate()
    atexit._run_exitfuncs()  # Python calls them after it has waited for all threads
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
