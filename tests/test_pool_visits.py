"""Short calls share a way to a worker and back, and each is still a call of its own, whatever the others do."""

import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import fields
from itertools import count
from pathlib import Path
from pickle import HIGHEST_PROTOCOL, dumps, loads
from typing import Any

import hostile_rewards
import pytest
from builders import completion, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.scoring.workers import backlog
from reasonrl.scoring.workers.assignments import LEASE_S, Worker
from reasonrl.scoring.workers.backlog import Backlog, QueuedCall
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl.scoring.workers.wire import BEGUN, READY, pack
from reasonrl.types import Rollout, Score, Span

HANG_S = 60.0
"""What only a hang takes."""

OUTCOMES = {
    "return": ("returned", ""),
    "sleep": ("returned", ""),
    "raise": ("error", r"ValueError: \d+ .*"),
    "hang": ("timeout", "ran longer than 0.5 s"),
    "die": ("error", "its worker process exited with code 3"),
    "unpicklable": ("error", "returned a function that cannot be pickled: .*"),
    "scribble": ("error", "wrote into the connection of its worker process"),
}
"""What a call becomes that does this, and why."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPoolRunner]:
    with pool_that_knows_short_calls(tmp_path_factory.mktemp("pool"), 2) as pool:
        yield pool


def submit(pool: WorkerPoolRunner, function: str, timeout_s: float = 20.0, **arguments: Any) -> "Future[CallResult]":
    return pool.submit(FunctionCall(function=function, arguments=arguments, timeout_s=timeout_s))


def pool_that_knows_short_calls(folder: Path, workers: int) -> WorkerPoolRunner:
    """Return a pool that has seen that ``record`` and ``add`` take no time, so that it sends many calls at once."""
    pool = WorkerPoolRunner(hostile_rewards.load, workers)
    warm_up = [submit(pool, "record", file=str(folder / "warm_up"), number=n) for n in range(20)]
    warm_up += [submit(pool, "add", a=n, b=0) for n in range(20)]
    assert {call.result(HANG_S).outcome for call in warm_up} == {"returned"}
    return pool


def results(pool: WorkerPoolRunner, file: Path, deeds: Sequence[str]) -> list[CallResult]:
    """Make a call for each deed, all of them at once."""
    calls = [submit(pool, "record", 0.5, file=str(file), number=n, then=then) for n, then in enumerate(deeds)]
    return [call.result(HANG_S) for call in calls]


def assert_each_was_made_once(file: Path, got: Sequence[CallResult], deeds: Sequence[str]) -> None:
    """Hold that each call has its own outcome, and that none was left out or made twice."""
    for number, (result, then) in enumerate(zip(got, deeds, strict=True)):
        outcome, why = OUTCOMES[then]
        assert (result.outcome, result.value) == (outcome, number if outcome == "returned" else None), (number, result)
        assert re.fullmatch(why, result.why), result.why
    assert Counter(map(int, file.read_text().split())) == Counter(range(len(deeds)))


@pytest.mark.parametrize("then", ["raise", "hang", "die", "unpicklable", "sleep"])
def test_what_some_of_many_short_calls_do_is_their_own_affair(
    pool: WorkerPoolRunner, tmp_path: Path, then: str
) -> None:
    deeds = ["return"] * 40
    deeds[7] = deeds[8] = deeds[30] = then
    got = results(pool, tmp_path / "calls", deeds)
    assert_each_was_made_once(tmp_path / "calls", got, deeds)


def test_garbage_among_short_calls_costs_the_call_that_wrote_it(pool: WorkerPoolRunner, tmp_path: Path) -> None:
    deeds = ["return"] * 40
    deeds[10] = "scribble"
    got = results(pool, tmp_path / "calls", deeds)
    assert [result.outcome for result in got] == [OUTCOMES[then][0] for then in deeds]
    assert got[10].why == OUTCOMES["scribble"][1]


def test_calls_that_were_sent_with_a_long_one_do_not_wait_for_it(tmp_path: Path) -> None:
    with pool_that_knows_short_calls(tmp_path, 2) as pool:
        calls = [
            submit(pool, "record", HANG_S, file=str(tmp_path / "calls"), number=n, then="hang" if n == 5 else "return")
            for n in range(40)
        ]
        assert [call.result(HANG_S / 2).value for n, call in enumerate(calls) if n != 5] == [*range(5), *range(6, 40)]
        assert not calls[5].done()
    assert Counter(map(int, (tmp_path / "calls").read_text().split())) == Counter(range(40))


def test_results_that_were_there_when_a_worker_was_killed_count(tmp_path: Path) -> None:
    with pool_that_knows_short_calls(tmp_path, 1) as pool:
        worker = submit(pool, "process_id").result(HANG_S).value
        deeds = ["return"] * 10 + ["sleep"] + ["return"] * 10
        calls = [
            submit(pool, "record", file=str(tmp_path / "calls"), number=n, then=then) for n, then in enumerate(deeds)
        ]
        while not (tmp_path / "calls").exists() or len((tmp_path / "calls").read_text().split()) < 11:
            time.sleep(0.005)
        os.kill(worker, signal.SIGKILL)
        got = [call.result(HANG_S) for call in calls]
    assert [result.value for result in got] == [*range(10), None, *range(11, 21)]
    assert "SIGKILL" in got[10].why
    assert Counter(map(int, (tmp_path / "calls").read_text().split())) == Counter(range(21))


def test_times_are_those_of_each_call_and_not_of_the_way_that_it_shared(tmp_path: Path) -> None:
    with pool_that_knows_short_calls(tmp_path, 1) as pool:
        for _ in range(20):
            submit(pool, "sleep", seconds=0.001).result(HANG_S)
        got = [call.result(HANG_S) for call in [submit(pool, "sleep", seconds=0.001) for _ in range(20)]]
    queue_s = [result.queue_s for result in got]
    assert all(result.run_s >= 0.001 for result in got)
    assert queue_s == sorted(queue_s)
    assert queue_s[-1] >= 0.019


def test_a_deadline_holds_for_a_call_that_comes_while_nothing_goes_on(pool: WorkerPoolRunner) -> None:
    assert submit(pool, "add", a=1, b=1).result(HANG_S).value == 2
    result = submit(pool, "sleep", 0.1, seconds=3600).result(HANG_S)
    assert result.outcome == "timeout"
    assert result.run_s < 0.8, "the loop naps for a second"


def test_results_that_have_no_room_in_a_socket_together_come_through(pool: WorkerPoolRunner) -> None:
    calls = [submit(pool, "add", a=[n], b=[0] * 100_000) for n in range(30)]
    calls += [submit(pool, "repeat", text=str(n), times=100_000) for n in range(60)]
    assert [call.result(HANG_S).value[0] for call in calls[:30]] == list(range(30))
    assert [call.result(HANG_S).value for call in calls[30:]] == [str(n) * 100_000 for n in range(60)]


@pytest.mark.parametrize("_", range(2))
def test_a_worker_that_dies_with_calls_on_the_way_to_it_takes_nobody_along(pool: WorkerPoolRunner, _: int) -> None:
    workers: set[int] = set()
    while len(workers) < 2:
        workers |= {call.result(HANG_S).value for call in [submit(pool, "process_id") for _ in range(20)]}
        assert None not in workers
    for _ in range(20):
        submit(pool, "sleep", seconds=0.0).result(HANG_S)
    running = [submit(pool, "sleep", seconds=2.0) for _ in workers]  # believed short, so that others follow
    following = [submit(pool, "add", a=[n], b=[0] * 300_000) for n in range(4)]
    for call in running:  # the thread of the pool finds the second death, and the connection's end, at once
        call.add_done_callback(lambda _: time.sleep(0.5))
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        time.sleep(0.1)
    # Where both were on their way to the same worker, the second one was made again by another.
    assert any("SIGKILL" in call.result(HANG_S).why for call in running)
    assert [call.result(HANG_S).value[0] for call in following] == [0, 1, 2, 3]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deeds=st.lists(
        st.sampled_from(["return"] * 12 + ["raise", "hang", "die", "unpicklable", "sleep"]), min_size=1, max_size=60
    ),
    workers=st.integers(1, 3),
)
def test_any_mixture_of_calls_gives_each_its_own_outcome_once(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[str], workers: int
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    with pool_that_knows_short_calls(folder, workers) as pool:
        got = results(pool, folder / "calls", deeds)
    assert_each_was_made_once(folder / "calls", got, deeds)


# How many calls are sent at once.


@pytest.fixture
def waiting() -> Backlog:
    """A backlog with calls of ``short``, which is known to take a tenth of a visit, and of ``new``, which is not."""
    calls = Backlog()
    calls.note_time("short", backlog.VISIT_S / 10)
    calls.add(queued("short") for _ in range(30))
    calls.add([queued("new"), queued("new")])
    return calls


def queued(function: str, size: int = 10) -> QueuedCall:
    return QueuedCall(FunctionCall(function=function, arguments={}, timeout_s=1.0), b"x" * size, Future())


def names(calls: Sequence[QueuedCall]) -> list[str]:
    return [one.call.function for one in calls]


def test_short_calls_are_sent_together_up_to_the_time_of_a_visit(waiting: Backlog) -> None:
    assert waiting.begins_short()
    assert 9 <= len(waiting.take(100)) <= 10


def test_no_worker_is_sent_more_than_its_share(waiting: Backlog) -> None:
    assert names(waiting.take(3)) == ["short"] * 3


def test_a_call_that_may_take_long_is_sent_alone(waiting: Backlog) -> None:
    while waiting.begins_short():
        assert set(names(waiting.take(100))) == {"short"}
    assert [names(waiting.take(100)), names(waiting.take(100)), names(waiting.take(100))] == [["new"], ["new"], []]


def test_a_function_that_turns_out_slow_is_sent_alone_and_one_that_is_fast_again_is_not(waiting: Backlog) -> None:
    waiting.note_time("short", 60.0)
    assert not waiting.begins_short()
    assert len(waiting.take(100)) == 1
    for _ in range(40):
        waiting.note_time("short", 0.0)
    assert len(waiting.take(100)) > 1


def test_long_arguments_are_not_sent_together() -> None:
    calls = Backlog()
    calls.note_time("short", 0.0)
    calls.add(queued("short", backlog.MAX_BYTES // 3) for _ in range(10))
    assert len(calls.take(100)) == 3


def test_calls_that_are_put_back_come_first_and_in_their_order(waiting: Backlog) -> None:
    first = waiting.take(5)
    waiting.put_back(first)
    assert waiting.take(5) == first


# What a worker was given, and what is known of it.


def test_only_what_the_notes_of_a_worker_say_past_the_time_is_acted_on() -> None:
    ours, theirs = socket.socketpair()
    worker, calls = Worker(1, ours), [queued("short") for _ in range(3)]
    with ours, theirs:
        theirs.send(pack(READY, 1))
        assert not list(worker.notes())
        worker.give(calls, count(1), time.monotonic(), are_short=True)
        theirs.send(pack(BEGUN, 1, time.monotonic() - 2.0))
        time.sleep(LEASE_S)
        assert (worker.take_back(), worker.is_past_deadline()) == ([], False), "they may have begun since"
        assert not list(worker.notes())
        assert (worker.take_back(), worker.is_past_deadline()) == (calls[1:], True)


# What is sent.


def test_the_data_of_a_step_are_the_same_after_the_way() -> None:
    rollout = Rollout(problem=problem(id="p", meta={"level": [1, 2]}), prompt="?", trajectory=completion("text"))
    score = Score(1.5, "why", parts={"a": 1.0}, spans=(Span(0, 1, 1.5, "step"),), run_s=0.25, queue_s=0.5)
    for value in (rollout, score, (rollout, rollout), {"scores": [score, Score.unscorable("none")]}):
        sent = loads(dumps(value, HIGHEST_PROTOCOL))
        assert sent == value
        assert repr(sent) == repr(value)
    assert all(getattr(loads(dumps(score)), field.name) == getattr(score, field.name) for field in fields(Score))
