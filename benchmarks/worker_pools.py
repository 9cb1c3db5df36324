"""What runs untrusted functions: our worker pool beside `pebble` and `loky`, in one go.

The function is the regular expression that reads a boxed answer off a text of 2,000 characters. Measured are the time
to start and make the first call; calls a second, which the headline compares with the better of the two; the time from
the deadline of a call that hangs to the end of the next call (loky has no deadline for a call: its executor is killed
and made anew, as a caller would have to); and the processes that are still there a while after their trainer was
killed by SIGKILL.

All three start processes that hold none of the trainer's threads and locks: a fork of a process that runs torch may
hang. For pebble this is the `forkserver` of multiprocessing, for loky its own way. Ours imports the package first,
which the others do not need here, and would need for every worker that runs rewards.

    pip install pebble loky
    python benchmarks/worker_pools.py
"""

import argparse
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol, Self

TEXT = "So the sum of the digits is 7, and we are done. " * 40 + r"The answer is \boxed{42}."
PATTERN = r"\\boxed\{([^{}]*)\}"
HANG = r"(a+)+$", "a" * 40 + "b"
"""A pattern and a text that keep a worker busy for longer than anybody waits."""

ORPHAN_S = 3.0
"""Time after the trainer's death after which a process counts as left behind."""


class Pool(Protocol):
    """One way to run functions in other processes."""

    def call(self, pattern: str, string: str, timeout_s: float) -> "Future[Any]":
        """Begin a call of ``re.findall``. Any: what the future holds differs from pool to pool."""
        ...

    def end_hang(self, hung: "Future[Any]", timeout_s: float) -> None:
        """Return when a hanging call is over. Any: as above."""
        ...

    def __enter__(self) -> Self:
        """Start nothing that the first call need not wait for."""
        ...

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""
        ...


class Ours:
    """Our pool: workers forked from a warm fork server, killed at the deadline of a call."""

    def __init__(self, workers: int) -> None:
        from reasonrl.scoring.workers.pool import WorkerPoolRunner

        load = partial(dict[str, Callable[..., Any]], find=re.findall)
        self._pool = WorkerPoolRunner(load, workers)

    def call(self, pattern: str, string: str, timeout_s: float) -> "Future[Any]":
        """Begin a call."""
        from reasonrl.scoring.runner import FunctionCall

        arguments = {"pattern": pattern, "string": string}
        return self._pool.submit(FunctionCall(function="find", arguments=arguments, timeout_s=timeout_s))

    def end_hang(self, hung: "Future[Any]", timeout_s: float) -> None:
        """Wait for the result, which says that it timed out."""
        assert hung.result().outcome == "timeout"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._pool.close()


class Pebble:
    """pebble: each call may have a deadline, at which its worker is killed and another one started."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["pebble"])
        pebble: Any = import_module("pebble")  # Any: it need not be installed where types are checked
        self._pool = pebble.ProcessPool(max_workers=workers, context=context)

    def call(self, pattern: str, string: str, timeout_s: float) -> "Future[Any]":
        """Begin a call."""
        future: Future[Any] = self._pool.schedule(re.findall, args=(pattern, string), timeout=timeout_s)
        return future

    def end_hang(self, hung: "Future[Any]", timeout_s: float) -> None:
        """Wait for the exception, which says that it timed out."""
        assert isinstance(hung.exception(), TimeoutError)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._pool.stop()
        self._pool.join()


class Loky:
    """loky: no deadline of a call; what hangs can be ended with its executor and all calls in it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._start()

    def _start(self) -> None:
        loky: Any = import_module("loky")  # Any: as above
        self._pool = loky.ProcessPoolExecutor(max_workers=self._workers)

    def call(self, pattern: str, string: str, timeout_s: float) -> "Future[Any]":
        """Begin a call."""
        future: Future[Any] = self._pool.submit(re.findall, pattern, string)
        return future

    def end_hang(self, hung: "Future[Any]", timeout_s: float) -> None:
        """Wait until the time is over, and replace the executor."""
        wait([hung], timeout=timeout_s)
        self._pool.shutdown(kill_workers=True)
        self._start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._pool.shutdown(kill_workers=True)


POOLS: dict[str, Callable[[int], Pool]] = {"ours": Ours, "pebble": Pebble, "loky": Loky}


def main() -> None:
    """Measure each pool in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5_000, help="calls of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (%(default)s)")
    parser.add_argument("--trainer", choices=POOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trainer:
        hold(options.trainer)
    for line in benchmark(options.calls, options.rounds, options.workers):
        print(line, flush=True)


def benchmark(calls: int, rounds: int, workers: int) -> Iterator[str]:
    """Measure and tell."""
    from measuring import machine, row, spread

    yield from machine("pebble", "loky")
    yield f"{workers} workers, calls of {len(TEXT)} characters, {rounds} rounds"
    for start in POOLS.values():  # a trainer has imported what starts its pool
        with start(1) as pool:
            pool.call(PATTERN, TEXT, 10.0).result()
    measured: dict[str, dict[str, list[float]]] = {name: {} for name in POOLS}
    for _ in range(rounds):
        for name, start in POOLS.items():
            for what, value in one_round(start, calls, workers):
                measured[name].setdefault(what, []).append(value)
            measured[name].setdefault("processes left after SIGKILL", []).append(num_orphans(name))
    yield row("", *POOLS)
    for what in measured["ours"]:
        yield row(what, *(spread(measured[name][what]) for name in POOLS))
    rates = {name: median(measured[name]["calls a second"]) for name in POOLS}
    yield f"{rates['ours'] / max(rates['pebble'], rates['loky']):.1f}x"


def one_round(start: Callable[[int], Pool], calls: int, workers: int) -> Iterator[tuple[str, float]]:
    """Measure one pool once; times in milliseconds."""
    began = perf_counter()
    with start(workers) as pool:
        pool.call(PATTERN, TEXT, 10.0).result()
        yield "start, ms", 1e3 * (perf_counter() - began)
        wait([pool.call(PATTERN, TEXT, 10.0) for _ in range(100)])
        began = perf_counter()
        wait([pool.call(PATTERN, TEXT, 10.0) for _ in range(calls)])
        yield "calls a second", calls / (perf_counter() - began)
    with start(1) as pool:
        pool.call(PATTERN, TEXT, 10.0).result()
        began = perf_counter()
        pool.end_hang(pool.call(*HANG, 0.5), 0.5)
        pool.call(PATTERN, TEXT, 10.0).result()
        yield "deadline to next, ms", 1e3 * (perf_counter() - began - 0.5)


def num_orphans(name: str) -> int:
    """Kill a trainer whose workers hang, and count the processes that it leaves."""
    command = [sys.executable, __file__, "--trainer", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as trainer:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        trainer.send_signal(signal.SIGKILL)
    time.sleep(ORPHAN_S)
    left = list(of_session(trainer.pid, name))
    for process in left:
        os.kill(process, signal.SIGKILL)
    return len(left)


def hold(name: str) -> None:
    """Be that trainer."""
    os.environ[f"WORKER_POOLS_{name.upper()}"] = "1"
    with POOLS[name](2) as pool:
        calls = [pool.call(*HANG, 600.0) for _ in range(2)]
        time.sleep(2.0)  # until both run
        print("ready", flush=True)
        wait(calls)


def of_session(trainer: int, name: str) -> Iterator[int]:
    """Yield the processes that a trainer has started, by the variable that they inherited."""
    mark = f"WORKER_POOLS_{name.upper()}=1".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != trainer and mark in (entry / "environ").read_bytes():
                yield int(entry.name)
        except OSError:  # gone, or somebody else's
            continue


if __name__ == "__main__":
    main()
