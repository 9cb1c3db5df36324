"""The process of the fork server, from the trainer's side: start it, send it orders, read its reports, end it."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final

from reasonrl.errors import PluginError
from reasonrl.scoring.runner import Functions
from reasonrl.scoring.workers.wire import Frame, Unpacker, pack
from reasonrl.scoring.workers.worker import CUT_OFF
from reasonrl.system import process_tree

END_S: Final = 30.0
"""Longest time that the parent may take to end its workers and itself before it is killed."""

ONE_THREAD: Final = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment of the fork server: a process that forks must not have threads, so no library may start any in it."""


class ForkServerProcess:
    """One fork server; what a plugin prints while it is imported is read only if that fails.

    Args:
        load: what imports the functions, pickled.
        bell: descriptor of the pipe with which workers wake this process.
        memory_mib: what a worker may use beyond what the imported functions do.
    """

    def __init__(self, load: bytes, bell: int, memory_mib: int | None) -> None:
        self.ready = False
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        self._frames = Unpacker()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from reasonrl.scoring.workers.fork_server import main; "
            f"main({theirs.fileno()}, {bell}, {os.getpid()}, {memory_mib})"
        )
        with theirs, tempfile.TemporaryFile() as standard_input:
            standard_input.write(load)
            standard_input.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=standard_input,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno(), bell],
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C at the terminal is for the trainer
            )

    def send(self, kind: int, number: int, connection: socket.socket | None = None) -> None:
        """Give it an order; one that is dead or stuck is noticed by the report that does not come."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            if connection is None:
                self.control.send(pack(kind, number))
            else:
                socket.send_fds(self.control, [pack(kind, number)], [connection.fileno()])

    def receive(self) -> list[Frame] | None:
        """Return what it has reported, or None when it is gone."""
        try:
            data = self.control.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        return list(self._frames.feed(data)) if data else None

    def end(self) -> str:
        """Have it end with all its workers, and return how it ended, with what it printed last."""
        with suppress(OSError):  # it is gone already
            self.control.shutdown(socket.SHUT_RDWR)  # not only closed: a process that we forked may hold a copy
        self.control.close()
        if not self.ready:
            process_tree.signal_group(self._process.pid)
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            process_tree.signal_group(self._process.pid)
            code = self._process.wait()
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - 2000))
        last = self._output.read().decode(errors="replace").strip().splitlines()[-1:]
        self._output.close()
        return f"it {exit_reason(code)}" + "".join(f" ({line})" for line in last)


def pickled(load: Callable[[], Functions]) -> bytes:
    """Pickle what imports the functions.

    Raises:
        PluginError: that is not possible.
    """
    try:
        return pickle.dumps(load)
    except Exception as error:  # whatever is bound to it
        raise PluginError(f"the functions cannot be sent to a worker process: {error}") from error


def exit_reason(code: int) -> str:
    """Say how a process ended, from its exit code, negative for a signal."""
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (out of memory?)"
    if code < 0:
        known = -code in set(signal.Signals)
        return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return "lost its connection, which a function closed" if code == CUT_OFF else f"exited with code {code}"
