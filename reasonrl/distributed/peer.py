"""Another rank, as rank 0 hears it."""

import socket
from enum import IntEnum

from reasonrl.distributed.messages import Channel, position


class Kind(IntEnum):
    """How a rank is lost; what explains others comes first."""

    DIED = 0
    FAILED = 1
    SILENT = 2
    CUT_OFF = 3


class Peer:
    """What is known of another rank.

    Args:
        connection: from it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.channel = Channel(connection)
        self.rank: int | None = None
        """None until it has said who it is."""
        self.name = ""
        self.is_ready = False
        """Whether it can join the others at once."""
        self.position = ""
        """Where its main thread was when last heard."""
        self.silent_s = 0.0
        self.failure: str | None = None
        """What it said before its end."""
        self.is_cut_off = False
        """Whether that was that it could not reach the others."""

    def lost(self, silence_s: float) -> Kind | None:
        """Return how this rank is lost; None where it is not."""
        if self.failure is not None:
            return Kind.CUT_OFF if self.is_cut_off else Kind.FAILED
        if self.channel.is_closed:
            return Kind.DIED
        return Kind.SILENT if self.silent_s > silence_s else None

    def reason(self, kind: Kind, silence_s: float) -> str:
        """Return what happened to it, to come after its name."""
        match kind:
            case Kind.DIED:
                return "ended without a word: it was killed (out of memory?), or code of a plugin left it by os._exit"
            case Kind.FAILED:
                return f"failed: {self.failure}"
            case Kind.SILENT:
                return (
                    f"has been silent for {silence_s:g} s (learner.parallel.timeout_s): it hangs, is stopped, or its "
                    f"machine cannot be reached; when last heard it was at {self.position}"
                )
            case Kind.CUT_OFF:
                return (
                    f"waited in vain for the others (learner.parallel.timeout_s is {silence_s:g}) at {self.position}, "
                    f"while rank 0 was at {position()}: {self.failure}"
                )
