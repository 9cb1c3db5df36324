"""Event loops of work that the main thread waits for, where Ctrl-C may be pressed at any moment."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import closing
from typing import Any, TypeVar

from reasonrl.system.loop_thread import LoopThread

Result = TypeVar("Result")

NUM_THREADS = 32
"""Calls of :func:`asyncio.to_thread` that may run at once on a loop in a thread of its own."""


def run_until_complete(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on an event loop of its own; return its result. Any: what it yields is the event loop's.

    Where a loop runs in this thread already, as in a notebook's cell, the new one has a thread of its own: Python runs
    no loop inside another. A Ctrl-C ends the work in either case, and is raised here.
    """
    if is_inside_loop():
        with closing(LoopThread("reasonrl-work", num_threads=NUM_THREADS)) as thread:
            return thread.run(work)
    # A Ctrl-C that arrives while a task runs is kept in that task and raised here; where nobody awaits the task,
    # asyncio would report it once more, with a traceback.
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_report_unless_asked_to_stop)
        return runner.run(work)


def is_inside_loop() -> bool:
    """Say whether this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _report_unless_asked_to_stop(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    if not isinstance(context.get("exception"), KeyboardInterrupt | SystemExit):
        loop.default_exception_handler(dict(context))
