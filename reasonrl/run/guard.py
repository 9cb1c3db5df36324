"""Writes down that a trainer is gone when it could not do so itself: killed, or left by ``os._exit`` in a plugin.

As a program, ``python guard.py TRAINER_PID RUN_DIRECTORY TRAIN_COMMAND``, it imports nothing of this package, so that
it starts at once. It watches its parent rather than a pipe, whose other end may live on in processes that the trainer
had forked.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

POLL_S: Final = 0.2
"""Seconds between looks at the trainer."""
LOCK_S: Final = 3.0
"""Seconds to wait for the trainer's lock: on a busy machine its last threads hold it after their process is gone."""

CAUSE: Final = (
    "the process ended without a word: it was killed (out of memory?), or code of a plugin left it by os._exit"
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
        told = [str(os.getpid()), str(self._folder.absolute()), self._train]
        command = [sys.executable, "-I", "-S", __file__, *told]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: from here on this process says itself how it ends."""
        self._process.terminate()
        self._process.wait()


def watch(trainer: int, folder: Path, train: str) -> None:
    """Return when the trainer is gone; then a run that still says it is running gets its status and cause."""
    while os.getppid() == trainer:
        time.sleep(POLL_S)
    if _record(folder, train) and sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)


def _record(folder: Path, train: str) -> bool:
    """Write status and cause, unless the run has ended properly or goes on in another process already."""
    with (folder / ".lock").open("a") as lock:
        if not _locked(lock):
            return False
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if manifest["status"] != "running":
            return False
        sys.stderr.write(f"error: {folder}: {CAUSE}. Go on with: {train} --resume {folder}\n")
        partial = folder / ".manifest.json.partial"
        partial.write_text(json.dumps({**manifest, "status": "failed", "cause": CAUSE}, indent=2) + "\n")
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
    watch(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
