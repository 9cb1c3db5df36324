"""Completions from several vLLM servers at once; what a lost one had not given back is sampled by another."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

from reasonrl.engines.vllm.client import ServerClient
from reasonrl.engines.vllm.partial import PartialCompletion
from reasonrl.engines.vllm.replica import LostError, Replica
from reasonrl.engines.vllm.served_weights import ServedWeights
from reasonrl.errors import EngineError


class Dispatcher:
    """Gives requests to servers; belongs to one event loop.

    Requests with the same prompt go to the same server, which computes it once; a new prompt goes to the server with
    the fewest requests.

    Args:
        replicas: the servers.
        weights: what they sample with.
        end_ids: tokens that end a completion.
        max_num_seqs: most requests that one server is sent at a time.
    """

    def __init__(
        self, replicas: Sequence[Replica], weights: ServedWeights, *, end_ids: Collection[int], max_num_seqs: int
    ) -> None:
        self._clients = [
            ServerClient(
                replica,
                weights,
                end_ids=end_ids,
                max_num_seqs=max_num_seqs,
                can_do_without=lambda: bool(self._present),
            )
            for replica in replicas
        ]
        self._client_of: dict[tuple[int, ...], ServerClient] = {}
        self._num_outstanding: Counter[tuple[int, ...]] = Counter()

    async def sample(self, partial: PartialCompletion) -> None:
        """Sample a completion to its end.

        Raises:
            EngineError: a server refused it, or failed permanently.
        """
        prompt_ids = partial.request.prompt_ids
        self._num_outstanding[prompt_ids] += 1
        try:
            while partial.finish_reason is None:
                client = await self._client_for(prompt_ids)
                try:
                    await client.sample(partial)
                except LostError as why:
                    client.lose(str(why))
        finally:
            self._num_outstanding[prompt_ids] -= 1
            if not self._num_outstanding[prompt_ids]:
                del self._num_outstanding[prompt_ids]
                self._client_of.pop(prompt_ids, None)

    async def _client_for(self, prompt_ids: tuple[int, ...]) -> ServerClient:
        """Return the server for a prompt, as soon as there is one."""
        while not self._present:
            self._require_none_failed()
            await asyncio.wait(self._recoveries(), return_when=asyncio.FIRST_COMPLETED)
        self._require_none_failed()
        client = self._client_of.get(prompt_ids)
        if client not in self._present:
            client = min(self._present, key=lambda one: one.num_outstanding)
            self._client_of[prompt_ids] = client
        return client

    @property
    def _present(self) -> list[ServerClient]:
        """The servers that answer."""
        return [client for client in self._clients if not client.is_lost and client.failure is None]

    def _require_none_failed(self) -> None:
        """Raise the failure of a server that will not sample any more.

        Raises:
            EngineError: there is one.
        """
        for client in self._clients:
            if client.failure is not None:
                raise EngineError(str(client.failure))

    def _recoveries(self) -> list[asyncio.Task[None]]:
        return [client.recovery for client in self._clients if client.recovery is not None]

    async def load(self) -> None:
        """Have all servers that answer load the current weights; the others do when they are back.

        Raises:
            EngineError: one did not load them.
        """
        self._require_none_failed()
        loaded = await asyncio.gather(*map(self._load, self._present), return_exceptions=True)
        for error in filter(None, loaded):
            raise error

    async def _load(self, client: ServerClient) -> None:
        try:
            await client.load()
        except LostError as why:
            client.lose(str(why))

    def close(self) -> None:
        """End the threads that work for servers soon; called from any thread."""
        for client in self._clients:
            client.close()
