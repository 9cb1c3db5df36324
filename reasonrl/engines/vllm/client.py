"""Requests to one vLLM server, and what is done to it while they are outstanding; belongs to one event loop.

Every token has the version of the weights that chose it: before they are replaced the server is paused, which makes it
give back what it sampled so far of every request, and it loads the new ones when all requests have been answered.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Event
from typing import Any, Final

import aiohttp

from reasonrl.engines.vllm.partial import PartialCompletion
from reasonrl.engines.vllm.protocol import completion_body, is_aborted, read_completion
from reasonrl.engines.vllm.replica import LostError, RefusedError, Replica, refusal, watch_connection
from reasonrl.engines.vllm.served_weights import ServedWeights
from reasonrl.errors import EngineError

MAX_ANSWER_S: Final = 5.0
"""Longest time for the answers to what was sampled until a server was paused; what is not answered is sent again."""

MAX_CONNECT_S: Final = 60.0
"""Longest time until a server takes a connection."""

log = logging.getLogger(__name__)


class ServerClient:
    """Sends requests to a server, has it load weights, and brings it back when it is lost.

    Args:
        replica: the server.
        weights: what it samples with.
        end_ids: tokens that end a completion.
        max_num_seqs: most requests that it is sent at a time.
        can_do_without: says whether other servers sample.
    """

    def __init__(
        self,
        replica: Replica,
        weights: ServedWeights,
        *,
        end_ids: Collection[int],
        max_num_seqs: int,
        can_do_without: Callable[[], bool],
    ) -> None:
        self.replica = replica
        self.num_outstanding = 0
        self.is_lost = False
        self.failure: EngineError | None = None
        """Why it will not sample any more."""
        self.recovery: asyncio.Task[None] | None = None
        """What brings it back, while it is lost."""
        self._weights = weights
        self._end_ids = end_ids
        self._can_do_without = can_do_without
        self._slots = asyncio.Semaphore(max_num_seqs)
        self._is_prepared = False
        self._preparing = asyncio.Lock()
        self._is_open = asyncio.Event()  # cleared while weights are loaded
        self._is_open.set()
        self._is_pausing = False
        self._is_verified = True  # whether all that was sampled came from weights of this run
        self._posts: set[asyncio.Task[tuple[Any, bool]]] = set()
        self._closing = Event()

    async def sample(self, partial: PartialCompletion) -> None:
        """Sample what is left of a completion.

        Raises:
            LostError: the server does not answer; what it had not given back is lost.
            EngineError: it refused the request, or somebody replaced its weights.
        """
        self.num_outstanding += 1
        try:
            async with self._slots:  # kept until the end: what waits does not overtake what was interrupted
                await self._prepare_once()
                while partial.finish_reason is None:
                    await self._sample_part(partial)
            if self.num_outstanding == 1:
                await self._verify()
        finally:
            self.num_outstanding -= 1
            self._is_prepared = self._is_prepared and self.num_outstanding > 0

    async def _prepare_once(self) -> None:
        async with self._preparing:
            if not self._is_prepared and not self.is_lost:
                await asyncio.to_thread(self._weights.prepare, self.replica)
                self._is_prepared = True

    async def _verify(self) -> None:
        """Refuse what was sampled with weights of somebody else, after the last request."""
        self.replica.forget_losses()
        with suppress(LostError):  # it is brought back when it is used again
            is_checked = await asyncio.to_thread(self._weights.verify, self.replica)
            if is_checked and self.num_outstanding == 1:  # else more was sampled meanwhile
                self._is_verified = True

    async def _sample_part(self, partial: PartialCompletion) -> None:
        """Sample until the completion is finished, or until new weights are loaded."""
        while not self._is_open.is_set():
            await self._is_open.wait()
        self._require_present()
        version, self._is_verified = self.replica.policy_version, False
        body = completion_body(partial.next_request(), self.replica.model, self._end_ids)
        post = asyncio.create_task(self._post(body))
        post.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be that nobody waits for it
        self._posts.add(post)
        try:
            await asyncio.wait({post})
        finally:
            post.cancel()
            self._posts.discard(post)
        if post.cancelled():
            return  # by :meth:`lose` or :meth:`_interrupt`
        answer, is_pausing = post.result()
        if is_aborted(answer) and not is_pausing:
            raise LostError("it was ended while it sampled")
        partial.add(read_completion(answer), version, is_interrupted=is_aborted(answer))

    def _require_present(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.is_lost:
            raise LostError("it is being restarted")

    async def _post(self, body: dict[str, object]) -> tuple[Any, bool]:
        """Return the answer to a request, and whether the server was being paused when it came. Any: JSON."""
        # A connection of its own for each: one that is kept open may be one that a lost server had.
        connector = aiohttp.TCPConnector(force_close=True, socket_factory=_watched_socket)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=MAX_CONNECT_S)
        url = f"{self.replica.url}/v1/completions"
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(url, json=body) as answer,
            ):
                status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(str(error) or type(error).__name__) from None
        if status == 200:
            return json.loads(text), self._is_pausing
        if status >= 500 and not await asyncio.to_thread(self.replica.is_healthy):
            raise LostError(refusal(status, text))
        raise RefusedError(f"{self.replica.name} refused a request: {refusal(status, text)}")

    async def load(self) -> None:
        """Have the server load the current weights; what is outstanding goes on with them.

        Raises:
            LostError: it does not answer.
            EngineError: it did not load them.
        """
        self._is_open.clear()
        try:
            await self._interrupt()
            await asyncio.to_thread(self._weights.load, self.replica)
            self.replica.forget_losses()
        except LostError:
            raise
        except BaseException as error:  # nobody knows what it has loaded
            self.failure = EngineError(str(error) or f"{self.replica.name} was loading weights when that was ended.")
            raise
        finally:
            self._is_open.set()

    async def _interrupt(self) -> None:
        """Have the server give back what it sampled so far of every request."""
        if not self._is_verified:
            await asyncio.to_thread(self._weights.require_own, self.replica, self.replica.policy_version)
            self._is_verified = True
        self._is_pausing = True
        try:
            await self._pause()
            until = asyncio.get_running_loop().time() + MAX_ANSWER_S
            while (waiting := self._unanswered()) and asyncio.get_running_loop().time() < until:
                await asyncio.wait(waiting, timeout=0.05)
                if self._unanswered():  # one that came after the pause waits for its end
                    await self._pause()
            await self._cancel_posts()
        finally:
            self._is_pausing = False

    async def _pause(self) -> None:
        await asyncio.to_thread(self.replica.post, "/pause?mode=abort")

    def _unanswered(self) -> set[asyncio.Task[tuple[Any, bool]]]:
        return {post for post in self._posts if not post.done()}

    async def _cancel_posts(self) -> None:
        if unanswered := self._unanswered():
            for post in unanswered:
                post.cancel()
            await asyncio.wait(unanswered)

    def lose(self, why: str) -> None:
        """Send nothing until the server is back: restarted where the run started it, else waited for."""
        if self.is_lost or self.failure is not None:
            return
        self.is_lost, self._is_prepared = True, False
        for post in self._unanswered():
            post.cancel()  # an answer that fails later would be taken for another loss
        self.recovery = asyncio.create_task(self._recover(why))

    async def _recover(self, why: str) -> None:
        log.warning("%s is lost: %s.", self.replica.name, why.rstrip("."))
        while True:
            try:
                await asyncio.to_thread(self._weights.restart, self.replica, why, self._check)
            except LostError as again:
                why = str(again)
            except EngineError as error:
                if not self._may_stay_away():
                    self.failure = error
                    return
                log.warning("Others sample in its place, and it is waited for. %s", error)
                self.replica.forget_losses()
            else:
                if self.replica.policy_version == self._weights.version:
                    break  # else new ones were loaded into the others meanwhile
        self.is_lost = False
        log.warning("%s is back.", self.replica.name)

    def _may_stay_away(self) -> bool:
        return self.replica.is_given and self.replica.has_failed and self._can_do_without()

    def _check(self) -> None:
        if self._closing.is_set():
            raise EngineError("the engine is closed.")

    def close(self) -> None:
        """End the threads that work for it soon; called from any thread."""
        self._closing.set()


def _watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket whose connection fails when the other machine cannot be reached for long."""
    family, kind, protocol, *_ = address
    connection = socket.socket(family, kind, protocol)
    watch_connection(connection)
    return connection
