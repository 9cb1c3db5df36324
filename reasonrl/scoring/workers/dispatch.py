"""The trainer's thread that serves the workers: sends calls, reads results, has killed what is past its deadline."""

import math
import pickle
import selectors
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from reasonrl.plugins.failures import message
from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.scoring.workers.call_queue import LOST_S, CallQueue, QueuedCall
from reasonrl.scoring.workers.launch import ForkServerProcess, exit_reason
from reasonrl.scoring.workers.wire import (
    BEGUN,
    DEAD,
    FAILED,
    FORK,
    FORKED,
    KILL,
    MAX_BODY,
    NOT_IMPORTED,
    READY,
    CorruptStreamError,
    Frame,
    Unpacker,
)
from reasonrl.system import process_tree

SLOW_S: Final = 30.0
"""Longest time that may be taken for what takes milliseconds: forking a worker, its death, taking a call."""

MAX_FAILED_STARTS: Final = 10
"""Workers in a row that may die before their first call."""

MAX_RESTARTS: Final = 5
"""Deaths of the fork server, within ``RESTARTS_WITHIN_S``, after which it is not started again."""

RESTARTS_WITHIN_S: Final = 60.0

CLOSED: Final = "the worker pool is closed"


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    connection: socket.socket
    deadline: float
    """When it is too late for what it is doing: to be forked, to end its call, to die."""
    frames: Unpacker = field(default_factory=lambda: Unpacker(max_body=MAX_BODY))
    pid: int | None = None
    call: QueuedCall | None = None
    call_number: int = 0
    free_since: float = field(default_factory=time.monotonic)
    has_begun: bool = False
    """Whether it ever began a call."""
    dying: bool = False


class Dispatcher:
    """What runs in the pool's thread; only ``submit`` and ``stop`` are for other threads.

    Args:
        load: what imports the functions, pickled.
        num_workers: how many calls may run at once.
        memory_mib: what a worker may use beyond what the imported functions do.
        start_timeout_s: longest time that importing the functions may take.
    """

    def __init__(self, load: bytes, num_workers: int, memory_mib: int | None, start_timeout_s: float) -> None:
        self.started: Future[str] = Future()
        """Why the functions cannot be imported, or nothing when they are."""
        self._load, self._num_workers, self._memory_mib = load, num_workers, memory_mib
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._submitted: deque[QueuedCall] = deque()
        self._woken = self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._wakeup_receiver, self._wakeup_sender = socket.socketpair()
        self._results: list[tuple[QueuedCall, CallResult]] = []
        self._queue = CallQueue(num_workers, self._selector, lambda queued, why: self._finish(queued, _failed(why)))
        self._workers: dict[int, _Worker] = {}
        self._num_forked = self._num_failed_starts = 0
        self._server: ForkServerProcess | None = None
        self._ready_by = math.inf
        self._server_deaths: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._broken = ""

    # For other threads.

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Pickle a call and have it queued."""
        future: Future[CallResult] = Future()
        future.set_running_or_notify_cancel()
        try:
            body = pickle.dumps((call.function, dict(call.arguments)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # the code of any object among the arguments
            future.set_result(_failed(f"its arguments cannot be sent to a worker: {message(error)}"))
            return future
        with self._lock:
            if not self._stopped:
                self._submitted.append(QueuedCall(call, body, future, time.monotonic()))
                self._wake()
                return future
        future.set_result(_failed(CLOSED))
        return future

    def stop(self) -> None:
        """Have the loop end; it cleans up after itself."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._wakeup_sender.send(b"!")

    # The loop.

    def run(self) -> None:
        """Send calls and read results until the pool is closed."""
        why = "the worker pool failed"
        try:
            self._selector.register(self._wakeup_receiver, selectors.EVENT_READ, self._on_wakeup)
            self._start_server()
            while not self._stopped:
                self._run_once()
            why = CLOSED
        except BaseException as error:
            why = f"{why}: {message(error)}"
            raise
        finally:
            self._clean_up(why)

    def _run_once(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_deadline()):
            key.data()
        self._check_deadlines()
        if self._broken:
            self._queue.fail_all(self._broken)
        self._queue.fill()
        self._fork_workers()
        self._publish_results()  # last, because callbacks of the futures may take their time

    def _seconds_to_deadline(self) -> float | None:
        deadline = min((worker.deadline for worker in self._workers.values()), default=math.inf)
        deadline = min(deadline, self._ready_by, time.monotonic() + LOST_S if self._queue else math.inf)
        return None if deadline == math.inf else max(0.0, deadline - time.monotonic())

    def _on_wakeup(self) -> None:
        self._wakeup_receiver.recv(16)
        with self._lock:
            self._woken = False
            self._queue.add(self._submitted)
            self._submitted.clear()

    def _finish(self, queued: QueuedCall, result: CallResult) -> None:
        self._results.append((queued, result))

    def _publish_results(self) -> None:
        results, self._results = self._results, []
        for queued, result in results:
            queued.future.set_result(result)

    def _clean_up(self, why: str) -> None:
        """End the processes, give every call a result, close everything."""
        with self._lock:
            self._stopped = True
            self._queue.add(self._submitted)
        if self._server is not None:
            self._server.end()
        for worker in self._workers.values():
            self._end_call(worker, _failed(why))
            worker.connection.close()
        self._queue.fail_all(why)
        for closing in (self._selector, self._wakeup_receiver, self._wakeup_sender, self._queue):
            closing.close()
        if not self.started.done():
            self.started.set_result(why)
        self._publish_results()

    # Deadlines.

    def _check_deadlines(self) -> None:
        """Act on every deadline that has passed."""
        now = time.monotonic()
        if now >= self._ready_by:
            self._lose_server(f"it took longer than {self._start_timeout_s:g} s")
        for worker in [worker for worker in self._workers.values() if now >= worker.deadline]:
            if worker.dying or not (worker.pid or worker.has_begun):
                self._lose_server(f"the process that the workers are forked from did nothing for {SLOW_S:g} s")
                return
            self._end_call(worker, _failed("past its deadline"))
            self._kill(worker)
        if self._queue:
            self._queue.find_lost(now)
            self._kill_idle_workers(now)

    def _kill_idle_workers(self, now: float) -> None:
        """End workers that take no call although there is one: a function has left them unable to."""
        idle = [w for w in self._workers.values() if w.call is None and not w.dying and now - w.free_since > SLOW_S]
        if idle and self._queue.has_untaken():
            for worker in idle:
                self._kill(worker)

    def _kill(self, worker: _Worker) -> None:
        """Have the fork server kill a worker; what it says from here on does not count."""
        worker.dying, worker.deadline = True, time.monotonic() + SLOW_S
        if self._server is not None:
            self._server.send(KILL, worker.number)

    # Workers.

    def _fork_workers(self) -> None:
        num_free = sum(worker.call is None for worker in self._workers.values())
        num_wanted = min(len(self._queue) - num_free, self._num_workers - len(self._workers))
        if self._server is not None and self._server.ready:
            for _ in range(num_wanted):
                self._fork(self._server)

    def _fork(self, server: ForkServerProcess) -> None:
        """Have the fork server fork a worker with a socket of its own."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._num_forked += 1
        worker = _Worker(self._num_forked, ours, deadline=time.monotonic() + SLOW_S)
        self._workers[worker.number] = worker
        self._selector.register(ours, selectors.EVENT_READ, partial(self._read_worker, worker))
        with theirs:
            server.send(FORK, worker.number, theirs)

    def _read_worker(self, worker: _Worker) -> bool:
        """Read what a worker has sent; return whether there may be more."""
        if worker.number not in self._workers:
            return False  # it was given up after the selector saw something of it
        try:
            data = worker.connection.recv(1 << 18)
            for frame in worker.frames.feed(data):
                self._on_worker_frame(worker, frame)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        except CorruptStreamError:
            self._end_call(worker, _failed("wrote into the connection of its worker process"))
            self._kill(worker)
            data = b""
        if not data:
            self._unregister(worker)  # the fork server says how it ended
        return bool(data)

    def _unregister(self, worker: _Worker) -> None:
        with suppress(KeyError):  # done before
            self._selector.unregister(worker.connection)

    def _on_worker_frame(self, worker: _Worker, frame: Frame) -> None:
        if worker.dying:
            return
        if frame.kind == BEGUN:
            self._begin_call(worker, frame)
        elif worker.call is not None and frame.number == worker.call_number:
            self._end_call(worker, _read_result(frame), frame.clock)

    def _begin_call(self, worker: _Worker, frame: Frame) -> None:
        queued = self._queue.begin(frame.number)
        if queued is None:  # it was given up meanwhile
            self._kill(worker)
            return
        worker.call, worker.call_number, worker.has_begun = queued, frame.number, True
        queued.begun_at, worker.deadline = frame.clock, frame.clock + queued.call.timeout_s
        self._num_failed_starts = 0

    def _end_call(self, worker: _Worker, result: CallResult, ended_at: float | None = None) -> None:
        """Finish the call that a worker makes, with its times; past its deadline nothing but the timeout counts."""
        queued, worker.call, worker.deadline = worker.call, None, math.inf
        if queued is None or queued.begun_at is None:
            return
        worker.free_since = time.monotonic() if ended_at is None else ended_at
        run_s = worker.free_since - queued.begun_at
        if run_s >= queued.call.timeout_s:
            result = CallResult(outcome="timeout", why=f"ran longer than {queued.call.timeout_s:g} s")
        queue_s = max(0.0, queued.begun_at - queued.submitted_at)
        self._finish(queued, replace(result, queue_s=queue_s, run_s=run_s))

    def _fail_worker(self, worker: _Worker, why: str) -> None:
        """Forget a worker that has ended, and fail its call."""
        while self._read_worker(worker):
            pass  # what it sent before it ended counts
        self._unregister(worker)
        del self._workers[worker.number]
        worker.connection.close()
        self._end_call(worker, _failed(why))
        self._num_failed_starts += not worker.has_begun
        if self._num_failed_starts >= MAX_FAILED_STARTS:
            self._give_up(f"no worker process could start; the last one: {why}")

    # The fork server.

    def _start_server(self) -> None:
        self._server = ForkServerProcess(self._load, self._queue.workers_end, self._memory_mib)
        self._ready_by = time.monotonic() + self._start_timeout_s
        self._selector.register(self._server.control, selectors.EVENT_READ, self._read_server)

    def _read_server(self) -> None:
        frames = None if self._server is None else self._server.receive()
        if frames is None:
            self._lose_server("the process that the workers are forked from is gone")
        for frame in frames or ():
            self._on_server_frame(frame)

    def _on_server_frame(self, frame: Frame) -> None:
        if frame.kind == READY and self._server is not None:
            self._server.ready, self._ready_by = True, math.inf
            if not self.started.done():
                self.started.set_result("")
        elif frame.kind == FAILED:
            self._give_up(frame.body.decode())
        elif frame.kind == FORKED:
            worker = self._workers[frame.number]
            worker.pid = int(frame.body)
            worker.deadline = math.inf if worker.call is None and not worker.dying else worker.deadline
        elif frame.kind == DEAD:
            why = f"its worker process {exit_reason(int(frame.body))}"
            self._fail_worker(self._workers[frame.number], why)

    def _lose_server(self, why: str) -> None:
        """Clear away a fork server that died or does not answer; start another unless that happens too often."""
        if self._server is None:
            return
        server, self._server, self._ready_by = self._server, None, math.inf
        self._selector.unregister(server.control)
        why += f": {server.end()}"
        for worker in list(self._workers.values()):
            if worker.pid is not None:
                process_tree.signal_group(worker.pid)
            worker.has_begun = True  # its death says nothing about how workers start
            self._fail_worker(worker, why)
        now = time.monotonic()
        self._server_deaths.append(now)
        if not server.ready:
            self._give_up(f"{NOT_IMPORTED}: {why}")
        elif sum(death > now - RESTARTS_WITHIN_S for death in self._server_deaths) == MAX_RESTARTS:
            self._give_up(why)
        else:
            self._start_server()

    def _give_up(self, why: str) -> None:
        self._broken = self._broken or why
        self._ready_by = math.inf
        if not self.started.done():
            self.started.set_result(why)


def _failed(why: str) -> CallResult:
    return CallResult(outcome="error", why=why)


def _read_result(frame: Frame) -> CallResult:
    if frame.kind == FAILED:
        return _failed(frame.body.decode(errors="replace"))
    try:
        return CallResult(outcome="returned", value=pickle.loads(frame.body))
    except BaseException as error:  # the code of any object that the function returned
        return _failed(f"returned what cannot be read here: {message(error)}")
