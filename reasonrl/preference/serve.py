"""``reasonrl rm serve``: a reward model over HTTP.

    POST /score        scores completions; ids are echoed
    POST /get_reward   the same in OpenRLHF's protocol, for its trainers
    GET  /card         the model's card
    GET  /health       whether the server is up; needs no token

Requests that arrive while others are scored go through the model together. Replies to refused requests are
``{"error": why}`` with a matching HTTP status. Connections are not encrypted: beyond one machine, use a private
network, or a proxy with TLS in front.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel, ValidationError

from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.plugins.failures import message
from reasonrl.preference.aggregate import Aggregation, too_long
from reasonrl.preference.clients import card_digest
from reasonrl.preference.encoding import scored_sample
from reasonrl.preference.messages import (
    TOKEN_VARIABLE,
    ItemScore,
    RewardRequest,
    ScoreItem,
    ScoreReply,
    ScoreRequest,
)
from reasonrl.preference.model import RewardModel
from reasonrl.system.access import shows_token
from reasonrl.system.stopping import server_stop
from reasonrl.types import Problem, Score, TrainingSample, digest

MAX_BODY: Final = 32 << 20
"""Bytes of the longest request."""

BODY_S: Final = 30.0
"""Longest time for a client to send the body of a request."""

MAX_WAITING: Final = 16_384
"""Completions that may wait; more are refused with status 429."""

MAX_TOGETHER: Final = 1024
"""Completions that go through the model together, unless one request has more."""

SHUTDOWN_S: Final = 5.0
"""Time for requests under way when the server is stopped."""

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Encoded: TypeAlias = TrainingSample | Score
"""The row of a completion, or the score of one that has none."""

Scored: TypeAlias = tuple[Score, tuple[float, ...] | None]
"""The score of a completion, and what each head gave."""


class RequestRefusedError(Exception):
    """A request that is not served.

    Args:
        status: HTTP status of the reply.
        why: what is wrong with it, and what to do.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens, and who may use it."""

    host: str
    port: int
    """0 for any that is free."""
    token: str | None
    """What clients must show."""


def serve(model: RewardModel, address: Address, *, max_tokens: int, announce: Callable[[str], None]) -> None:
    """Serve a reward model until Ctrl-C or SIGTERM.

    Args:
        model: what scores.
        address: where to listen.
        max_tokens: most tokens that the model has in memory at once.
        announce: called with the server's address once it listens.

    Raises:
        ConfigError: the server cannot listen on the address.
    """
    asyncio.run(_serve(model, address, max_tokens, announce))


async def _serve(model: RewardModel, address: Address, max_tokens: int, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    asked = server_stop(stop.set, f"the scores being computed, {SHUTDOWN_S:g} s at most", "those are lost")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked, number)
    async with Batcher(model, max_tokens) as batcher:
        # Bodies are not decompressed: a small one could inflate to any size, and that before its token is checked.
        runner = web.AppRunner(
            application(model, batcher, address.token),
            access_log=None,
            shutdown_timeout=SHUTDOWN_S,
            auto_decompress=False,
        )
        await runner.setup()
        try:
            announce(f"serving on {await _listen(runner, address)}")
            await stop.wait()
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, address: Address) -> str:
    """Listen, and return the server's URL."""
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}. Give another --port; 0 "
            "takes any that is free."
        ) from None
    shown = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{shown}:{runner.addresses[0][1]}"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits for its scores."""

    samples: Sequence[TrainingSample]
    scores: "asyncio.Future[list[tuple[float, ...]]]"


class Batcher:
    """Scores what waits together in a thread, one batch at a time, so that the event loop goes on."""

    def __init__(self, model: RewardModel, max_tokens: int) -> None:
        self._model, self._max_tokens = model, max_tokens
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        # One thread: torch gives every thread that computes threads of its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward-model")
        # Another one, or what arrives during a batch would be tokenized after it, and not stand together.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    async def __aenter__(self) -> "Batcher":
        self._scoring = asyncio.create_task(self._score_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._scoring.cancel()
        await asyncio.wait({self._scoring})
        for request in self._waiting:
            request.scores.cancel()
        self._thread.shutdown()
        self._tokenizing.shutdown()

    async def encode(self, function: Callable[[], list[Encoded]]) -> list[Encoded]:
        """Call what tokenizes where it blocks nobody."""
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, function)

    async def score(self, samples: list[TrainingSample]) -> list[tuple[float, ...]]:
        """Return the raw scores of encoded completions, in order.

        Raises:
            RequestRefusedError: too many wait already, or the model failed.
        """
        if not samples:
            return []
        waiting = sum(len(request.samples) for request in self._waiting)
        if waiting + len(samples) > MAX_WAITING:
            raise RequestRefusedError(429, f"{waiting} completions wait here already; come back later.")
        request = _Waiting(samples, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._arrived.set()
        return await request.scores

    async def _score_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._score_together(self._taken())

    def _taken(self) -> list["_Waiting"]:
        """Take the requests that waited longest, at least one."""
        taken, count = list[_Waiting](), 0
        while self._waiting and (not taken or count + len(self._waiting[0].samples) <= MAX_TOGETHER):
            taken.append(self._waiting.pop(0))
            count += len(taken[-1].samples)
        return taken

    async def _score_together(self, requests: Sequence["_Waiting"]) -> None:
        samples = [sample for request in requests for sample in request.samples]
        try:
            found = iter(await asyncio.get_running_loop().run_in_executor(self._thread, self._scores, samples))
        except Exception as error:  # out of memory, a device that failed: the next batch may fare better
            why = f"the model failed: {message(error)}"
            for request in requests:
                if not request.scores.done():  # as it is where the client has left
                    request.scores.set_exception(RequestRefusedError(500, why))
            return
        for request in requests:
            scores = [next(found) for _ in request.samples]
            if not request.scores.done():
                request.scores.set_result(scores)

    def _scores(self, samples: list[TrainingSample]) -> list[tuple[float, ...]]:
        return self._model.sample_scores(samples, max_tokens=self._max_tokens)


def application(model: RewardModel, batcher: Batcher, token: str | None) -> web.Application:
    """Return the routes; the caller opens and closes the batcher."""
    routes = _Routes(model, batcher)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_reply_to_errors, _require_token(token)])
    app.router.add_post("/score", routes.score)
    app.router.add_post("/get_reward", routes.get_reward)
    app.router.add_get("/card", routes.card)
    app.router.add_get("/health", routes.health)
    return app


@web.middleware
async def _reply_to_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reply to refused requests in one form, whether we or aiohttp refuse them."""
    try:
        return await handler(request)
    except RequestRefusedError as error:
        return _refusal(error.status, str(error))
    except web.HTTPException as error:
        return _refusal(error.status, error.reason)


def _refusal(status: int, why: str) -> web.Response:
    headers = {"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return web.json_response({"error": why}, status=status, headers=headers)


def _require_token(token: str | None) -> Middleware:
    """Return middleware that refuses requests without the token, except whether the server is up."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_open = token is None or request.path == "/health"
        if not is_open and not shows_token(request.headers.get("Authorization", ""), token or ""):
            raise RequestRefusedError(401, f"give the server's token: Authorization: Bearer TOKEN ({TOKEN_VARIABLE}).")
        return await handler(request)

    return check


async def _read(request: web.Request, kind: type[Body]) -> Body:
    """Return the message of a request."""
    if request.content_type != "application/json":  # browsers let any web page send other types to any server
        raise RequestRefusedError(415, "send Content-Type: application/json.")
    if "Content-Encoding" in request.headers:
        raise RequestRefusedError(415, "send the body as it is, without Content-Encoding.")
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise RequestRefusedError(408, f"the body did not come within {BODY_S:g} seconds.") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise RequestRefusedError(400, f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


class _Routes:
    """The handlers of the server."""

    def __init__(self, model: RewardModel, batcher: Batcher) -> None:
        self._model, self._batcher = model, batcher
        self._aggregation = Aggregation(scales=model.card.scales)
        self._digest = card_digest(model.card)

    async def score(self, request: web.Request) -> web.Response:
        """Score completions of problems."""
        items = (await _read(request, ScoreRequest)).items
        scores = await self._scored(lambda: [self._of_item(item) for item in items])
        reply = ScoreReply(card=self._digest, scores=tuple(map(_item_score, [item.id for item in items], scores)))
        return web.Response(body=reply.model_dump_json().encode(), content_type="application/json")

    async def get_reward(self, request: web.Request) -> web.Response:
        """Score texts, in OpenRLHF's protocol, which has no place for a text without a score."""
        asked = await _read(request, RewardRequest)
        prompts = asked.prompts or ("",) * len(asked.query)
        texts = list(zip(asked.query, prompts, strict=True))
        scores = await self._scored(lambda: [self._of_text(query, prompt) for query, prompt in texts])
        for number, (score, _) in enumerate(scores):
            if score.value is None:
                raise RequestRefusedError(422, f"query.{number}: {score.why}.")
        rewards = [score.value for score, _ in scores]
        logs = {"out_of_range": [score.parts["out_of_range"] for score, _ in scores]}
        return web.json_response({"rewards": rewards, "scores": rewards, "extra_logs": logs})

    async def card(self, _: web.Request) -> web.Response:
        """Reply with the model's card."""
        return web.Response(body=self._model.card.model_dump_json().encode(), content_type="application/json")

    async def health(self, _: web.Request) -> web.Response:
        """Reply that the server is up."""
        return web.json_response({"status": "ok"})

    async def _scored(self, encode: Callable[[], list[Encoded]]) -> list[Scored]:
        """Tokenize completions, and score those that have a row."""
        encoded = await self._batcher.encode(encode)
        found = iter(await self._batcher.score([one for one in encoded if isinstance(one, TrainingSample)]))
        return [(one, None) if isinstance(one, Score) else self._score(next(found)) for one in encoded]

    def _score(self, raw: tuple[float, ...]) -> Scored:
        score = self._aggregation.score(raw)
        return score, None if score.value is None else raw

    def _of_item(self, item: ScoreItem) -> Encoded:
        """Tokenize an item."""
        problem = Problem(
            id=digest(item.prompt, item.messages),
            task="",
            prompt=item.prompt,
            answer="",
            messages=item.messages,
            meta=item.meta,
        )
        try:
            return self._model.encoder.encode(problem, item.completion) or too_long(self._model.card)
        except ReasonRLError as error:  # a template that this item does not fit
            return Score(None, str(error), "error")

    def _of_text(self, query: str, prompt: str) -> Encoded:
        """Tokenize prompt and completion in one text; where the prompt is given, apart, as in training."""
        tokenizer, prompt = self._model.tokenizer, prompt if query.startswith(prompt) else ""
        text = query[len(prompt) :]
        prompt_ids = tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"]) if prompt else ()
        found = self._model.encoder.joined(prompt_ids, text)
        if found is None:
            return too_long(self._model.card)
        ids, cut = (*found[0], *found[1]), max(len(found[0]), 1)
        return scored_sample(ids[:cut], ids[cut:]) if len(ids) > cut else Score.unscorable("the text is empty")


def _item_score(id: str, scored: Scored) -> ItemScore:
    score, raw = scored
    outcome: Literal["unscorable", "error"] = "unscorable" if score.outcome == "unscorable" else "error"
    if score.value is None:
        return ItemScore(id=id, value=None, raw=None, outcome=outcome, error=score.why)
    return ItemScore(id=id, value=score.value, raw=raw, outcome="scored")
