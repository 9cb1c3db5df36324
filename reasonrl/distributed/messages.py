"""What goes over the connections between rank 0 and the others, and what an error says of them."""

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType
from typing import Any, Final

from reasonrl.errors import ReasonRLError

BEAT_S: Final = 2.0
"""Seconds between two signs of life."""
SETTLE_S: Final = 1.0
"""Seconds in which causes are collected: ranks that wait for a lost one report that they lost it."""

_COMMUNICATION: Final = re.compile(r"\b(gloo|nccl)", re.IGNORECASE)
"""What the errors of torch's collectives have in common."""
_CHUNK: Final = 65536
_PACKAGE: Final = "/reasonrl/"


def listen() -> socket.socket:
    """Return a socket that listens on a free port of all addresses of this host."""
    with suppress(OSError):  # IPv6 may be switched off
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


class Channel:
    """One end of a connection, over which JSON objects go, one a line.

    Args:
        connection: that is read from in one thread only.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.is_closed = False
        self._begun = b""

    def send(self, **message: Any) -> None:
        """Send a message; that the other end is gone is seen where this one is read. Any: JSON values."""
        with suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield what has come whole since the last time, after the socket's patience if nothing has. Any: JSON values.

        What is no message closes the channel: a stranger is at the other end.
        """
        try:
            news = self.connection.recv(_CHUNK)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            news = b""
        self.is_closed = not news
        *lines, self._begun = (self._begun + news).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.is_closed = True
                return
            yield message


def is_communication(error: BaseException | None) -> bool:
    """Say whether an error is that other ranks could not be reached, or comes from one, or tells of one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if _is_of_torch(error):
            return True
        if isinstance(error, RuntimeError | ReasonRLError) and _COMMUNICATION.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_of_torch(error: BaseException) -> bool:
    kind = type(error)
    return kind.__module__.startswith("torch") and kind.__name__.startswith("Dist")


def described(error: BaseException) -> str:
    """Return what an error says; one that is not ours with its type."""
    text = str(error).strip()
    return text if isinstance(error, ReasonRLError) else f"{type(error).__name__}: {text}".rstrip(": ")


def position() -> str:
    """Return where the main thread is: the innermost line of this package."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if _PACKAGE in frame.f_code.co_filename:
            return _line(frame.f_code, frame.f_lineno)
        frame = frame.f_back
    return "code outside of reasonrl"


def position_of(error: BaseException) -> str:
    """Return where an error was raised: the innermost line of this package."""
    place, step = "code outside of reasonrl", error.__traceback__
    while step is not None:
        if _PACKAGE in step.tb_frame.f_code.co_filename:
            place = _line(step.tb_frame.f_code, step.tb_lineno)
        step = step.tb_next
    return place


def _line(code: CodeType, number: int) -> str:
    return f"reasonrl/{code.co_filename.rpartition(_PACKAGE)[2]}:{number} ({code.co_name})"
