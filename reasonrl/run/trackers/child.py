"""The process of one tracker: opens it, tells it what the run sends, and ends with it or with the run.

What the tracker prints goes to a file. Each of its calls has a limit: the timer signal ends one that waits, and
another timer, which needs nothing of Python, the process where that does not help.
"""

import faulthandler
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from reasonrl.config.base import TrackerRef
from reasonrl.errors import ReasonRLError
from reasonrl.plugins.boundary import guarded
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Tracker
from reasonrl.run.trackers.messages import Alarm, Closed, Closing, Failed, Item, Metrics, Opened, Opening, Table
from reasonrl.run.trackers.progress import Progress

POLL_S: Final = 0.5
"""Seconds between looks at the trainer."""
GRACE_S: Final = 5.0
"""Seconds after a call's limit until the process is ended, and that it has to end by itself after the last call."""
PRIORITY: Final = 10
"""How much the trainer goes before it where both want to compute."""

NO_TELEMETRY: Final[Mapping[str, str]] = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What keeps trackers from reporting to their makers, unless the environment says otherwise."""

LONGER: Final = "Where it needs longer, raise timeout_s beside its name in run.trackers."
GONE: Final = Closing("failed", "the process that trained was killed")


def main(descriptor: int, trainer: int) -> None:
    """Serve one tracker until the run closes it, it fails, or the trainer is gone.

    Args:
        descriptor: of the connection to the trainer.
        trainer: its process.
    """
    os.nice(PRIORITY)
    os.environ.update({name: value for name, value in NO_TELEMETRY.items() if name not in os.environ})
    with Connection(descriptor) as connection:
        try:
            _serve(connection, trainer)
        except ReasonRLError as error:
            reply: Failed | Closed = Failed(str(error))
        else:
            reply = Closed()
        with suppress(OSError):  # the trainer is gone
            connection.send(reply)
    faulthandler.dump_traceback_later(GRACE_S, exit=True)  # what the tracker does at exit


def _serve(connection: Connection, trainer: int) -> None:
    opening: Opening = connection.recv()
    told = _ToldTracker(opening)
    connection.send(Opened(told.where))
    while not isinstance(item := _next(connection, trainer), Closing):
        told.tell(item)
    told.close(item)


def _next(connection: Connection, trainer: int) -> Item | Closing:
    """Return the next message; that the run is over where the trainer is gone without a word."""
    with suppress(EOFError, OSError):
        while not connection.poll(POLL_S):
            if os.getppid() != trainer:
                return GONE
        item: Item | Closing = connection.recv()
        return item
    return GONE


class _ToldTracker:
    """An open tracker, told what it does not have yet."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._progress = Progress.of(opening)
        ref = TrackerRef(name=opening.name, params=dict(opening.params))
        self._tracker: Tracker = self._call(Plugins(timeout_s=None).function("trackers", ref), opening.run)
        self.where = self._tracker.where

    def tell(self, item: Item) -> None:
        """Pass a message on, and write down that it was."""
        match item:
            case Metrics(step=step, metrics=metrics):
                if new := self._progress.new(step, metrics):
                    self._call(self._tracker.log, step, {name: metrics[name] for name in metrics if name in new})
            case Table(step=step, rows=rows):
                if new := self._progress.new(step, ["(table)"]):
                    self._call(self._tracker.table, step, rows)
            case Alarm(step=step, kind=kind, message=message):
                if new := self._progress.new(step, [f"(alarm {kind})"]):
                    self._call(self._tracker.alarm, step, kind, message)
        if new:
            self._progress.note(step, new)

    def close(self, closing: Closing) -> None:
        """End the tracker."""
        self._call(self._tracker.close, closing.status, closing.cause)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call somebody's code, and end the process if it does not even answer to the timer signal. Any: its own."""
        limit_s, name = self._opening.timeout_s, self._opening.name
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True)
        try:
            with guarded("tracker", name, function, timeout_s=limit_s, longer=LONGER):
                return function(*arguments)
        finally:
            faulthandler.cancel_dump_traceback_later()
