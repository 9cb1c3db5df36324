"""An endpoint with OpenAI's API in a process of its own, which fails as a script says.

Run as a program, it prints its port. A model named ``echo-N`` answers a prompt with N words of it. ``POST /script``
sets what the next requests meet, one each; ``GET /seen`` returns the requests and the most that were open at a time.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from aiohttp import web

KEY = "sk-the-key-of-the-tests"
_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class OpenAIServer:
    """A running endpoint."""

    url: str

    def script(self, *steps: Mapping[str, Any]) -> None:
        """Set what the next requests meet. Any: JSON."""
        self._call("/script", list(steps))

    def seen(self) -> dict[str, Any]:
        """Return what was asked since the script was set. Any: JSON."""
        answer: dict[str, Any] = self._call("/seen")
        return answer

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The requests. Any: JSON."""
        bodies: list[dict[str, Any]] = self.seen()["bodies"]
        return bodies

    def _call(self, path: str, body: object = None) -> Any:  # Any: JSON
        data = None if body is None else json.dumps(body).encode()
        with _opener.open(Request(self.url.removesuffix("/v1") + path, data), timeout=30) as answer:
            return json.load(answer)


@contextmanager
def serving() -> Iterator[OpenAIServer]:
    """Run an endpoint."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert process.stdout is not None
        yield OpenAIServer(f"http://127.0.0.1:{int(process.stdout.readline())}/v1")
    finally:
        process.communicate()  # it ends with its standard input


class _Endpoint:
    def __init__(self) -> None:
        self._script: list[dict[str, Any]] = []
        self._bodies: list[dict[str, Any]] = []
        self._keys: list[str | None] = []
        self._num_answered = self._num_open = self._most_open = 0

    async def script(self, request: web.Request) -> web.StreamResponse:
        self.__init__()  # type: ignore[misc]
        self._script = await request.json()
        return web.json_response({})

    async def seen(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "bodies": self._bodies,
                "keys": self._keys,
                "answered": self._num_answered,
                "most_open": self._most_open,
            }
        )

    async def models(self, request: web.Request) -> web.StreamResponse:
        if self._script and "models" in self._script[0]:
            return web.json_response(self._script[0]["models"], status=self._script.pop(0).get("status", 200))
        return web.json_response({"data": [{"id": "echo-3", "owned_by": "somebody"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, lambda text: {"message": {"role": "assistant", "content": text}})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, lambda text: {"text": text})

    async def _answer(self, request: web.Request, form: Any) -> web.StreamResponse:  # Any: a function of the text
        body = await request.json()
        self._bodies.append(body)
        self._keys.append(request.headers.get("Authorization"))
        self._num_open += 1
        self._most_open = max(self._most_open, self._num_open)
        step = self._script.pop(0) if self._script else {}
        try:
            await asyncio.sleep(step.get("sleep", 0.0))
            return await self._meet(request, body, step, form)
        finally:
            self._num_open -= 1

    async def _meet(
        self, request: web.Request, body: dict[str, Any], step: dict[str, Any], form: Any
    ) -> web.StreamResponse:
        assert request.transport is not None
        if step.get("drop"):
            request.transport.abort()
            return web.Response()
        if step.get("torn"):
            torn = web.StreamResponse(headers={"Content-Type": "application/json"})
            torn.content_length = 1000
            await torn.prepare(request)
            await torn.write(b'{"choices": [')
            request.transport.abort()
            return torn
        if "status" in step:
            return web.json_response(step.get("reply", {}), status=step["status"], headers=step.get("headers"))
        if "refuses" in step and step["refuses"] in body:
            error = {"message": step["message"], "param": step["refuses"], "code": "unsupported_parameter"}
            return web.json_response({"error": error}, status=400)
        self._num_answered += 1
        asked = body.get("prompt") or body["messages"][-1]["content"]
        text = step.get("text", " ".join(asked.split()[: int(body["model"].rpartition("-")[2])]))
        choice = {"index": 0, "finish_reason": step.get("finish_reason", "stop"), **form(text)}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})


async def _serve() -> None:
    endpoint, app = _Endpoint(), web.Application()
    app.router.add_post("/script", endpoint.script)
    app.router.add_get("/seen", endpoint.seen)
    app.router.add_get("/v1/models", endpoint.models)
    app.router.add_post("/v1/chat/completions", endpoint.chat)
    app.router.add_post("/v1/completions", endpoint.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
