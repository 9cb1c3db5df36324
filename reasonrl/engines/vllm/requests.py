"""Requests to several vLLM servers at once; those of a server that is lost are sent again when it is restarted."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeAlias

import aiohttp

from reasonrl.engines.vllm.replica import LostError, RefusedError, Replica, refusal
from reasonrl.errors import EngineError

Check: TypeAlias = Callable[[], None]
"""Called often by what blocks in a thread; raises when nobody waits for it any more."""

MakeBody: TypeAlias = Callable[[Replica], Mapping[str, object]]
"""Returns the body of a request to a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaActions:
    """What is done to a server beside sending requests; all of it blocks, and runs in threads."""

    prepare: Callable[[Replica, Check], None]
    """Makes it able to sample with the current weights, before the first request."""
    restart: Callable[[Replica, str, Check], None]
    """Makes a lost one able to sample with the current weights, given why it was lost."""
    verify: Callable[[Replica], None]
    """Refuses one whose weights were replaced by somebody else, after the last request."""


class Dispatcher:
    """Sends requests to servers while any are outstanding; belongs to one event loop.

    Requests with the same prompt go to the same server, which computes it once; a new prompt goes to the server with
    the fewest requests.

    Args:
        replicas: the servers.
        actions: what is done to them.
        max_num_seqs: most requests that one server is sent at a time.
    """

    def __init__(self, replicas: Sequence[Replica], actions: ReplicaActions, max_num_seqs: int) -> None:
        self._clients = [_Client(replica, actions, max_num_seqs) for replica in replicas]
        self._client_of: dict[tuple[int, ...], _Client] = {}
        self._num_outstanding: Counter[tuple[int, ...]] = Counter()

    @property
    def is_idle(self) -> bool:
        """Whether no request is outstanding."""
        return not self._client_of

    async def send(self, prompt_ids: tuple[int, ...], make_body: MakeBody) -> Any:
        """Return the answer to a request, sent again where the server was lost. Any: JSON.

        Raises:
            EngineError: the server refused it, or was lost too often.
        """
        fewest = min(self._clients, key=lambda client: client.num_outstanding)
        client = self._client_of.setdefault(prompt_ids, fewest)
        self._num_outstanding[prompt_ids] += 1
        try:
            return await client.send(make_body)
        finally:
            self._num_outstanding[prompt_ids] -= 1
            if not self._num_outstanding[prompt_ids]:
                del self._num_outstanding[prompt_ids], self._client_of[prompt_ids]


class _Client:
    """Sends requests to one server."""

    def __init__(self, replica: Replica, actions: ReplicaActions, max_num_seqs: int) -> None:
        self.num_outstanding = 0
        self._replica = replica
        self._actions = actions
        self._slots = asyncio.Semaphore(max_num_seqs)
        self._busy = asyncio.Lock()  # held while the server is prepared or restarted
        self._is_prepared = False

    async def send(self, make_body: MakeBody) -> Any:
        """Return the answer to a request. Any: JSON."""
        self.num_outstanding += 1
        try:
            await self._prepare_once()
            async with self._slots:
                answer = await self._send_until_answered(make_body)
            if self.num_outstanding == 1:
                await asyncio.to_thread(self._actions.verify, self._replica)
            return answer
        finally:
            self.num_outstanding -= 1

    async def _prepare_once(self) -> None:
        async with self._busy:
            if not self._is_prepared:
                await _in_thread(lambda check: self._actions.prepare(self._replica, check))
                self._is_prepared = True

    async def _send_until_answered(self, make_body: MakeBody) -> Any:  # Any: JSON
        while True:
            async with self._busy:  # one that is restarted answers before it has the weights
                num_restarts = self._replica.num_restarts
            try:
                return await self._request(make_body(self._replica))
            except LostError as why:
                await self._restart_once(num_restarts, str(why))

    async def _request(self, body: Mapping[str, object]) -> Any:  # Any: JSON
        # A connection of its own for each: one that is kept open may be one that a lost server had.
        url, no_limit = f"{self._replica.url}/v1/completions", aiohttp.ClientTimeout()
        try:
            async with aiohttp.request("POST", url, json=body, timeout=no_limit) as answer:
                status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(str(error) or type(error).__name__) from None
        if status == 200:
            return _require_complete(json.loads(text))
        if status >= 500 and not await asyncio.to_thread(self._replica.is_healthy):
            raise LostError(refusal(status, text))
        raise RefusedError(f"{self._replica.name} refused a request: {refusal(status, text)}")

    async def _restart_once(self, num_restarts: int, why: str) -> None:
        """Restart the server, unless another request did since there were so many restarts."""
        async with self._busy:
            if self._replica.num_restarts == num_restarts:
                await _in_thread(lambda check: self._actions.restart(self._replica, why, check))


def _require_complete(answer: Any) -> Any:
    """Return an answer unless the server was ended while it sampled it. Any: JSON."""
    if answer["choices"][0]["finish_reason"] == "abort":
        raise LostError("it was ended while it sampled")
    return answer


async def _in_thread(work: Callable[[Check], None]) -> None:
    """Run what blocks in a thread. When the caller is cancelled, its next check ends it."""
    cancelled = Event()

    def check() -> None:
        if cancelled.is_set():
            raise EngineError("sampling was ended.")

    try:
        await asyncio.to_thread(work, check)
    finally:
        cancelled.set()
