"""The two messages between the host and a fork server: fixed in size, and numbers only.

What a program is, reads and writes travels beside them as descriptors of anonymous files, which the server passes on
unread: what it had once held in memory, every later child could find there.
"""

import socket
import struct
from typing import NamedTuple

_REQUEST = struct.Struct("<ddqqqii")
_ENDED = struct.Struct("<iBdd")
_REPLY = struct.Struct(f"<d{2 * _ENDED.size}s200s")

REQUEST_BYTES, REPLY_BYTES = _REQUEST.size, _REPLY.size
FILES_PER_CHILD = 5
"""Body, standard input, standard output, standard error, answers."""

BY_ITSELF, CLOCK, CPU, DISK, THREADS, DRIVER_DONE, NOT_CONFINED = range(7)
"""Why a child ended."""

EXIT_RAISED, EXIT_COMPILE, EXIT_NO_ENTRY, EXIT_MEMORY, EXIT_FILE_LIMIT = 1, 121, 122, 123, 124
"""Exit statuses by which a child says how its program ended. A program may use them too: none stands for success."""


class Request(NamedTuple):
    """What the server must know: limits."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    output_bytes: int
    disk_mib: int
    num_files: int
    num_threads: int


class Ended(NamedTuple):
    """How one child ended."""

    status: int
    """As `os.waitstatus_to_exitcode` gives it."""
    why: int
    """One of the reasons above."""
    cpu_s: float
    max_rss_mib: float


class Reply(NamedTuple):
    """How a program ended: one child, or program and driver."""

    wall_s: float
    children: tuple[Ended, Ended]
    """The second is empty for a program without a driver."""
    detail: str
    """What kept the server from confining it."""


NOT_RUN = Ended(0, BY_ITSELF, 0.0, 0.0)


def pack_request(request: Request) -> bytes:
    """Return the bytes of a request."""
    return _REQUEST.pack(*request)


def unpack_request(data: bytes) -> Request:
    """Read the bytes of a request."""
    return Request(*_REQUEST.unpack(data))


def pack_reply(reply: Reply) -> bytes:
    """Return the bytes of a reply."""
    children = b"".join(_ENDED.pack(*child) for child in reply.children)
    return _REPLY.pack(reply.wall_s, children, reply.detail.encode()[:200])


def unpack_reply(data: bytes) -> Reply:
    """Read the bytes of a reply."""
    wall_s, children, detail = _REPLY.unpack(data)
    first, second = (Ended(*ended) for ended in _ENDED.iter_unpack(children))
    return Reply(wall_s, (first, second), detail.rstrip(b"\0").decode(errors="replace"))


def receive(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes; raises EOFError when the other side is gone."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError("the other side is gone")
        data += more
    return data
