"""Frames on the stream sockets between the trainer, the fork server and its workers."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<IBQd")
"""Length of the body, kind, number, clock."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes that a worker may send back for one call: far above any Score, far below what would hurt the trainer."""

CALL, LAST_CALL, BEGUN, RETURNED, FAILED, RELEASED = range(6)
"""Between trainer and workers; the number is that of the call. A worker rings after the ``LAST_CALL`` of a visit. It
has until the clock of a call to begin it; after that it answers ``RELEASED``."""

READY, FORK, FORKED, KILL, DEAD = range(6, 11)
"""Between trainer and fork server; the number is that of the worker. ``FAILED`` says why the functions did not load;
``READY`` is also the first note of a worker."""

TIMEOUT: Final = struct.Struct("<d")
"""How the body of a call begins: the time that it may run. The name of the function and its arguments follow."""

RING: Final = struct.Struct("<I")
"""What a worker writes into the pipe that wakes the trainer: its number."""

NOT_IMPORTED: Final = "the rewards and metrics cannot be imported"
"""How an error begins that concerns all functions of a pool."""


class Frame(NamedTuple):
    """One message."""

    kind: int
    number: int
    clock: float
    """``time.monotonic``, which all processes of a machine share: the sender's, or that of a deadline."""
    body: bytes


class CorruptStreamError(Exception):
    """Bytes that are no frames: a function wrote into a descriptor that is not its own."""


def pack(kind: int, number: int, clock: float = 0.0, body: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(len(body), kind, number, clock) + body


class Unpacker:
    """Cuts what arrives into frames.

    Args:
        max_body: longest body that is believed.
    """

    def __init__(self, max_body: int = 0xFFFFFFFF) -> None:
        self._max_body = max_body
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes in and return the frames that they complete.

        Raises:
            CorruptStreamError: they cannot be frames.
        """
        self._bytes += data
        at = 0
        try:
            while len(self._bytes) - at >= HEADER.size:
                length, kind, number, clock = HEADER.unpack_from(self._bytes, at)
                if length > self._max_body or kind > DEAD:
                    raise CorruptStreamError
                end = at + HEADER.size + length
                if len(self._bytes) < end:
                    return
                body = bytes(self._bytes[at + HEADER.size : end])
                at = end
                yield Frame(kind, number, clock, body)
        finally:
            del self._bytes[:at]
