"""Frames on a stream socket between the trainer, the fork server and its workers."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<IBQd")
"""Length of the body, kind, number, clock."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes that a worker may send back for one call: far above any Score, far below what would hurt the trainer."""

MAX_INLINE: Final = 60_000
"""Bytes of a call that are sent in one message; the kernel takes about three such messages before it is full."""

CALL, BEGUN, RETURNED, FAILED = range(4)
"""Between trainer and workers; the number is that of the call."""

READY, FORK, FORKED, KILL, DEAD = range(4, 9)
"""Between trainer and fork server; the number is that of the worker. ``FAILED`` says why the functions did not load."""

NOT_IMPORTED: Final = "the rewards and metrics cannot be imported"
"""How an error begins that concerns all functions of a pool."""


class Frame(NamedTuple):
    """One message."""

    kind: int
    number: int
    clock: float
    """``time.monotonic`` of the sender, which all processes of a machine share."""
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
        while len(self._bytes) >= HEADER.size:
            length, kind, number, clock = HEADER.unpack_from(self._bytes)
            if length > self._max_body or kind > DEAD:
                raise CorruptStreamError
            end = HEADER.size + length
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[HEADER.size : end])
            del self._bytes[:end]
            yield Frame(kind, number, clock, body)
