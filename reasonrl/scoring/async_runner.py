"""Calls async rewards and metrics, which wait for judges and sandboxes elsewhere, on one event loop in a thread.

A coroutine that blocks the loop cannot be killed as a worker process can: its calls and all others get an error that
names it.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from traceback import walk_stack
from typing import Any, Final, Self

from reasonrl.plugins.failures import message, place
from reasonrl.scoring.runner import CallResult, FunctionCall, Functions
from reasonrl.scoring.service import GRACE_S, Service, ServiceLimits

CHECK_S: Final = 0.5
"""Time between checks that the loop is not blocked."""

MAX_BLOCKED_S: Final = 10.0
"""Time that one coroutine may block the loop before all calls get an error."""

CLOSED: Final = "the event loop of the async functions is closed"


class AsyncRunner:
    """Runs coroutine functions on one event loop.

    Args:
        functions: the coroutine functions by name.
        limits: by name; a function without an entry has the default ones.
        max_blocked_s: time that one coroutine may block the loop.
    """

    def __init__(
        self, functions: Functions, limits: Mapping[str, ServiceLimits], *, max_blocked_s: float = MAX_BLOCKED_S
    ) -> None:
        self._services = {
            name: Service(name, function, limits.get(name, ServiceLimits())) for name, function in functions.items()
        }
        self._max_blocked_s = max_blocked_s
        self._lock = threading.Lock()
        self._open: set[Future[CallResult]] = set()
        self._closing = threading.Event()
        self._blocked = ""
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        at_once = sum(limits.get(name, ServiceLimits()).concurrency for name in functions)
        self._executor = ThreadPoolExecutor(max(1, at_once), thread_name_prefix="async-function")
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._executor)
        self._thread = threading.Thread(target=self._run, name="async-functions", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="async-functions-watch", daemon=True)
        self._thread.start()
        self._watcher.start()

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Begin a call, from any thread, and return at once; the future never raises."""
        future: Future[CallResult] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            why = CLOSED if self._closing.is_set() else self._blocked
            if not why and call.function not in self._services:
                why = f"there is no async {call.function}"
            if not why:
                self._open.add(future)
                self._loop.call_soon_threadsafe(self._begin, call, future, time.monotonic())
        if why:
            future.set_result(CallResult(outcome="error", why=why))
        return future

    def close(self) -> None:
        """Cancel what runs and end the threads; calls without a result get an error. Closing twice is closing once."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._loop.call_soon_threadsafe(self._begin_stop)
        if self._thread is not threading.current_thread():
            self._thread.join(3 * GRACE_S)  # one that a coroutine blocks cannot be ended
        self._fail_open(CLOSED)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # On the loop's thread.

    def _run(self) -> None:
        while not self._stopped:
            with suppress(SystemExit, KeyboardInterrupt):  # raised by a task that a function began
                self._loop.run_forever()
        self._watcher.join()
        self._loop.close()

    def _begin(self, call: FunctionCall, future: "Future[CallResult]", submitted_at: float) -> None:
        self._keep(self._loop.create_task(self._serve(call, future, submitted_at)))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        """Hold a task until it is done; the loop itself does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: FunctionCall, future: "Future[CallResult]", submitted_at: float) -> None:
        try:
            result = await self._services[call.function].serve(call, submitted_at)
        except Exception as error:  # looking at what was raised may run anybody's code
            result = CallResult(outcome="error", why=message(error))
        self._finish(future, result)

    def _begin_stop(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._keep(self._loop.create_task(self._stop(tasks)))

    async def _stop(self, tasks: "set[asyncio.Task[Any]]") -> None:
        """Stop the loop when what was cancelled has cleaned up. Any: functions have tasks of their own."""
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_S)
        await self._loop.shutdown_asyncgens()
        self._stopped = True
        self._loop.stop()

    # On any thread.

    def _finish(self, future: "Future[CallResult]", result: CallResult) -> None:
        """Give a call its result, unless it has one."""
        with self._lock:
            mine = future in self._open
            self._open.discard(future)
        if mine:
            future.set_result(result)

    def _fail_open(self, why: str) -> None:
        """Give every call without a result an error."""
        with self._lock:
            waiting = list(self._open)
        for future in waiting:
            self._finish(future, CallResult(outcome="error", why=why))

    # On the watcher's thread.

    def _watch(self) -> None:
        while not self._closing.wait(CHECK_S):
            beat, submitted_at = threading.Event(), time.monotonic()
            self._loop.call_soon_threadsafe(beat.set)
            while not beat.wait(CHECK_S) and not self._closing.is_set():
                self._report_blocked(time.monotonic() - submitted_at)
            self._blocked = ""

    def _report_blocked(self, blocked_s: float) -> None:
        """Note which coroutine blocks the loop, and past the limit give every call an error."""
        why = f"{self._blocker()} has blocked the event loop for {blocked_s:.1f} s"
        for service in self._services.values():
            service.note_blocked_loop(why)
        if blocked_s > self._max_blocked_s:
            with self._lock:
                self._blocked = why
            self._fail_open(why)

    def _blocker(self) -> str:
        calls = list(walk_stack(sys._current_frames().get(self._thread.ident or 0)))[::-1]
        owners = [frame.f_locals["self"] for frame, _ in calls if frame.f_code is Service.attempt.__code__]
        if not owners:
            return f"a task begun by an async function (at {place(calls, None)})"
        return f"the async {owners[-1].name} (at {place(calls, owners[-1].function)})"
