"""Writes down that a trainer is gone when it could not do so itself: killed, or left by ``os._exit`` in a plugin.

As a program, ``python guard.py TRAINER_PID RUN_DIRECTORY``, it imports nothing of this package, so that it starts at
once. It watches its parent rather than a pipe, whose other end may live on in processes that the trainer had forked.
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
from typing import Final, Self

POLL_S: Final = 0.2
"""Seconds between looks at the trainer."""

CAUSE: Final = (
    "the process ended without a word: it was killed (out of memory?), or code of a plugin left it by os._exit"
)
SHOW_CURSOR: Final = "\x1b[?25h\n"
"""The live view hides the cursor."""


class RunGuard:
    """While entered, a process of its own waits for the death of this one.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        """Start the process; a session of its own keeps Ctrl-C away from it."""
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(self._folder.absolute())]
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


def watch(trainer: int, folder: Path) -> None:
    """Return when the trainer is gone; then a run that still says it is running gets its status and cause."""
    while os.getppid() == trainer:
        time.sleep(POLL_S)
    if _record(folder) and sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)


def _record(folder: Path) -> bool:
    """Write status and cause, unless the run has ended properly or goes on in another process already."""
    with (folder / ".lock").open("a") as lock, suppress(BlockingIOError, PermissionError):
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by whoever trains in the run
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if manifest["status"] != "running":
            return False
        sys.stderr.write(f"error: {folder}: {CAUSE}. Go on with: reasonrl train --resume {folder}\n")
        partial = folder / ".manifest.json.partial"
        partial.write_text(json.dumps({**manifest, "status": "failed", "cause": CAUSE}, indent=2) + "\n")
        os.replace(partial, folder / "manifest.json")
        return True
    return False


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]))
