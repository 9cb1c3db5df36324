"""Rewards that misbehave in every way that a worker process has to survive."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from reasonrl.scoring.runner import Functions

seen: list[int] = []
"""Calls of ``remember`` in this process."""


def add(a: int, b: int) -> int:
    return a + b


def repeat(text: str, times: int) -> str:
    return text * times


def process_id() -> int:
    return os.getpid()


def remember(number: int) -> int:
    seen.append(number)
    return len(seen)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def spin() -> NoReturn:
    while True:
        pass


def backtrack() -> bool:
    return re.match(r"(a+)+$", "a" * 40 + "b") is not None


def big_power() -> int:
    return len(str(pow(7, 10**9)))


def deaf() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass


def fail(text: str) -> NoReturn:
    raise ValueError(text)


def fail_inside() -> Any:
    return re.compile("(")


def leave(kind: str) -> NoReturn:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError}[kind](3)


def recurse() -> Any:
    return recurse()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fail_unprintably() -> NoReturn:
    raise Unprintable


def exit_at_once(code: int) -> NoReturn:
    os._exit(code)


def segfault() -> Any:
    return ctypes.string_at(0)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hoard(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


def return_lambda() -> Any:
    return lambda: 0


class Stateless:
    def __reduce__(self) -> Any:
        return (sys.exit, (3,))


def return_trap() -> Any:
    return Stateless()


def return_much(mebibytes: int) -> bytes:
    return b"x" * (mebibytes << 20)


def shout(mebibytes: int) -> int:
    for _ in range(mebibytes):
        print("x" * (1 << 20))
        os.write(1, b"y" * (1 << 20))
        os.write(2, b"z" * (1 << 20))
    return mebibytes


def read_input() -> str:
    return sys.stdin.read()


def scribble() -> float:
    """Write garbage into whatever is open, the worker's own connection included."""
    for descriptor in range(3, 40):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    time.sleep(0.2)
    return 1.0


def close_descriptors() -> float:
    os.closerange(0, 64)
    return 1.0


def fork_and_return() -> int:
    """Come back twice: once in the caller's process, once in a child."""
    return int(os.fork() == 0)


def leave_alarm() -> None:
    signal.signal(signal.SIGALRM, lambda *_: fail("an alarm of an earlier call"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def leave_thread() -> None:
    threading.Thread(target=time.sleep, args=(3600,)).start()


def leave_children(file: str, *, then_hang: bool) -> int:
    """Start children of every kind, in the group and out of it, and note their process ids."""
    direct = subprocess.Popen(["sleep", "3600"])
    session = subprocess.Popen(["sleep", "3601"], start_new_session=True)
    daemon = subprocess.run(
        ["sh", "-c", "setsid sleep 3602 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    Path(file).write_text(f"{direct.pid} {session.pid} {daemon.stdout}")
    if then_hang:
        spin()
    return os.getpid()


def record(file: str, number: int, then: str = "return") -> Any:
    """Note that this call is made, in one write, and then do what is asked."""
    with open(file, "a") as notes:
        notes.write(f"{number}\n")
    match then:
        case "raise":
            raise ValueError(number)
        case "hang":
            time.sleep(3600)
        case "sleep":
            time.sleep(0.3)
        case "die":
            os._exit(3)
        case "unpicklable":
            return lambda: number
        case "scribble":
            scribble()
    return number


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def core_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def load() -> Functions:
    """Return all of them."""
    return {name: value for name, value in globals().items() if callable(value) and name.islower()}


def load_nothing() -> Functions:
    raise ModuleNotFoundError("No module named 'sympi'")


def load_forever() -> Functions:
    time.sleep(3600)
    return {}


def load_and_crash() -> Functions:
    print("about to crash", file=sys.stderr, flush=True)
    segfault()
    return {}


def load_unforkable() -> Functions:
    """As a library does that cannot live in a forked process."""
    os.register_at_fork(after_in_child=lambda: os._exit(5))
    return load()


def load_and_exit() -> Functions:
    sys.exit("no license")
