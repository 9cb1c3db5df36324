"""One vLLM server: started, watched and ended by us, or given by its address."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from reasonrl.errors import EngineError

KEEPER = Path(__file__).with_name("keeper.py")
"""The program that runs a server and ends it with us."""

POLL_S = 0.2
"""Seconds between looks at a server that is awaited."""

HEALTH_TIMEOUT_S = 5.0
"""Longest time for the answer that a server is well."""

END_TIMEOUT_S = 15.0
"""Longest time for a keeper to end its server; it kills after a third of that."""

MOST_RETURNS = 3
"""Times in a row that a lost server of ours is started again."""

PAUSE_S = 1.0
"""Seconds before a given server is asked again that answers and is lost at once: it may be shutting down."""

LOG_LINES = 15
"""Lines of a server's log that an error shows."""

CAUSE = re.compile(r"\b(?:[A-Z]\w*(?:Error|Exception|Interrupt): .+|error: .+)")
"""What a server's log calls an error."""

_opener = build_opener(ProxyHandler({}))


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
    """A server of ours with its keeper; what it prints goes to a file.

    Args:
        command: starts the server on a port.
        environment: replaces variables of ours.
        log: what the server prints is added to this file.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        """Start nothing yet."""
        self.log = log
        self._command = command
        self._environment = {**os.environ, **environment}
        self._keeper: subprocess.Popen[str] | None = None
        self._group = 0
        self._log_start = 0

    def start(self) -> str:
        """Start the server on a free port; return its address."""
        port = _free_port()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), *self._command(port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as told:
            self._group = int(told.readline())
        return f"http://127.0.0.1:{port}"

    @property
    def exit_code(self) -> int | None:
        """What the server returned, or None while it runs."""
        return None if self._keeper is None else self._keeper.poll()

    def end(self) -> None:
        """End the server and everything that came of it; return when nothing is left."""
        if self._keeper is None:
            return
        self._keeper.terminate()
        try:
            code = self._keeper.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            code = self._keeper.wait()
        if code < 0:  # the keeper was killed before it could do its work
            with suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
        self._keeper = None

    def last_words(self) -> str:
        """Return the first error in the log since the last start, and the last lines."""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        found = CAUSE.search(text)
        shown = "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:])
        return f"{found.group() if found else ''}\nThe end of {self.log}:\n{shown}".lstrip()


def _free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Replica:
    """A server that samples: its address, whether it answers, and how it comes back when it is lost.

    Args:
        name: what messages call it.
        process: starts it, where it is ours.
        url: its address, where it was given.
        start_timeout_s: longest time until it answers.
    """

    def __init__(self, name: str, process: ServerProcess | None, url: str, start_timeout_s: float) -> None:
        """Start nothing yet."""
        self.name = name
        self.url = url
        self.model = ""
        """The name by which it serves the model."""
        self.max_model_len = 0
        """Most tokens of a prompt with its completion."""
        self.returns = 0
        """Times that it was brought back."""
        self.is_given = process is None
        """Whether somebody else started it."""
        self.gave_up = False
        """Whether it did not start, or was lost for good: then its log is worth keeping."""
        self._process = process
        self._start_timeout_s = start_timeout_s
        self._began = 0.0
        self._losses = 0

    def start(self) -> None:
        """Start it, if it is ours."""
        self._began = monotonic()
        if self._process is not None:
            self.url = self._process.start()

    def await_answer(self, check: Callable[[], None]) -> None:
        """Return when it answers; ``check`` is called often and may raise.

        Raises:
            EngineError: it ended, or there was no answer for too long.
        """
        while not self.is_well():
            check()
            code = None if self._process is None else self._process.exit_code
            if code is not None:
                raise self._given_up(f"{self.name} ended while it started (exit code {code}).")
            if monotonic() - self._began > self._start_timeout_s:
                limit = f"{self._start_timeout_s:g} s (vllm.start_timeout_s)"
                raise self._given_up(f"{self.name} did not answer within {limit}.")
            sleep(POLL_S)

    def is_well(self) -> bool:
        """Say whether it answers that it can sample."""
        try:
            call(f"{self.url}/health", timeout_s=HEALTH_TIMEOUT_S)
        except (LostError, RefusedError):
            return False
        return True

    def bring_back(self, why: str, check: Callable[[], None]) -> None:
        """Start it again; one that is not ours to start is waited for, all its losses in a row taken together.

        Raises:
            EngineError: it was lost too often in a row, or does not come back.
        """
        self._losses += 1
        if self._is_beyond_hope():
            raise self._given_up(f"{self.name} was lost {self._losses} times in a row. At last: {why}.")
        if self._process is not None:
            self._process.end()
            self.start()
        elif self._losses == 1:
            self.start()
        else:
            sleep(PAUSE_S)
        self.await_answer(check)
        self.returns += 1

    def _is_beyond_hope(self) -> bool:
        """Say whether it was started, or waited for, long enough."""
        if self._process is not None:
            return self._losses > MOST_RETURNS
        return self._losses > 1 and monotonic() - self._began > self._start_timeout_s

    def worked(self) -> None:
        """Note that it sampled what it was asked for: earlier losses do not count any more."""
        self._losses = 0

    def get(self, path: str) -> Any:
        """Ask it for something. Any: JSON."""
        return self._call(path, None)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Tell it to do something. Any: JSON."""
        return self._call(path, body or {})

    def _call(self, path: str, body: Mapping[str, object] | None) -> Any:
        """Ask, and say in errors who was asked for what. Any: JSON."""
        try:
            return call(f"{self.url}{path}", body, timeout_s=self._start_timeout_s)
        except LostError as error:
            raise LostError(f"{self.name} does not answer {path}: {error}") from None
        except RefusedError as error:
            raise RefusedError(f"{self.name} refused {path}: {error}") from None

    def close(self) -> None:
        """End it, if it is ours."""
        if self._process is not None:
            self._process.end()

    def _given_up(self, what: str) -> EngineError:
        """Return the error that ends it for good, with what its log says."""
        self.gave_up = True
        where = "See what it printed where it was started." if self._process is None else self._process.last_words()
        return EngineError(f"{what} {where}")
