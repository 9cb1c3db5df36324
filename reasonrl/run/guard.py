"""Writes down that a trainer is gone when it could not do so itself: killed, or left by ``os._exit`` in a plugin.

As a program, ``python guard.py TRAINER_PID RUN_DIRECTORY TRAIN_COMMAND SILENCE_S``, it imports nothing of this package,
so that it starts at once. It watches its parent rather than the end of a pipe, which may live on in processes that the
trainer had forked. Where the trainer is rank 0 of several processes, it sends signs of life, because the others wait
for it: after a silence the guard ends it.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

POLL_S: Final = 0.2
"""Seconds between looks at the trainer."""
LOCK_S: Final = 3.0
"""Seconds to wait for the trainer's lock: on a busy machine its last threads hold it after their process is gone."""

CAUSE: Final = "ended without a word: it was killed (out of memory?), or code of a plugin left it by os._exit"
SILENCE: Final = (
    "was silent for {silence_s:g} s (learner.parallel.timeout_s) and was ended, because the others wait for it: it "
    "hung, or was stopped"
)
SHOW_CURSOR: Final = "\x1b[?25h\n"
"""The live view hides the cursor."""


class RunGuard:
    """While entered, a process of its own waits for the death of this one.

    Args:
        folder: the run directory.
        train: the command that its kind of runs is trained with.
    """

    def __init__(self, folder: Path, train: str = "reasonrl train") -> None:
        self._folder = folder
        self._train = train

    def __enter__(self) -> Self:
        """Start the process; a session of its own keeps Ctrl-C away from it."""
        from reasonrl.distributed.terminal import witnessed
        from reasonrl.distributed.watch import rank_watch

        ranks = rank_watch()
        told = [os.getpid(), self._folder.absolute(), self._train, ranks.silence_s if ranks else inf]
        command = [sys.executable, "-I", "-S", __file__, *map(str, told)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, bufsize=0
        )
        if ranks is not None:
            ranks.set_witness(self)
            witnessed()
        return self

    def beat(self) -> None:
        """Tell the guard that this process is alive."""
        self._tell("")

    def hear(self, cause: str) -> None:
        """Tell the guard why this process is about to end."""
        self._tell(cause)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        with suppress(OSError, ValueError):  # the guard was ended
            self._process.stdin.write(f"{' '.join(line.split())}\n".encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: from here on this process says itself how it ends."""
        from reasonrl.distributed.watch import rank_watch

        if (ranks := rank_watch()) is not None:
            ranks.set_witness(None)
        self._process.terminate()
        self._process.communicate()


def watch(trainer: int, folder: Path, train: str, silence_s: float) -> None:
    """Return when the trainer is gone; then a run that still says it is running gets its status and cause."""
    os.set_blocking(0, False)
    who = "the process" if silence_s == inf else f"rank 0 ({socket.gethostname()}, process {trainer})"
    cause, silent_s, looked = f"{who} {CAUSE}", 0.0, time.monotonic()
    while os.getppid() == trainer:
        time.sleep(POLL_S)
        silent_s += min(time.monotonic() - looked, 2 * POLL_S)  # this process may have been stopped
        looked = time.monotonic()
        if (told := _told()) is not None:
            silent_s, cause = 0.0, told or cause
        elif silent_s > silence_s:
            cause, silent_s = f"{who} {SILENCE.format(silence_s=silence_s)}", 0.0
            os.kill(trainer, signal.SIGKILL)
    if _record(folder, train, _told() or cause) and sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)


def _told() -> str | None:
    """Return the last line that the trainer has written, empty for a sign of life; None where there is nothing new."""
    with suppress(BlockingIOError):
        if text := os.read(0, 1 << 16).decode():
            return next((line for line in reversed(text.splitlines()) if line), "")
    return None


def _record(folder: Path, train: str, cause: str) -> bool:
    """Write status and cause, unless the run has ended properly or goes on in another process already."""
    with (folder / ".lock").open("a") as lock:
        if not _locked(lock):
            return False
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if manifest["status"] != "running":
            return False
        sys.stderr.write(f"error: {folder}: {cause}. Go on with: {train} --resume {folder}\n")
        partial = folder / ".manifest.json.partial"
        partial.write_text(json.dumps({**manifest, "status": "failed", "cause": cause}, indent=2) + "\n")
        os.replace(partial, folder / "manifest.json")
        return True


def _locked(lock: IO[str]) -> bool:
    """Lock the run, which whoever trains in it holds; say whether that was possible."""
    until = time.monotonic() + LOCK_S
    while True:
        with suppress(BlockingIOError, PermissionError):
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
