"""What isolation costs a reward: calls a second through the pool, directly, and through what can be had elsewhere.

The reward is the regular expression that reads a boxed answer off a text of 2,000 characters. Only the pool and a
process for each call can end a call that hangs; `concurrent.futures` cannot. The headline compares those two. The
processor time of a call is that of all processes; "one call a visit" is the pool without sending calls together.

    python benchmarks/scoring_pool.py
"""

import argparse
import multiprocessing
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from measuring import machine, row, spread
from processor_time import cpu_seconds

from reasonrl.scoring.runner import FunctionCall
from reasonrl.scoring.workers import backlog
from reasonrl.scoring.workers.pool import WorkerPoolRunner

TEXT = "So the sum of the digits is 7, and we are done. " * 40 + r"The answer is \boxed{42}."
PATTERN = r"\\boxed\{([^{}]*)\}"
ARGUMENTS: Mapping[str, Any] = {"pattern": PATTERN, "string": TEXT}
"""What the reward is given. Any: a pattern and a text."""

LOAD = partial(dict[str, Callable[..., Any]], find=re.findall, pid=os.getpid)
"""Returns the reward, and what tells a worker, by name. Any: the reward returns a list."""

HANG = r"(a+)+$", "a" * 40 + "b"
"""A pattern and a text that keep it busy for longer than anybody waits."""


def main() -> None:
    """Measure each way in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="calls of a round; a process for each: 2%% of that")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    options = parser.parse_args()
    print(*machine(), f"{options.workers} workers, calls of {len(TEXT)} characters", sep="\n")
    with WorkerPoolRunner(LOAD, options.workers) as pool, ProcessPoolExecutor(options.workers) as executor:
        ways: dict[str, tuple[Callable[[int], object], int]] = {
            "direct": (directly, options.calls),
            "pool": (partial(through_pool, pool), options.calls),
            "pool, one call a visit": (partial(one_call_a_visit, pool), options.calls),
            "pool, one by one": (partial(one_by_one, pool), options.calls // 10),
            "ProcessPoolExecutor": (partial(through_executor, executor), options.calls),
            "a process for each": (with_processes, options.calls // 50),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        cpu_times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, (way, calls) in ways.items():
                calls_per_s, cpu_s = rate(way, calls)
                rates[name].append(calls_per_s)
                cpu_times[name].append(1e6 * cpu_s)
        print(row("", "calls a second", "microseconds a call", "CPU microseconds a call"))
        for name, measured in rates.items():
            print(row(name, spread(measured), spread([1e6 / value for value in measured]), spread(cpu_times[name])))
        print(row("end of a hang to next call", f"{1e3 * median(recovery(LOAD) for _ in range(20)):.1f} ms"))
        print(row("memory of a worker's own", f"{own_memory(pool):.1f} MiB"))
    print(f"{median(rates['pool']) / median(rates['a process for each']):.1f}x")


def rate(way: Callable[[int], object], calls: int) -> tuple[float, float]:
    """Return the calls a second, and the processor time of one in all processes, after a few to warm up."""
    way(8)
    began, cpu_began = perf_counter(), cpu_seconds()
    way(calls)
    return calls / (perf_counter() - began), (cpu_seconds() - cpu_began) / calls


def directly(calls: int) -> None:
    """FunctionCall the reward as any function."""
    for _ in range(calls):
        re.findall(**ARGUMENTS)


def through_pool(pool: WorkerPoolRunner, calls: int) -> None:
    """Submit all calls, then wait."""
    call = FunctionCall(function="find", arguments=ARGUMENTS, timeout_s=10.0)
    wait([pool.submit(call) for _ in range(calls)])


def one_call_a_visit(pool: WorkerPoolRunner, calls: int) -> None:
    """Submit all calls, each of which is sent to a worker by itself, then wait."""
    usual = backlog.MAX_CALLS
    backlog.MAX_CALLS = 1  # type: ignore[misc]  # what is compared with
    through_pool(pool, calls)
    backlog.MAX_CALLS = usual  # type: ignore[misc]


def one_by_one(pool: WorkerPoolRunner, calls: int) -> None:
    """Wait for each call before the next."""
    call = FunctionCall(function="find", arguments=ARGUMENTS, timeout_s=10.0)
    for _ in range(calls):
        pool.submit(call).result()


def through_executor(executor: ProcessPoolExecutor, calls: int) -> None:
    """Submit all calls, then wait."""
    wait([executor.submit(re.findall, PATTERN, TEXT) for _ in range(calls)])


def with_processes(calls: int) -> None:
    """Start a process for each call, as graders do that want to end one."""
    for _ in range(calls):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=_send, args=(theirs,))
        process.start()
        theirs.close()
        if ours.poll(10.0):
            ours.recv()
        process.join()
        ours.close()


def _send(connection: Any) -> None:
    """FunctionCall the reward and send its value. Any: the type of a pipe's end differs between systems."""
    connection.send(re.findall(**ARGUMENTS))


def recovery(load: Callable[[], Mapping[str, Callable[..., Any]]]) -> float:
    """Return the seconds from the deadline of a call that hangs to the start of the next in a new worker."""
    with WorkerPoolRunner(load, 1) as pool:
        pattern, text = HANG
        hung = pool.submit(FunctionCall(function="find", arguments={"pattern": pattern, "string": text}, timeout_s=0.1))
        after = pool.submit(FunctionCall(function="find", arguments=ARGUMENTS, timeout_s=10.0)).result()
        return after.queue_s - hung.result().queue_s - 0.1


def own_memory(pool: WorkerPoolRunner) -> float:
    """Return the memory, in MiB, that a warm worker shares with no other process."""
    worker = pool.submit(FunctionCall(function="pid", arguments={}, timeout_s=10.0)).result().value
    fields = dict(line.split(":") for line in Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")) / 1024


if __name__ == "__main__":
    main()
