"""A rank's connection to rank 0: it says that it is alive, or why it fails, and ends when rank 0 does."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from reasonrl.distributed.messages import BEAT_S, SETTLE_S, Channel, described, is_communication, position

ANSWER_S: Final = 15.0
"""Seconds that a rank which failed waits for rank 0 to end it."""
SLACK_S: Final = 10.0
"""How much longer than rank 0's guard the others bear its silence: the guard can write down how the run ended."""
EXIT_S: Final = 10.0
"""Seconds that a rank has to end by itself after the run has ended well."""


class Lifeline:
    """Hears rank 0 in a thread of its own, which ends this process when there is nothing left to do.

    Args:
        connection: to rank 0.
        rank: of this process.
        speak: says what nobody else can any more.
        is_near: whether rank 0 has the same launcher, whose signals reach both.
    """

    def __init__(
        self, connection: socket.socket, rank: int, speak: Callable[[str], None], *, is_near: bool = True
    ) -> None:
        connection.settimeout(BEAT_S / 2)
        self._channel = Channel(connection)
        self._rank = rank
        self._speak = speak
        self._is_near = is_near
        self._told: dict[str, Any] = {}  # Any: JSON values
        self._changed = threading.Condition()
        self._host, self._pid = "", 0
        self._silence_s = float("inf")
        self._is_witnessed = False
        self._has_ended = False

    def start(self, token: str) -> None:
        """Say who this is, and begin; in the main thread. What stops a run is rank 0's to decide, not a signal's."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        self._channel.send(token=token, rank=self._rank, host=socket.gethostname(), pid=os.getpid())
        threading.Thread(target=self._run, name="lifeline", daemon=True).start()

    def told(self, key: str) -> Any:
        """Return what rank 0 tells under a key, once it does. Any: a JSON value."""
        with self._changed:
            self._changed.wait_for(lambda: key in self._told)
            return self._told[key]

    def say_ready(self) -> None:
        """Say that this rank can join the others at once."""
        self._channel.send(ready=True)

    def wait_for_end(self) -> None:
        """Return when rank 0 has said that the run has ended well."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended)

    def report(self, error: BaseException) -> None:
        """Say why this rank fails, and end this process, by rank 0's word where that comes."""
        self._channel.send(failed=described(error), is_cut_off=is_communication(error))
        time.sleep(ANSWER_S)
        os._exit(1)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Tell rank 0 of a signal that it has not got itself."""
        if not self._is_near:
            self._channel.send(signal=number)

    def _run(self) -> None:
        silent_s, looked = 0.0, time.monotonic()
        while silent_s < self._silence_s + SLACK_S:
            silent_s += min(time.monotonic() - looked, BEAT_S)  # this process may have been stopped
            looked = time.monotonic()
            for message in self._channel.receive():
                silent_s = 0.0
                self._take(message)
            if self._channel.is_closed:
                self._outlive("ended without a word: it was killed (out of memory?)", 2 * SETTLE_S)
            self._channel.send(position=position())
        self._outlive(
            f"has been silent for {self._silence_s:g} s (learner.parallel.timeout_s): it hangs, is stopped, or its "
            "machine cannot be reached"
        )

    def _outlive(self, reason: str, patience_s: float = 0.0) -> None:
        """End this process because rank 0 is lost; one rank says so where nobody beside rank 0 will."""
        if self._rank == 1 and not self._is_witnessed:
            self._speak(f"error: rank 0 ({self._host}, process {self._pid}) {reason}.")
        _end(1, patience_s)

    def _take(self, message: dict[str, Any]) -> None:
        """Take in what rank 0 says. Any: JSON values."""
        if "silence_s" in message:
            self._host, self._pid, self._silence_s = message["host"], message["pid"], message["silence_s"]
        self._is_witnessed = message.get("is_witnessed", self._is_witnessed)
        if message.get("end") is False:
            _end(1, 0.0)
        with self._changed:
            self._told.update(message.get("told", {}))
            self._has_ended = "end" in message
            self._changed.notify_all()
        if self._has_ended:
            _end(0, EXIT_S)


def _end(code: int, patience_s: float) -> None:
    """End this process, unless its main thread does so before.

    Rank 0 should be gone first, where it can be: launchers tell the first process that fails.
    """
    time.sleep(patience_s)
    os._exit(code)
