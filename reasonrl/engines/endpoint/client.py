"""Requests to an endpoint with OpenAI's API: a bounded number at a time, each sent again where that may help."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from reasonrl.engines.endpoint.address import KEY_VARIABLES
from reasonrl.errors import EngineError
from reasonrl.system.access import is_loopback
from reasonrl.system.retries import BACK_OFF, failure, is_transient, retry_after

CONNECT_S: Final = 10.0
"""Longest time to connect."""

TIMEOUT_TRIES: Final = 3
"""Times that a request is sent which is not answered in time."""

MAX_WAIT_S: Final = 300.0
"""Longest time that an endpoint is left alone because it asks for that."""

MAX_ANSWER: Final = 256 << 20
"""Bytes of the longest answer that is read."""

EXHAUSTED: Final = ("insufficient_quota", "billing_hard_limit_reached", "quota_exceeded")
"""Codes of refusals as too many requests (429) that no wait ends."""


class EndpointError(EngineError):
    """An answer other than the one asked for, with the attributes that tell whether another try may help."""

    def __init__(
        self, why: str, *, status: int, headers: Mapping[str, str], code: str = "", parameter: str = ""
    ) -> None:
        super().__init__(why)
        self.status, self.headers, self.code, self.parameter = status, headers, code, parameter


@dataclass(frozen=True, slots=True)
class _Pool:
    """Connections of one event loop."""

    opened: AsyncGenerator[aiohttp.ClientSession]
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore


class EndpointClient:
    """Sends requests to one endpoint.

    Answers of 429, 408 and 5xx, torn connections and timeouts are tried again, each later than the one before and at
    random; everything else is an error at once.

    Args:
        url: the base of its API.
        key: shown to it, and kept out of all messages.
        max_concurrent: most requests at a time.
        timeout_s: longest time of one request.
        tries: times that a request is sent at least, where the endpoint fails it.
        outage_s: time for which it is tried again at least.
    """

    def __init__(
        self,
        url: URL,
        key: str | None,
        *,
        max_concurrent: int,
        timeout_s: float = 600.0,
        tries: int = 6,
        outage_s: float = 300.0,
    ) -> None:
        self.url = url
        self.num_retries = 0
        """Requests that were sent again, in all."""
        self._key = key
        self._max_concurrent = max_concurrent
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        self._tries, self._outage_s = tries, outage_s
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    @property
    def root(self) -> URL:
        """Where routes are that do not belong to OpenAI's API."""
        return self.url.parent if self.url.name == "v1" else self.url

    async def get(self, url: URL) -> Any:
        """Return the answer to a GET. Any: JSON.

        Raises:
            EngineError: the endpoint refused, or did not answer.
        """
        return await self._answer("GET", url, None)

    async def post(self, url: URL, body: Mapping[str, object]) -> Any:
        """Return the answer to a POST. Any: JSON.

        Raises:
            EngineError: the endpoint refused, or did not answer.
        """
        return await self._answer("POST", url, body)

    async def _answer(self, method: str, url: URL, body: Mapping[str, object] | None) -> Any:  # Any: JSON
        tries = AsyncRetrying(
            retry=retry_if_exception(_may_pass), stop=self._is_over, wait=_pause, before_sleep=self._count, reraise=True
        )
        pool = await self._pool()
        try:
            async with pool.slots:
                return await tries(self._exchange, pool.session, method, url, body)
        except EndpointError as error:
            raise self._explained(error) from None
        except TimeoutError:
            limit = f"{self._timeout.total:g} s"
            raise EngineError(
                f"{self.url}: a request was not answered within {limit}, {TIMEOUT_TRIES} times."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"{self.url} does not answer: {str(error) or type(error).__name__}.") from None

    def _is_over(self, state: RetryCallState) -> bool:
        """Say whether a request has been tried often and long enough."""
        if isinstance(failure(state), TimeoutError):
            return state.attempt_number >= TIMEOUT_TRIES
        return state.attempt_number >= self._tries and (state.seconds_since_start or 0.0) >= self._outage_s

    def _count(self, state: RetryCallState) -> None:
        self.num_retries += 1

    def _explained(self, error: EndpointError) -> EndpointError:
        """Add what may help."""
        hint = ""
        if error.status in (401, 403):
            shown = "is not accepted" if self._key else "is not set"
            hint = f" The key ({' or '.join(KEY_VARIABLES)}) {shown}."
        return EndpointError(
            f"{self.url}: {str(error).rstrip('.')}.{hint}",
            status=error.status,
            headers=error.headers,
            code=error.code,
            parameter=error.parameter,
        )

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, url: URL, body: Mapping[str, object] | None
    ) -> Any:  # Any: JSON
        # Sent in pieces, which does not hold up the event loop.
        data = None if body is None else BytesIO(json.dumps(body).encode("ascii"))
        # No redirects: the key is for this server only.
        async with session.request(method, url, data=data, timeout=self._timeout, allow_redirects=False) as answer:
            status, headers, content = answer.status, answer.headers, await _content(answer)
        if status != 200:
            raise self._refusal(status, headers, content)
        try:
            return json.loads(content)
        except ValueError:
            raise EndpointError(f"its answer is not JSON: {self._excerpt(content)}", status=502, headers={}) from None

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> EndpointError:
        """Return what an endpoint says about a request that it refuses."""
        says, code, parameter = self._excerpt(content), "", ""
        try:
            answer = json.loads(content)
            found = answer.get("error", answer) if isinstance(answer, dict) else answer
            if isinstance(found, dict):
                code, parameter = str(found.get("code") or ""), str(found.get("param") or "")
                found = found.get("message") or found.get("detail") or found
            says = self._without_key(found if isinstance(found, str) else json.dumps(found))[:500]
        except (ValueError, RecursionError):
            pass
        return EndpointError(
            f"HTTP status {status}: {says}".rstrip(": "), status=status, headers=headers, code=code, parameter=parameter
        )

    def _excerpt(self, content: bytes) -> str:
        return self._without_key(" ".join(content[:2000].decode(errors="replace").split()))[:200]

    def _without_key(self, text: str) -> str:
        """Keep the key out of messages, where an endpoint repeats it."""
        return text if self._key is None else text.replace(self._key, "***")

    async def _pool(self) -> _Pool:
        """Return the connections of the running loop. The loop closes them: it ends its asynchronous generators."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            opened = self._opened()
            session = await anext(opened)
            self._pools[loop] = _Pool(opened, session, asyncio.Semaphore(self._max_concurrent))
        return self._pools[loop]

    async def _opened(self) -> AsyncGenerator[aiohttp.ClientSession]:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
            trust_env=not is_loopback(self.url.host or ""),  # proxies of the environment
        ) as session:
            yield session


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MAX_ANSWER:
            raise EndpointError(f"the answer is longer than {MAX_ANSWER >> 20} MiB", status=413, headers={})
    return bytes(content)


def _may_pass(error: BaseException) -> bool:
    """Say whether the same request may be answered later."""
    if isinstance(error, EndpointError):
        return error.status == 408 or (is_transient(error) and error.code not in EXHAUSTED)
    return is_transient(error)


def _pause(state: RetryCallState) -> float:
    """Return the seconds before the next try: what the endpoint asks for, and more, so that not all come at once."""
    asked = min(retry_after(failure(state)) or 0.0, MAX_WAIT_S)
    return asked * random.uniform(1.0, 1.2) + BACK_OFF(state)
