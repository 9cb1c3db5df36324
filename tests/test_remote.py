"""Async rewards on an event loop, against a real HTTP server that fails in the ways servers fail."""

import asyncio
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import web

from reasonrl.scoring.async_runner import AsyncRunner
from reasonrl.scoring.runner import CallResult, FunctionCall, Functions
from reasonrl.scoring.service import ServiceLimits

HANG_S = 60.0
"""What only a hang takes."""


class Server:
    """A judge that fails as the request asks; in a thread of its own."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.up = True
        self._started: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._started.result(HANG_S)}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app(), shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self._started.set_result(runner.addresses[0][1])
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{key}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        """Fail the first ``fails`` requests of a key with ``status`` (0: cut the connection), then answer 0.5."""
        key, submit = request.match_info["key"], request.query
        self.requests[key] += 1
        self.times.append(time.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(float(submit.get("sleep", 0)))
        finally:
            self.at_once -= 1
        if self.requests[key] <= int(submit.get("fails", 0)) or not self.up:
            if (status := int(submit.get("status", 503))) == 0:
                assert request.transport is not None
                request.transport.abort()
            headers = {"Retry-After": submit["after"]} if "after" in submit else {}
            return web.Response(status=status or 500, headers=headers)
        return web.json_response(0.5)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANG_S)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


async def judge(url: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(url, raise_for_status=True) as response:
        value: float = await response.json()
        return value


class StatusError(Exception):
    """As httpx raises it: the status is on the response."""

    def __init__(self, response: Any) -> None:
        super().__init__("no luck")
        self.response = response


async def judge_by_urllib(url: str) -> float:
    """Ask in a thread, and raise as httpx does."""
    try:
        with await asyncio.to_thread(urllib.request.urlopen, url) as response:
            return float(response.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise StatusError(error) from None


async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def block(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


async def block_inside(seconds: float) -> float:
    return (await asyncio.gather(block(seconds)))[0]


async def fail() -> NoReturn:
    raise KeyError("verdict")


async def leave() -> NoReturn:
    raise SystemExit(3)


class NoResponseError(Exception):
    """As httpx has it where a request got no response: to submit for it raises."""

    @property
    def response(self) -> NoReturn:
        raise RuntimeError("there is no response")


async def fail_without_response() -> NoReturn:
    raise NoResponseError


async def leave_inside() -> None:
    await asyncio.gather(leave())


async def cancel_itself() -> NoReturn:
    raise asyncio.CancelledError


async def give_up() -> NoReturn:
    raise TimeoutError("the judge's own client gave up")


cancelled: list[str] = []


async def note_cancellation() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        cancelled.append("noted")
        raise


async def ignore_cancellation() -> float:
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        try:
            await asyncio.sleep(until - time.monotonic())
        except asyncio.CancelledError:
            continue
    return 1.0


FUNCTIONS: Functions = {name: value for name, value in globals().items() if asyncio.iscoroutinefunction(value)}


def loop(*, max_blocked_s: float = 10.0, **limits: Any) -> AsyncRunner:
    return AsyncRunner(FUNCTIONS, dict.fromkeys(FUNCTIONS, ServiceLimits(**limits)), max_blocked_s=max_blocked_s)


def submit(loop: AsyncRunner, function: str, timeout_s: float = 20.0, **arguments: Any) -> "Future[CallResult]":
    return loop.submit(FunctionCall(function=function, arguments=arguments, timeout_s=timeout_s))


def get(loop: AsyncRunner, function: str, timeout_s: float = 20.0, **arguments: Any) -> CallResult:
    return submit(loop, function, timeout_s, **arguments).result(HANG_S)


def test_an_async_reward_asks_a_server_and_its_value_comes_back(server: Server) -> None:
    with loop() as judges:
        reply = get(judges, "judge", url=f"{server.url}/a")
    assert (reply.outcome, reply.value, reply.why) == ("returned", 0.5, "")
    assert reply.run_s > 0


def test_no_more_calls_run_at_once_than_the_limit_and_waiting_is_told_apart(server: Server) -> None:
    with loop(concurrency=3) as judges:
        replies = [submit(judges, "judge", timeout_s=10.0, url=f"{server.url}/{n}?sleep=0.2") for n in range(6)]
        assert [reply.result(HANG_S).value for reply in replies] == [0.5] * 6
    assert server.most_at_once == 3
    assert sum(reply.result().queue_s >= 0.19 for reply in replies) == 3


def test_waiting_for_a_slot_does_not_count_against_the_deadline() -> None:
    with loop(concurrency=1) as judges:
        replies = [submit(judges, "wait", timeout_s=0.8, seconds=0.3) for _ in range(5)]
        assert [reply.result(HANG_S).outcome for reply in replies] == ["returned"] * 5
        assert replies[-1].result().queue_s > 0.8


def test_requests_keep_to_their_rate(server: Server) -> None:
    with loop(per_minute=600) as judges:
        replies = [submit(judges, "judge", url=f"{server.url}/{n}") for n in range(6)]
        assert [reply.result(HANG_S).value for reply in replies] == [0.5] * 6
    assert server.times[-1] - server.times[0] >= 0.45


@pytest.mark.parametrize("function", ["judge", "judge_by_urllib"])
@pytest.mark.parametrize("status", [429, 503])
def test_what_a_server_may_do_better_next_time_is_tried_again(server: Server, function: str, status: int) -> None:
    with loop() as judges:
        assert get(judges, function, url=f"{server.url}/a?fails=2&status={status}").value == 0.5
    assert server.requests["a"] == 3


def test_a_cut_connection_is_tried_again(server: Server) -> None:
    with loop() as judges:
        assert get(judges, "judge", url=f"{server.url}/a?fails=1&status=0").value == 0.5
    assert server.requests["a"] == 2


@pytest.mark.parametrize("status", [400, 404])
def test_what_the_request_itself_got_wrong_is_not_tried_again(server: Server, status: int) -> None:
    with loop() as judges:
        reply = get(judges, "judge", url=f"{server.url}/a?fails=9&status={status}")
    assert reply.outcome == "error"
    assert f"ClientResponseError: {status}" in reply.why
    assert server.requests["a"] == 1


def test_tries_are_counted_and_the_last_failure_is_the_reason(server: Server) -> None:
    with loop(retries=2) as judges:
        reply = get(judges, "judge", url=f"{server.url}/a?fails=9&status=503")
    assert server.requests["a"] == 3
    assert reply.outcome == "error"
    assert reply.why.startswith("ClientResponseError: 503")
    assert "(test_remote.py:" in reply.why


def test_the_time_that_a_server_asks_for_is_kept(server: Server) -> None:
    with loop() as judges:
        assert get(judges, "judge", url=f"{server.url}/a?fails=1&status=429&after=1").value == 0.5
    assert server.times[1] - server.times[0] >= 0.95


def test_the_deadline_holds_for_all_tries_together(server: Server) -> None:
    with loop() as judges:
        reply = get(judges, "judge", timeout_s=0.5, url=f"{server.url}/a?fails=9&status=503&after=30")
    assert reply.outcome == "timeout"
    assert reply.why.startswith("ran longer than 0.5 s; try 1 failed: ClientResponseError: 503")
    assert server.requests["a"] == 1


def test_what_runs_past_its_deadline_is_cancelled_and_the_others_never_notice() -> None:
    cancelled.clear()
    with loop() as judges:
        slow = submit(judges, "note_cancellation", timeout_s=0.2)
        other = submit(judges, "wait", seconds=0.5)
        assert slow.result(HANG_S).outcome == "timeout"
        assert slow.result().run_s >= 0.2
        assert cancelled == ["noted"]
        assert other.result(HANG_S).value == 0.5


def test_what_ignores_its_cancellation_is_a_timeout_all_the_same() -> None:
    with loop() as judges:
        assert get(judges, "ignore_cancellation", timeout_s=0.2).outcome == "timeout"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("fail", "KeyError: 'verdict' (test_remote.py:"),
        ("leave", "RuntimeError: the function raised SystemExit"),
        ("cancel_itself", "CancelledError"),
        ("give_up", "TimeoutError: the judge's own client gave up"),
        ("fail_without_response", "NoResponseError"),
        ("nobody", "there is no async nobody"),
    ],
)
def test_what_a_reward_raises_is_an_error_of_its_call_alone(function: str, why: str) -> None:
    with loop(retries=1) as judges:
        reply = get(judges, function)
        assert reply.outcome == "error"
        assert reply.why.startswith(why)
        assert get(judges, "wait", seconds=0).outcome == "returned"


def test_a_reward_whose_own_task_exits_does_not_end_the_loop() -> None:
    with loop() as judges:
        assert get(judges, "leave_inside", timeout_s=1.0).outcome in ("error", "timeout")
        assert get(judges, "wait", seconds=0).outcome == "returned"


def test_a_service_that_is_down_is_left_alone_then_tried_by_one_call(server: Server) -> None:
    server.up = False
    with loop(retries=0, failures=3, pause_s=0.5, concurrency=1) as judges:
        url = f"{server.url}/a?status=503"
        replies = [submit(judges, "judge", url=url) for _ in range(20)]
        why = [reply.result(HANG_S).why for reply in replies]
        assert server.requests["a"] == 3
        assert all(text.startswith("ClientResponseError: 503") for text in why[:3])
        assert why[3].startswith("not asked, because 3 calls in a row failed, the last one with: ClientResponseError")
        assert get(judges, "wait", seconds=0).outcome == "returned"  # another reward's service is up
        time.sleep(0.6)
        assert get(judges, "judge", url=url).why.startswith("ClientResponseError: 503")
        assert get(judges, "judge", url=url).why.startswith("not asked")
        assert server.requests["a"] == 4
        server.up = True
        time.sleep(0.6)
        assert [get(judges, "judge", url=url).value for _ in range(3)] == [0.5] * 3


def test_only_one_call_tries_a_service_that_was_down(server: Server) -> None:
    server.up = False
    with loop(retries=0, failures=1, pause_s=0.3) as judges:
        assert get(judges, "judge", url=f"{server.url}/a").outcome == "error"
        time.sleep(0.4)
        replies = [submit(judges, "judge", url=f"{server.url}/b?sleep=0.2") for _ in range(4)]
        assert sum(reply.result(HANG_S).why.startswith("not asked") for reply in replies) == 3
    assert server.requests["b"] == 1


def test_a_service_that_never_answers_is_left_alone_too(server: Server) -> None:
    with loop(failures=2, concurrency=1) as judges:
        url = f"{server.url}/a?sleep=30"
        replies = [submit(judges, "judge", timeout_s=0.2, url=url).result(HANG_S) for _ in range(6)]
    assert [reply.outcome for reply in replies] == ["timeout"] * 2 + ["error"] * 4
    assert "ran longer than 0.2 s" in replies[-1].why


def test_a_port_where_nobody_listens_is_an_error_that_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a"
        with loop(retries=1) as judges:
            reply = get(judges, "judge", url=url)
    assert reply.outcome == "error"
    assert reply.why.startswith("ClientConnectorError: Cannot connect to host 127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize("function", ["block", "block_inside"])
def test_a_coroutine_that_blocks_the_loop_is_named_and_nobody_waits_for_it(function: str) -> None:
    with loop(max_blocked_s=0.9) as judges:
        other = submit(judges, "wait", seconds=0.5)
        blocking = submit(judges, function, seconds=2.5)
        assert not blocking.done()
        for reply in (other.result(HANG_S), blocking.result(HANG_S)):
            assert reply.outcome == "error"
            assert "has blocked the event loop for 1." in reply.why
            assert "test_remote.py:" in reply.why
            assert ("the async block" in reply.why) == (function == "block")
        assert "has blocked" in get(judges, "wait", seconds=0).why
        deadline = time.monotonic() + HANG_S
        while get(judges, "wait", seconds=0).outcome == "error" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert get(judges, "wait", seconds=0).outcome == "returned"


def test_a_timeout_that_another_coroutine_caused_names_it() -> None:
    with loop() as judges:
        other = submit(judges, "wait", timeout_s=1.0, seconds=1.2)
        submit(judges, "block", seconds=1.8)
        assert other.result(HANG_S).outcome == "timeout"
        assert "the async block (at test_remote.py:" in other.result().why


def test_closing_cancels_what_runs_answers_everything_and_ends_the_threads(server: Server) -> None:
    cancelled.clear()
    threads = threading.active_count()
    judges = loop(concurrency=1)
    replies = [submit(judges, "note_cancellation") for _ in range(3)]
    replies.append(submit(judges, "judge", url=f"{server.url}/a?sleep=30"))
    assert not replies[0].done()
    time.sleep(0.3)
    judges.close()
    judges.close()
    assert [reply.result(0).why for reply in replies] == ["the event loop of the async functions is closed"] * 4
    assert cancelled == ["noted"]
    assert get(judges, "wait", seconds=0).why == "the event loop of the async functions is closed"
    assert threading.active_count() == threads
