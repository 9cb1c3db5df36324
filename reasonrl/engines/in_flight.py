"""Many requests to several servers at once; those of a server that is lost are asked again when it is back."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

import aiohttp

from reasonrl.engines.deadline import Deadline
from reasonrl.engines.replica import LostError, RefusedError, Replica, refusal

POLL_S = 0.1
"""Seconds between looks at the deadline."""

Answered: TypeAlias = Callable[[int, Any], None]
"""Takes the position of a request and vLLM's answer to it. Any: JSON."""

BringBack: TypeAlias = Callable[[Replica, str], None]
"""Makes a lost replica able to sample with the same weights, given why it was lost; blocks."""


async def ask_all(
    asked: Sequence[tuple[Replica, Mapping[str, object]]],
    answered: Answered,
    *,
    slots: int,
    deadline: Deadline,
    bring_back: BringBack,
) -> None:
    """Ask for completions, at most ``slots`` a replica at a time.

    Args:
        asked: which replica is asked, and what.
        answered: told of each answer when it is there, once.
        slots: most requests that one replica has at a time.
        deadline: ends the asking.
        bring_back: mends a replica.

    Raises:
        EngineError: the first that went wrong, or the deadline; nothing is asked any more then.
    """
    lanes = {replica: _Lane(replica, slots, bring_back) for replica, _ in asked}
    connections = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout()) as session:

        async def ask(position: int, replica: Replica, body: Mapping[str, object]) -> None:
            answered(position, await lanes[replica].ask(session, body))

        await _first_error_wins([ask(position, *question) for position, question in enumerate(asked)], deadline)


async def _first_error_wins(work: Sequence[Coroutine[Any, Any, None]], deadline: Deadline) -> None:
    """Do all of it; after an error, or when the time is over, end what is left. Any: of no use to who awaits."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, timeout=POLL_S, return_when=asyncio.FIRST_EXCEPTION)
            deadline.check()
            for task in done:
                task.result()
    finally:
        deadline.abort()  # ends a thread that brings a server back; nothing else is left to abort
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Lane:
    """One replica while it is asked."""

    def __init__(self, replica: Replica, slots: int, bring_back: BringBack) -> None:
        """Ask nothing yet."""
        self._replica = replica
        self._slots = asyncio.Semaphore(slots)
        self._mending = asyncio.Lock()
        self._bring_back = bring_back

    async def ask(self, session: aiohttp.ClientSession, body: Mapping[str, object]) -> Any:
        """Return the answer to a request, asked again where the server was lost. Any: JSON."""
        async with self._slots:
            while True:
                async with self._mending:  # one that is coming back answers before it has the weights
                    returns = self._replica.returns
                try:
                    return await self._post(session, body)
                except LostError as why:
                    await self._mend(returns, str(why))

    async def _post(self, session: aiohttp.ClientSession, body: Mapping[str, object]) -> Any:
        """Ask once. Any: JSON."""
        try:
            async with session.post(f"{self._replica.url}/v1/completions", json=body) as answer:
                status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(str(error) or type(error).__name__) from None
        if status == 200:
            return _not_cut_off(json.loads(text))
        if status >= 500 and not await asyncio.to_thread(self._replica.is_well):
            raise LostError(refusal(status, text))
        raise RefusedError(f"{self._replica.name} refused a request: {refusal(status, text)}")

    async def _mend(self, returns: int, why: str) -> None:
        """Bring the replica back, once for all of its requests."""
        async with self._mending:
            if self._replica.returns == returns:
                await asyncio.to_thread(self._bring_back, self._replica, why)


def _not_cut_off(answer: Any) -> Any:
    """Return an answer unless the server was ended while it sampled it. Any: JSON."""
    if answer["choices"][0]["finish_reason"] == "abort":
        raise LostError("it was ended while it sampled")
    return answer
