"""Chat endpoints on loopback that answer as a script says, to be judged by."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from reasonrl import Rollout, Score
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import load_reward

Body = Mapping[str, Any]
"""A request. Any: JSON."""

Behavior = Callable[[web.Request, Body], Awaitable[web.StreamResponse]]
"""Answers one request."""


@dataclass
class JudgeServer:
    """A running endpoint."""

    behavior: Behavior
    """Answers every request that ``script`` does not."""
    script: list[Behavior] = field(default_factory=list)
    """Answer one request each, before ``behavior``."""
    bodies: list[Body] = field(default_factory=list)
    """The requests, in the order of their arrival."""
    keys: list[str | None] = field(default_factory=list)
    """Their ``Authorization``."""
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization"))
        behavior = self.script.pop(0) if self.script else self.behavior
        return await behavior(request, body)

    def endpoint(self, **settings: Any) -> dict[str, Any]:
        """Settings of an endpoint that is this server. Any: as in a run file."""
        return {"url": self.url, "model": "scripted", **settings}


@contextmanager
def serving(behavior: Behavior, *script: Behavior) -> Iterator[JudgeServer]:
    """Run an endpoint in a thread."""
    server, loop, stopped = JudgeServer(behavior, list(script)), asyncio.new_event_loop(), asyncio.Event()
    started = threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", server.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        await stopped.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


# Behaviors


def chat(text: str | None, *, finish_reason: str = "stop", refusal: str | None = None, counts: bool = True) -> Behavior:
    """Reply with a text, for 100 prompt tokens and 20 completion tokens."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    reply: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}
    if counts:
        reply["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return status(200, reply)


def status(code: int, reply: object, **headers: str) -> Behavior:
    """Reply with an HTTP status and JSON."""

    async def answer(request: web.Request, body: Body) -> web.StreamResponse:
        return web.json_response(
            reply, status=code, headers={name.replace("_", "-"): headers[name] for name in headers}
        )

    return answer


async def drop(request: web.Request, body: Body) -> web.StreamResponse:
    """Close the connection without a reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request, body: Body) -> web.StreamResponse:
    """Never reply."""
    await asyncio.sleep(3600)
    return web.Response()


async def page(request: web.Request, body: Body) -> web.StreamResponse:
    """Reply with what a proxy would."""
    return web.Response(text="<html>Please log in</html>", content_type="text/html")


def verdict(**parts: Any) -> Behavior:
    """Reply with a verdict. Any: its parts."""
    return chat(json.dumps(parts))


def judging(decide: Callable[[Mapping[str, str]], Mapping[str, Any]]) -> Behavior:
    """Reply with the verdict that a function makes of the texts in the request. Any: JSON."""

    async def answer(request: web.Request, body: Body) -> web.StreamResponse:
        return await verdict(**decide(texts_of(body)))(request, body)

    return answer


def texts_of(body: Body) -> dict[str, str]:
    """Return the texts of a request by their labels, told apart by its code alone, as a judge has to."""
    sent = body["messages"][-1]["content"]
    code = re.match(r"Code of this request: (\w{16})\n", sent)
    assert code is not None
    block = re.compile(
        rf"^\[(?P<label>[\w ]+) {code[1]}\]\n(?P<text>.*?)\n\[end of (?P=label) {code[1]}\]$", re.S | re.M
    )
    found = [(match["label"], match["text"]) for match in block.finditer(sent)]
    assert len(found) * 2 + 1 == sent.count(code[1])
    return dict(found)


# Rewards


def scores(
    name: str,
    rollouts: Sequence[Rollout],
    *,
    together: bool = False,
    ref: Mapping[str, Any] | None = None,
    **params: Any,
) -> tuple[Score, ...]:
    """Score rollouts as a run does, with what the reward keeps open. Any: parameters of the reward.

    Args:
        name: of the reward.
        rollouts: what is scored.
        together: as one group.
        ref: settings beside the parameters. Any: as in a run file.
        params: of the reward; no verdicts are kept unless they say so.
    """
    reward = load_reward(RewardRef(name=name, params={"cache": False, **params}, **(ref or {})), installed_plugins())
    with RewardCaller([reward], ScoringSettings()) as caller:
        units = [rollouts] if together else [[one] for one in rollouts]
        futures = [caller.submit(reward.name, unit) for unit in units]
        return tuple(score for future in futures for score in future.result())


def ask(name: str, one: Rollout, **given: Any) -> Score:
    """Score one rollout. Any: as :func:`scores` takes it."""
    return scores(name, [one], **given)[0]
