"""Folders of reward models whose scores are known, and servers that run them."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web
from builders import group, problem
from judged_models import fitted_model

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.preference.card import HeadScale, HeldoutEvaluation, Interval, RewardModelCard
from reasonrl.preference.model import RewardModel
from reasonrl.preference.serve import Batcher, application
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import load_reward
from reasonrl.types import Group, Score

QUESTION = "1 + 1?"
TEXTS = (" 2", " 3", " It is 2, because 1 and 1 are 2.", " no", "")
"""Completions of various lengths."""

HEADS = ((3.0, -1.0, 1.0, 0.5, -4.0), (2.0, 1.0, -1.0, 1.5, -6.0))
"""What each head of the model is fitted to give them."""

SCALES = (HeadScale(mean=1.0, std=2.0, p999=2.5), HeadScale(mean=-1.0, std=1.0, p999=9.0))


def evaluation(accuracy: float, length_only: float) -> HeldoutEvaluation:
    """What a model was measured to be worth."""

    def near(value: float) -> Interval:
        return Interval(value=value, lower=value - 0.05, upper=value + 0.05)

    return HeldoutEvaluation(
        accuracy=near(accuracy),
        length_only=near(length_only),
        length_rule="longer",
        difference=near(accuracy - length_only),
        num_pairs=400,
        num_prompts=80,
    )


def model_folder(folder: Path, *, heads: Sequence[int] = (0,), **changes: Any) -> Path:
    """Save a model with some of the heads. Any: fields of the card."""
    items = [(problem(QUESTION), text) for text in TEXTS]
    fields = {"scales": tuple(SCALES[head] for head in heads), "evaluation": evaluation(0.8, 0.6), **changes}
    fitted_model(items, [HEADS[head] for head in heads], **fields).save(folder)
    return folder


def step(*questions: str, texts: Sequence[str] = TEXTS) -> list[Group]:
    """Groups of a step."""
    return [group(texts, prompt=question, id=question) for question in questions or (QUESTION,)]


@contextmanager
def scoring(
    name: str, *, settings: Mapping[str, Any] | None = None, retries: int = 3, **params: Any
) -> Iterator[RewardScorer]:
    """Open what scores with one reward. Any: settings of ``scoring``, and the reward's parameters."""
    reward = load_reward(RewardRef(name=name, params=params, retries=retries), installed_plugins())
    scorer = RewardScorer([reward], ScoringSettings(**settings or {}))
    try:
        yield scorer
    finally:
        scorer.close()


def scores(name: str, groups: Sequence[Group], **params: Any) -> list[Score]:
    """What a reward gives, whatever share of it fails. Any: the reward's parameters."""
    with scoring(name, settings={"max_failure_rate": 1.0}, **params) as scorer:
        return [result.rewards[name] for results in scorer.score(groups, 1) for result in results]


def values(found: Sequence[Score]) -> list[float | None]:
    """The values of scores."""
    return [score.value for score in found]


# Servers in this process.


@contextmanager
def in_thread(app: Callable[[], Awaitable[web.Application]], port: int = 0) -> Iterator[str]:
    """Serve an application on an event loop in a thread; yield its address."""
    loop, started, stop, urls = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), list[str]()

    async def serve() -> None:
        runner = web.AppRunner(await app(), shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def served(model: RewardModel, *, token: str | None = None, port: int = 0) -> Iterator[str]:
    """Serve a reward model as `reasonrl rm serve` does; yield its address."""

    async def app() -> web.Application:
        batcher = Batcher(model, 4096)

        async def opened(_: web.Application) -> Any:  # Any: an async generator, as aiohttp wants it
            async with batcher:
                yield

        routes = application(model, batcher, token)
        routes.cleanup_ctx.append(opened)
        return routes

    with in_thread(app, port) as url:
        yield url


@dataclass
class Script:
    """A server that answers as it is told, one answer a request and the last one for ever."""

    answers: list[Any]
    """What to answer: JSON, or a function of the request's body. Any: JSON."""
    card: RewardModelCard
    bodies: list[Any] = field(default_factory=list)
    """What was sent. Any: JSON."""

    async def app(self) -> web.Application:
        """The application."""
        app = web.Application()
        app.router.add_get("/card", self._card)
        app.router.add_route("POST", "/{any:.*}", self._answer)
        return app

    async def _card(self, _: web.Request) -> web.Response:
        return web.Response(body=self.card.model_dump_json().encode(), content_type="application/json")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if callable(answer):
            answer = answer(self.bodies[-1])
        if isinstance(answer, int):
            return web.json_response({"error": "scripted"}, status=answer)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return (
            web.Response(body=answer, content_type="application/json")
            if isinstance(answer, bytes)
            else web.json_response(answer)
        )


# Servers in processes of their own.


class Server:
    """A server's process; started again under the same address after it was killed."""

    def __init__(self, command: Sequence[str], port: int, log: Path, **environment: str) -> None:
        self._command, self._log, self._environment = command, log, environment
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        """Start it, and return at once."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,  # what it starts is killed with it
            )
        return self

    def wait(self, timeout_s: float = 120.0) -> "Server":
        """Wait until it answers."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            assert self.process is not None
            assert self.process.poll() is None, self._log.read_text()
            with suppress(OSError), urlopen(f"{self.url}/health", timeout=5):
                return self
            time.sleep(0.1)
        raise AssertionError(f"no answer within {timeout_s} s: {self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """As ``kill -9``, with all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)


def rm_serve(folder: Path, port: int, log: Path, *options: str) -> Server:
    """A server of ours."""
    command = [sys.executable, "-m", "reasonrl", "rm", "serve", str(folder), "--port", str(port), *options]
    return Server(command, port, log)


def vllm_serve(folder: Path, port: int, log: Path, *options: str) -> Server:
    """A server of vLLM's."""
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    settings = ["--runner", "pooling", "--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1"]
    environment = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    return Server([*command, *settings, "--port", str(port), *options], port, log, **environment)
