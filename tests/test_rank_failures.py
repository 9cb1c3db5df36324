"""Runs of several processes that lose one, or are asked to stop: one cause, nothing left, and a run that goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

pytestmark = pytest.mark.slow

PROGRAM = str(Path(__file__).with_name("faulty_ranks.py"))
PROCESSES = [sys.executable, PROGRAM, "train", "a.yaml", "--plain", "--processes", "2"]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
TORCHRUN = [*LAUNCHER, PROGRAM, "train", "a.yaml", "--plain"]
RUN = """\
name: a
model: tiny
task: {name: arithmetic, params: {num_problems: 8000, min_terms: 3, max_terms: 4, max_value: 20}}
template: r1_zero
rewards: [{name: numeric_answer, params: {sources: [answer_tag]}}]
algorithm: dr_grpo
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 80}
learner: {learning_rate: 1e-4}
run: {steps: 6, checkpoint_every: 2}
"""
ENDED = r"rank 1 of 2 \(\S+, process \d+\) ended without a word: it was killed \(out of memory\?\)"
PATIENCE_S = 180


class Ranks:
    """A command that starts ranks, all of which carry a mark.

    Args:
        command: that starts them.
        folder: where it runs.
        fault: what happens to which rank: ``rank:place:count:what``.
    """

    def __init__(self, command: Sequence[str], folder: Path, fault: str = "-:::") -> None:
        self._mark = uuid4().hex
        self._news = threading.Condition()
        self.text = ""
        environ = {**os.environ, "FAULT": fault, "MARK": self._mark, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self._news:
                self.text += chunk.decode()
                self._news.notify_all()

    def wait_for(self, text: str) -> None:
        """Return once it has said something."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.text, PATIENCE_S), self.text

    def ended(self) -> int:
        """Exit code, once nothing is left of it."""
        code = self.process.wait(PATIENCE_S)
        wait_until(lambda: not self.left())
        return code

    def left(self) -> list[int]:
        """What is still running of all that it started."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"MARK={self._mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """End all of it."""
        for process in self.left():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def causes(self) -> list[str]:
        """Lines that say why the run ended."""
        return re.findall(r"^error: .*", self.text, re.MULTILINE)


def wait_until(happened: Callable[[], bool], patience_s: float = 15) -> None:
    """Return once something is so."""
    until = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.1)


Start = Callable[..., Ranks]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ranks in a folder with a run file; what is left of them is ended."""
    (tmp_path / "a.yaml").write_text(RUN)
    begun: list[Ranks] = []

    def start(command: Sequence[str], fault: str = "-:::") -> Ranks:
        begun.append(Ranks(command, tmp_path, fault))
        return begun[-1]

    yield start
    for ranks in begun:
        ranks.kill()


def status(folder: Path) -> tuple[str, str | None]:
    """Status and cause of the run."""
    manifest = json.loads((folder / "runs" / "a" / "manifest.json").read_bytes())
    return manifest["status"], manifest["cause"]


def steps(folder: Path) -> list[int]:
    """Steps that the run has learned, in order."""
    lines = (folder / "runs" / "a" / "metrics.jsonl").read_text().splitlines()
    return [record["step"] for record in map(json.loads, lines) if "reward" in str(record)]


def test_a_rank_killed_while_learning_ends_the_run_which_goes_on_with_one(start: Start, tmp_path: Path) -> None:
    ranks = start(PROCESSES, "1:learning:3:kill")
    assert ranks.ended() == 5, ranks.text
    (cause,) = ranks.causes()
    assert re.match(rf"error: {ENDED}.* Go on with: reasonrl train --resume runs/a$", cause)
    assert "Traceback" not in ranks.text
    found, why = status(tmp_path)
    assert found == "failed"
    assert re.match(ENDED, why or "")
    again = start([sys.executable, PROGRAM, "train", "--resume", "runs/a", "--plain"])
    assert again.ended() == 0, again.text
    assert status(tmp_path)[0] == "finished"


SUITE = "evaluation.suites=[{name: arithmetic, params: {num_problems: 64}, max_new_tokens: 80}]"


@pytest.mark.parametrize(
    ("place", "overrides"),
    [("sampling:5", [SUITE]), ("checkpointing:1", [])],
    ids=["evaluating", "checkpointing"],
)
def test_a_rank_killed_in_between_ends_the_run_under_torchrun_too(
    place: str, overrides: list[str], start: Start, tmp_path: Path
) -> None:
    ranks = start([*TORCHRUN, *overrides], f"1:{place}:kill")
    assert ranks.ended() == 1, ranks.text  # torchrun's own
    (cause,) = ranks.causes()
    assert re.match(f"error: {ENDED}", cause)
    assert re.match(ENDED, status(tmp_path)[1] or "")
    assert not list((tmp_path / "runs" / "a" / "checkpoints").glob("*partial*"))


def test_a_rank_that_fails_at_the_start_says_why_before_there_is_a_run(start: Start, tmp_path: Path) -> None:
    ranks = start(PROCESSES, "1:starting:1:raise")
    assert ranks.ended() == 5, ranks.text
    (cause,) = ranks.causes()
    assert re.fullmatch(r"error: rank 1 of 2 \(\S+, process \d+\) failed: MemoryError: no memory left", cause)
    assert not (tmp_path / "runs" / "a").exists()


def test_rank_0_killed_is_told_by_its_guard_alone(start: Start, tmp_path: Path) -> None:
    ranks = start(PROCESSES, "0:learning:2:kill")
    assert ranks.ended() == 128 + signal.SIGKILL, ranks.text
    (cause,) = ranks.causes()
    assert re.match(r"error: \S+/runs/a: rank 0 \(\S+, process \d+\) ended without a word: ", cause)
    assert status(tmp_path)[0] == "failed"


def test_rank_0_stopped_is_ended_after_its_silence(start: Start, tmp_path: Path) -> None:
    ranks = start([*PROCESSES, "learner.parallel.timeout_s=30"], "0:sampling:40:stop")
    assert ranks.ended() == 128 + signal.SIGKILL, ranks.text
    (cause,) = ranks.causes()
    assert re.match(r"error: \S+/runs/a: rank 0 \(.*\) was silent for 30 s \(learner.parallel.timeout_s\)", cause)
    assert status(tmp_path)[0] == "failed"


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint(start: Start, tmp_path: Path) -> None:
    ranks = start([*PROCESSES, "run.steps=5000", "run.checkpoint_every=5000"])
    ranks.wait_for("step 1/5000")
    ranks.process.send_signal(signal.SIGINT)
    assert ranks.ended() == 130, ranks.text
    assert ranks.text.count("Ctrl-C: stopping after ") == 1
    assert "Stopped. Go on with: reasonrl train --resume runs/a" in ranks.text
    assert status(tmp_path)[0] == "interrupted"
    assert list((tmp_path / "runs" / "a" / "checkpoints").glob("step_*"))


def test_ctrl_c_under_torchrun_counts_once_and_twice_stops_at_once(start: Start, tmp_path: Path) -> None:
    ranks = start([*TORCHRUN, "run.steps=5000", "rollout.prompts_per_step=256"])
    ranks.wait_for("start-up report")  # from here on a step takes long
    ranks.process.send_signal(signal.SIGINT)
    ranks.wait_for("Ctrl-C: stopping after ")
    time.sleep(1)
    ranks.process.send_signal(signal.SIGINT)
    ranks.ended()  # torchrun's own exit code
    assert "stopped at once; all of it is lost, as there is no checkpoint yet" in ranks.text
    assert not ranks.causes()
    assert status(tmp_path)[0] == "interrupted"


def test_a_killed_launcher_leaves_a_checkpoint_and_nothing_else(start: Start, tmp_path: Path) -> None:
    ranks = start([*PROCESSES, "run.steps=5000", "run.checkpoint_every=5000"])
    ranks.wait_for("step 1/5000")
    ranks.process.kill()
    ranks.wait_for("SIGTERM: stopping after ")
    wait_until(lambda: not ranks.left(), PATIENCE_S)
    assert status(tmp_path)[0] == "interrupted"
    assert list((tmp_path / "runs" / "a" / "checkpoints").glob("step_*"))


def test_accelerate_that_starts_one_process_of_two_is_refused(start: Start) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    ranks = start([*launcher, PROGRAM, "train", "a.yaml"])
    ranks.process.wait(PATIENCE_S)
    wait_until(lambda: bool(ranks.causes()))
    (cause,) = ranks.causes()
    assert "accelerate launch was asked for 2 processes and has started one" in cause
    assert "reasonrl train RUN --processes 2, torchrun --nproc-per-node 2" in cause
