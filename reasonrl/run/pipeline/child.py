"""Runs one command of a pipeline in a process of its own, which ends with this one."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from reasonrl.errors import RunError, StoppedError
from reasonrl.system import process_tree
from reasonrl.system.stopping import INTERRUPTED


def run_command(words: Sequence[str], *, quiet: bool = False) -> None:
    """Run ``reasonrl`` with some words to its end.

    The process has a session of its own, so that a Ctrl-C reaches it once, through this process, and is answered there:
    a run ends after its step. Where this process is killed, the other one is killed too.

    Args:
        words: those after ``reasonrl``.
        quiet: write what it prints to standard error.

    Raises:
        StoppedError: it was stopped by the user.
        RunError: it failed; it has said why.
    """
    parent = os.getpid()
    child = subprocess.Popen(
        [sys.executable, "-m", "reasonrl", *words],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if quiet else None,
        start_new_session=True,
        preexec_fn=lambda: process_tree.end_with(parent, signal.SIGKILL),
    )
    with _forwarding(child):
        code = child.wait()
    if code == INTERRUPTED:
        raise StoppedError("the pipeline is stopped; what is done is kept. The same command goes on from there.")
    if code:
        raise RunError(
            f"{shlex.join(['reasonrl', *words])} ended with exit code {code}; it says above why. When that is mended, "
            "the same command of the pipeline goes on from there."
        )


@contextmanager
def _forwarding(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Pass on Ctrl-C and SIGTERM; a process that ignores Ctrl-C, as one in the background, goes on ignoring it."""

    def forward(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    numbers = [signal.SIGTERM, *([] if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else [signal.SIGINT])]
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
