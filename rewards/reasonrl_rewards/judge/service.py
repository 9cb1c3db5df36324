"""A judge as rewards use it: asks for verdicts, remembers them, and counts what they cost."""

import asyncio
import atexit
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from reasonrl import ConfigError, SharedResource
from reasonrl.plugins.failures import message
from reasonrl.system.retries import BACK_OFF, is_transient
from reasonrl_rewards.judge.cache import VerdictCache, usual_path
from reasonrl_rewards.judge.endpoint import Endpoint
from reasonrl_rewards.judge.prompts import JudgeRequest
from reasonrl_rewards.judge.verdicts import UnreadableVerdictError, Verdict, read_verdict

if TYPE_CHECKING:
    from reasonrl_rewards.judge.client import Reply

TRIES: Final = 4
"""Requests that the time of a call leaves room for: one, and as many further tries as a run makes by default."""

OPENING_TRIES: Final = 3
"""Times that an endpoint is asked before a run is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What verdicts took; shares of it are fractions."""

    verdicts: float
    cached: float
    """Of them, those that were on disk and took nothing."""
    prompt_tokens: float | None
    """None where the endpoint does not count."""
    completion_tokens: float | None
    cost: float | None
    """None where no prices are given, or tokens are not counted."""

    def parts(self) -> dict[str, float]:
        """Return it as parts of a score; what is not known is left out."""
        known = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens, "cost": self.cost}
        return {
            **{name: value for name, value in known.items() if value is not None},
            "cached": self.cached / self.verdicts,
        }

    def shared_by(self, count: int) -> "Spending":
        """Return the share of each of so many completions that were judged at once."""
        return Spending(
            verdicts=self.verdicts / count,
            cached=self.cached / count,
            prompt_tokens=_ratio(self.prompt_tokens, count),
            completion_tokens=_ratio(self.completion_tokens, count),
            cost=_ratio(self.cost, count),
        )


def _ratio(value: float | None, count: int) -> float | None:
    return None if value is None else value / count


def total(spendings: Sequence[Spending]) -> Spending:
    """Add up what several verdicts took."""
    return Spending(
        verdicts=sum(one.verdicts for one in spendings),
        cached=sum(one.cached for one in spendings),
        prompt_tokens=_sum([one.prompt_tokens for one in spendings]),
        completion_tokens=_sum([one.completion_tokens for one in spendings]),
        cost=_sum([one.cost for one in spendings]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request."""

    verdict: Verdict | None
    fault: str = ""
    """Why there is no verdict, or that it could not be kept."""
    spent: Spending


class JudgeService:
    """Asks one judge. It may be used on several event loops, one after the other.

    Args:
        endpoint: who judges.
        cache: file of verdicts; None keeps none.

    Raises:
        ConfigError: the endpoint or the file cannot be used.
    """

    def __init__(self, endpoint: Endpoint, cache: Path | None) -> None:
        # Here, because its HTTP library takes longer to import than the rest of this package.
        from reasonrl_rewards.judge.client import ChatClient

        self.endpoint = endpoint
        self._client = ChatClient(endpoint)
        self.cache = VerdictCache(cache) if cache is not None else None
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unreported: dict[str, Answer] = {}

    async def ask_all(self, requests: Sequence[JudgeRequest]) -> list[Answer]:
        """Ask for several verdicts at once, and return the answers in their order.

        Raises:
            Exception: an error that the next try may not have. That try asks again for what failed only, and what the
                others cost is counted then.
        """
        answers = await asyncio.gather(*map(self.ask, requests), return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if not failed:
            return [answer for answer in answers if isinstance(answer, Answer)]
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Answer):
                self._unreported[self._key(request)] = answer
        raise failed[0]

    async def ask(self, request: JudgeRequest) -> Answer:
        """Ask for one verdict, or find it on disk. Equal requests at one time are asked once.

        Raises:
            EndpointError, OSError, aiohttp.ClientError: the next try may go better.
        """
        key = self._key(request)
        async with self._asking.setdefault(key, asyncio.Lock()):
            if (unreported := self._unreported.pop(key, None)) is not None:
                return unreported
            return await self._remembered(key, request) or await self._asked(key, request)

    async def _remembered(self, key: str, request: JudgeRequest) -> Answer | None:
        """Return the verdict on disk, if there is one that fits."""
        if self.cache is None:
            return None
        try:
            reply = await asyncio.to_thread(self.cache.get, key)
            verdict = None if reply is None else read_verdict(reply, dict(request.schema))
        except (sqlite3.Error, UnreadableVerdictError):  # then the judge is asked, and what is wrong shows at `put`
            return None
        return None if verdict is None else Answer(verdict=verdict, spent=self._spent(0, 0, cached=True))

    async def _asked(self, key: str, request: JudgeRequest) -> Answer:
        from reasonrl_rewards.judge.client import EndpointError

        try:
            reply = await self._client.complete(self._body(request))
        except EndpointError as error:
            if is_transient(error):
                raise
            return Answer(verdict=None, fault=str(error), spent=self._spent(0, 0))
        spent = self._spent(reply.prompt_tokens, reply.completion_tokens)
        try:
            verdict = read_reply(reply, request.schema)
        except UnreadableVerdictError as error:
            return Answer(verdict=None, fault=str(error), spent=spent)
        return Answer(verdict=verdict, fault=await self._keep(key, reply.text), spent=spent)

    async def _keep(self, key: str, reply: str) -> str:
        """Keep a verdict; return why that failed, which costs nobody a score."""
        if self.cache is None:
            return ""
        try:
            await asyncio.to_thread(self.cache.put, key, reply)
        except sqlite3.Error as error:
            return f"not kept in {self.cache.path}: {error}"
        return ""

    def _spent(self, prompt_tokens: int | None, completion_tokens: int | None, *, cached: bool = False) -> Spending:
        counted = prompt_tokens is not None and completion_tokens is not None
        return Spending(
            verdicts=1,
            cached=float(cached),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost=self.endpoint.cost(prompt_tokens or 0, completion_tokens or 0) if counted else None,
        )

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        return self.endpoint.body(request.messages, request.schema)

    def _key(self, request: JudgeRequest) -> str:
        """Return a digest of all that decides a verdict; the schema too, where only the prompt says it."""
        whole = json.dumps([self._body(request), request.schema], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    async def check(self, request: JudgeRequest) -> str:
        """Ask for a verdict, whatever is on disk; return what is wrong with it, or nothing.

        Raises:
            ConfigError: the endpoint does not answer, or refuses the request.
        """
        from aiohttp import ClientError
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        from reasonrl_rewards.judge.client import EndpointError

        tries = AsyncRetrying(
            stop=stop_after_attempt(OPENING_TRIES), retry=retry_if_exception(is_transient), wait=BACK_OFF, reraise=True
        )
        try:
            reply: Reply = await tries(self._client.complete, self._body(request))
            read_reply(reply, request.schema)
        except UnreadableVerdictError as error:
            return str(error)
        except EndpointError as error:
            raise ConfigError(f"endpoint {self.endpoint.url} refuses: {error}.{self._hint(error.status)}") from None
        except (OSError, ClientError) as error:
            raise ConfigError(
                f"endpoint {self.endpoint.url} does not answer: {message(error)}. Start the server, or correct the url."
            ) from None
        return ""

    def _hint(self, status: int) -> str:
        """Say what may have led to a refusal."""
        if status in (401, 403):
            return " Name the environment variable that holds its key in endpoint.api_key_env."
        if status == 404:
            return " Check endpoint.model, and that endpoint.url ends as its documentation says, usually in /v1."
        if status in (400, 422) and self.endpoint.structured_output != "none":
            return " Where it does not know this response_format, set endpoint.structured_output: none."
        return ""

    def close(self) -> None:
        """Close the file of verdicts. Connections end with the event loop that opened them."""
        if self.cache is not None:
            self.cache.close()


def read_reply(reply: "Reply", schema: Mapping[str, Any]) -> Verdict:
    """Return the verdict in a reply. Any: JSON.

    Raises:
        UnreadableVerdictError: there is none: the judge refused, was cut, or wrote something else.
    """
    if reply.refusal:
        raise UnreadableVerdictError(f"the judge refused: {' '.join(reply.refusal.split())[:200]}")
    if reply.finish_reason == "length":
        raise UnreadableVerdictError(
            f"the reply was cut after {reply.completion_tokens or 'its most'} tokens; raise endpoint.max_tokens"
        )
    if reply.finish_reason == "content_filter":
        raise UnreadableVerdictError("the endpoint's content filter stopped the reply")
    if not reply.text.strip():
        raise UnreadableVerdictError(f"the reply is empty (finish_reason {reply.finish_reason!r})")
    return read_verdict(reply.text, dict(schema))


# One service for all rewards of a process that ask the same judge.

_OPEN: dict[str, JudgeService] = {}
_LOCK = threading.Lock()


def shared_judge(endpoint: Endpoint, cache: bool | str) -> JudgeService:
    """Return this process's service for an endpoint and a cache: opened on first use, closed with the run or process.

    Args:
        endpoint: who judges.
        cache: a file of verdicts, true for the usual one, false for none.

    Raises:
        ConfigError: it cannot be used.
    """
    key = _shared_key(endpoint, cache)
    with _LOCK:
        if key not in _OPEN:
            _OPEN[key] = JudgeService(endpoint, _cache_path(cache))
        return _OPEN[key]


def close_shared(endpoint: Endpoint, cache: bool | str) -> None:
    """Close this process's service for an endpoint and a cache, if it is open."""
    with _LOCK:
        found = _OPEN.pop(_shared_key(endpoint, cache), None)
    if found is not None:
        found.close()


@atexit.register
def _close_all() -> None:
    for service in _OPEN.values():
        service.close()


def _shared_key(endpoint: Endpoint, cache: bool | str) -> str:
    return f"{_cache_path(cache)}\n{endpoint.model_dump_json()}"


def _cache_path(cache: bool | str) -> Path | None:
    if isinstance(cache, str):
        return Path(cache).expanduser()
    return usual_path() if cache else None


@contextmanager
def opened_judge(endpoint: Endpoint, cache: bool | str, sample: JudgeRequest, about: str) -> Iterator[SharedResource]:
    """Keep a judge open for a run, which is refused where the judge does not answer.

    Args:
        endpoint: who judges.
        cache: as in :func:`shared_judge`.
        sample: a request as the run will make them; it is sent once.
        about: what the judge is asked, for the head of the run.

    Raises:
        ConfigError: the endpoint, its key or the cache cannot be used.
    """
    judge = shared_judge(endpoint, cache)
    try:
        # In a thread of its own, because the caller may have an event loop already.
        with ThreadPoolExecutor(1) as thread:
            fault = thread.submit(asyncio.run, judge.check(sample)).result()
        kept = "no cache" if judge.cache is None else f"{len(judge.cache):,} verdicts in {judge.cache.path}"
        warning = f"; WARNING: on a sample {fault}" if fault else ""
        note = f"{endpoint.model} at {endpoint.url}, {about}, {endpoint.structured_output}, {kept}{warning}"
        yield SharedResource(timeout_s=TRIES * endpoint.timeout_s, note=note)
    finally:
        close_shared(endpoint, cache)
