"""What tests change around the program: standard streams, environment, arguments, patched functions of Python.

The program runs in another process, so that the driver sends along what the tests have in place of each, and gets back
what the program prints, warns and logs.
"""

import builtins
import io
import logging
import os
import sys
import warnings
from typing import Any

# Any: functions, mocks and streams of the tests.

_PATCHED = (
    *("time.sleep", "time.time", "time.monotonic", "time.perf_counter", "os.getenv", "os.listdir", "os.path.exists"),
    *("random.random", "random.randint", "random.choice", "random.uniform", "random.sample", "random.shuffle"),
    *("random.randrange", "builtins.open", "builtins.print", "subprocess.run"),
)
"""Functions of Python that tests replace by their own."""


class Surroundings:
    """What was there when the tests began."""

    def __init__(self) -> None:
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.first = {name: _found(name) for name in _PATCHED}
        self.input = builtins.input
        self.environment = dict(os.environ)
        self.argv = list(sys.argv)
        self.show = getattr(warnings, "_showwarnmsg_impl", None)  # replaced where tests record warnings
        self.num_handlers = len(logging._handlerList)  # type: ignore[attr-defined]  # as many as handlers exist

    def changes(self) -> dict[str, Any]:
        """Return what the program's process has to be told with a request."""
        changes: dict[str, Any] = {}
        if os.environ != self.environment:
            changes["environment"] = self.changed_environment()
        if sys.argv != self.argv:
            changes["argv"] = self.argv = list(map(str, sys.argv))
        if streams := self.wanted():
            changes["streams"] = streams
        if patched := {name: now for name, first in self.first.items() if (now := _found(name)) is not first}:
            changes["patched"] = patched
        return changes

    def wanted(self) -> list[str]:
        """Return what of the program the tests have replaced or record."""
        now = (sys.stdin, sys.stdout, sys.stderr, builtins.input)
        names = ("stdin", "stdout", "stderr", "input")
        first = (*self.streams, self.input)
        wanted = [name for name, mine, before in zip(names, now, first, strict=True) if mine is not before]
        if getattr(warnings, "_showwarnmsg_impl", None) is not self.show:
            wanted.append("warnings")
        if len(logging._handlerList) > self.num_handlers:  # type: ignore[attr-defined]  # as above
            wanted.append("logging")
        return wanted

    def changed_environment(self) -> dict[str, str | None]:
        """Return the environment variables that the tests have changed; None for those that are gone."""
        before, self.environment = self.environment, dict(os.environ)
        names = before.keys() | self.environment.keys()
        return {name: self.environment.get(name) for name in names if before.get(name) != self.environment.get(name)}


def _found(name: str) -> Any:
    module, _, short = name.rpartition(".")
    return getattr(sys.modules.get(module), short, None)


def repeat(output: Any) -> None:
    """Have what the program printed, warned and logged happen here. Any: plain values, until they are checked."""
    match output:
        case [str(stdout), str(stderr), list(warned), list(logged)]:
            sys.stdout.write(stdout)
            sys.stderr.write(stderr)
            for category, text in warned:
                is_warning = isinstance(category, type) and issubclass(category, Warning)
                warnings.warn(str(text), category if is_warning else UserWarning, stacklevel=2)
            for name, level, text in logged:
                _log(str(name), int(level), str(text))


def _log(name: str, level: int, text: str) -> None:
    logger = logging.getLogger(name if name != "root" else None)
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, "solution.py", 0, text, (), None))


class ReplacedSurroundings:
    """The program's side: what the tests have put in place, for as long as the driver waits for an answer."""

    def __init__(self, wanted: list[str], patched: dict[str, Any], stdin: Any, read_line: Any) -> None:
        self.recorded = {name: RecordedOutput() for name in ("stdout", "stderr") if name in wanted}
        self.before: list[tuple[Any, str, Any]] = []
        self.caught = warnings.catch_warnings(record=True) if "warnings" in wanted else None
        self.warned = self.caught.__enter__() if self.caught else []
        self.handler = _Handler() if "logging" in wanted else None
        for stream_name, stream in self.recorded.items():
            self.put(sys, stream_name, stream)
        if "stdin" in wanted:
            self.put(sys, "stdin", stdin)
        if "input" in wanted:
            self.put(builtins, "input", read_line)
        for name, thing in patched.items():
            self.put(sys.modules.get(name.rpartition(".")[0]), name.rpartition(".")[2], thing)
        if self.caught:
            warnings.simplefilter("always")
        if self.handler:
            logging.root.addHandler(self.handler)
            self.put(logging.root, "level", 1)
            logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # of which levels are enabled

    def put(self, holder: Any, name: str, thing: Any) -> None:
        """Put something in place of what is there."""
        if holder is not None:
            self.before.append((holder, name, getattr(holder, name)))
            setattr(holder, name, thing)

    def take(self) -> list[Any]:
        """Return what was written, warned and logged since the last time."""
        texts = [self.recorded[name].take() if name in self.recorded else "" for name in ("stdout", "stderr")]
        warned = [[each.category, str(each.message)] for each in self.warned or []][:_MAX_RECORDS]
        logged = list(self.handler.lines) if self.handler else []
        del (self.warned or [])[:]
        if self.handler:
            self.handler.lines.clear()
        return [*texts, warned, logged]

    def restore(self) -> None:
        """Give the program its own surroundings back."""
        for holder, name, thing in reversed(self.before):
            setattr(holder, name, thing)
        if self.caught:
            self.caught.__exit__(None, None, None)
        if self.handler:
            logging.root.removeHandler(self.handler)
            logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # as above


_MAX_RECORDS = 1000


class _Handler(logging.Handler):
    """Keeps what the program logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[list[object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if len(self.lines) < _MAX_RECORDS:
            self.lines.append([record.name, record.levelno, record.getMessage()])


class RecordedOutput(io.TextIOBase):
    """A stream that keeps what the program prints, for tests that capture it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.size = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Keep a text; raises MemoryError where it is more than a test could want."""
        self.size += len(text)
        if self.size > _MAX_OUTPUT:
            raise MemoryError("too much output for a test that captures it")
        self.parts.append(str.__str__(text))
        return len(text)

    def take(self) -> str:
        """Return what was written since the last time."""
        text, self.parts, self.size = "".join(self.parts), [], 0
        return text


_MAX_OUTPUT = 1 << 19
