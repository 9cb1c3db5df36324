"""Ctrl-C in real processes: answered at once, and honest about what is kept and what is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RUN = """\
name: a
model: tiny
task: arithmetic
template: plain
rewards: [numeric_answer]
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 12}
run: {steps: 5000, checkpoint_every: 2}
"""
SUITE = "evaluation.suites=[{name: arithmetic, params: {num_problems: 3000}}]"
PAIRS = "name: rm\nmodel: tiny\ntemplate: plain\ndata: {path: pairs.jsonl}\npairs_per_step: 4\nrun: {steps: 5000}\n"


class Command:
    """A command in a process of its own, which may be interrupted.

    Args:
        arguments: what follows ``reasonrl``.
        folder: where it runs.
    """

    def __init__(self, *arguments: str, folder: Path) -> None:
        self.text = ""
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reasonrl", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := os.read(self._process.stdout.fileno(), 65536):
            with self._news:
                self.text += chunk.decode()
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str) -> None:
        """Return once the command has said something."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.text or not self._reader.is_alive(), timeout=120), self.text
        assert text in self.text, self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        code = self._process.wait(timeout=120)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def running(*arguments: str, folder: Path) -> Iterator[Command]:
    """Run a command, and end it at the latest when the test does."""
    command = Command(*arguments, folder=folder)
    try:
        yield command
    finally:
        command.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN)
    (tmp_path / "rm.yaml").write_text(PAIRS)
    row = '{{"prompt": "{0} + 1?", "chosen": "It is {0} and one more.", "rejected": "No."}}\n'
    (tmp_path / "pairs.jsonl").write_text("".join(row.format(number) for number in range(400)))
    return tmp_path


def test_a_server_of_programs_says_what_it_waits_for(tmp_path: Path) -> None:
    with running("sandbox", "serve", "--port", "0", "--isolation", "basic", folder=tmp_path) as command:
        command.wait_for("serving on")
        command.interrupt()
        command.wait_for("Ctrl-C: no new requests; waiting for the programs that run")
        assert command.ended() == 0


def test_a_command_with_nothing_to_finish_stops_at_once_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\n\ndef task(split, seed):\n    print('asleep', flush=True)\n    time.sleep(99)\n"
    )
    (tmp_path / "run.yaml").write_text(RUN.replace("task: arithmetic", "task: ./slow.py:task"))
    with running("plan", "run.yaml", folder=tmp_path) as command:
        command.wait_for("asleep")
        command.interrupt()
        command.wait_for("Ctrl-C: stopping. Once more ends at once.")
        assert command.ended() == 130
    assert "Traceback" not in command.text


@pytest.mark.slow
def test_training_finishes_its_step_and_leaves_a_checkpoint(folder: Path) -> None:
    with running("train", "run.yaml", "--plain", folder=folder) as command:
        command.wait_for("step 1/5000")
        command.interrupt()
        command.wait_for("Ctrl-C: stopping after ")
        assert command.ended() == 130
    assert "Once more stops at once; then " in command.text
    assert "Stopped. Go on with: reasonrl train --resume runs/a" in command.text
    assert any((folder / "runs" / "a" / "checkpoints").glob("step_*"))


@pytest.mark.slow
def test_a_second_ctrl_c_ends_an_evaluation_at_once_and_says_what_is_lost(folder: Path) -> None:
    with running("train", "run.yaml", "--plain", SUITE, folder=folder) as command:
        command.wait_for("share reasonrl_grading")  # the last line before 3,000 problems are measured
        time.sleep(1)
        command.interrupt()
        command.wait_for("Ctrl-C: stopping after the evaluation before the first step.")
        command.interrupt()
        command.wait_for("Ctrl-C: stopped at once; all of it is lost, as there is no checkpoint yet.")
        assert command.ended() == 130
    assert "Traceback" not in command.text
    with running("train", "run.yaml", "--plain", folder=folder) as again:  # nothing was learned: the folder is free
        again.wait_for("step 3/5000")
        again.interrupt()
        again.wait_for("Ctrl-C: stopping after ")
        again.interrupt()
        again.wait_for("Ctrl-C: stopped at once; what came after the checkpoint of step ")
        assert again.ended() == 130


@pytest.mark.slow
def test_the_training_of_a_reward_model_does_as_that_of_a_policy(folder: Path) -> None:
    with running("rm", "train", "rm.yaml", "--plain", folder=folder) as command:
        command.wait_for("step 1/5000")
        command.interrupt()
        command.wait_for("Ctrl-C: stopping after ")
        assert command.ended() == 130
    assert "Stopped. Go on with: reasonrl rm train --resume runs/rm" in command.text


@pytest.mark.slow
def test_sampling_keeps_what_is_in_the_file(folder: Path) -> None:
    with running("sample", "run.yaml", "--out", "s.jsonl", folder=folder) as command:
        command.wait_for("sampling: 0 of")
        command.interrupt()
        command.wait_for("Ctrl-C: stopping after ")
        assert command.ended() == 130
    rows = len((folder / "s.jsonl").read_text().splitlines())
    assert f"error: stopped: {rows} of " in command.text
    assert "The same command goes on from there." in command.text


@pytest.mark.slow
def test_an_evaluation_says_what_is_kept_and_goes_on_from_there(folder: Path) -> None:
    arguments = ["eval", "tiny", "--suite", "arithmetic", "--template", "plain", "--param", "num_problems=2000"]
    samples = folder / "results" / "tiny" / "arithmetic" / "samples.jsonl"
    with running(*arguments, folder=folder) as command:
        command.wait_for("arithmetic in plain: 0 of 2000 completions")
        while not samples.exists() or not samples.stat().st_size:
            time.sleep(0.1)
        command.interrupt()
        command.wait_for("Ctrl-C: stopping.")
        assert command.ended() == 130
    rows = len(samples.read_text().splitlines())
    assert f"error: stopped: {rows} of 2000 completions are measured and kept in results/tiny." in command.text
    with running(*arguments, folder=folder) as command:
        command.wait_for(f"arithmetic in plain: {rows} of 2000 completions")


def test_a_second_ctrl_c_in_the_middle_of_a_task_leaves_no_report_of_asyncio_behind() -> None:
    """Where the signal arrives decides which frame raises; here it is always a task that is awaited by nobody."""
    program = (
        "import asyncio, sys\n"
        "from reasonrl.system.event_loop import run_until_complete\n"
        "async def interrupted():\n    raise KeyboardInterrupt\n"
        "async def work():\n    kept = [asyncio.create_task(interrupted())]\n    await asyncio.sleep(9)\n"
        "try:\n    run_until_complete(work())\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "")
