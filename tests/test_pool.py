"""Worker processes for rewards: whatever a reward does costs its own call and nothing else."""

import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile_rewards
import pytest

from reasonrl.errors import PluginError
from reasonrl.scoring.runner import CallResult, FunctionCall, Functions
from reasonrl.scoring.workers.launch import ForkServerProcess, pickled
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl.scoring.workers.wire import FORK, READY

HANG_S = 60.0
"""What only a hang takes."""


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPoolRunner]:
    with WorkerPoolRunner(hostile_rewards.load, workers=2, memory_mib=512) as pool:
        yield pool


def submit(pool: WorkerPoolRunner, function: str, timeout_s: float = 20.0, **arguments: Any) -> "Future[CallResult]":
    return pool.submit(FunctionCall(function=function, arguments=arguments, timeout_s=timeout_s))


def get(pool: WorkerPoolRunner, function: str, timeout_s: float = 20.0, **arguments: Any) -> CallResult:
    return submit(pool, function, timeout_s, **arguments).result(HANG_S)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            try:
                if int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.add(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_reward_gets_its_arguments_by_name_and_its_value_comes_back(pool: WorkerPoolRunner) -> None:
    reply = get(pool, "add", a=1, b=2)
    assert (reply.outcome, reply.value, reply.why) == ("returned", 3, "")


@pytest.mark.slow
def test_waiting_for_a_worker_is_measured_apart_and_does_not_count_against_the_deadline() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        replies = [submit(pool, "sleep", timeout_s=0.75, seconds=0.25) for _ in range(5)]
        assert [reply.result(HANG_S).outcome for reply in replies] == ["returned"] * 5
        assert all(reply.result().run_s >= 0.25 for reply in replies)
        assert replies[-1].result().queue_s > 0.95


@pytest.mark.parametrize("function", ["spin", "backtrack", "big_power", "deaf"])
def test_what_hangs_is_killed_at_its_deadline_and_the_others_never_notice(
    pool: WorkerPoolRunner, function: str
) -> None:
    hung = submit(pool, function, timeout_s=0.5)
    others = [submit(pool, "add", a=number, b=1) for number in range(50)]
    assert [other.result(HANG_S).value for other in others] == list(range(1, 51))
    assert not hung.done()
    reply = hung.result(HANG_S)
    assert (reply.outcome, reply.value, reply.why) == ("timeout", None, "ran longer than 0.5 s")
    assert 0.5 <= reply.run_s < HANG_S


def test_more_hangs_than_workers_cost_their_deadlines_and_no_more(pool: WorkerPoolRunner) -> None:
    calls = [(submit(pool, "sleep", timeout_s=0.2, seconds=3600), submit(pool, "add", a=1, b=n)) for n in range(8)]
    assert [(hung.result(HANG_S).outcome, fast.result(HANG_S).value) for hung, fast in calls] == [
        ("timeout", 1 + n) for n in range(8)
    ]


@pytest.mark.parametrize(
    ("function", "arguments", "why"),
    [
        ("fail", {"text": "no\n digits"}, r"ValueError: no digits \(hostile_rewards.py:\d+\)"),
        ("fail", {"text": "x" * 10**6}, r"ValueError: x{500} \(hostile_rewards.py:\d+\)"),
        ("fail", {"text": "\ud800"}, r"ValueError: . \(hostile_rewards.py:\d+\)"),
        ("fail_inside", {}, r"error: missing \), .* \(hostile_rewards.py:\d+\)"),
        ("fail_unprintably", {}, r"Unprintable: \(its message raised RuntimeError\) \(hostile_rewards.py:\d+\)"),
        ("leave", {"kind": "SystemExit"}, r"SystemExit: 3 .*"),
        ("leave", {"kind": "KeyboardInterrupt"}, r"KeyboardInterrupt: 3 .*"),
        ("leave", {"kind": "MemoryError"}, r"MemoryError: 3 .*"),
        ("recurse", {}, r"RecursionError: maximum recursion depth exceeded.*"),
        ("hoard", {"mebibytes": 4096}, r"MemoryError \(hostile_rewards.py:\d+\)"),
        ("add", {"a": 1}, r"TypeError: add\(\) missing 1 required positional argument: 'b'"),
        ("exit_at_once", {"code": 0}, "its worker process exited with code 0"),
        ("exit_at_once", {"code": 7}, "its worker process exited with code 7"),
        ("segfault", {}, "its worker process was killed by SIGSEGV"),
        ("kill_self", {}, r"its worker process was killed by SIGKILL \(out of memory\?\)"),
        ("return_lambda", {}, "returned a function that cannot be pickled: .*"),
        ("return_trap", {}, "returned what cannot be read here: SystemExit: 3"),
        ("return_much", {"mebibytes": 17}, r"returned a bytes of \d+ bytes; at most 16777216 fit"),
        ("scribble", {}, "wrote into the connection of its worker process"),
        ("close_descriptors", {}, "its worker process lost its connection, which a function closed"),
    ],
)
def test_what_fails_is_an_error_that_says_why_and_the_next_call_is_right(
    pool: WorkerPoolRunner, function: str, arguments: dict[str, Any], why: str
) -> None:
    reply = get(pool, function, **arguments)
    assert (reply.outcome, reply.value) == ("error", None)
    assert re.fullmatch(why, reply.why), reply.why
    assert get(pool, "add", a=2, b=3).value == 5


def test_arguments_that_cannot_be_pickled_are_an_error_of_their_call(pool: WorkerPoolRunner) -> None:
    reply = get(pool, "add", a=lambda: 0, b=1)
    assert reply.outcome == "error"
    assert reply.why.startswith("its arguments cannot be sent to a worker: ")


def test_large_arguments_and_values_come_through(pool: WorkerPoolRunner) -> None:
    text = "x" * (8 << 20)
    assert get(pool, "add", a=text, b="y").value == text + "y"


def test_a_reward_may_print_as_much_as_it_likes(pool: WorkerPoolRunner, capfd: pytest.CaptureFixture[str]) -> None:
    assert get(pool, "shout", mebibytes=3).value == 3
    assert get(pool, "read_input").value == ""
    assert capfd.readouterr() == ("", "")


def test_a_reward_that_forks_itself_answers_once() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        assert [get(pool, "fork_and_return").value for _ in range(5)] == [0] * 5
        assert [get(pool, "add", a=n, b=0).value for n in range(5)] == list(range(5))


def test_an_alarm_or_a_thread_left_behind_does_not_strike_the_next_call() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        assert get(pool, "leave_alarm").outcome == get(pool, "leave_thread").outcome == "returned"
        assert get(pool, "sleep", seconds=0.2).outcome == "returned"
        assert get(pool, "core_limit").value == 0


def test_signals_from_the_terminal_do_not_reach_the_workers(pool: WorkerPoolRunner) -> None:
    worker = get(pool, "process_id").value
    assert len({os.getsid(0), os.getsid(worker)}) == 2
    assert os.getsid(parent_of(worker)) == os.getsid(worker)


def test_workers_live_on_between_calls_with_what_they_remember() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        assert [get(pool, "remember", number=n).value for n in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("then_hang", [False, True])
def test_processes_that_a_reward_started_end_with_its_worker(tmp_path: Path, then_hang: bool) -> None:
    file = tmp_path / "pids"
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        reply = get(pool, "leave_children", timeout_s=1.5, file=str(file), then_hang=then_hang)
        started = [int(pid) for pid in file.read_text().split()]
        assert len(started) == 3
        assert reply.outcome == ("timeout" if then_hang else "returned")
        if not then_hang:
            assert all(alive(pid) for pid in started)
            assert get(pool, "exit_at_once", code=0).outcome == "error"
        assert wait_until(lambda: not any(alive(pid) for pid in started))


def test_ten_thousand_calls_from_many_threads_each_get_their_own_reply(pool: WorkerPoolRunner) -> None:
    def ask_some(offset: int) -> list[bool]:
        numbers = random.Random(offset).sample(range(10**6), 1000)
        calls = [(number, submit(pool, "add", a=number, b=offset)) for number in numbers]
        return [call.result(HANG_S).value == number + offset for number, call in calls]

    with ThreadPoolExecutor(10) as threads:
        assert all(all(right) for right in threads.map(ask_some, range(10)))


def test_a_callback_may_submit_further_calls_and_close_may_be_called_from_one() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        second: Future[Future[CallResult]] = Future()
        submit(pool, "add", a=1, b=1).add_done_callback(lambda _: second.set_result(submit(pool, "add", a=2, b=2)))
        assert second.result(HANG_S).result(HANG_S).value == 4
        worker = get(pool, "process_id").value
        submit(pool, "add", a=1, b=1).add_done_callback(lambda _: pool.close())
        assert wait_until(lambda: not alive(worker))


def test_replies_do_not_depend_on_the_order_of_calls(pool: WorkerPoolRunner) -> None:
    calls: list[tuple[str, dict[str, Any], str]] = [("add", {"a": n, "b": n}, "returned") for n in range(200)]
    calls += [("fail", {"text": "x"}, "error"), ("exit_at_once", {"code": 1}, "error"), ("segfault", {}, "error")] * 5
    calls += [("sleep", {"seconds": 9}, "timeout")]
    for seed in (1, 2):
        random.Random(seed).shuffle(calls)
        replies = [(submit(pool, name, timeout_s=0.5, **arguments), name, arguments) for name, arguments, _ in calls]
        assert [reply.result(HANG_S).outcome for reply, _, _ in replies] == [outcome for _, _, outcome in calls]
        assert all(r.result().value == 2 * arguments["a"] for r, name, arguments in replies if name == "add")


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (hostile_rewards.load_nothing, r"ModuleNotFoundError: No module named 'sympi' \(hostile_rewards.py:\d+\)"),
        (hostile_rewards.load_forever, r"it took longer than 1 s: it was killed by SIGKILL.*"),
        (hostile_rewards.load_and_crash, r".*it was killed by SIGSEGV \(about to crash\)"),
        (hostile_rewards.load_and_exit, r"SystemExit: no license .*"),
    ],
)
def test_rewards_that_cannot_be_imported_are_one_clear_error(load: Callable[[], Functions], why: str) -> None:
    before, threads = children(os.getpid()), threading.active_count()
    with pytest.raises(PluginError) as caught:
        WorkerPoolRunner(load, workers=1, start_timeout_s=1.0 if load is hostile_rewards.load_forever else HANG_S)
    assert re.fullmatch(f"the rewards and metrics cannot be imported: {why}", str(caught.value)), str(caught.value)
    assert children(os.getpid()) == before
    assert threading.active_count() == threads


def test_a_load_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(PluginError, match="cannot be sent to a worker process"):
        WorkerPoolRunner(lambda: {}, workers=1)


def test_when_the_fork_server_is_killed_another_one_takes_over() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=2) as pool:
        worker = get(pool, "process_id").value
        parent = parent_of(worker)
        running = [submit(pool, "sleep", seconds=30) for _ in range(2)]
        waiting = [submit(pool, "add", a=n, b=1) for n in range(20)]
        assert wait_until(lambda: len(children(parent)) == 2)
        time.sleep(0.2)
        os.kill(parent, signal.SIGKILL)
        assert [reply.result(HANG_S).value for reply in waiting] == list(range(1, 21))
        assert {reply.result(HANG_S).outcome for reply in running} == {"error"}
        assert "killed by SIGKILL" in running[0].result().why
        assert not alive(worker)


def test_calls_of_a_worker_that_is_killed_before_it_begins_them_are_made_all_the_same() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        worker = get(pool, "process_id").value
        os.kill(worker, signal.SIGSTOP)
        replies = [submit(pool, "add", a=n, b=1) for n in range(3)]
        os.kill(worker, signal.SIGKILL)
        assert [reply.result(HANG_S).value for reply in replies] == [1, 2, 3]


def test_workers_that_all_die_as_they_start_are_given_up() -> None:
    with WorkerPoolRunner(hostile_rewards.load_unforkable, workers=2) as pool:
        reply = get(pool, "add", a=1, b=1)
        assert reply.why == "no worker process could start; the last one: its worker process exited with code 5"
        assert get(pool, "add", a=1, b=1).outcome == "error"


@pytest.mark.slow
def test_a_fork_server_that_keeps_dying_is_given_up() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=1) as pool:
        for _ in range(5):
            os.kill(parent_of(get(pool, "process_id").value), signal.SIGKILL)
            time.sleep(0.05)
        reply = get(pool, "add", a=1, b=1)
        assert reply.outcome == "error"
        assert "killed by SIGKILL" in reply.why


def test_closing_leaves_nothing_and_answers_everything() -> None:
    threads, files, before = threading.active_count(), hostile_rewards.open_files(), children(os.getpid())
    pool = WorkerPoolRunner(hostile_rewards.load, workers=2)
    workers = {get(pool, "process_id").value for _ in range(3)}
    calls = [submit(pool, "spin") for _ in range(2)] + [submit(pool, "add", a=1, b=1) for _ in range(10)]
    pool.close()
    pool.close()
    assert {call.result(0).outcome for call in calls} == {"error"}
    assert {call.result(0).why for call in calls} == {"the worker pool is closed"}
    assert get(pool, "add", a=1, b=1).why == "the worker pool is closed"
    assert not any(alive(worker) for worker in workers)
    assert (threading.active_count(), hostile_rewards.open_files()) == (threads, files)
    assert children(os.getpid()) == before


def test_closing_ends_the_workers_whether_or_not_the_last_report_was_read() -> None:
    bell, workers_bell = os.pipe()
    server = ForkServerProcess(pickled(hostile_rewards.load), workers_bell, None)
    assert select.select([server.control], [], [], HANG_S)[0]
    assert [frame.kind for frame in server.receive() or ()] == [READY]
    server.ready = True
    connection, theirs = socket.socketpair()
    with connection:
        with theirs:
            server.send(FORK, 1, theirs)
        assert select.select([server.control], [], [], HANG_S)[0]  # the worker's process id, which nobody reads
        assert server.end() == "it exited with code 0"
    for end in (bell, workers_bell):
        os.close(end)


def test_closing_does_not_wait_for_processes_that_the_trainer_started_meanwhile() -> None:
    pool = WorkerPoolRunner(hostile_rewards.load, workers=1)
    worker = get(pool, "process_id").value
    parent = pool._dispatcher._server
    assert parent is not None
    with subprocess.Popen(["sleep", "20"], pass_fds=[parent.control.fileno()]) as other:
        pool.close()
        assert other.poll() is None
        other.kill()
    assert not alive(worker)


@pytest.mark.slow
def test_two_hundred_deaths_leak_nothing() -> None:
    with WorkerPoolRunner(hostile_rewards.load, workers=2) as pool:
        assert get(pool, "add", a=1, b=1).value == 2
        parent = parent_of(get(pool, "process_id").value)
        counts = []
        for function, arguments in [("exit_at_once", {"code": 1}), ("sleep", {"seconds": 3600})] * 2:
            calls = [submit(pool, function, timeout_s=0.01, **arguments) for _ in range(50)]
            assert {call.result(HANG_S).outcome for call in calls} <= {"error", "timeout"}
            get(pool, "add", a=1, b=1)
            counts.append((hostile_rewards.open_files(), len(os.listdir(f"/proc/{parent}/fd"))))
        assert max(ours for ours, _ in counts) - min(ours for ours, _ in counts) <= 2  # a worker more or less
        assert len({theirs for _, theirs in counts}) == 1
        assert get(pool, "open_files").value < 12
        assert len(children(parent)) <= 2


TRAINER = """
import sys, time
sys.path[:0] = {path!r}
import hostile_rewards
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl.scoring.runner import FunctionCall
pool = WorkerPoolRunner(hostile_rewards.load, workers=2)
submit = lambda name, **arguments: pool.submit(FunctionCall(function=name, arguments=arguments, timeout_s=600))
print(submit("process_id").result().value, flush=True)
submit("leave_children", file={file!r}, then_hang=True)
submit("deaf")
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_when_the_trainer_dies_nothing_is_left(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / "pids"
    code = TRAINER.format(path=[str(Path(hostile_rewards.__file__).parent), *sys.path], file=str(file))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as trainer:
        assert trainer.stdout is not None
        parent = parent_of(int(trainer.stdout.readline()))
        assert wait_until(lambda: file.exists() and len(file.read_text().split()) == 3)
        everything = [parent, *children(parent), *map(int, file.read_text().split())]
        assert len(everything) == 6
        trainer.send_signal(how)
        trainer.wait(HANG_S)
    assert wait_until(lambda: not any(alive(pid) for pid in everything), seconds=5.0)


def test_importing_the_fork_server_imports_no_torch() -> None:
    imports = "import sys, reasonrl.scoring.workers.fork_server"
    code = f"{imports}; print(sorted({{'torch', 'transformers', 'vllm'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
