"""The warm parent of the scoring workers: imports the rewards once, forks workers from itself, kills and buries them.

A process of its own, with one thread, because the trainer has many and must not fork. It is told what to do over a
socket, and when that closes, or the trainer dies in any other way, it takes everything down that came of it.
"""

import gc
import os
import pickle
import resource
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from reasonrl.errors import ReasonRLError
from reasonrl.scoring import lineage
from reasonrl.scoring.failures import NOT_IMPORTED, explain
from reasonrl.scoring.runner import Functions
from reasonrl.scoring.wire import DEAD, FAILED, FORK, FORKED, HEADER, READY, pack
from reasonrl.scoring.worker import CUT_OFF, work

MIB = 1024 * 1024


def main(control_descriptor: int, queue_descriptor: int, trainer: int, memory_mib: int | None) -> None:
    """Load the rewards that standard input describes, then serve until the trainer is gone.

    Args:
        control_descriptor: the socket to the trainer.
        queue_descriptor: the socket that the workers take their calls from.
        trainer: the trainer's process.
        memory_mib: what a worker may use beyond what the rewards took when they were loaded.
    """
    lineage.end_with(trainer, signal.SIGKILL)  # whatever a plugin does while it is imported
    control = socket.socket(fileno=control_descriptor)
    queue = socket.socket(fileno=queue_descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    functions = _load(control)
    if functions is not None:
        _Parent(control, queue, functions, memory_mib).serve(trainer)


def _load(control: socket.socket) -> Functions | None:
    """Import the rewards, or tell the trainer why that is not possible."""
    try:
        functions: Functions = pickle.load(sys.stdin.buffer)()
    except BaseException as error:  # a plugin is anybody's code: whatever it raises is the cause
        why = str(error) if isinstance(error, ReasonRLError) else f"{NOT_IMPORTED}: {explain(error)}"
        control.sendall(pack(FAILED, 0, body=why.encode(errors="replace")))
        return None
    return functions


class _Parent:
    """Forks workers and looks after them."""

    def __init__(
        self, control: socket.socket, queue: socket.socket, functions: Functions, memory_mib: int | None
    ) -> None:
        """Get ready to fork: nothing is read from standard input or written anywhere from here on."""
        self._control, self._queue = control, queue
        self._functions = functions
        self._memory = None if memory_mib is None else _mapped_bytes() + memory_mib * MIB
        self._workers: dict[int, int] = {}
        self._kept = lineage.children()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._news, self._bell = socket.socketpair()

    def serve(self, trainer: int) -> None:
        """Do as the trainer asks until it is gone; then leave nothing behind."""
        self._settle(trainer)
        self._tell(READY, 0)
        while not self._ended:
            for key, _ in self._selector.select():
                key.data()
        self._end()

    def _settle(self, trainer: int) -> None:
        """Turn the process that has imported the rewards into one that is ready to fork."""
        self._bell.setblocking(False)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # the wake-up descriptor carries it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the trainer may have blocked some
        self._selector.register(self._control, selectors.EVENT_READ, self._hear)
        self._selector.register(self._news, selectors.EVENT_READ, self._notice)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.close(nothing)
        lineage.adopt_orphans()
        lineage.end_with(trainer, signal.SIGTERM)
        gc.collect()
        gc.freeze()

    def _hear(self) -> None:
        """Carry out one order of the trainer."""
        message, descriptors, _, _ = socket.recv_fds(self._control, HEADER.size, 1)
        if not message:
            self._ended = True
            return
        _, order, number, _ = HEADER.unpack(message)
        if order == FORK:
            self._fork(number, descriptors[0])
        else:
            for pid in [pid for pid, worker in self._workers.items() if worker == number]:
                lineage.kill_group(pid)

    def _notice(self) -> None:
        """Act on the signals that arrived: children that ended, or the death of the trainer."""
        signals = self._news.recv(4096)
        self._ended = self._ended or signal.SIGTERM in signals
        self._bury()

    def _fork(self, number: int, descriptor: int) -> None:
        """Start a worker on its end of a socket."""
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # no memory, or too many processes
            self._tell(DEAD, number, body=b"1")
            return
        finally:
            if os.getpid() == own:
                os.close(descriptor)
        if pid == 0:
            self._become_worker(descriptor, own)
        with suppress(OSError):  # the worker does it too; whoever is first
            os.setpgid(pid, pid)
        self._workers[pid] = number
        self._tell(FORKED, number, body=str(pid).encode())

    def _become_worker(self, descriptor: int, parent: int) -> NoReturn:
        """Leave everything of the parent behind and serve calls."""
        try:
            lineage.end_with(parent, signal.SIGKILL)
            os.setpgid(0, 0)
            lineage.adopt_orphans()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for ours in (self._selector, self._control, self._news, self._bell):
                ours.close()
            _first_to_be_killed()
            if self._memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (self._memory, self._memory))
            work(self._queue, socket.socket(fileno=descriptor), self._functions)
        except OSError:
            os._exit(CUT_OFF)
        except BaseException:  # a signal or the end of memory between two calls: no traceback of the parent's
            os._exit(1)

    def _bury(self) -> None:
        """Take note of workers that ended, with whatever they left running."""
        while (pid := _ended_child()) is not None:
            number = self._workers.pop(pid, None)
            if number is not None:
                lineage.kill_group(pid)
            _, status = os.waitpid(pid, 0)
            for stray in lineage.children() - self._kept - self._workers.keys():
                lineage.kill(stray)
            if number is not None:
                self._tell(DEAD, number, body=str(os.waitstatus_to_exitcode(status)).encode())

    def _tell(self, kind: int, number: int, body: bytes = b"") -> None:
        """Send the trainer word; if it is gone, so are we."""
        try:
            self._control.sendall(pack(kind, number, time.monotonic(), body))
        except OSError:
            self._ended = True

    def _end(self) -> None:
        """Kill every process that came of this one, until there is none."""
        for pid in self._workers:
            lineage.kill_group(pid)
        with suppress(ChildProcessError):
            while True:
                for pid in lineage.children():
                    lineage.kill(pid)
                os.waitpid(-1, 0)


def _ended_child() -> int | None:
    """Return a child that has ended and was not waited for yet; it keeps its process id until then."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


def _mapped_bytes() -> int:
    """Return the address space that this process uses, or 0 where that is not to be had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return 0


def _first_to_be_killed() -> None:
    """Have the system kill this process before the trainer when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
