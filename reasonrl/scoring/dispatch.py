"""The one thread that talks to the workers: queues calls, takes replies in, and has killed what is past its deadline.

Calls wait in a socket that all workers read: a worker never waits for this thread, a call never waits behind one that
hangs, and a worker that is killed takes nothing with it but the call it was making.
"""

import math
import pickle
import selectors
import socket
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from reasonrl.scoring import lineage
from reasonrl.scoring.failures import NOT_IMPORTED, message
from reasonrl.scoring.launch import ParentProcess, cause_of_death
from reasonrl.scoring.runner import Call, Reply
from reasonrl.scoring.wire import (
    BEGUN,
    CALL,
    DEAD,
    FAILED,
    FORK,
    FORKED,
    HEADER,
    KILL,
    MAX_BODY,
    MAX_INLINE,
    READY,
    CorruptStreamError,
    Frame,
    Unpacker,
    pack,
)

AHEAD: Final = 16
"""Calls in the queue for each worker: enough that none is ever idle while there is work."""

MAX_QUEUED: Final = 256
"""Calls in the queue at most: each may carry a file, and the system limits those."""

PATIENCE_S: Final = 30.0
"""Longest time that may be taken for what takes milliseconds: forking a worker, its death, taking a call."""

LOST_S: Final = 2.0
"""Time after which a call that a worker took off the queue, but never said it began, counts as lost with it."""

MAX_TRIES: Final = 3
"""How often a call is queued before it is given up, if every worker that takes it dies before it begins it."""

MAX_STILLBORN: Final = 10
"""Workers in a row that may die before their first call."""

MAX_RESTARTS: Final = 5
"""Deaths of the warm parent, within ``RESTARTS_WITHIN_S``, after which it is not started again."""

RESTARTS_WITHIN_S: Final = 60.0

CLOSED: Final = "the scoring pool is closed"


@dataclass(slots=True, eq=False)
class _Task:
    """A call on its way."""

    call: Call
    body: bytes
    future: "Future[Reply]"
    asked_at: float
    tries: int = 0
    taken_at: float | None = None
    """When it was first seen to be off the queue without having begun."""
    begun_at: float | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker, as seen from here."""

    number: int
    connection: socket.socket
    limit: float
    """When it is too late for what it is doing: to be forked, to end its call, to die."""
    frames: Unpacker = field(default_factory=lambda: Unpacker(max_body=MAX_BODY))
    pid: int | None = None
    task: _Task | None = None
    task_number: int = 0
    free_since: float = field(default_factory=time.monotonic)
    has_begun: bool = False
    """Whether it ever began a call."""
    dying: bool = False


class Dispatcher:
    """What runs in the pool's thread; only ``submit`` and ``stop`` are for other threads.

    Args:
        load: what imports the rewards, pickled.
        num_workers: how many calls may run at once.
        memory_mib: what a worker may use beyond what the imported rewards do.
        start_timeout_s: longest time that importing the rewards may take.
    """

    def __init__(self, load: bytes, num_workers: int, memory_mib: int | None, start_timeout_s: float) -> None:
        """Prepare; nothing is started yet."""
        self.started: Future[str] = Future()
        """Why the rewards cannot be imported, or nothing when they are."""
        self._load, self._num_workers, self._memory_mib = load, num_workers, memory_mib
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._submitted: deque[_Task] = deque()
        self._told = self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._queue, self._workers_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._queue.setblocking(False)
        self._max_queued = min(AHEAD * num_workers, MAX_QUEUED)
        self._num_queued = 0
        self._waiting: deque[_Task] = deque()
        self._queued: dict[int, _Task] = {}
        self._workers: dict[int, _Worker] = {}
        self._num_forked = self._num_stillborn = 0
        self._parent: ParentProcess | None = None
        self._ready_by = math.inf
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._broken = ""
        self._replies: list[tuple[_Task, Reply]] = []

    # For other threads.

    def submit(self, call: Call) -> "Future[Reply]":
        """Pickle a call and have it queued."""
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()
        try:
            body = pickle.dumps((call.function, dict(call.arguments)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # the code of any object among the arguments
            future.set_result(_failed(f"its arguments cannot be sent to a worker: {message(error)}"))
            return future
        with self._lock:
            if not self._stopped:
                self._submitted.append(_Task(call, body, future, time.monotonic()))
                self._ring()
                return future
        future.set_result(_failed(CLOSED))
        return future

    def stop(self) -> None:
        """Have the loop end; it cleans up after itself."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._ring()

    def _ring(self) -> None:
        """Wake the loop, once for everything that it has not looked at yet."""
        if not self._told:
            self._told = True
            self._bell.send(b"!")

    # The loop.

    def run(self) -> None:
        """Queue calls and take in replies until the pool is closed."""
        why = "the scoring pool failed"
        try:
            self._selector.register(self._ear, selectors.EVENT_READ, self._hear)
            self._start_parent()
            while not self._stopped:
                self._turn()
            why = CLOSED
        except BaseException as error:
            why = f"{why}: {message(error)}"
            raise
        finally:
            self._clean_up(why)

    def _turn(self) -> None:
        """Wait for news and act on it; replies go out last, because what waits for them may take its time."""
        for key, _ in self._selector.select(self._patience()):
            key.data()
        self._watch()
        self._fill_queue()
        self._fork_workers()
        replies, self._replies = self._replies, []
        for task, reply in replies:
            task.future.set_result(reply)

    def _patience(self) -> float | None:
        """Return the time until something may have to be done."""
        limit = min((worker.limit for worker in self._workers.values()), default=math.inf)
        limit = min(limit, self._ready_by, time.monotonic() + LOST_S if self._queued else math.inf)
        return None if limit == math.inf else max(0.0, limit - time.monotonic())

    def _hear(self) -> None:
        """Take in what other threads have submitted."""
        self._ear.recv(16)
        with self._lock:
            self._told = False
            self._waiting += self._submitted
            self._submitted.clear()

    def _clean_up(self, why: str) -> None:
        """End the processes, answer what is left, close everything."""
        with self._lock:
            self._stopped = True
            self._waiting += self._submitted
        if self._parent is not None:
            self._parent.end()
        for worker in self._workers.values():
            self._end_task(worker, _failed(why))
            worker.connection.close()
        self._fail_all(why)
        for closing in (self._selector, self._ear, self._bell, self._queue, self._workers_end):
            closing.close()
        if not self.started.done():
            self.started.set_result(why)
        for task, reply in self._replies:
            task.future.set_result(reply)

    # The queue.

    def _fill_queue(self) -> None:
        """Put waiting calls, oldest first, where the workers take them."""
        if self._broken:
            self._fail_all(self._broken)
        full = False
        while self._waiting and not full and len(self._queued) < self._max_queued:
            full = not self._put(self._waiting[0])
            if not full:
                self._waiting.popleft()
        self._notice_room(full)

    def _put(self, task: _Task) -> bool:
        """Queue a call under a new number, if there is room; one that is long goes into a file."""
        try:
            if len(task.body) <= MAX_INLINE:
                self._queue.send(pack(CALL, self._num_queued + 1, body=task.body))
            else:
                with tempfile.TemporaryFile() as file:
                    file.write(task.body)
                    file.flush()
                    socket.send_fds(self._queue, [pack(CALL, self._num_queued + 1)], [file.fileno()])
        except BlockingIOError:
            return False
        except OSError as error:  # no room for the file
            self._replies.append((task, _failed(f"its arguments cannot be sent to a worker: {message(error)}")))
            return True
        self._num_queued += 1
        task.tries, task.taken_at = task.tries + 1, None
        self._queued[self._num_queued] = task
        return True

    def _notice_room(self, wanted: bool) -> None:
        """Have the selector say when a full queue has room again."""
        watched = self._queue in self._selector.get_map()
        if wanted and not watched:
            self._selector.register(self._queue, selectors.EVENT_WRITE, lambda: None)  # the turn itself fills it
        elif watched and not wanted:
            self._selector.unregister(self._queue)

    def _head(self) -> float:
        """Return the number of the oldest call that no worker has taken."""
        try:
            return float(HEADER.unpack(self._workers_end.recv(HEADER.size, socket.MSG_PEEK | socket.MSG_DONTWAIT))[2])
        except BlockingIOError:
            return math.inf

    def _find_lost(self, now: float) -> None:
        """Queue again what a worker took with it when it died; a worker that takes nothing is ended."""
        head = self._head()
        for number, task in [(number, task) for number, task in self._queued.items() if number < head]:
            task.taken_at = now if task.taken_at is None else task.taken_at
            if now - task.taken_at >= LOST_S:
                del self._queued[number]
                self._again(task)
        if head < math.inf:
            for worker in self._workers.values():
                if worker.task is None and not worker.dying and now - worker.free_since > PATIENCE_S:
                    self._kill(worker)

    def _again(self, task: _Task) -> None:
        """Queue a call once more, unless that has been done too often."""
        if task.tries < MAX_TRIES:
            self._waiting.appendleft(task)
        else:
            self._replies.append((task, _failed(f"{MAX_TRIES} worker processes died before they began it")))

    def _fail_all(self, why: str) -> None:
        """Answer the calls that nobody will make."""
        self._replies += [(task, _failed(why)) for task in [*self._queued.values(), *self._waiting]]
        self._queued.clear()
        self._waiting.clear()

    # Workers.

    def _fork_workers(self) -> None:
        """Have as many workers as there is work for, within the limit."""
        num_free = sum(worker.task is None for worker in self._workers.values())
        wanted = min(len(self._queued) - num_free, self._num_workers - len(self._workers))
        if self._parent is not None and self._parent.ready:
            for _ in range(wanted):
                self._fork(self._parent)

    def _fork(self, parent: ParentProcess) -> None:
        """Have the parent fork a worker with a socket of its own."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._num_forked += 1
        worker = _Worker(self._num_forked, ours, limit=time.monotonic() + PATIENCE_S)
        self._workers[worker.number] = worker
        self._selector.register(ours, selectors.EVENT_READ, partial(self._listen, worker))
        with theirs:
            parent.tell(FORK, worker.number, theirs)

    def _listen(self, worker: _Worker) -> bool:
        """Take in what a worker has said; return whether there may be more."""
        if worker.number not in self._workers:
            return False  # buried since the selector saw something of it
        try:
            data = worker.connection.recv(1 << 18)
            for frame in worker.frames.feed(data):
                self._take(worker, frame)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        except CorruptStreamError:
            self._end_task(worker, _failed("wrote into the connection of its worker process"))
            self._kill(worker)
            data = b""
        if not data:
            self._forget(worker)  # its parent says what became of it
        return bool(data)

    def _forget(self, worker: _Worker) -> None:
        """Watch a worker's connection no more."""
        with suppress(KeyError):  # done before
            self._selector.unregister(worker.connection)

    def _take(self, worker: _Worker, frame: Frame) -> None:
        """Act on what a worker says of a call."""
        if worker.dying:
            return
        if frame.kind == BEGUN:
            self._begin(worker, frame)
        elif worker.task is not None and frame.number == worker.task_number:
            self._end_task(worker, _answer(frame), frame.clock)

    def _begin(self, worker: _Worker, frame: Frame) -> None:
        """Set the deadline of a call that has begun; one that was given up meanwhile is not wanted any more."""
        task = self._queued.pop(frame.number, None)
        if task is None:
            self._kill(worker)
            return
        worker.task, worker.task_number, worker.has_begun = task, frame.number, True
        task.begun_at, worker.limit = frame.clock, frame.clock + task.call.timeout_s
        self._num_stillborn = 0

    def _end_task(self, worker: _Worker, reply: Reply, ended_at: float | None = None) -> None:
        """Answer the call that a worker makes, with its times; past its deadline nothing else counts."""
        task, worker.task, worker.limit = worker.task, None, math.inf
        if task is None or task.begun_at is None:
            return
        worker.free_since = time.monotonic() if ended_at is None else ended_at
        run_s = worker.free_since - task.begun_at
        if run_s >= task.call.timeout_s:
            reply = Reply(outcome="timeout", why=f"ran longer than {task.call.timeout_s:g} s")
        queue_s = max(0.0, task.begun_at - task.asked_at)
        self._replies.append((task, replace(reply, queue_s=queue_s, run_s=run_s)))

    def _watch(self) -> None:
        """Act on every deadline that has passed."""
        now = time.monotonic()
        if now >= self._ready_by:
            self._lose_parent(f"it took longer than {self._start_timeout_s:g} s")
        for worker in [worker for worker in self._workers.values() if now >= worker.limit]:
            if worker.dying or not (worker.pid or worker.has_begun):
                self._lose_parent(f"the process that the workers are forked from did nothing for {PATIENCE_S:g} s")
                return
            self._end_task(worker, _failed("past its deadline"))
            self._kill(worker)
        if self._queued:
            self._find_lost(now)

    def _kill(self, worker: _Worker) -> None:
        """Have the parent kill a worker; what it says from here on does not count."""
        worker.dying, worker.limit = True, time.monotonic() + PATIENCE_S
        if self._parent is not None:
            self._parent.tell(KILL, worker.number)

    def _bury(self, worker: _Worker, why: str) -> None:
        """Take note of a worker's death."""
        while self._listen(worker):
            pass  # what it managed to say counts
        self._forget(worker)
        del self._workers[worker.number]
        worker.connection.close()
        self._end_task(worker, _failed(why))
        self._num_stillborn += not worker.has_begun
        if self._num_stillborn >= MAX_STILLBORN:
            self._give_up(f"no worker process could start; the last one: {why}")

    # The parent.

    def _start_parent(self) -> None:
        """Start the warm parent."""
        self._parent = ParentProcess(self._load, self._workers_end, self._memory_mib)
        self._ready_by = time.monotonic() + self._start_timeout_s
        self._selector.register(self._parent.control, selectors.EVENT_READ, self._hear_parent)

    def _hear_parent(self) -> None:
        """Act on what the parent says."""
        frames = None if self._parent is None else self._parent.listen()
        if frames is None:
            self._lose_parent("the process that the workers are forked from is gone")
        for frame in frames or ():
            self._take_from_parent(frame)

    def _take_from_parent(self, frame: Frame) -> None:
        """Act on one message of the parent."""
        if frame.kind == READY and self._parent is not None:
            self._parent.ready, self._ready_by = True, math.inf
            if not self.started.done():
                self.started.set_result("")
        elif frame.kind == FAILED:
            self._give_up(frame.body.decode())
        elif frame.kind == FORKED:
            worker = self._workers[frame.number]
            worker.pid = int(frame.body)
            worker.limit = math.inf if worker.task is None and not worker.dying else worker.limit
        elif frame.kind == DEAD:
            self._bury(self._workers[frame.number], f"its worker process {cause_of_death(int(frame.body))}")

    def _lose_parent(self, why: str) -> None:
        """Clear away a parent that died or has to; start another unless that happens too often."""
        if self._parent is None:
            return
        parent, self._parent, self._ready_by = self._parent, None, math.inf
        self._selector.unregister(parent.control)
        why += f": {parent.end()}"
        for worker in list(self._workers.values()):
            if worker.pid is not None:
                lineage.kill_group(worker.pid)
            worker.has_begun = True  # its death says nothing about it
            self._bury(worker, why)
        now = time.monotonic()
        self._deaths.append(now)
        if not parent.ready:
            self._give_up(f"{NOT_IMPORTED}: {why}")
        elif sum(death > now - RESTARTS_WITHIN_S for death in self._deaths) == MAX_RESTARTS:
            self._give_up(why)
        else:
            self._start_parent()

    def _give_up(self, why: str) -> None:
        """Answer all calls with an error from here on."""
        self._broken = self._broken or why
        self._ready_by = math.inf
        if not self.started.done():
            self.started.set_result(why)


def _failed(why: str) -> Reply:
    """Return the reply to a call that failed."""
    return Reply(outcome="error", why=why)


def _answer(frame: Frame) -> Reply:
    """Read the reply that a worker sent."""
    if frame.kind == FAILED:
        return _failed(frame.body.decode(errors="replace"))
    try:
        return Reply(outcome="returned", value=pickle.loads(frame.body))
    except BaseException as error:  # the code of any object that the reward returned
        return _failed(f"returned what cannot be read here: {message(error)}")
