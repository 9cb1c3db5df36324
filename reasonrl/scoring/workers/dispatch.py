"""The trainer's thread that serves the workers: gives out calls, reads results, ends what is past its deadline."""

import math
import os
import pickle
import selectors
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

from reasonrl.plugins.failures import message
from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.scoring.workers import results
from reasonrl.scoring.workers.assignments import SLOW_S, Ended, Worker
from reasonrl.scoring.workers.backlog import Backlog, QueuedCall
from reasonrl.scoring.workers.launch import ForkServerProcess, exit_reason
from reasonrl.scoring.workers.wire import (
    DEAD,
    FAILED,
    FORK,
    FORKED,
    KILL,
    NOT_IMPORTED,
    READY,
    RELEASED,
    RING,
    TIMEOUT,
    CorruptStreamError,
    Frame,
)
from reasonrl.system import process_tree

MAX_DEATHS: Final = 3
"""Workers that may die when they are about to begin a call, before it is given up."""

MAX_FAILED_STARTS: Final = 10
"""Workers in a row that may die before they are ready for a call."""

MAX_RESTARTS: Final = 5
"""Deaths of the fork server, within ``RESTARTS_WITHIN_S``, after which it is not started again."""

RESTARTS_WITHIN_S: Final = 60.0

NAP_S: Final = 1.0
"""Longest sleep of the loop: a call whose deadline is later than that need not wake it."""

CLOSED: Final = "the worker pool is closed"


class Dispatcher:
    """Serves the workers in the pool's thread; ``submit`` and ``stop`` are for other threads.

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
        self._lock = threading.Lock()  # over all that follows
        self._refusal = ""
        self._sleeps_until = 0.0
        self._selector = selectors.DefaultSelector()
        self._bell, self._workers_bell = os.pipe()
        for end in (self._bell, self._workers_bell):
            os.set_blocking(end, False)
        self._finished: list[tuple[QueuedCall, CallResult]] = []
        self._backlog = Backlog()
        self._workers: dict[int, Worker] = {}
        self._worker_numbers, self._call_numbers = count(1), count(1)
        self._num_failed_starts = 0
        self._server: ForkServerProcess | None = None
        self._ready_by = math.inf
        self._server_deaths: deque[float] = deque(maxlen=MAX_RESTARTS)

    # For other threads.

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Pickle a call, and give it to a worker that has nothing to do, or have it wait for one."""
        future: Future[CallResult] = Future()
        future.set_running_or_notify_cancel()
        try:
            arguments = pickle.dumps((call.function, dict(call.arguments)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # the code of any object among the arguments
            future.set_result(results.not_made(f"its arguments cannot be sent to a worker: {message(error)}"))
            return future
        with self._lock:
            refusal = self._refusal
            if not refusal:
                self._accept(QueuedCall(call, TIMEOUT.pack(call.timeout_s) + arguments, future))
        if refusal:
            future.set_result(results.not_made(refusal))
        return future

    def stop(self) -> None:
        """Have the loop end; it cleans up after itself."""
        with self._lock:
            if self._refusal != CLOSED:
                self._refusal = CLOSED
                self._wake()

    def _accept(self, queued: QueuedCall) -> None:
        are_all_busy = bool(self._backlog)  # or it would have been given to somebody
        self._backlog.add([queued])
        if not are_all_busy:
            self._give_out_calls()
            if self._next_look() < self._sleeps_until:
                self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # as a worker rings
            os.write(self._workers_bell, RING.pack(0))

    # The loop.

    def run(self) -> None:
        """Read results and give out calls until the pool is closed."""
        why = "the worker pool failed"
        try:
            self._selector.register(self._bell, selectors.EVENT_READ, self._on_ring)
            self._start_server()
            while self._refusal != CLOSED:
                self._run_once()
            why = CLOSED
        except BaseException as error:
            why = f"{why}: {message(error)}"
            raise
        finally:
            self._clean_up(why)

    def _run_once(self) -> None:
        with self._lock:
            self._sleeps_until = min(self._next_look(), time.monotonic() + NAP_S)
        events = self._selector.select(max(0.0, self._sleeps_until - time.monotonic()))
        with self._lock:
            for key, _ in events:
                if self._selector.get_map().get(key.fd) is key:  # the event before it may have closed its connection
                    key.data()
            self._check_deadlines()
            self._give_out_calls()
            if self._refusal:
                self._fail_all(self._refusal)
        self._publish_results()  # without the lock, because callbacks of the futures may submit further calls

    def _next_look(self) -> float:
        """Return when to act without being woken."""
        return min([self._ready_by, *(worker.look_at for worker in self._workers.values())])

    def _on_ring(self) -> None:
        """Read what the workers that have rung have noted; where a function has written garbage, what all have."""
        rings = os.read(self._bell, 1 << 16)
        numbers = {number for (number,) in RING.iter_unpack(rings[: len(rings) // RING.size * RING.size])} - {0}
        for number in numbers if numbers <= self._workers.keys() else list(self._workers):
            self._read(self._workers[number])

    def _finish(self, queued: QueuedCall, result: CallResult) -> None:
        self._finished.append((queued, result))

    def _publish_results(self) -> None:
        finished, self._finished = self._finished, []
        for queued, result in finished:
            queued.future.set_result(result)

    def _clean_up(self, why: str) -> None:
        """End the processes, give every call a result, close everything."""
        with self._lock:
            self._refusal = CLOSED
        if self._server is not None:
            self._server.end()
        for worker in self._workers.values():
            self._fail_running(worker, why)
            self._backlog.add(worker.take_all())
            worker.connection.close()
        self._fail_all(why)
        self._selector.close()
        for end in (self._bell, self._workers_bell):
            os.close(end)
        if not self.started.done():
            self.started.set_result(why)
        self._publish_results()

    # Calls.

    def _give_out_calls(self) -> None:
        """Give calls to workers without any, then to those that soon will have none, and fork others for the rest."""
        if not self._backlog:
            return
        now = time.monotonic()
        share = math.ceil(len(self._backlog) / self._num_workers)
        for worker in self._workers.values():
            if self._backlog and worker.is_idle:
                self._give(worker, share, now)
        for worker in self._workers.values():
            if self._backlog.begins_short() and worker.may_wait_for_calls(now):
                self._give(worker, share, now)
        self._fork_workers()

    def _give(self, worker: Worker, share: int, now: float) -> None:
        are_short = self._backlog.begins_short()
        worker.give(self._backlog.take(share), self._call_numbers, now, are_short=are_short)
        self._flush(worker)

    def _end_call(self, ended: Ended) -> None:
        """Finish a call that a worker has ended."""
        self._backlog.note_time(ended.queued.call.function, ended.frame.clock - ended.begun_at)
        self._finish(ended.queued, results.of_ended(ended))

    def _fail_running(self, worker: Worker, why: str) -> None:
        """Fail the call that a worker makes, if any."""
        running, now = worker.take_running(), time.monotonic()
        if running is not None:
            queued, begun_at = running
            self._backlog.note_time(queued.call.function, now - begun_at)
            self._finish(queued, results.of_failed(queued, begun_at, now, why))

    def _fail_all(self, why: str) -> None:
        """Fail every call that waits."""
        for queued in self._backlog.take_all():
            self._finish(queued, results.not_made(why))

    # Workers.

    def _check_deadlines(self) -> None:
        """Act on every time that has come."""
        now = time.monotonic()
        if now >= self._ready_by:
            self._lose_server(f"it took longer than {self._start_timeout_s:g} s")
        for worker in [worker for worker in self._workers.values() if now >= worker.look_at]:
            if worker.dying or not worker.is_ready:
                self._lose_server(f"the process that the workers are forked from did nothing for {SLOW_S:g} s")
                return
            self._read(worker)
            self._check(worker)

    def _check(self, worker: Worker) -> None:
        """Take back what a worker will not begin, and have it killed if its call is past its deadline."""
        if worker.dying:
            return
        if worker.is_past_deadline():
            self._fail_running(worker, "past its deadline")
            self._backlog.put_back(worker.take_all())  # after a call that ran too long a worker begins none
            self._kill(worker)
        elif worker.is_stuck(time.monotonic()):
            self._kill(worker)
        else:
            self._backlog.put_back(worker.take_back())

    def _kill(self, worker: Worker) -> None:
        """Have the fork server kill a worker."""
        worker.expect_death()
        if self._server is not None:
            self._server.send(KILL, worker.number)

    def _fork_workers(self) -> None:
        num_starting = sum(not worker.is_ready for worker in self._workers.values())
        num_wanted = min(len(self._backlog) - num_starting, self._num_workers - len(self._workers))
        if self._server is not None and self._server.ready:
            for _ in range(num_wanted):
                self._fork(self._server)

    def _fork(self, server: ForkServerProcess) -> None:
        """Have the fork server fork a worker with a socket of its own."""
        ours, theirs = socket.socketpair()
        worker = Worker(next(self._worker_numbers), ours)
        self._workers[worker.number] = worker
        with theirs:
            server.send(FORK, worker.number, theirs)

    def _flush(self, worker: Worker) -> None:
        """Send a worker what it was given, now or when there is room."""
        had_no_room = worker.needs_room
        worker.flush()
        if had_no_room and not worker.needs_room:
            self._selector.unregister(worker.connection)
        elif worker.needs_room and not had_no_room:
            self._selector.register(worker.connection, selectors.EVENT_WRITE, partial(self._flush, worker))

    def _read(self, worker: Worker) -> None:
        """Read what a worker has noted."""
        released = []
        try:
            for ended in worker.notes():
                if ended.frame.kind == RELEASED:
                    released.append(ended.queued)
                else:
                    self._end_call(ended)
        except CorruptStreamError:
            self._fail_running(worker, "wrote into the connection of its worker process")
            self._kill(worker)
        self._num_failed_starts *= not worker.is_ready
        self._backlog.put_back(released)

    def _bury(self, worker: Worker, why: str) -> None:
        """Forget a worker that has ended, and fail its call; those behind it wait for another one."""
        self._read(worker)  # what it noted before it ended counts
        del self._workers[worker.number]
        if worker.needs_room:
            self._selector.unregister(worker.connection)
        worker.connection.close()
        was_running = worker.begun_at is not None
        self._fail_running(worker, why)
        left = worker.take_all()
        if left and not was_running:
            left[0].num_deaths += 1
        if left and left[0].num_deaths >= MAX_DEATHS:
            self._finish(left.pop(0), results.not_made(f"{MAX_DEATHS} worker processes died before they began it"))
        self._backlog.put_back(left)
        self._num_failed_starts += not worker.is_ready
        if self._num_failed_starts >= MAX_FAILED_STARTS:
            self._give_up(f"no worker process could start; the last one: {why}")

    # The fork server.

    def _start_server(self) -> None:
        self._server = ForkServerProcess(self._load, self._workers_bell, self._memory_mib)
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
            self._workers[frame.number].pid = int(frame.body)
        elif frame.kind == DEAD:
            self._bury(self._workers[frame.number], f"its worker process {exit_reason(int(frame.body))}")

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
            worker.is_ready = True  # its death says nothing about how workers start
            self._bury(worker, why)
        now = time.monotonic()
        self._server_deaths.append(now)
        if not server.ready:
            self._give_up(f"{NOT_IMPORTED}: {why}")
        elif sum(death > now - RESTARTS_WITHIN_S for death in self._server_deaths) == MAX_RESTARTS:
            self._give_up(why)
        else:
            self._start_server()

    def _give_up(self, why: str) -> None:
        self._refusal = self._refusal or why
        self._ready_by = math.inf
        if not self.started.done():
            self.started.set_result(why)
