"""Run directories for `reasonrl view`, hostile ones among them, and a client that asks as a browser does."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from reported_runs import policy_run, rollout
from starlette.testclient import TestClient

from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import RolloutRecord, TokensRecord
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.view.app import ViewApp, build_app
from reasonrl.view.runs import RunFolder

ADDRESS: Final = "http://127.0.0.1:8000"

HOSTILE: Final = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    "[click](javascript:alert(1)) <a href=\"javascript:document.title='taken'\">here</a>"
    "\x1b[2J\x1b[31mred\x1b[0m\x07\x00 \u202egnp.exe\u202c \u2066\u200b end {{7*7}} ${alert(1)} </textarea></script>"
)
"""What a model might say to take over a page, a terminal, or the direction of a text."""


@contextmanager
def client_of(folder: Path) -> Iterator[TestClient]:
    """Serve a folder to a client."""
    view = ViewApp(RunFolder(folder), Plugins())
    with TestClient(build_app(view), base_url=ADDRESS) as client:
        client.headers["X-Reasonrl-Token"] = view.token
        yield client


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run the command on a free port; yield the address, and end it by Ctrl-C."""
    command = [sys.executable, "-m", "reasonrl", "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address, line + server.stdout.read()
        try:
            yield address[0]
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0, server.stdout.read()


def asked(client: TestClient, path: str, **query: Any) -> Any:
    """Return what the server answers as JSON. Any: JSON values."""
    reply = client.get(f"/api/{path}", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def append_step(run: RunDirectory, step: int, records: Sequence[RolloutRecord]) -> None:
    """Write a step as a run does: the metrics, then the rollouts, whole."""
    run.append_metrics(step, {"reward/mean": 0.5, "completion/length_mean": 7.0})
    path = run.path / "rollouts" / f"step_{step:06d}.jsonl"
    write_atomically(path, jsonl.encode(record.model_dump() for record in records))


def run_of(root: Path, rollouts: Mapping[int, Sequence[RolloutRecord]], name: str = "first") -> RunDirectory:
    """Write a run with these rollouts by step."""
    return policy_run(root, name, steps=max(rollouts, default=1), rollouts=rollouts)


def with_tokens(text: str, *, entropies: bool = True, **changes: Any) -> RolloutRecord:
    """A rollout of one token a character and one that ends it. Any: fields of a record."""
    count = len(text) + 1
    tokens = TokensRecord(
        ends=(*range(1, count), len(text)),
        logprobs=tuple(-index / 4 for index in range(count)),
        entropies=tuple(index / 8 for index in range(count)) if entropies else (),
    )
    return rollout(completion=text, completion_tokens=count, tokens=tokens, **changes)
