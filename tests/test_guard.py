"""A run whose process is gone without a word gets its status from the guard."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import run_config

from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.guard import RunGuard

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.guard import RunGuard

directory = RunDirectory.resume(Path({folder!r}))
with RunGuard(directory.path):
    {end}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of a run that nobody trains."""
    config = run_config(run={"steps": 3, "root": str(tmp_path)})
    return RunDirectory.create(config, "name: test", environment={}, argv=[]).path


def train_until(end: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A process that opens the run and ends in some way."""
    script = SCRIPT.format(path=sys.path, folder=str(folder), end=end)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def status(folder: Path) -> tuple[str, str | None]:
    """Status and cause in the manifest."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return manifest["status"], manifest["cause"]


def wait_for(folder: Path, wanted: str) -> str | None:
    """The cause, once the status is the one wanted."""
    until = time.monotonic() + 10
    while status(folder)[0] != wanted:
        assert time.monotonic() < until, status(folder)
        time.sleep(0.05)
    return status(folder)[1]


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_leaves_without_a_word_is_written_down_and_said(end: str, folder: Path) -> None:
    ended = train_until(end, folder)  # returns when the guard is gone too: it holds the standard error
    cause = wait_for(folder, "failed")
    assert cause is not None
    assert "os._exit" in cause
    assert ended.stderr.count("error: ") == 1
    assert f"reasonrl train --resume {folder}" in ended.stderr
    assert RunDirectory.resume(folder).manifest.attempts == 3, "it can be resumed"


def test_a_process_that_says_how_it_ends_is_believed(folder: Path) -> None:
    assert train_until("directory.set_status('interrupted')", folder).stderr == ""
    assert status(folder) == ("interrupted", None)


@pytest.mark.slow
def test_the_guard_leaves_a_run_alone_that_another_process_has_resumed(folder: Path) -> None:
    script = SCRIPT.format(path=sys.path, folder=str(folder), end="print('ready', flush=True); time.sleep(60)")
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    (guard,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
    os.kill(guard, signal.SIGSTOP)  # it is slow, and the run goes on elsewhere before it looks
    first.kill()
    first.wait()
    first.stdout.close()
    second = RunDirectory.resume(folder)
    os.kill(guard, signal.SIGCONT)
    time.sleep(1.0)
    assert status(folder) == ("running", None)
    assert second.manifest.attempts == 3


def test_leaving_the_guard_ends_its_process(folder: Path) -> None:
    with RunGuard(folder) as guard:
        process = guard._process
        assert process.poll() is None
    assert process.poll() is not None
