"""Event loops that the main thread runs, where Ctrl-C may be pressed at any moment."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_until_complete(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on an event loop of its own; return its result. Any: what it yields is the event loop's.

    A Ctrl-C that arrives while a task runs is kept in that task and raised here; where nobody awaits the task, asyncio
    would report it once more, with a traceback.
    """
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_report_unless_asked_to_stop)
        return runner.run(work)


def _report_unless_asked_to_stop(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    if not isinstance(context.get("exception"), KeyboardInterrupt | SystemExit):
        loop.default_exception_handler(dict(context))
