"""Servers and their supervisors: any program that answers stands for vLLM here."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from reasonrl.engines.vllm.replica import SUPERVISOR, LostError, RefusedError, Replica, ServerProcess, call
from reasonrl.errors import EngineError

ANSWERS = """
import http.server, os, signal, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"%d" % os.getpid())

child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print(f"child {child.pid}", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A server with a child, as vLLM's has; it answers with its process id."""

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print(f"child {child.pid}", flush=True)
time.sleep(600)
"""
"""A program that does not end when it is asked to, nor does its child."""

TRAINER = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), sys.executable, "-S", "-c", *sys.argv[2:]])
if os.fork():
    time.sleep(600)
time.sleep(3)  # what a trainer forked may outlive it
"""
"""Starts a server as we do, and forks."""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A server's log; whoever is named in it is ended after the test."""
    path = tmp_path / "server.log"
    yield path
    for process in _children(path):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _children(log: Path) -> list[int]:
    """The processes that servers said they started."""
    return [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("child ")]


def _server(log: Path, program: str = ANSWERS) -> ServerProcess:
    return ServerProcess(lambda port: [sys.executable, "-S", "-c", program, str(port)], {}, log)


def _replica(log: Path, program: str = ANSWERS, *, start_timeout_s: float = 20) -> Replica:
    return Replica("vLLM server 1", _server(log, program), "", start_timeout_s)


def _await(condition: Callable[[], object], *, within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _is_gone(process: int) -> bool:
    """Whether a process has ended, or is only waiting for whoever started it to notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _nothing() -> None:
    """What is checked while a server starts."""


def test_a_closed_server_leaves_nothing_behind(log: Path) -> None:
    replica = _replica(log)
    replica.launch()
    replica.wait_until_ready(_nothing)
    server = replica.get("/")
    replica.close()
    assert _is_gone(server)
    assert all(map(_is_gone, _children(log)))
    replica.close()


@pytest.mark.slow
def test_a_server_that_does_not_end_when_asked_is_killed(log: Path) -> None:
    server = _server(log, STUBBORN)
    server.launch()
    _await(lambda: _children(log))
    began = time.monotonic()
    server.terminate()
    assert 4 < time.monotonic() - began < 12
    assert all(map(_is_gone, _children(log)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_its_trainer(log: Path, number: signal.Signals) -> None:
    with log.open("w") as file:
        command = [sys.executable, "-S", "-c", TRAINER, str(SUPERVISOR), ANSWERS, "0"]
        trainer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    _await(lambda: _children(log))
    trainer.send_signal(number)
    trainer.wait(10)
    _await(lambda: all(map(_is_gone, _children(log))), within_s=2)


def test_a_server_ends_when_its_supervisor_is_killed(log: Path) -> None:
    replica = _replica(log)
    replica.launch()
    replica.wait_until_ready(_nothing)
    server = replica.get("/")
    supervisor = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    _await(lambda: _is_gone(server))
    replica.close()
    _await(lambda: all(map(_is_gone, _children(log))))


def test_the_supervisor_returns_what_the_server_returns() -> None:
    kept = [sys.executable, "-S", "-c", "raise SystemExit(7)"]
    command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), *kept]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 7


def test_a_supervisor_whose_trainer_is_gone_already_runs_nothing() -> None:
    command = [
        sys.executable,
        "-I",
        "-S",
        str(SUPERVISOR),
        "1",
        sys.executable,
        "-S",
        "-c",
        "import time; time.sleep(60)",
    ]
    began = time.monotonic()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 5


def test_a_server_that_ends_while_it_starts_is_an_error_with_its_first_error_and_its_log(log: Path) -> None:
    program = "print('loading'); raise ValueError('no such thing')"
    replica = _replica(log, program)
    replica.launch()
    with pytest.raises(EngineError) as caught:
        replica.wait_until_ready(_nothing)
    message = str(caught.value)
    assert "vLLM server 1 ended while it started (exit code 1). ValueError: no such thing" in message
    assert f"The end of {log}:" in message
    assert "    loading" in message
    assert replica.has_failed
    replica.close()


def test_a_server_that_does_not_answer_in_time_is_an_error(log: Path) -> None:
    replica = _replica(log, STUBBORN.replace("SIG_IGN", "SIG_DFL"), start_timeout_s=0.5)
    replica.launch()
    with pytest.raises(EngineError, match=r"did not answer within 0\.5 s \(vllm\.start_timeout_s\)"):
        replica.wait_until_ready(_nothing)
    replica.close()


def test_waiting_for_a_server_can_be_ended(log: Path) -> None:
    replica = _replica(log, STUBBORN.replace("SIG_IGN", "SIG_DFL"))
    replica.launch()

    def refuse() -> None:
        raise EngineError("sampling was aborted.")

    with pytest.raises(EngineError, match="aborted"):
        replica.wait_until_ready(refuse)
    replica.close()


@pytest.mark.slow
def test_a_lost_server_is_restarted_three_times_in_a_row(log: Path) -> None:
    replica = _replica(log)
    replica.launch()
    replica.wait_until_ready(_nothing)
    servers = [replica.get("/")]
    for _ in range(3):
        os.kill(servers[-1], signal.SIGKILL)
        replica.restart("killed", _nothing)
        servers.append(replica.get("/"))
    assert len(set(servers)) == 4
    assert replica.num_restarts == 3
    with pytest.raises(EngineError, match=rf"(?s)lost 4 times in a row\. At last: killed\..*The end of {log}"):
        replica.restart("killed", _nothing)
    replica.close()


@pytest.mark.slow
def test_a_server_that_answered_in_between_may_be_lost_again(log: Path) -> None:
    replica = _replica(log)
    replica.launch()
    for _ in range(4):
        replica.restart("killed", _nothing)
        replica.forget_losses()
    assert replica.num_restarts == 4
    replica.close()


def test_a_given_server_is_waited_for() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    replica = Replica("the vLLM server at x", None, f"http://127.0.0.1:{server.server_port}", 0.5)
    server.server_close()
    with pytest.raises(EngineError, match=r"did not answer within 0\.5 s.*where it was started"):
        replica.restart("gone", _nothing)


class _Healthy(BaseHTTPRequestHandler):
    """Answers that it is healthy."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_given_server_that_answers_but_is_lost_again_and_again_fails_permanently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reasonrl.engines.vllm.replica.PAUSE_S", 0.1)
    with _serving(_Healthy) as url:
        replica = Replica("the vLLM server at x", None, url, 0.5)
        for _ in range(4):  # more often than a server of ours
            replica.restart("hung up", _nothing)
        time.sleep(0.5)
        with pytest.raises(EngineError, match=r"lost 5 times in a row\. At last: hung up\."):
            replica.restart("hung up", _nothing)
        replica.forget_losses()
        replica.restart("hung up", _nothing)


class _Refusing(BaseHTTPRequestHandler):
    """Refuses as vLLM does."""

    def do_POST(self) -> None:
        self.send_response(400)
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "no such model", "code": 400}}')

    def do_GET(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server in a thread; give its address."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that refuses what is posted and hangs up on everything else."""
    with _serving(_Refusing) as url:
        yield url


def test_a_refusal_is_reported_in_the_servers_words(refusing: str) -> None:
    with pytest.raises(RefusedError, match=r"^HTTP status 400: no such model$"):
        call(f"{refusing}/v1/completions", {}, timeout_s=5)
    with pytest.raises(RefusedError, match=r"^it refused /v1/completions: HTTP status 400: no such model$"):
        Replica("it", None, refusing, 5).post("/v1/completions")


def test_a_server_that_hangs_up_is_lost(refusing: str) -> None:
    with pytest.raises(LostError):
        call(f"{refusing}/health", timeout_s=5)
    assert not Replica("it", None, refusing, 5).is_healthy()
