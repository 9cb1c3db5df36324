"""Clients of servers that run reward models: what each protocol sends, and how its replies are read.

Scores are found by the id, or by the index, that a reply names; a reply that lacks one, or has one twice, is an error.
OpenRLHF's protocol (``POST /get_reward`` with ``query``, ``prompts`` and ``labels``, answered by ``rewards``) relies on
the order.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from reasonrl.errors import ConfigError, ModelError, ReasonRLError, UnreachableError
from reasonrl.preference.aggregate import too_long
from reasonrl.preference.card import RewardModelCard, find_reward_model, read_card
from reasonrl.preference.encoding import Encoder, encoder_of
from reasonrl.preference.messages import (
    ItemScore,
    ModelsReply,
    PoolingReply,
    RewardReply,
    ScoreItem,
    ScoreReply,
    ScoreRequest,
)
from reasonrl.system.event_loop import run_until_complete
from reasonrl.types import Rollout, Score, digest

ServerProtocol: TypeAlias = Literal["reasonrl", "vllm", "openrlhf"]
"""What a server speaks."""

RawScores: TypeAlias = "list[tuple[float, ...] | Score]"
"""What each head gave a completion, or the score of one without any; in the order that was asked for."""

CONNECT_S: Final = 5.0
"""Longest time to connect."""

READ_S: Final = 110.0
"""Longest time without a byte of a reply."""

POLL_S: Final = 0.5
"""Time between tries of a server that does not answer."""

Body = TypeVar("Body", bound=BaseModel)


class Client(Protocol):
    """Asks one server for scores."""

    @property
    def url(self) -> str:
        """The server's address."""
        ...

    @property
    def card(self) -> RewardModelCard | None:
        """What is known of its model."""
        ...

    async def raw_scores(self, group: Sequence[Rollout]) -> RawScores:
        """Return the raw scores of completions of one problem.

        Raises:
            RefusedError: the server refused.
            BadReplyError: its reply is not one.
            aiohttp.ClientError: it did not answer, nor did it come back.
        """
        ...


class RefusedError(Exception):
    """A reply other than the one asked for, with the attributes that say whether another try may help."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


class BadReplyError(Exception):
    """A reply that cannot be read."""


class Connection:
    """Requests to one server. One that does not answer is waited for, by all requests together.

    Every request has a connection of its own, so that none is left over from before a server was restarted.

    Args:
        url: the server's address.
        token: what it wants to be shown, if anything.
        outage_s: time for which it is waited for.
    """

    def __init__(self, url: str, token: str | None, outage_s: float) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._outage_s = outage_s
        self._down_since: float | None = None

    async def get(self, path: str, kind: type[Body]) -> Body:
        """Return the reply to a GET."""
        return self._parsed(path, await self._exchange("GET", path, None), kind)

    async def post(self, path: str, body: Mapping[str, Any], kind: type[Body], *, wait: bool = True) -> Body:
        """Return the reply to a POST, which may have to wait until the server is back. Any: JSON values."""
        content = json.dumps(body).encode()
        while True:
            try:
                reply = await self._exchange("POST", path, content)
            except aiohttp.SocketTimeoutError:  # it is there, and does not finish
                raise
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                self._down_since = self._down_since or time.monotonic()
                if not wait or time.monotonic() - self._down_since > self._outage_s:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                self._down_since = None
                return self._parsed(path, reply, kind)

    async def _exchange(self, method: str, path: str, content: bytes | None) -> bytes:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            session.request(method, self.url + path, data=content, allow_redirects=False) as reply,
        ):
            received = await reply.read()
            if reply.status != 200:
                raise RefusedError(reply.status, f"{self.url}{path}: {_refusal(reply.status, received)}", reply.headers)
            return received

    def _parsed(self, path: str, reply: bytes, kind: type[Body]) -> Body:
        try:
            return kind.model_validate_json(reply)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadReplyError(f"{self.url}{path}: bad reply: {where + ': ' if where else ''}{first['msg']}") from None


def _refusal(status: int, reply: bytes) -> str:
    """Return why a server refuses: ours says it in JSON, vLLM too, anything else in some text."""
    text = reply.decode(errors="replace").strip()
    try:
        said = json.loads(text)["error"]
        text = str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError):
        pass
    return f"HTTP status {status}: {text[:500]}"


@dataclass(frozen=True, slots=True)
class ReasonRLClient:
    """Asks `reasonrl rm serve`, which renders and tokenizes itself."""

    connection: Connection
    card: RewardModelCard

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    async def raw_scores(self, group: Sequence[Rollout]) -> RawScores:
        """Return the scores of the model's heads."""
        request = ScoreRequest(items=tuple(map(self._item, group)))
        body = request.model_dump(mode="json", exclude_defaults=True) | {"schema_version": request.schema_version}
        reply = await self.connection.post("/score", body, ScoreReply)
        if reply.card != card_digest(self.card):
            raise BadReplyError(f"{self.url} serves another model than when this began")
        found = {score.id: score for score in reply.scores}
        _require_each(self.url, [score.id for score in reply.scores], [rollout.id for rollout in group])
        return [self._raw(found[rollout.id]) for rollout in group]

    def _item(self, rollout: Rollout) -> ScoreItem:
        problem = rollout.problem
        # The columns of a problem may be large, and its hidden tests are nobody's business.
        meta = problem.meta if "problem" in self.card.template.text else {}
        return ScoreItem(
            id=rollout.id, prompt=problem.prompt, messages=problem.messages, completion=rollout.text, meta=meta
        )

    def _raw(self, score: ItemScore) -> tuple[float, ...] | Score:
        if score.raw is None:
            return Score(None, score.error or "the server gives no reason", score.outcome)
        return _of_heads(score.raw, self.card.num_heads, self.url)


@dataclass(frozen=True, slots=True)
class VLLMClient:
    """Asks vLLM's pooling interface, in token ids: no text is tokenized in two ways."""

    connection: Connection
    card: RewardModelCard
    encoder: Encoder

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    async def raw_scores(self, group: Sequence[Rollout]) -> RawScores:
        """Return the scores of the model's heads, without an activation over them."""
        encoded = [self.encoder.ids(rollout.problem, rollout.text) for rollout in group]
        found = iter(await self.pooled([[*ids[0], *ids[1]] for ids in encoded if ids is not None]))
        return [too_long(self.card) if ids is None else next(found) for ids in encoded]

    async def pooled(self, inputs: Sequence[list[int]], *, wait: bool = True) -> list[tuple[float, ...]]:
        """Return the raw scores of token ids, at the last of each."""
        if not inputs:
            return []
        body = {"task": "classify", "input": inputs, "use_activation": False, "add_special_tokens": False}
        reply = await self.connection.post("/pooling", body, PoolingReply, wait=wait)
        found = {output.index: output.data for output in reply.data}
        _require_each(self.url, [output.index for output in reply.data], range(len(inputs)))
        return [_of_heads(found[index], self.card.num_heads, self.url) for index in range(len(inputs))]


@dataclass(frozen=True, slots=True)
class OpenRLHFClient:
    """Asks a server of OpenRLHF's protocol for the rewards of whole texts."""

    connection: Connection
    card: RewardModelCard | None
    encoder: Encoder | None
    end: str
    """Follows each text where there is no encoder."""

    @property
    def url(self) -> str:
        """The server's address."""
        return self.connection.url

    async def raw_scores(self, group: Sequence[Rollout]) -> RawScores:
        """Return the rewards, which the protocol has one of for each text."""
        prompts = list(map(self._prompt, group))
        end = self.end if self.encoder is None else self.encoder.tokenizer.eos_token
        queries = [f"{prompt}{rollout.text}{end}" for prompt, rollout in zip(prompts, group, strict=True)]
        return await self.rewards(queries, prompts, [rollout.problem.answer for rollout in group])

    async def rewards(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], *, wait: bool = True
    ) -> RawScores:
        """Return the rewards of texts."""
        body = {"query": queries, "prompts": prompts, "labels": labels}
        reply = await self.connection.post("/get_reward", body, RewardReply, wait=wait)
        if len(reply.rewards) != len(queries):
            raise BadReplyError(f"{self.url} gave {len(reply.rewards)} rewards for {len(queries)} texts")
        missing = Score(None, f"{self.url} gave no reward", "error")
        return [missing if reward is None else (reward,) for reward in reply.rewards]

    def _prompt(self, rollout: Rollout) -> str:
        return rollout.prompt if self.encoder is None else self.encoder.renderer.text(rollout.problem)


def _require_each(url: str, given: Sequence[object], wanted: Sequence[object]) -> None:
    """Hold that a reply has exactly the scores that were asked for."""
    if len(set(given)) < len(given):
        raise BadReplyError(f"{url} gave two scores for one completion")
    if strange := [one for one in given if one not in set(wanted)]:
        raise BadReplyError(f"{url} gave a score for {strange[0]!r}, which was not asked for")
    if missing := [one for one in wanted if one not in set(given)]:
        raise BadReplyError(f"{url} gave no score for {missing[0]!r}")


def _of_heads(raw: tuple[float, ...], num_heads: int, url: str) -> tuple[float, ...]:
    if len(raw) != num_heads:
        raise BadReplyError(f"{url} gave {len(raw)} numbers for a completion; the model has {num_heads} heads")
    return raw


def card_digest(card: RewardModelCard) -> str:
    """Return what stands for a model in the replies of its server, whatever is measured of it meanwhile."""
    return digest(card.model_dump_json(exclude={"evaluation", "temperature"}))


def connect(
    url: str, protocol: ServerProtocol, folder: str | None, *, end: str, token: str | None, outage_s: float
) -> Client:
    """Return a client of a server that answers now and has been seen to score.

    Args:
        url: the server's address.
        protocol: what it speaks.
        folder: the model that it serves, or the run that trained it.
        end: follows each text, for OpenRLHF's protocol without a folder.
        token: what the server wants to be shown.
        outage_s: time for which it is waited for later on.

    Raises:
        UnreachableError: it does not answer.
        ConfigError: it is not such a server.
        ModelError: the folder is no reward model, or the server's model is not that one.
    """
    connection = Connection(url, token, outage_s)
    try:
        return run_until_complete(_connected(connection, protocol, folder, end))
    except ReasonRLError:
        raise
    except (RefusedError, BadReplyError) as error:
        raise ConfigError(f"reward model server: {error}. It was asked in the protocol {protocol!r}.") from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(f"reward model server {url} does not answer: {error or type(error).__name__}.") from None


async def _connected(connection: Connection, protocol: ServerProtocol, folder: str | None, end: str) -> Client:
    match protocol:
        case "reasonrl":
            return ReasonRLClient(connection, await connection.get("/card", RewardModelCard))
        case "vllm":
            assert folder is not None, "it was asked for"
            return await _vllm(connection, *_model(folder))
        case "openrlhf":
            card, encoder = (None, None) if folder is None else _model(folder)
            client = OpenRLHFClient(connection, card, encoder, end)
            await client.rewards([f"1 + 1?2{end}"], ["1 + 1?"], ["2"], wait=False)
            return client


def _model(folder: str) -> tuple[RewardModelCard, Encoder]:
    """Return the card of a model, and what makes its tokens."""
    from reasonrl.models.load import load_tokenizer

    found = find_reward_model(folder)
    card = read_card(found)
    return card, encoder_of(card, load_tokenizer(str(found)))


async def _vllm(connection: Connection, card: RewardModelCard, encoder: Encoder) -> VLLMClient:
    """Hold that vLLM serves a classifier with room for the texts and as many heads, and applies no activation."""
    client = VLLMClient(connection, card, encoder)
    served = (await connection.get("/v1/models", ModelsReply)).data[0]
    if served.max_model_len < card.max_length:
        raise ModelError(
            f"{connection.url} has room for {served.max_model_len} tokens, less than the {card.max_length} of the "
            f"reward model: start it with --max-model-len {card.max_length}."
        )
    await client.pooled([[encoder.tokenizer.eos_token_id]], wait=False)
    return client
