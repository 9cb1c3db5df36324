"""No answer hangs the scorer, exhausts memory or is executed, whatever it says and on whichever side it stands."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile_answers import FLOODS, HANGS, PARTNERS, load, payloads

from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl_grading import compare_answers

DEADLINE_S = 2.0
WORKERS = 2
MEMORY_MIB = 1024
ORDINARY = [(f"{number}.0", str(number), True) for number in range(250)]
ORDINARY += [(rf"\frac{{{2 * number}}}{{14}}", f"{number}/7", True) for number in range(250)]
ORDINARY += [(rf"{number}\sqrt{{3}}", rf"\sqrt{{{3 * number**2}}}", True) for number in range(1, 251)]
ORDINARY += [(str(number + 1), str(number), False) for number in range(250)]
"""Given, wanted, right."""


@pytest.mark.parametrize("name", HANGS)
def test_a_string_that_hangs_graders_is_graded_at_once(name: str) -> None:
    hostile, partner = HANGS[name], PARTNERS.get(name, "7")
    began = time.perf_counter()
    comparisons = [
        compare_answers(hostile, partner),
        compare_answers(partner, hostile),
        compare_answers(hostile, r"\sqrt{2}"),
        compare_answers(r"\sqrt{2}", hostile),
    ]
    elapsed = time.perf_counter() - began
    assert elapsed < 1.0
    if name not in (*FLOODS, *PARTNERS):
        assert not any(comparison.right for comparison in comparisons)
    assert not any(comparison.right for comparison in comparisons[2:])


@pytest.mark.parametrize("name", ["deep brackets", "unclosed boxes", "answer flood", "a million digits"])
def test_a_hostile_string_may_be_a_million_times_as_long(name: str) -> None:
    began = time.perf_counter()
    compare_answers(HANGS[name] * (1_000_000 // len(HANGS[name])), "7")
    assert time.perf_counter() - began < 1.0


def test_code_in_an_answer_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for text in payloads(str(marker)):
        for partner in ("7", r"\sqrt{2}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "x+1", r"\text{yes}"):
            assert not compare_answers(text, partner).right
            assert not compare_answers(partner, text).right
        assert not marker.exists(), text


@pytest.mark.slow
def test_code_in_an_answer_is_never_executed_by_the_symbolic_tier(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    texts = payloads(str(marker))
    with WorkerPoolRunner(load, WORKERS, MEMORY_MIB) as pool:
        futures = [submit(pool, *pair) for text in texts for pair in ((text, r"\sqrt{2}"), (r"\sqrt{2}", text))]
        replies = [future.result() for future in futures]
    assert not marker.exists()
    assert {reply.outcome for reply in replies} == {"returned"}
    assert not any(reply.value for reply in replies)


@pytest.mark.slow
def test_ordinary_answers_do_not_notice_hanging_ones() -> None:
    pairs = [(HANGS[name], PARTNERS.get(name, "7")) for name in HANGS]
    pairs += [(wanted, given) for given, wanted in pairs]
    with WorkerPoolRunner(load, WORKERS, MEMORY_MIB) as pool, watched() as seen:
        began = time.monotonic()
        hanging, ordinary = interleaved(pool, pairs)
        ordinary_replies = [future.result() for future in ordinary]
        assert all(future.result() for future in hanging)
        elapsed = time.monotonic() - began
    assert [(reply.outcome, bool(reply.value)) for reply in ordinary_replies] == [
        ("returned", right) for _, _, right in ORDINARY
    ]
    assert elapsed < len(pairs) * DEADLINE_S / WORKERS + 30
    assert seen.peak_mib < MEMORY_MIB + 512
    assert seen.processes
    deadline = time.monotonic() + 10  # what is killed is gone a moment later
    while any(map(alive, seen.processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in seen.processes if alive(pid)]


def interleaved(
    pool: WorkerPoolRunner, pairs: Sequence[tuple[str, str]]
) -> "tuple[list[Future[CallResult]], list[Future[CallResult]]]":
    """Submit hostile pairs evenly among the ordinary ones; those wait for the same workers."""
    hanging, ordinary = [], []
    every = len(ORDINARY) // len(pairs)
    for index, (given, wanted, _) in enumerate(ORDINARY):
        if index % every == 0 and index // every < len(pairs):
            hanging.append(submit(pool, *pairs[index // every]))
        ordinary.append(submit(pool, given, wanted))
    assert len(hanging) == len(pairs)
    return hanging, ordinary


def submit(pool: WorkerPoolRunner, given: str, wanted: str) -> "Future[CallResult]":
    arguments = {"given": given, "wanted": wanted}
    return pool.submit(FunctionCall(function="reasonrl", arguments=arguments, timeout_s=DEADLINE_S))


class Seen:
    """The processes below this one that began over some time, and the most memory that one of them had."""

    def __init__(self) -> None:
        self.others = set(descendants(os.getpid()))  # such as the fork server of an earlier test
        self.processes: set[int] = set()
        self.peak_mib = 0.0

    def look(self) -> None:
        for pid in set(descendants(os.getpid())) - self.others:
            self.processes.add(pid)
            self.peak_mib = max(self.peak_mib, resident_mib(pid))


@contextmanager
def watched() -> Iterator[Seen]:
    """Watch all processes below this one."""
    seen, done = Seen(), threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def descendants(pid: int) -> list[int]:
    """Return the processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, read(task).split()):
            found += [child, *descendants(child)]
    return found


def resident_mib(pid: int) -> float:
    """Return the memory that a process has now."""
    lines = [line for line in read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    return bool(state := read(Path(f"/proc/{pid}/stat"))) and state.rsplit(")", 1)[1].split()[0] != "Z"


def read(path: Path) -> str:
    """Return what a file of /proc says, or nothing where its process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""
