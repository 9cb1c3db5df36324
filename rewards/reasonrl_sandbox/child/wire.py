"""The two messages between the host and a fork server: fixed in size, and numbers only.

A program, its input and its output are anonymous files. Their descriptors accompany the messages, and the server passes
them on unread: every later child is a fork of it and could find in its memory whatever it had once read.
"""

import socket
import struct
from typing import NamedTuple

_LIMITS = struct.Struct("<ddqqqii")
_CHILD_EXIT = struct.Struct("<iBdd")
_REPORT = struct.Struct(f"<d{2 * _CHILD_EXIT.size}s200s")

LIMITS_BYTES, REPORT_BYTES = _LIMITS.size, _REPORT.size
FILES_PER_CHILD = 5
"""Body, standard input, standard output, standard error, answers."""

BY_ITSELF, CLOCK, CPU, DISK, THREADS, DRIVER_DONE, NOT_CONFINED = range(7)
"""Why a child ended."""

EXIT_RAISED, EXIT_COMPILE, EXIT_NO_ENTRY, EXIT_MEMORY, EXIT_FILE_LIMIT = 1, 121, 122, 123, 124
"""Exit statuses by which a child says how its program ended. A program may use them too: none stands for success."""


class ResourceLimits(NamedTuple):
    """What one program may use, in the units of the system calls."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    output_bytes: int
    disk_mib: int
    num_files: int
    num_threads: int


class ChildExit(NamedTuple):
    """How one child ended."""

    status: int
    """As `os.waitstatus_to_exitcode` gives it."""
    why: int
    """One of the reasons above."""
    cpu_s: float
    max_rss_mib: float


class RunReport(NamedTuple):
    """How a program ended: one child, or program and driver."""

    wall_s: float
    children: tuple[ChildExit, ChildExit]
    """The second is empty for a program without a driver."""
    detail: str
    """What kept the server from confining it."""


NOT_RUN = ChildExit(0, BY_ITSELF, 0.0, 0.0)


def pack_limits(limits: ResourceLimits) -> bytes:
    """Return the bytes of the limits."""
    return _LIMITS.pack(*limits)


def unpack_limits(data: bytes) -> ResourceLimits:
    """Read the bytes of the limits."""
    return ResourceLimits(*_LIMITS.unpack(data))


def pack_report(report: RunReport) -> bytes:
    """Return the bytes of a report."""
    children = b"".join(_CHILD_EXIT.pack(*child) for child in report.children)
    return _REPORT.pack(report.wall_s, children, report.detail.encode()[:200])


def unpack_report(data: bytes) -> RunReport:
    """Read the bytes of a report."""
    wall_s, children, detail = _REPORT.unpack(data)
    first, second = (ChildExit(*fields) for fields in _CHILD_EXIT.iter_unpack(children))
    return RunReport(wall_s, (first, second), detail.rstrip(b"\0").decode(errors="replace"))


def receive(connection: socket.socket, count: int) -> bytes:
    """Read exactly `count` bytes; raises EOFError when the other side has closed the connection."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError("the connection was closed")
        data += more
    return data
