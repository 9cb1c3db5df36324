"""What a child does once it is confined: reads its body, does what the mode says, and ends."""

import atexit
import builtins
import errno
import json
import os
import random
import sys
import tempfile
import threading
import traceback
import zlib
from types import TracebackType
from typing import NoReturn, TextIO

from reasonrl_sandbox.child import wire
from reasonrl_sandbox.child.modes import MODES
from reasonrl_sandbox.child.program import ANSWERS, BODY, NAME, Body, CompileError, NoEntryError


def execute() -> NoReturn:
    """Run what the body says to its end."""
    body = _read_body()
    tempfile.tempdir = os.getcwd()
    _seed(body["source"])
    if body["mode"] in ("stdio", "candidate"):
        os.close(ANSWERS)  # answers are not the program's to write in these modes
    status = _run(body)
    os._exit(_flush(status))


def _read_body() -> Body:
    with open(BODY, "rb") as file:
        body: Body = json.load(file)
    return body


def prepare_interpreter() -> None:
    """Set up what a program expects of an interpreter: streams in UTF-8, and what `-S` leaves out. Forks inherit it."""
    streams = {
        "stdin": open(0, encoding="utf-8", errors="surrogateescape", closefd=False),  # noqa: SIM115
        "stdout": _output(1, "surrogateescape"),
        "stderr": _output(2, "backslashreplace", buffering=1),
    }
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [NAME]
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)


def _output(descriptor: int, errors: str, buffering: int = -1) -> TextIO:
    return open(descriptor, "w", buffering, encoding="utf-8", errors=errors, closefd=False)


def _seed(source: str) -> None:
    """Seed random generators by the program: forks of one server would otherwise all continue the same sequence."""
    seed = zlib.crc32(source.encode(errors="surrogatepass"))
    random.seed(seed)
    generators = sys.modules.get("numpy.random")
    if generators is not None:
        generators.seed(seed)


def _run(body: Body) -> int:
    """Do what the mode says; a script also gets what an interpreter does at its end. Return the exit status."""
    try:
        MODES[body["mode"]](body)
        if body["mode"] != "stdio":  # every answer is written: what threads and exit functions do no longer matters
            return 0
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; only the interpreter's own end calls it
        atexit._run_exitfuncs()
    except SystemExit as error:
        return _exit_status(error)
    except BaseException as error:
        return _failure(error)
    return 0


def _exit_status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _failure(error: BaseException) -> int:
    """Print what the program raised, and return the exit status for its kind."""
    if isinstance(error, CompileError | NoEntryError):
        print(error, file=sys.stderr)
        return wire.EXIT_COMPILE if isinstance(error, CompileError) else wire.EXIT_NO_ENTRY
    if isinstance(error, MemoryError):
        return wire.EXIT_MEMORY
    traceback.print_exception(type(error), error, _from_program(error.__traceback__))
    limited = isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC)
    return wire.EXIT_FILE_LIMIT if limited else wire.EXIT_RAISED


def _from_program(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames above the program's own."""
    step = trace
    while step is not None and step.tb_frame.f_code.co_filename != NAME:
        step = step.tb_next
    return step or trace


def _flush(status: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the program may have put anything there, or closed it
            status = status or wire.EXIT_RAISED
    return status
