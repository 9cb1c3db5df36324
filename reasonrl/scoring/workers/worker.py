"""A worker: takes one call after another off the queue that all workers share, and says when it begins and ends it."""

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

from reasonrl.plugins.failures import explain, message
from reasonrl.scoring.runner import Functions
from reasonrl.scoring.workers.wire import BEGUN, FAILED, HEADER, MAX_BODY, MAX_INLINE, RETURNED, pack

CUT_OFF: Final = 113
"""Exit code of a worker whose sockets a function has closed."""


class _ReceivedCall(NamedTuple):
    """A call as it was sent."""

    number: int
    body: bytes
    """The name of the function and its arguments, pickled; where that is long, nothing."""
    descriptor: int | None
    """The file that holds what is long."""


def work(queue: socket.socket, connection: socket.socket, functions: Functions) -> NoReturn:
    """Make calls until this process is killed.

    The result of one call is sent together with the beginning of the next, if that is there already.
    """
    own_pid, unsent = os.getpid(), b""
    buffer = bytearray(HEADER.size + MAX_INLINE)
    while True:
        try:
            received = _next(queue, buffer, socket.MSG_DONTWAIT)
        except BlockingIOError:
            connection.sendall(unsent)
            unsent = b""
            received = _next(queue, buffer)
        connection.sendall(unsent + pack(BEGUN, received.number, time.monotonic()))
        kind, body = _outcome(received, functions)
        if os.getpid() != own_pid:  # the function forked, and this is the child coming back from it
            os._exit(0)
        unsent = pack(kind, received.number, time.monotonic(), body)
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm left behind would strike the next call


def _next(queue: socket.socket, buffer: bytearray, flags: int = 0) -> _ReceivedCall:
    length, ancillary, _, _ = queue.recvmsg_into([buffer], socket.CMSG_LEN(4), flags)
    if not length:
        os._exit(0)  # the trainer is gone
    _, _, number, _ = HEADER.unpack_from(buffer)
    descriptors = [int.from_bytes(data[:4], "little") for _, _, data in ancillary]
    return _ReceivedCall(number, bytes(buffer[HEADER.size : length]), descriptors[0] if descriptors else None)


def _outcome(received: _ReceivedCall, functions: Functions) -> tuple[int, bytes]:
    """Make a call, and return the kind and body of the frame that says what became of it."""
    function: Callable[..., Any] | None = None
    try:
        name, arguments = pickle.loads(_body(received))
        function = functions[name]
        return _packed(function(**arguments))
    except BaseException as error:  # anybody's code: SystemExit and KeyboardInterrupt are its errors too
        return FAILED, explain(error, function).encode(errors="replace")


def _body(received: _ReceivedCall) -> bytes:
    if received.descriptor is None:
        return received.body
    with os.fdopen(received.descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def _packed(value: Any) -> tuple[int, bytes]:
    """Pickle what a function returned. Any: it is checked where it is used."""
    try:
        body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # any object's own code runs here
        return FAILED, f"returned a {type(value).__name__} that cannot be pickled: {message(error)}".encode()
    if len(body) > MAX_BODY:
        return FAILED, f"returned a {type(value).__name__} of {len(body)} bytes; at most {MAX_BODY} fit".encode()
    return RETURNED, body
