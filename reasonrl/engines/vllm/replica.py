"""One vLLM server: started, watched and ended by the run, or given by its address."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPHandler, ProxyHandler, Request, build_opener

from reasonrl.errors import EngineError
from reasonrl.system import supervise

SUPERVISOR = Path(supervise.__file__)
"""The program that runs a server and ends it with this process."""

POLL_S = 0.2
"""Seconds between checks of a server that is starting."""

HEALTH_TIMEOUT_S = 5.0
"""Longest time for the answer that a server is healthy."""

MIN_CALL_TIMEOUT_S = 600.0
"""Longest time for any other answer, at least: to load weights may take minutes."""

END_TIMEOUT_S = 15.0
"""Longest time for a supervisor to end its server; it kills after a third of that."""

MAX_RESTARTS = 3
"""Times in a row that a lost server of the run's is restarted."""

PAUSE_S = 1.0
"""Seconds before a given server is used again that answers and is lost at once: it may be shutting down."""

MAX_SILENCE_S = 60
"""Seconds without a sign of the other machine after which a connection is given up: a link may be down for less."""

PROBE_EVERY_S = 5
"""Seconds between signs that an idle connection asks of the other machine."""

LOG_LINES = 15
"""Lines of a server's log that an error shows."""

CAUSE = re.compile(r"\b(?:[A-Z]\w*(?:Error|Exception|Interrupt): .+|error: .+)")
"""What a server's log calls an error."""


def watch_connection(connection: socket.socket) -> None:
    """Have a connection fail when the other machine is silent for long, also while nothing is expected of it.

    The system asks for signs of life, so a server that computes for hours is not taken for one that is gone.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, MAX_SILENCE_S // PROBE_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, MAX_SILENCE_S * 1000)


class _WatchedConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        watch_connection(self.sock)


class _WatchedHandler(HTTPHandler):
    def http_open(self, req: Request) -> Any:  # Any: urllib's own response
        return self.do_open(_WatchedConnection, req)


_opener = build_opener(ProxyHandler({}), _WatchedHandler())


class LostError(EngineError):
    """A server does not answer."""


class RefusedError(EngineError):
    """A server answered with an error."""


def call(url: str, body: Mapping[str, object] | None = None, *, timeout_s: float) -> Any:
    """GET an address, or POST to it where there is a body, and return the answer. Any: JSON, or None.

    Raises:
        LostError: there was no answer.
        RefusedError: the answer is an error.
    """
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    try:
        with _opener.open(request, timeout=timeout_s) as answer:
            text, is_json = answer.read(), answer.headers.get_content_type() == "application/json"
    except HTTPError as error:
        with error:
            raise RefusedError(refusal(error.code, error.read().decode(errors="replace"))) from None
    except (OSError, HTTPException) as error:
        raise LostError(str(error) or type(error).__name__) from None
    return json.loads(text) if text and is_json else None


def refusal(status: int, answer: str) -> str:
    """Return why vLLM refuses; its answer is JSON, or the text of whatever answers in its place."""
    with suppress(ValueError, KeyError, TypeError):
        answer = str(json.loads(answer)["error"]["message"])
    return f"HTTP status {status}: {answer.strip()[:500]}"


class ServerProcess:
    """A server that the run starts, with its supervisor; what it prints goes to a file.

    Args:
        command: starts the server on a port.
        environment: replaces variables of this process.
        log: what the server prints is added to this file.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._command = command
        self._environment = {**os.environ, **environment}
        self._supervisor: subprocess.Popen[str] | None = None
        self._group = 0
        self._log_start = 0

    def launch(self) -> str:
        """Start the server on a free port; return its address."""
        port = _free_port()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), *self._command(port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as output:
            self._group = int(output.readline())
        return f"http://127.0.0.1:{port}"

    @property
    def exit_code(self) -> int | None:
        """What the server returned, or None while it runs."""
        return None if self._supervisor is None else self._supervisor.poll()

    def terminate(self) -> None:
        """End the server and everything that came of it; return when nothing is left."""
        if self._supervisor is None:
            return
        self._supervisor.terminate()
        try:
            code = self._supervisor.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            code = self._supervisor.wait()
        if code < 0:  # the supervisor was killed before it could do its work
            with suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
        self._supervisor = None

    def log_tail(self) -> str:
        """Return the first error in the log since the last start, and the last lines."""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        found = CAUSE.search(text)
        shown = "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:])
        return f"{found.group() if found else ''}\nThe end of {self.log}:\n{shown}".lstrip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Replica:
    """A server that samples: its address, whether it answers, and how it is restarted when it is lost.

    Args:
        name: what messages call it.
        process: starts it, where the run does.
        url: its address, where it was given.
        start_timeout_s: longest time until it answers.
    """

    def __init__(self, name: str, process: ServerProcess | None, url: str, start_timeout_s: float) -> None:
        self.name = name
        self.url = url
        self.model = ""
        """The name by which it serves the model."""
        self.max_model_len = 0
        """Most tokens of a prompt with its completion."""
        self.policy_version = 0
        """Of the weights that it samples with."""
        self.num_restarts = 0
        self.is_given = process is None
        """Whether somebody else started it."""
        self.has_failed = False
        """Whether it did not start, or failed permanently: then its log is worth keeping."""
        self._process = process
        self._start_timeout_s = start_timeout_s
        self._began = 0.0
        self._losses = 0

    def launch(self) -> None:
        """Start it, unless it is given; return at once."""
        self._began = monotonic()
        if self._process is not None:
            self.url = self._process.launch()

    def wait_until_ready(self, check: Callable[[], None]) -> None:
        """Return when it answers; ``check`` is called often and may raise.

        Raises:
            EngineError: it ended, or there was no answer for too long.
        """
        while not self.is_healthy():
            check()
            code = None if self._process is None else self._process.exit_code
            if code is not None:
                raise self._permanent_failure(f"{self.name} ended while it started (exit code {code}).")
            if monotonic() - self._began > self._start_timeout_s:
                limit = f"{self._start_timeout_s:g} s (vllm.start_timeout_s)"
                raise self._permanent_failure(f"{self.name} did not answer within {limit}.")
            sleep(POLL_S)

    def is_healthy(self) -> bool:
        """Say whether it answers that it can sample."""
        try:
            call(f"{self.url}/health", timeout_s=HEALTH_TIMEOUT_S)
        except (LostError, RefusedError):
            return False
        return True

    def restart(self, why: str, check: Callable[[], None]) -> None:
        """Start it again; one that is given is waited for, all its losses in a row taken together.

        Raises:
            EngineError: it was lost too often in a row, or does not answer again.
        """
        self._losses += 1
        if self._has_failed_permanently():
            raise self._permanent_failure(f"{self.name} was lost {self._losses} times in a row. At last: {why}.")
        if self._process is not None:
            self._process.terminate()
            self.launch()
        elif self._losses == 1:
            self.launch()
        else:
            sleep(PAUSE_S)
        self.wait_until_ready(check)
        self.num_restarts += 1

    def _has_failed_permanently(self) -> bool:
        if self._process is not None:
            return self._losses > MAX_RESTARTS
        return self._losses > 1 and monotonic() - self._began > self._start_timeout_s

    def forget_losses(self) -> None:
        """Count losses from here on: it answered all requests, or others sample in its place."""
        self._losses, self.has_failed = 0, False

    def get(self, path: str) -> Any:
        """GET a path; see :func:`call`. Any: JSON."""
        return self._call(path, None)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """POST to a path; see :func:`call`. Any: JSON."""
        return self._call(path, body or {})

    def _call(self, path: str, body: Mapping[str, object] | None) -> Any:  # Any: JSON
        try:
            return call(f"{self.url}{path}", body, timeout_s=max(self._start_timeout_s, MIN_CALL_TIMEOUT_S))
        except LostError as error:
            raise LostError(f"{self.name} does not answer {path}: {error}") from None
        except RefusedError as error:
            raise RefusedError(f"{self.name} refused {path}: {error}") from None

    def close(self) -> None:
        """End it, unless it is given."""
        if self._process is not None:
            self._process.terminate()

    def _permanent_failure(self, what: str) -> EngineError:
        self.has_failed = True
        where = "See what it printed where it was started." if self._process is None else self._process.log_tail()
        return EngineError(f"{what} {where}")
