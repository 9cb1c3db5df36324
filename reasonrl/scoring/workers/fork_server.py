"""The fork server of the workers: imports the functions once, forks workers from itself, kills and reaps them.

A process of its own, with one thread, because the trainer has many and must not fork. It gets its orders over a
socket; when that closes, or the trainer dies in any other way, it ends everything that came of it.
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
from reasonrl.plugins.failures import explain
from reasonrl.scoring.runner import Functions
from reasonrl.scoring.workers.wire import DEAD, FAILED, FORK, FORKED, HEADER, NOT_IMPORTED, READY, pack
from reasonrl.scoring.workers.worker import CUT_OFF, Trainer, work
from reasonrl.system import process_tree

MIB = 1024 * 1024


def main(control_descriptor: int, bell: int, trainer: int, memory_mib: int | None) -> None:
    """Load the functions that standard input describes, then serve until the trainer is gone.

    Args:
        control_descriptor: the socket to the trainer.
        bell: descriptor of the pipe with which workers wake the trainer.
        trainer: the trainer's process.
        memory_mib: what a worker may use beyond what the functions took when they were loaded.
    """
    process_tree.end_with(trainer, signal.SIGKILL)  # whatever a plugin does while it is imported
    control = socket.socket(fileno=control_descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    functions = _load(control)
    if functions is not None:
        _ForkServer(control, bell, functions, memory_mib).serve(trainer)


def _load(control: socket.socket) -> Functions | None:
    """Import the functions, or tell the trainer why that is not possible."""
    try:
        functions: Functions = pickle.load(sys.stdin.buffer)()
    except BaseException as error:  # a plugin is anybody's code: whatever it raises is the cause
        why = str(error) if isinstance(error, ReasonRLError) else f"{NOT_IMPORTED}: {explain(error)}"
        control.sendall(pack(FAILED, 0, body=why.encode(errors="replace")))
        return None
    return functions


class _ForkServer:
    """Forks workers, and kills and reaps them."""

    def __init__(self, control: socket.socket, bell: int, functions: Functions, memory_mib: int | None) -> None:
        self._control, self._bell = control, bell
        self._functions = functions
        self._memory = None if memory_mib is None else _mapped_bytes() + memory_mib * MIB
        self._workers: dict[int, int] = {}
        self._kept = process_tree.children()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._signal_receiver, self._signal_sender = socket.socketpair()

    def serve(self, trainer: int) -> None:
        """Do as the trainer asks until it is gone; then leave nothing behind."""
        self._prepare_to_fork(trainer)
        self._report(READY, 0)
        try:
            while not self._ended:
                for key, _ in self._selector.select():
                    key.data()
        finally:
            self._end()

    def _prepare_to_fork(self, trainer: int) -> None:
        self._signal_sender.setblocking(False)
        signal.set_wakeup_fd(self._signal_sender.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # the wake-up descriptor carries it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the trainer may have blocked some
        self._selector.register(self._control, selectors.EVENT_READ, self._on_order)
        self._selector.register(self._signal_receiver, selectors.EVENT_READ, self._on_signal)
        nothing = os.open(os.devnull, os.O_RDWR)  # a function prints to nobody, and reads nothing
        for standard in range(3):
            os.dup2(nothing, standard)
        os.close(nothing)
        process_tree.become_subreaper()
        process_tree.end_with(trainer, signal.SIGTERM)
        gc.collect()
        gc.freeze()  # or the first collection of every worker copies the memory that they share

    def _on_order(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, HEADER.size, 1)
        except ConnectionResetError:  # the trainer has closed it before it read the last report
            message, descriptors = b"", []
        if not message:
            self._ended = True
            return
        _, order, number, _ = HEADER.unpack(message)
        if order == FORK:
            self._fork(number, descriptors[0])
        else:
            for pid in [pid for pid, worker in self._workers.items() if worker == number]:
                process_tree.signal_group(pid)

    def _on_signal(self) -> None:
        signals = self._signal_receiver.recv(4096)
        self._ended = self._ended or signal.SIGTERM in signals  # what the system sends when the trainer dies
        self._reap_children()

    def _fork(self, number: int, descriptor: int) -> None:
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # no memory, or too many processes
            self._report(DEAD, number, body=b"1")
            return
        finally:
            if os.getpid() == own:
                os.close(descriptor)
        if pid == 0:
            self._become_worker(number, descriptor, own)
        with suppress(OSError):  # the worker does it too; whoever is first
            os.setpgid(pid, pid)
        self._workers[pid] = number
        self._report(FORKED, number, body=str(pid).encode())

    def _become_worker(self, number: int, descriptor: int, parent: int) -> NoReturn:
        """Let go of everything of the fork server's, and serve calls."""
        try:
            process_tree.end_with(parent, signal.SIGKILL)
            os.setpgid(0, 0)
            process_tree.become_subreaper()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for ours in (self._selector, self._control, self._signal_receiver, self._signal_sender):
                ours.close()
            _first_to_be_killed()
            if self._memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (self._memory, self._memory))
            work(Trainer(socket.socket(fileno=descriptor), self._bell, number), self._functions)
        except OSError:
            os._exit(CUT_OFF)
        except BaseException:  # a signal or the end of memory between two calls: no traceback
            os._exit(1)

    def _reap_children(self) -> None:
        """Report the workers that ended, and kill whatever they left running."""
        while (pid := _ended_child()) is not None:
            number = self._workers.pop(pid, None)
            if number is not None:
                process_tree.signal_group(pid)
            _, status = os.waitpid(pid, 0)
            for stray in process_tree.children() - self._kept - self._workers.keys():
                process_tree.kill(stray)
            if number is not None:
                self._report(DEAD, number, body=str(os.waitstatus_to_exitcode(status)).encode())

    def _report(self, kind: int, number: int, body: bytes = b"") -> None:
        """Send the trainer a frame; if it is gone, end."""
        try:
            self._control.sendall(pack(kind, number, time.monotonic(), body))
        except OSError:
            self._ended = True

    def _end(self) -> None:
        """Kill every process that came of this one, until there is none."""
        for pid in self._workers:
            process_tree.signal_group(pid)
        with suppress(ChildProcessError):
            while True:
                for pid in process_tree.children():
                    process_tree.kill(pid)
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
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
