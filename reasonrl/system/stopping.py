"""Acknowledge Ctrl-C and SIGTERM at once, whatever the process is doing: say what is waited for, or what is lost."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""Exit code of a command that was stopped by the user."""
SHOW_CURSOR: Final = "\x1b[?25h"


def say(text: str) -> None:
    """Write a line to standard error, past every buffer, so that a signal handler may."""
    before = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # the terminal shows ^C there
    with suppress(OSError):
        os.write(2, f"{before}{text}\n".encode())


def named(number: int) -> str:
    """Return what a person calls a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def leave_at_once(text: str) -> None:
    """Say what is lost and end this process without any cleanup; what it started ends with it."""
    say(text)
    with suppress(OSError):
        os.write(2, SHOW_CURSOR.encode() if sys.stderr is not None and sys.stderr.isatty() else b"")
    os._exit(INTERRUPTED)


def acknowledge_interrupts() -> None:
    """Answer Ctrl-C in a command that has nothing to finish: the first one stops it, a second one ends the process.

    A process that ignores Ctrl-C, as one in the background of a shell does, goes on ignoring it.
    """
    was_asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal was_asked
        if was_asked:
            leave_at_once("Ctrl-C: ended at once.")
        was_asked = True
        say("Ctrl-C: stopping. Once more ends at once.")
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


def server_stop(stop: Callable[[], None], waits_for: str, loses: str) -> Callable[[int], None]:
    """Return what a server does at a signal: acknowledge and stop, and at the second one end the process.

    Args:
        stop: begins to stop the server.
        waits_for: what is finished first: ``the programs that run``.
        loses: what the second signal loses.
    """
    was_asked = False

    def ask(number: int) -> None:
        nonlocal was_asked
        if was_asked:
            leave_at_once(f"{named(number)}: ended at once; {loses}.")
        was_asked = True
        say(f"{named(number)}: no new requests; waiting for {waits_for}. Once more ends at once; {loses}.")
        stop()

    return ask
