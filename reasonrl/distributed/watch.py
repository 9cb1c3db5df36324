"""Rank 0's watch over the others: one lost rank ends the run at once, with one cause.

A collective that waits for a lost rank fails late, on every rank, and names none. Here each rank sends signs of life to
rank 0; a connection that closes, a silence, or what a rank says before it ends is a cause, and the one that explains
the others is told.
"""

import os
import secrets
import selectors
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any, Final, Protocol

from reasonrl.distributed.messages import BEAT_S, SETTLE_S, described, is_communication, listen, position_of
from reasonrl.distributed.peer import Kind, Peer
from reasonrl.errors import RunError
from reasonrl.system.stopping import named, say

TICK_S: Final = 0.25
"""Seconds between two looks at all ranks."""
END_S: Final = 20.0
"""Seconds that rank 0 has to end properly before it is ended; torch's launcher kills it after 30."""
NEWS_S: Final = 0.3
"""Seconds in which it is known that a rank is gone, when the launcher ends the others because of that."""
WAKE: Final = signal.SIGUSR1
"""Sent to the main thread of rank 0, which may be in a system call."""


class RankLostError(RunError):
    """A rank that died, failed, or was silent for too long; the message says which and why."""


class Witness(Protocol):
    """What outlives rank 0 and writes down how it ended."""

    def beat(self) -> None:
        """Hear that rank 0 is alive."""
        ...

    def hear(self, cause: str) -> None:
        """Hear why rank 0 is about to be ended, to tell it when that has happened."""
        ...


class RankWatch:
    """Hears all other ranks in a thread of its own, and makes the main thread fail when one is lost.

    Args:
        num_ranks: of the run, this one included.
        silence_s: longest silence of a rank.
    """

    def __init__(self, num_ranks: int, silence_s: float) -> None:
        self.num_ranks = num_ranks
        self.silence_s = silence_s
        self.token = secrets.token_hex(16)
        """What a rank says first; others are not heard."""
        self.lost: RankLostError | None = None
        self.is_over = False
        """Whether the other ranks were let go: nothing can be asked of them any more."""
        self._listener = listen()
        self._listener.setblocking(False)
        self._peers: list[Peer] = []
        self._told: list[dict[str, Any]] = []  # Any: JSON values
        self._changed = threading.Condition()
        self._witness: Witness | None = None
        self._suspected: float | None = None
        self._first: BaseException | None = None
        self._is_asked = False  # whether the main thread is about to learn of a lost rank anyway
        self._is_shown = False

    @property
    def port(self) -> int:
        """Where the others connect to."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Begin, in the main thread: from here on the launcher's SIGTERM is a wish to stop, or follows a lost rank."""
        signal.signal(WAKE, self._wake)
        signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=self._run, name="rank watch", daemon=True).start()

    def tell(self, **told: Any) -> None:
        """Tell all ranks something, those that come later too. Any: JSON values."""
        with self._changed:
            self._told.append(told)
            self._send(told=told)

    def wait_for_all(self, wait_s: float) -> None:
        """Return when all ranks are ready to join.

        Raises:
            RankLostError: they are not, after so long.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.lost or not self._missing(), wait_s)
            if (missing := self._missing()) and not self.lost:
                raise RankLostError(
                    f"of {self.num_ranks} processes rank {', '.join(map(str, missing))} did not come within "
                    f"{wait_s:g} s: see what the launcher says on that machine."
                )

    def _missing(self) -> list[int]:
        here = [rank for rank, peer in self._ranks().items() if peer.is_ready]
        return sorted({*range(1, self.num_ranks)}.difference(here))

    def is_losing(self) -> bool:
        """Say whether the others were let go, or one is lost, or will turn out to be within a moment."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self.is_over or self._suspected, NEWS_S))

    def let_go(self, error: BaseException | None = None) -> None:
        """End the other ranks: properly where the run has ended well, else at once, whatever they wait for.

        Args:
            error: why this rank goes on no further; what fails after that because the others are gone is no cause.
        """
        with self._changed:
            if not self.is_over:
                self.is_over, self._first = True, error
                self._send(end=error is None)

    def explained(self, error: BaseException) -> BaseException:
        """Return the cause of an error of this rank: the lost rank that it comes from, where there is one."""
        self._is_asked = True
        if isinstance(error, KeyboardInterrupt):
            return self.lost or error
        if isinstance(error, RankLostError) or not is_communication(error):
            return error
        with self._changed:
            self._changed.wait_for(lambda: self.lost or self._first, SETTLE_S + 3 * BEAT_S)
        return self.lost or self._first or self._apart(error)

    def set_witness(self, witness: Witness | None) -> None:
        """Say who writes down how this process ends if it does not do so itself."""
        with self._changed:
            self._witness = witness
            self._send(is_witnessed=witness is not None)

    def shown(self) -> None:
        """Note that the user is told how this run ended."""
        self._is_shown = True

    def _apart(self, error: BaseException) -> RankLostError:
        """Return the error of ranks that are all there but do not wait for the same."""
        ranks = "; ".join(f"{peer.name} at {peer.position}" for peer in self._ranks().values())
        return RankLostError(
            f"a rank did not come to where the others waited for it within {self.silence_s:g} s "
            f"(learner.parallel.timeout_s). All are alive: rank 0 at {position_of(error)}; {ranks}. torch says: "
            f"{described(error).splitlines()[0]}"
        )

    def _ranks(self) -> dict[int, Peer]:
        return {peer.rank: peer for peer in self._peers if peer.rank is not None}

    def _send(self, **message: Any) -> None:
        """Send all ranks a message. Any: JSON values."""
        for peer in self._ranks().values():
            peer.channel.send(**message)

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        beaten = looked = time.monotonic()
        while not self.is_over:
            for key, _ in selector.select(TICK_S):
                self._hear(key.data, selector) if key.data else self._accept(selector)
            elapsed_s, looked = time.monotonic() - looked, time.monotonic()
            # Where this process itself was stopped, what the others sent in that time is still to be read.
            self._judge(min(elapsed_s, 2 * TICK_S))
            if looked - beaten > BEAT_S:
                beaten = looked
                self._beat()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            peer = Peer(self._listener.accept()[0])
        except OSError:  # it is gone already
            return
        self._peers.append(peer)
        selector.register(peer.channel.connection, selectors.EVENT_READ, peer)

    def _hear(self, peer: Peer, selector: selectors.BaseSelector) -> None:
        with self._changed:
            for message in peer.channel.receive():
                self._take(peer, message)
            if peer.channel.is_closed:
                selector.unregister(peer.channel.connection)
                peer.channel.connection.close()
            self._changed.notify_all()

    def _take(self, peer: Peer, message: dict[str, Any]) -> None:
        """Take in what a rank says. Any: JSON values."""
        peer.silent_s = 0.0
        if message.get("token") == self.token:
            self._welcome(peer, message)
        elif peer.rank is None:
            peer.channel.is_closed = True
        elif "ready" in message:
            peer.is_ready = True
        elif "failed" in message:
            peer.failure, peer.is_cut_off = message["failed"], message["is_cut_off"]
        elif "signal" in message:
            _signal_main_thread(signal.Signals(message["signal"]))
        peer.position = message.get("position", peer.position)

    def _welcome(self, peer: Peer, message: dict[str, Any]) -> None:
        """Tell a new rank what it missed. Any: JSON values."""
        peer.rank = message["rank"]
        peer.name = f"rank {peer.rank} of {self.num_ranks} ({message['host']}, process {message['pid']})"
        here = {"host": socket.gethostname(), "pid": os.getpid(), "silence_s": self.silence_s}
        peer.channel.send(**here, is_witnessed=self._witness is not None)
        for told in self._told:
            peer.channel.send(told=told)

    def _beat(self) -> None:
        with self._changed:
            self._send()
            witness = self._witness
        if witness is not None:
            witness.beat()

    def _judge(self, elapsed_s: float) -> None:
        """Declare a rank lost when nothing more is to be learned of why."""
        with self._changed:
            for peer in self._ranks().values():
                peer.silent_s += elapsed_s
            kinds = {rank: peer.lost(self.silence_s) for rank, peer in self._ranks().items()}
            suspects = [(kind, rank) for rank, kind in kinds.items() if kind is not None]
            if not suspects or self.is_over:
                return
            self._suspected = self._suspected or time.monotonic()
            self._changed.notify_all()
            if time.monotonic() - self._suspected > SETTLE_S:
                self._lose(*min(suspects))

    def _lose(self, kind: Kind, rank: int) -> None:
        """End the other ranks, and have the main thread fail; what it waits for fails with them, or comes too late."""
        peer = self._ranks()[rank]
        self.lost = RankLostError(f"{peer.name} {peer.reason(kind, self.silence_s)}")
        self.let_go(self.lost)
        self._changed.notify_all()
        threading.Thread(target=self._end_after_grace, name="rank watch's end", daemon=True).start()
        _signal_main_thread(WAKE)

    def _wake(self, number: int, frame: FrameType | None) -> None:
        """Stop what the main thread does. asyncio reports an ordinary exception of a callback, and goes on."""
        if self.lost and not self._is_asked:
            raise KeyboardInterrupt

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop before there is anything to finish; not where the launcher ends all because a rank is gone."""
        if not self.is_losing():
            say(f"{named(number)}: stopping.")
            raise KeyboardInterrupt

    def _end_after_grace(self) -> None:
        time.sleep(END_S)
        if (witness := self._witness) is not None:
            witness.hear(str(self.lost))
        elif not self._is_shown:
            say(f"error: {self.lost}")
        os._exit(RunError.exit_code)


def _signal_main_thread(number: signal.Signals) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


_watch: RankWatch | None = None


def start_watch(num_ranks: int, silence_s: float) -> RankWatch:
    """Begin to watch over the other ranks; on rank 0, in its main thread."""
    global _watch
    _watch = RankWatch(num_ranks, silence_s)
    _watch.start()
    return _watch


def rank_watch() -> RankWatch | None:
    """Return this process's watch; None where there are no other ranks, or they are not expected yet."""
    return _watch


def last_word(error: BaseException) -> BaseException:
    """Return the cause of an error that ends this process's run, the lost rank where it comes from one; end the others.

    They may be anywhere in a call that this process does not finish.
    """
    if _watch is None:
        return error
    cause = _watch.explained(error)
    _watch.let_go(cause)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, as soon as another rank has ended
    return cause


def is_in_step() -> bool:
    """Say whether the other ranks, where there are any, still wait for calls of this one."""
    return _watch is None or not _watch.is_over


def is_losing() -> bool:
    """Say whether other ranks are lost, or let go; then a signal to end is the launcher's, not the user's."""
    return _watch is not None and _watch.is_losing()
