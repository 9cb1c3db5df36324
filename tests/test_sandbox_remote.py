"""Programs on other machines: our server as clients meet it, and our client when servers fail, or are SandboxFusion."""

import asyncio
import base64
import gzip
import json
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from leftovers import descendants
from sandbox_servers import HANG_S, FusionLike, LosesReplies, Replies, Served, free_port, served
from sandboxes import needs
from typer.testing import CliRunner

from reasonrl.errors import ConfigError, SandboxError
from reasonrl_sandbox import (
    AssertTests,
    CallTests,
    Case,
    Program,
    ProgramLimits,
    RemoteSandbox,
    Sandbox,
    SandboxSpec,
    StdioCase,
    StdioTests,
    Tests,
    admission,
    bodies,
    http_client,
    judge,
    remote,
    serve,
)
from reasonrl_sandbox.command_line import app
from reasonrl_sandbox.sandboxfusion import as_request

SLEEPS = Program("import time; time.sleep(0.5); print('awake')", limits=ProgramLimits(cpu_s=1.0))
ADDS = CallTests("add", (Case((2, 3), expected=5), Case((-4, 4), expected=0)))


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--slots", "2", "--isolation", "basic") as server:
        yield server


@pytest.fixture(scope="module")
def sandbox(server: Served) -> Iterator[RemoteSandbox]:
    with RemoteSandbox(server.url) as sandbox:
        yield sandbox


# ---- ours to ours


def test_programs_run_there_as_they_do_here(sandbox: RemoteSandbox) -> None:
    futures = [sandbox.submit(Program(f"print(input(), {index})", stdin=b"read")) for index in range(30)]
    assert [future.result(HANG_S).stdout for future in futures] == [f"read {index}\n" for index in range(30)]


def test_answers_are_judged_here_in_every_form(sandbox: RemoteSandbox) -> None:
    right = "def add(a, b):\n    return a + b"
    forms: list[Tests] = [ADDS, AssertTests("add", "for n in range(3):\n    assert add(n, 1) == n + 1")]
    assert [judge(sandbox, right, tests).outcome for tests in forms] == ["passed", "passed"]
    assert [judge(sandbox, "import os; os._exit(0)", tests).passed for tests in forms] == [0, 0]


def test_the_report_is_that_of_the_server_and_names_it(server: Served, sandbox: RemoteSandbox) -> None:
    report = sandbox.report()
    assert report.level == "basic"
    assert server.url in report.layers["remote"]
    assert judge(sandbox, "def add(a, b): pass", ADDS).isolation == "basic"


def test_a_server_below_the_required_isolation_is_refused(server: Served) -> None:
    with pytest.raises(SandboxError, match="isolation container is required, it has basic"):
        RemoteSandbox(server.url, require="container")
    message = {"programs": [{"source": "print(1)"}], "require": "container"}  # one that was replaced since
    status, reply, _ = server.ask("/v1/run", message)
    assert status == 412
    assert "this server has basic" in reply["message"]


def test_what_a_program_does_wrong_is_its_own_outcome(sandbox: RemoteSandbox) -> None:
    programs = ["1 / 0", "def", "while True: pass", "x = '\ud800'"]
    endings = [
        sandbox.submit(Program(source, limits=ProgramLimits(cpu_s=0.3))).result(HANG_S).ending for source in programs
    ]
    assert endings == ["runtime_error", "compile_error", "timeout", "compile_error"]


def test_limits_that_a_server_does_not_allow_are_no_fault_of_the_program(sandbox: RemoteSandbox) -> None:
    execution = sandbox.run(Program("print(1)", limits=ProgramLimits(memory_mib=10**9)))
    assert execution.ending == "sandbox_error"
    assert "limits.memory_mib is 1000000000" in execution.detail


def test_a_request_that_is_sent_again_does_not_run_again(server: Served) -> None:
    message = {"programs": [{"source": "import time; print(time.time_ns())"}]}
    again = {"Idempotency-Key": "the same"}
    with ThreadPoolExecutor() as threads:
        first, second = threads.map(lambda _: server.ask("/v1/run", message, again)[1], range(2))
    assert first == second == server.ask("/v1/run", message, again)[1]
    assert server.ask("/v1/run", message, {"Idempotency-Key": "another"})[1] != first
    status, reply, _ = server.ask("/v1/run", {"programs": [{"source": ""}]}, again)
    assert status == 422
    assert "another request" in reply["message"]


def test_a_lost_reply_is_asked_for_again_and_the_program_does_not_run_twice(server: Served) -> None:
    with LosesReplies(server.url, losses=2) as proxy, RemoteSandbox(proxy.url) as sandbox:
        execution = sandbox.run(Program("import time; print(time.time_ns())"))
        assert [json.loads(body)["executions"][0]["stdout"] for body in proxy.lost] == [execution.stdout] * 2


@pytest.mark.slow
def test_a_full_server_says_so_and_the_client_waits_its_turn(server: Served) -> None:
    sleeping = {"programs": [{"source": SLEEPS.source}] * 2 + [{"source": ""}] * 8}
    with ThreadPoolExecutor() as threads, RemoteSandbox(server.url) as sandbox:
        running = threads.submit(server.ask, "/v1/run", sleeping)
        time.sleep(0.2)
        status, reply, headers = server.ask("/v1/run", {"programs": [{"source": ""}]})
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "10 programs run or wait" in reply["message"]
        assert sandbox.run(Program("print('came later')")).stdout == "came later\n"
        assert running.result(HANG_S)[0] == 200
    assert server.ask("/v1/run", {"programs": [{"source": ""}] * 11})[0] == 413


@pytest.mark.slow
def test_a_killed_server_costs_nothing_while_another_is_up_and_errors_of_the_sandbox_when_none_is() -> None:
    with (
        served("--slots", "1", "--isolation", "basic") as first,
        served("--slots", "1", "--isolation", "basic") as second,
        RemoteSandbox([first.url, second.url], outage_timeout_s=1.0) as sandbox,
    ):
        programs = [Program(f"import time; time.sleep(0.05); print({index})") for index in range(30)]
        futures = [sandbox.submit(program) for program in programs]
        futures[3].result(HANG_S)
        left = descendants(first.process.pid)
        first.process.kill()
        assert [future.result(HANG_S).stdout for future in futures] == [f"{index}\n" for index in range(30)]
        assert left
        assert gone(left)

        futures = [sandbox.submit(program) for program in programs]
        futures[3].result(HANG_S)
        second.process.kill()
        killed_at = time.monotonic()
        executions = [future.result(HANG_S) for future in futures]
        assert time.monotonic() - killed_at < HANG_S / 2
        assert {execution.ending for execution in executions} == {"finished", "sandbox_error"}
        for index, execution in enumerate(executions):
            assert execution.stdout == ("" if execution.ending == "sandbox_error" else f"{index}\n")
        with pytest.raises(SandboxError, match="no sandbox server answers"):
            RemoteSandbox([first.url, second.url])


@pytest.mark.slow
def test_a_server_that_comes_up_later_is_learnt_before_its_first_program() -> None:
    needs("container")
    port = free_port()
    with served("--slots", "1", "--isolation", "container") as first:
        urls = [first.url, f"http://127.0.0.1:{port}"]
        with RemoteSandbox(urls) as any_level, RemoteSandbox(urls, require="container") as container:
            assert any_level.report().level == "container"
            with served("--slots", "1", "--isolation", "basic", "--port", str(port)):
                futures = [sandbox.submit(Program("print(1)")) for sandbox in 4 * (any_level, container)]
                assert [future.result(HANG_S).stdout for future in futures] == ["1\n"] * 8
            assert any_level.report().level == "basic"
            assert container.report().level == "container"


ENDED = {"ending": "finished", "stdout": "hi"}


def reply_of(*executions: object) -> bytes:
    return json.dumps({"executions": executions}).encode()


@pytest.mark.parametrize(
    "reply",
    [
        reply_of(),
        reply_of(ENDED, ENDED),
        reply_of({**ENDED, "cpu_s": float("inf")}),
        reply_of({**ENDED, "wall_s": float("nan")}),
        reply_of({**ENDED, "answers": "no base64!"}),
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_reply_that_is_none_is_an_error_of_the_sandbox(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_RETRIES", 0)
    with Replies(reply) as server, RemoteSandbox(server.url) as sandbox:
        execution = sandbox.submit(Program("")).result(HANG_S)
    assert execution.ending == "sandbox_error"
    assert execution.detail == f"{server.url}: the reply to /v1/run is not what it should be"


def test_files_of_sandboxfusion_that_are_no_base64_are_an_error_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_RETRIES", 0)
    result = {"status": "Finished", "return_code": 0}
    reply = {
        "status": "Success",
        "run_result": result,
        "files": dict.fromkeys(as_request(Program("")).fetch_files, "a"),
    }
    with (
        Replies(json.dumps(reply).encode()) as server,
        pytest.raises(SandboxError, match="the reply to /run_code is not what it should be"),
    ):
        RemoteSandbox(server.url, protocol="sandboxfusion")


@pytest.mark.parametrize("slots", [0, -1, 10**9, 10**30, "many"])
def test_a_server_with_slots_that_cannot_be_is_refused(slots: object) -> None:
    with Replies(slots=slots) as server, pytest.raises(SandboxError, match="/v1/report is not what it should be"):
        RemoteSandbox(server.url)


def test_a_reply_is_not_inflated_and_one_that_is_too_long_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "MAX_RETRIES", 0)
    zipped = gzip.compress(reply_of(ENDED))
    with Replies(zipped, Content_Encoding="gzip") as server, RemoteSandbox(server.url) as sandbox:
        assert "not what it should be" in sandbox.run(Program("")).detail
    monkeypatch.setattr(http_client, "MAX_REPLY", 1 << 20)
    with Replies(b" " * (4 << 20)) as server, RemoteSandbox(server.url) as sandbox:
        assert "the reply to /v1/run is longer than 1 MiB" in sandbox.run(Program("")).detail


@pytest.mark.parametrize("pause", ["0", "1000000000", "9" * 400, "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_always_busy_is_given_up(status: int, pause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_PAUSE_S", 0.1)
    monkeypatch.setattr(remote, "BACK_OFF", lambda _: 0.1)
    with (
        Replies(b"{}", status=status, Retry_After=pause) as server,
        RemoteSandbox(server.url, outage_timeout_s=0.2) as sandbox,
    ):
        execution = sandbox.submit(Program("")).result(HANG_S / 10)
    assert execution.ending == "sandbox_error"
    assert f"HTTP {status}" in execution.detail


def gone(pids: Iterable[int]) -> bool:
    """Wait for processes to be gone; those that only wait to be reaped are."""
    deadline = time.monotonic() + HANG_S
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_closing_gives_up_what_is_under_way_and_hangs_up(server: Served) -> None:
    sandbox = RemoteSandbox(server.url)
    futures = [sandbox.submit(SLEEPS) for _ in range(20)]
    sandbox.close()
    assert {future.result(HANG_S).ending for future in futures} == {"sandbox_error"}
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        sandbox.submit(SLEEPS)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://host",
        "http://",
        "nonsense",
        "http://host:99999",
        "http://host..name",
        "http://host/?a=b",
        "http://name:\u20ac@host",
        "http://[::1",
    ],
)
def test_what_is_no_url_of_a_server_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigError, match="write http://HOST:PORT"):
        RemoteSandbox(url)


# ---- who may come in


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_a_token_is_required_before_anything_starts(host: str) -> None:
    refused = CliRunner().invoke(app, ["serve", "--host", host])
    assert isinstance(refused.exception, ConfigError)
    assert f"--host {host}: others could run programs here" in str(refused.exception)
    assert "--token-file FILE" in str(refused.exception)


def test_with_a_token_nobody_else_comes_in_and_ctrl_c_leaves_nothing() -> None:
    with served("--slots", "1", "--isolation", "basic", token="right") as server:
        basic = base64.b64encode(b"anybody:right").decode()
        shown = ["", "Bearer wrong", "Bearer righ", "Basic !", "right", "Bearer right", f"Basic {basic}"]
        statuses = [server.ask("/v1/report", headers={"Authorization": token})[0] for token in shown]
        assert statuses == [401, 401, 401, 401, 401, 200, 200]
        assert server.ask("/run_code", {"code": "print(1)"})[0] == 401
        assert server.ask("/healthz")[0] == 200
        with pytest.raises(SandboxError, match="REASONRL_SANDBOX_TOKEN"):
            RemoteSandbox(server.url, token="wrong")
        with RemoteSandbox(server.url, token="right") as sandbox:
            assert sandbox.run(Program("print(1)")).stdout == "1\n"
            under_way = sandbox.submit(Program("import time; time.sleep(30)", limits=ProgramLimits(wall_s=60.0)))
            time.sleep(0.3)
            processes = descendants(server.process.pid)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(HANG_S) == 0
            assert processes
            assert gone(processes)
            assert not under_way.done()


def test_a_token_is_the_same_with_and_without_the_end_of_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("right\n")
    with served("--slots", "1", "--isolation", "basic", "--token-file", str(tmp_path / "token")) as server:
        monkeypatch.setenv("REASONRL_SANDBOX_TOKEN", "right\r\n")
        with RemoteSandbox(server.url) as sandbox:
            assert sandbox.run(Program("print(1)")).stdout == "1\n"
        with RemoteSandbox(server.url, token=" right ") as sandbox:
            assert sandbox.report().level == "basic"
        with pytest.raises(ConfigError, match="its URL has a name or password, and there is a token"):
            RemoteSandbox(server.url.replace("http://", "http://name:right@"))
        monkeypatch.delenv("REASONRL_SANDBOX_TOKEN")
        with RemoteSandbox(server.url.replace("http://", "http://name:right@")) as sandbox:
            assert "right" not in sandbox.report().layers["remote"]


@pytest.mark.parametrize("token", ["", "\n", "two\nlines", "\u20ac"])
def test_what_no_header_can_hold_is_no_token(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="token: the token is empty or holds something other than"):
        RemoteSandbox("http://127.0.0.1:9", token=token)
    monkeypatch.setenv("REASONRL_SANDBOX_TOKEN", token)
    with pytest.raises(ConfigError, match="REASONRL_SANDBOX_TOKEN: the token is empty"):
        RemoteSandbox("http://127.0.0.1:9")
    refused = CliRunner().invoke(app, ["serve"])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception).startswith("REASONRL_SANDBOX_TOKEN: ")


@pytest.mark.slow
def test_connections_that_say_nothing_do_not_stop_the_server() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))  # for the server, which inherits it
    with ExitStack() as stack:
        try:
            server = stack.enter_context(served("--slots", "1", "--isolation", "basic", token="right"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sandbox = stack.enter_context(RemoteSandbox(server.url, token="right"))
        under_way = sandbox.submit(SLEEPS)
        time.sleep(0.2)
        host, _, port = server.url.removeprefix("http://").partition(":")
        for index in range(300):
            stranger = stack.enter_context(socket.create_connection((host, int(port)), timeout=HANG_S))
            stranger.sendall(b"POST /v1/run HTTP/1.1\r\nHost: a\r\n" if index % 2 else b"")
        assert under_way.result(HANG_S).stdout == "awake\n"
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 300  # of 400; the strangers alone have 300
        assert server.ask("/healthz")[0] == 200
        assert sandbox.run(Program("print(1)")).stdout == "1\n"


def test_a_compressed_request_is_not_inflated(server: Served) -> None:
    zipped = gzip.compress(b'{"programs": [{"source": ""}]}')
    status, reply, _ = server.ask("/v1/run", zipped, {"Content-Encoding": "gzip"})
    assert status == 415
    assert "without Content-Encoding" in reply["message"]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.2)

    async def status() -> int:
        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(HANG_S)

        with Sandbox("basic", slots=1) as sandbox:
            app = serve._application(sandbox, None, admission.ConnectionLimiter(), bodies.BodyReader())
            async with TestServer(app) as server, ClientSession() as session:
                headers = {"Content-Type": "application/json"}
                return (await session.post(server.make_url("/v1/run"), data=never(), headers=headers)).status

    assert asyncio.run(status()) == 408


def test_a_port_in_use_is_one_message(server: Served) -> None:
    port = server.url.rpartition(":")[2]
    refused = CliRunner().invoke(app, ["serve", "--isolation", "basic", "--slots", "1", "--port", port])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception).startswith(f"cannot listen on 127.0.0.1 port {port}: ")


@pytest.mark.parametrize(
    ("path", "message", "status", "why"),
    [
        ("/run_code", {"code": "", "language": "cpp"}, 400, "'cpp' is not served here"),
        ("/run_code", {"language": "python"}, 400, "code: Field required"),
        ("/run_code", {"code": "", "retries": 3}, 400, "retries: Extra inputs"),
        ("/run_code", {"code": "", "run_timeout": 1e9}, 400, "cpu_s is"),
        ("/run_code", {"code": "", "run_timeout": -1}, 400, "cpu_s is"),
        ("/v1/run", {"programs": [{"source": "", "limits": {"memory_mib": 0}}]}, 400, "memory_mib is 0: use a"),
        ("/run_code", {"code": "", "files": {"a": "no base64!"}}, 400, "not base64"),
        ("/v1/run", {"programs": []}, 400, "programs"),
        ("/v1/run", {"programs": [{"source": "", "tests": []}]}, 400, "programs.0.tests: Unexpected"),
        ("/v1/run", b"[", 400, "Invalid JSON"),
        ("/v1/run", b" " * (9 << 20), 413, "longer than 8 MiB"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(
    server: Served, path: str, message: object, status: int, why: str
) -> None:
    got, reply, _ = server.ask(path, message)
    assert (got, reply["status"]) == (status, "SandboxError")
    assert why in reply["message"]


def test_a_web_page_cannot_have_its_visitors_run_programs(server: Served) -> None:
    assert server.ask("/run_code", {"code": "print(1)"}, {"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../out", "", ".", "a/", "a\0b"])
def test_files_outside_the_work_folder_are_refused(server: Served, path: str) -> None:
    for asked in ({"files": {path: ""}}, {"fetch_files": [path]}):
        status, reply, _ = server.ask("/run_code", {"code": "", **asked})
        assert status == 400
        assert "must be relative" in reply["message"]


# ---- clients of SandboxFusion


def as_verl_asks(code: str, stdin: str | None, timeout_s: int = 10) -> dict[str, object]:
    """Return the request that verl's sandbox_fusion reward sends."""
    return {
        "compile_timeout": timeout_s,
        "run_timeout": timeout_s,
        "code": code,
        "stdin": stdin,
        "memory_limit_MB": 1024,
        "language": "python",
        "files": {},
        "fetch_files": [],
    }


def test_a_request_of_verl_gets_the_reply_that_it_reads(server: Served) -> None:
    _, right, _ = server.ask("/run_code", as_verl_asks("print(int(input()) + 1)", "41\n"))
    assert right["status"] == "Success"
    assert right["compile_result"] is None
    assert right["run_result"].pop("execution_time") > 0
    assert right["run_result"] == {"status": "Finished", "return_code": 0, "stdout": "42\n", "stderr": ""}
    _, raised, _ = server.ask("/run_code", as_verl_asks("1 / 0", None))
    assert (raised["status"], raised["run_result"]["status"]) == ("Failed", "Finished")
    assert raised["run_result"]["return_code"] != 0
    assert "ZeroDivisionError" in raised["run_result"]["stderr"]
    _, late, _ = server.ask("/run_code", as_verl_asks("while True: pass", None, 1))
    assert (late["status"], late["run_result"]["status"]) == ("Failed", "TimeLimitExceeded")
    assert late["run_result"]["return_code"] is None


def test_files_go_in_and_come_back(server: Served) -> None:
    code = "text = open('in/a.txt').read()\nopen('b', 'w').write(text * 2)\nraise SystemExit(3)"
    files = {"in/a.txt": base64.b64encode(b"hello").decode(), "left_out": None}
    _, reply, _ = server.ask("/run_code", {"code": code, "files": files, "fetch_files": ["b", "missing"]})
    assert {name: base64.b64decode(text) for name, text in reply["files"].items()} == {"b": b"hellohello"}
    assert reply["status"] == "Failed"


# ---- servers of SandboxFusion


@pytest.fixture(scope="module")
def fusion() -> Iterator[FusionLike]:
    with FusionLike() as server:
        yield server


@pytest.fixture(scope="module")
def stranger(fusion: FusionLike) -> Iterator[RemoteSandbox]:
    with RemoteSandbox(fusion.url, protocol="sandboxfusion") as sandbox:
        yield sandbox


def test_answers_come_from_sandboxfusion_as_from_here(stranger: RemoteSandbox) -> None:
    programs = {
        "def add(a, b):\n    print('x' * 300_000)\n    return a + b": "passed",
        "def add(a, b):\n    return 5": "failed",
        "def add(a, b):\n    return type('Yes', (), {'__eq__': lambda *_: True})()": "failed",
        "import os; os._exit(0)": "runtime_error",
        "print('PASSED')\nraise SystemExit(0)": "runtime_error",
        "def sub(a, b): ...": "no_entry",
        "def add(a, b": "compile_error",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "runtime_error",
    }
    assert {source: judge(stranger, source, ADDS).outcome for source in programs} == programs


@pytest.mark.slow
def test_output_from_sandboxfusion_is_whole_and_limits_hold(stranger: RemoteSandbox) -> None:
    double = StdioTests((StdioCase("y" * 300_000, "y" * 600_000),))
    assert judge(stranger, "print(2 * input())", double).outcome == "passed"
    endless = ["while True: pass", "import time; time.sleep(30)"]
    late = [stranger.submit(Program(source, limits=ProgramLimits(cpu_s=1.0, wall_s=3.0))) for source in endless]
    assert [future.result(HANG_S).ending for future in late] == ["timeout"] * 2
    assert stranger.run(Program("print('x' * 2_000_000)")).ending == "output_limit"


def test_what_sandboxfusion_cannot_promise_is_not_claimed(fusion: FusionLike, stranger: RemoteSandbox) -> None:
    assert stranger.report().level == "unverified"
    assert judge(stranger, "", ADDS).isolation == "unverified"
    with pytest.raises(ConfigError, match="isolation basic is required, but SandboxFusion servers do not report"):
        SandboxSpec("basic", urls=(fusion.url,), protocol="sandboxfusion").open()
    with pytest.raises(SandboxError, match="could read them"):
        judge(stranger, "", AssertTests("add", "for n in range(3):\n    assert add(n, 1) == n + 1"))


def test_programs_go_to_sandboxfusion_only_where_that_was_said(fusion: FusionLike) -> None:
    with closing(SandboxSpec(urls=(fusion.url,), protocol="sandboxfusion").open()) as place:
        assert judge(place, "def add(a, b):\n    return a + b", ADDS).outcome == "passed"
        assert place.report().level == "unverified"
    with pytest.raises(ConfigError, match="protocol sandboxfusion is for servers: name them in urls"):
        SandboxSpec(protocol="sandboxfusion").open()


def test_the_token_of_our_servers_is_not_shown_to_sandboxfusion(
    fusion: FusionLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REASONRL_SANDBOX_TOKEN", "ours")
    with RemoteSandbox(fusion.url, protocol="sandboxfusion") as sandbox:
        assert sandbox.run(Program("print(1)")).stdout == "1\n"
    assert set(fusion.tokens) == {""}


def test_an_error_inside_the_sandbox_is_tried_again(fusion: FusionLike, stranger: RemoteSandbox) -> None:
    fusion.failing = 2
    assert stranger.run(Program("print(1)")).stdout == "1\n"


@pytest.mark.slow  # it waits longer before each try
def test_an_error_inside_the_sandbox_is_no_fault_of_the_program(fusion: FusionLike, stranger: RemoteSandbox) -> None:
    fusion.failing = 10**6
    before = fusion.requests["/run_code"]
    execution = stranger.run(Program("print(1)"))
    fusion.failing = 0
    assert (execution.ending, fusion.requests["/run_code"] - before) == ("sandbox_error", 4)
    assert "no space left" in execution.detail
