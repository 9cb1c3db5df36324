"""The HTTP side of `RemoteSandbox`: sends programs to one server, in either protocol, and reads its replies."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from reasonrl.errors import ConfigError
from reasonrl.system.access import as_token
from reasonrl_sandbox.messages import (
    KEY_HEADER,
    MAX_WAITING,
    TOKEN_VARIABLE,
    Message,
    ReportReply,
    RunReply,
    RunRequest,
    read_token,
)
from reasonrl_sandbox.report import IsolationReport
from reasonrl_sandbox.sandboxfusion import RunCodeReply, as_execution, as_request
from reasonrl_sandbox.types import Execution, Isolation, Program, ServerProtocol

CONNECT_S: Final = 5.0
"""Longest time to connect to a server."""

MAX_ROUNDS: Final = MAX_WAITING + 2
"""Programs one after the other that a request may wait for: those queued before it, itself, and its second try."""

REQUEST_MARGIN_S: Final = 10.0
"""Time for a request beyond the deadlines of those programs."""

MAX_REPLY: Final = 128 << 20
"""Bytes of the longest reply; the largest output that a server of ours allows fits, however JSON escapes it."""

_UNVERIFIED: Final = IsolationReport(
    level="unverified",
    layers={"isolation": "off: SandboxFusion does not report it"},
    verified={},
    needs={"isolation": "servers started by `reasonrl sandbox serve`"},
    uid=-1,
    kernel="unknown",
    python="unknown",
)

M = TypeVar("M", bound=BaseModel)


class RefusedError(Exception):
    """A reply other than the one asked for, with the attributes that `is_transient` and `retry_after` read."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


class SandboxFailedError(ConnectionError):
    """The sandbox of a server failed to run a program; the server itself is up."""


REQUEST_ERRORS: Final = (RefusedError, OSError, aiohttp.ClientError)
"""What a request may raise: another reply than the one asked for, or none."""


class _Refusal(BaseModel):
    """Body of a reply to a refused request; other servers may use another form."""

    message: str = ""


class HttpClient:
    """A pool of connections. It lives on the event loop that `open` runs on.

    Args:
        protocol: protocol of the servers.
        require: the weakest isolation that servers may run programs with.
        headers: headers of every request, such as the token.
    """

    def __init__(self, protocol: ServerProtocol, require: Isolation | None, headers: Mapping[str, str]) -> None:
        self._protocol, self._require = protocol, require
        # No compressed replies: a small one could inflate to any size.
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}

    async def open(self) -> None:
        """Open the pool. It has no limit of its own, because the caller bounds the number of requests."""
        self._session = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def isolation_of(self, url: URL) -> tuple[IsolationReport, int | None]:
        """Return a server's isolation and its slots, or None where the protocol has no such report.

        Raises:
            RefusedError, OSError, aiohttp.ClientError: it did not answer, or not well.
        """
        if self._protocol == "reasonrl":
            reply = await self._exchange(url, "/v1/report", None, ReportReply, REQUEST_MARGIN_S)
            return reply.report, reply.slots
        execution = await self.run(url, Program(""))  # SandboxFusion has nothing else that says whether it works
        if execution.ending != "finished":
            raise RefusedError(502, f"an empty program did not end well: {execution.stderr or execution.detail}", {})
        return _UNVERIFIED, None

    async def run(self, url: URL, program: Program, key: str = "") -> Execution:
        """Have a server run a program.

        Raises:
            SandboxFailedError: its sandbox failed.
            RefusedError, OSError, aiohttp.ClientError: it did not answer, or not well.
        """
        within_s = MAX_ROUNDS * program.limits.deadline_s + REQUEST_MARGIN_S
        run = self._run_by_sandboxfusion if self._protocol == "sandboxfusion" else self._run
        execution = await run(url, program, within_s, key)
        if execution.ending == "sandbox_error":
            raise SandboxFailedError(execution.detail)
        return execution

    async def _run(self, url: URL, program: Program, within_s: float, key: str) -> Execution:
        request = RunRequest(programs=(program,), require=self._require)
        reply = await self._exchange(url, "/v1/run", request, RunReply, within_s, key)
        if len(reply.executions) != 1:
            raise _unreadable("/v1/run")
        return reply.executions[0]

    async def _run_by_sandboxfusion(self, url: URL, program: Program, within_s: float, key: str) -> Execution:
        reply = await self._exchange(url, "/run_code", as_request(program), RunCodeReply, within_s, key)
        try:
            return as_execution(reply, program.limits)
        except ValueError:  # files that are not base64
            raise _unreadable("/run_code") from None

    async def _exchange(
        self, url: URL, path: str, message: Message | None, kind: type[M], within_s: float, key: str = ""
    ) -> M:
        """Send a message, or nothing, and read the reply."""
        async with self._session.request(
            "GET" if message is None else "POST",
            url.joinpath(path[1:]),
            data=None if message is None else message.model_dump_json().encode(),
            headers={KEY_HEADER: key} if key else None,
            timeout=aiohttp.ClientTimeout(total=within_s, sock_connect=CONNECT_S),
            allow_redirects=False,  # the token is for this server only
        ) as response:
            body = await _body(response, path)
        if response.status != 200:
            raise RefusedError(response.status, _reason(response.status, body), response.headers)
        try:
            return kind.model_validate_json(body)
        except ValidationError:
            raise _unreadable(path) from None


async def _body(response: aiohttp.ClientResponse, path: str) -> bytes:
    """Read a reply.

    Raises:
        RefusedError: it is longer than any correct one.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY:
            raise RefusedError(502, f"the reply to {path} is longer than {MAX_REPLY >> 20} MiB", {})
    return bytes(body)


def _unreadable(path: str) -> RefusedError:
    return RefusedError(502, f"the reply to {path} is not what it should be", {})


def _reason(status: int, body: bytes) -> str:
    """Return what a server says about a request that it refuses."""
    try:
        return f"HTTP {status}: {_Refusal.model_validate_json(body).message}".rstrip(": ")
    except ValidationError:
        return f"HTTP {status}"


def describe_error(error: BaseException) -> str:
    """Return one short line about an error."""
    return " ".join((str(error) or type(error).__name__).split())[:300].rstrip(".")


def read_url(text: str) -> URL:
    """Read the URL of a server, which may contain a name and password for it.

    Raises:
        ConfigError: it is none, or no request could be sent to it.
    """
    try:
        url = URL(text.rstrip("/"))
        (url.raw_host or "").encode("idna")
        if credentials := aiohttp.BasicAuth.from_url(url):
            credentials.encode()
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError(f"{text!r} is no URL of a sandbox server: write http://HOST:PORT.")
    return url


def authorization(token: str | None, protocol: ServerProtocol, urls: Sequence[URL]) -> dict[str, str]:
    """Return the header with the token, if there is one. A token from the environment is sent to our own servers only.

    Raises:
        ConfigError: a header cannot hold it, or a URL has a name or password beside it.
    """
    if token is not None:
        token = as_token(token, "token")
    elif protocol == "reasonrl":
        token = read_token()
    if token is None:
        return {}
    for url in urls:
        if url.user is not None or url.password is not None:
            raise ConfigError(
                f"{url.with_user(None)}: its URL has a name or password, and there is a token ({TOKEN_VARIABLE}) too: "
                "give one."
            )
    return {"Authorization": f"Bearer {token}"}
