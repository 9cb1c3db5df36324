"""Sandbox servers for tests: ours, in a process of its own, and a stand-in for SandboxFusion."""

import asyncio
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession, web

HANG_S = 60.0
"""What only a hang takes."""


@dataclass(frozen=True)
class Served:
    """A server of ours."""

    url: str
    process: "subprocess.Popen[str]"

    # Any: JSON of any shape.
    def ask(
        self, path: str, message: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, content and headers of a reply."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        body = message if message is None or isinstance(message, bytes) else json.dumps(message).encode()
        with closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=HANG_S)) as connection:
            connection.request("GET" if body is None else "POST", path, body, sent)
            response = connection.getresponse()
            return response.status, json.load(response), dict(response.headers)


@contextmanager
def served(*options: str, token: str | None = None) -> Iterator[Served]:
    """Serve in a process of its own, ended by Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if name != "REASONRL_SANDBOX_TOKEN"}
    process = subprocess.Popen(
        [sys.executable, "-m", "reasonrl_sandbox", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, **({"REASONRL_SANDBOX_TOKEN": token} if token else {})},
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+:\d+", process.stdout.readline())
        assert found, "it says where it listens"
        yield Served(found[0], process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(HANG_S)
        process.stdout.close()


def free_port() -> int:
    """Return a port that nobody listens on yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class InThread:
    """An aiohttp application in a thread of its own."""

    def __init__(self, handler: Callable[[web.Request], Any]) -> None:
        # Any: a handler is a coroutine function.
        self._started: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._app = web.Application(client_max_size=16 << 20)
        self._app.router.add_route("*", "/{path:.*}", handler)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._started.result(HANG_S)}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self._started.set_result(runner.addresses[0][1])
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANG_S)


class Replies(InThread):
    """Replies what it was given."""

    def __init__(self, run: bytes = b"", *, status: int = 200, slots: object = 1, **headers: str) -> None:
        report = {"level": "full", "layers": {}, "verified": {}, "needs": {}, "uid": 1, "kernel": "k", "python": "p"}
        self._report = json.dumps({"report": report, "slots": slots}).encode()
        self._run_reply, self._status = run, status
        self._headers = {name.replace("_", "-"): text for name, text in headers.items()}
        super().__init__(self._reply)

    async def _reply(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=self._report)
        return web.Response(body=self._run_reply, status=self._status, headers=self._headers)


class LosesReplies(InThread):
    """A proxy that disconnects instead of passing on the first replies to programs."""

    def __init__(self, url: str, losses: int) -> None:
        self.lost: list[bytes] = []
        self._server, self._losses = url, losses
        super().__init__(self._pass)

    async def _pass(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        async with ClientSession() as session:
            url = self._server + request.path
            async with session.request(request.method, url, data=await request.read(), headers=headers) as reply:
                body = await reply.read()
        if request.method == "POST" and len(self.lost) < self._losses:
            self.lost.append(body)
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=reply.status, body=body, content_type="application/json")


class FusionLike(InThread):
    """Runs programs as SandboxFusion does without isolation: a file in a folder, its output through pipes.

    For harmless programs only.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.failing = 0
        super().__init__(self._run_code)

    async def _run_code(self, request: web.Request) -> web.Response:
        """Run a program; the next `failing` requests fail inside the sandbox."""
        self.requests[request.path] += 1
        self.tokens[request.headers.get("Authorization", "")] += 1
        if self.failing:
            self.failing -= 1
            return web.json_response({"status": "SandboxError", "message": "no space left", "run_result": None})
        asked = await request.json()
        return web.json_response(await asyncio.to_thread(self._execute, asked))

    # Any: JSON of any shape.
    def _execute(self, asked: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in asked["files"].items():
                (Path(folder) / name).write_bytes(base64.b64decode(content))
            (Path(folder) / "tmp.py").write_text(asked["code"])
            try:
                run = subprocess.run(
                    [sys.executable, f"{folder}/tmp.py"],
                    cwd=folder,
                    input=(asked["stdin"] or "").encode(),
                    capture_output=True,
                    timeout=asked["run_timeout"],
                    check=False,
                )
                result = {"status": "Finished", "return_code": run.returncode, "stdout": run.stdout.decode()}
            except subprocess.TimeoutExpired:
                result = {"status": "TimeLimitExceeded", "return_code": None, "stdout": ""}
            found = [name for name in asked["fetch_files"] if (Path(folder) / name).is_file()]
            files = {name: base64.b64encode((Path(folder) / name).read_bytes()).decode() for name in found}
        status = "Success" if result["return_code"] == 0 else "Failed"
        return {"status": status, "message": "", "run_result": result, "files": files, "executor_pod_name": "pod"}
