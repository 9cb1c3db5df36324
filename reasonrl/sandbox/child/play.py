"""What a child does once it is confined: read its body, do what the mode says, and end."""

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

from reasonrl.sandbox.child import wire
from reasonrl.sandbox.child.modes import MODES
from reasonrl.sandbox.child.program import ANSWERS, BODY, NAME, Body, CompileError, NoEntryError


def play() -> NoReturn:
    """Run what the body says to its end."""
    body = _read_body()
    tempfile.tempdir = os.getcwd()
    _seed(body["source"])
    if body["mode"] in ("stdio", "candidate"):
        os.close(ANSWERS)
    status = _run(body)
    os._exit(_flush(status))


def _read_body() -> Body:
    with open(BODY, "rb") as file:
        body: Body = json.load(file)
    return body


def prepare() -> None:
    """Make this interpreter what a program finds: streams in UTF-8, and what `-S` leaves out. Forks inherit it."""
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
    """Make chance a function of the program: all children start from one state of the server's."""
    seed = zlib.crc32(source.encode(errors="surrogatepass"))
    random.seed(seed)
    generators = sys.modules.get("numpy.random")
    if generators is not None:
        generators.seed(seed)


def _run(body: Body) -> int:
    """Do what the mode says, for a script with all that an interpreter does at its end; return the exit status."""
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
    """Print what the program raised, and say of what kind it is."""
    if isinstance(error, CompileError | NoEntryError):
        print(error, file=sys.stderr)
        return wire.EXIT_COMPILE if isinstance(error, CompileError) else wire.EXIT_NO_ENTRY
    if isinstance(error, MemoryError):
        return wire.EXIT_MEMORY
    traceback.print_exception(type(error), error, _from_program(error.__traceback__))
    limited = isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC)
    return wire.EXIT_FILE_LIMIT if limited else wire.EXIT_RAISED


def _from_program(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that led to the program."""
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
