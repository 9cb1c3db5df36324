"""The HTTP side of a judge: sends one chat request and reads the reply. Whether to try again is up to the caller."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from pydantic import BaseModel, Field, ValidationError
from yarl import URL

from reasonrl import ConfigError
from reasonrl_rewards.judge.endpoint import Endpoint

CONNECT_S: Final = 10.0
"""Longest time to connect."""

MAX_REPLY: Final = 8 << 20
"""Bytes of the longest reply that is read."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class EndpointError(Exception):
    """A reply other than the one asked for, with the attributes that ``is_transient`` and ``retry_after`` read."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model replied."""

    text: str
    finish_reason: str
    refusal: str
    """What it says where it refuses to answer."""
    prompt_tokens: int | None
    """None where the endpoint does not count."""
    completion_tokens: int | None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(0, ge=0)


class _ChatCompletion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ChatClient:
    """A pool of connections to one endpoint for each event loop that uses it.

    Args:
        endpoint: where, and how long a request may take.

    Raises:
        ConfigError: its URL is none, or its key is not set.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._url = _chat_url(endpoint.url)
        self._key = endpoint.api_key()
        self._timeout = aiohttp.ClientTimeout(total=endpoint.timeout_s, sock_connect=CONNECT_S)
        self._sessions: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[AsyncGenerator[aiohttp.ClientSession], aiohttp.ClientSession]
        ] = WeakKeyDictionary()

    async def complete(self, body: Mapping[str, Any]) -> Reply:
        """Send a chat request, and return the first choice of the reply. Any: JSON.

        Raises:
            EndpointError: the endpoint refused, or its reply is not a chat completion.
            OSError, aiohttp.ClientError, TimeoutError: there was no reply.
        """
        try:
            status, headers, content = await self._post(body)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no reply within {self._timeout.total:g} s") from None
        if status != 200:
            raise EndpointError(status, self._reason(status, content), headers)
        try:
            return _reply(_ChatCompletion.model_validate_json(content))
        except ValidationError:
            raise EndpointError(502, f"not a chat completion: {self._excerpt(content)}", {}) from None

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and content of a reply. Any: JSON."""
        session = await self._session()
        async with session.post(
            self._url,
            data=BytesIO(json.dumps(body).encode("ascii")),  # sent in pieces, which does not hold up the event loop
            timeout=self._timeout,
            allow_redirects=False,  # the key is for this server only
        ) as response:
            return response.status, response.headers, await _content(response)

    async def _session(self) -> aiohttp.ClientSession:
        """Return the pool of the running loop. The loop closes it, because it ends its asynchronous generators."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            opened = self._opened()
            self._sessions[loop] = opened, await anext(opened)
        return self._sessions[loop][1]

    async def _opened(self) -> AsyncGenerator[aiohttp.ClientSession]:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),  # the reward's concurrency is the limit
            trust_env=self._url.host not in LOOPBACK,  # proxies of the environment
        ) as session:
            yield session

    def _reason(self, status: int, content: bytes) -> str:
        """Return what a server says about a request that it refuses."""
        try:
            found = json.loads(content)["error"]
            says = str(found.get("message", found) if isinstance(found, dict) else found)
        except (ValueError, TypeError, LookupError, RecursionError):
            return f"HTTP {status}: {self._excerpt(content)}".rstrip(": ")
        return f"HTTP {status}: {self._without_key(says)[:300]}"

    def _excerpt(self, content: bytes) -> str:
        return self._without_key(" ".join(content[:2000].decode(errors="replace").split()))[:200]

    def _without_key(self, text: str) -> str:
        """Keep the key out of rollout files and logs, where a server repeats it."""
        return text if self._key is None else text.replace(self._key, "***")


def _chat_url(text: str) -> URL:
    try:
        url = URL(text.rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError(f"endpoint.url: {text!r} is no address of an API: write http://HOST:PORT/v1.")
    if url.user is not None or url.password is not None:
        raise ConfigError("endpoint.url: has a name or password in it; run files are shared. Use api_key_env.")
    return url if url.path.endswith("/chat/completions") else url / "chat" / "completions"


async def _content(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_REPLY:
            raise EndpointError(502, f"the reply is longer than {MAX_REPLY >> 20} MiB", {})
    return bytes(content)


def _reply(completion: _ChatCompletion) -> Reply:
    choice, usage = completion.choices[0], completion.usage
    return Reply(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "",
        refusal=choice.message.refusal or "",
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        completion_tokens=None if usage is None else usage.completion_tokens,
    )
