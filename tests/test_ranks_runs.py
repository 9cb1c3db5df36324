"""Whole runs on several ranks, as users start them: they end as in one process, and go on with other ranks."""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from builders import untimed

from reasonrl.run.start import resume_run, start_run

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Of a metric, as a share of its largest size in the run: where a loss is a sum that cancels, rounding is left."""
ROUNDING = 1e-7
"""What a sum that is 0 may be."""
NOT_COMPARED = ("mismatch/", "policy/kl_sqrt")
"""The rounding between sampler and learner, and the root of a divergence that is 0 but for rounding at first."""

EVERYTHING = """\
name: one
model: {name: tiny, lora: {rank: 4}}
task: {name: arithmetic, params: {num_problems: 60, min_terms: 3, max_terms: 3}}
template: plain
rewards: [numeric_answer, {name: ./noise.py:noise, weight: 0.1, isolated: false}]
algorithm: {preset: ppo, kl_coefficient: 0.05}
rollout: {prompts_per_step: 4, samples_per_prompt: 2, max_new_tokens: 12}
learner: {learning_rate: 1e-3, adam_epsilon: 1e-4, minibatch_sequences: 4, epochs: 2, microbatch_tokens: 128}
critic: {learning_rate: 1e-3, pretrain_steps: 1}
evaluation:
  suites: [{name: arithmetic, params: {num_problems: 6}, template: plain, max_new_tokens: 12}]
  every: 2
run: {steps: 2, checkpoint_every: 2, keep_checkpoints: 20}
"""
NOISE = '''\
"""A reward that draws from the process's generators: a run that goes on must stand where it stood in their streams."""
import random

import torch


def noise(rollout) -> float:
    return float(random.random() + float(torch.rand(())) < 0.9)
'''
ROLLED_BACK = """\
name: one
model: tiny
task: {name: arithmetic, params: {num_problems: 60, min_terms: 3, max_terms: 3}}
template: plain
rewards: [{name: ./trouble.py:trouble, isolated: false}]
algorithm: {preset: grpo, kl_coefficient: 0.05}
rollout: {prompts_per_step: 4, samples_per_prompt: 2, max_new_tokens: 8}
learner: {learning_rate: 1e-4, adam_epsilon: 1e-4}
alarms: {no_useful_groups: rollback, patience: 1, truncation: off}
run: {steps: 4, checkpoint_every: 1, keep_checkpoints: 20}
"""
TROUBLE = '''\
"""A reward that is the same for all completions of the third step of a run, once."""
from pathlib import Path


def trouble(rollout) -> float:
    calls = Path("calls")
    number = int(calls.read_text()) if calls.exists() else 0
    calls.write_text(str(number + 1))
    return float(number % 2) if number // 8 != 2 else 1.0
'''

RUN = Path("runs/one")
STATE = ("learner.pt", ".metadata")
"""Files of the learner's state that depend on how many processes wrote it, beside ``*.distcp``."""


class Launched:
    """A command with all processes that come of it, in a session of its own, as in a terminal.

    Args:
        arguments: what follows ``python -m``.
        folder: where it runs.
    """

    def __init__(self, *arguments: str, folder: Path) -> None:
        self._mark = f"REASONRL_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", name: value},
            start_new_session=True,
        )

    def press_ctrl_c(self) -> None:
        """Send what a terminal sends: every process of the foreground gets it."""
        os.killpg(self._process.pid, signal.SIGINT)

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was shown, and leave nothing running."""
        try:
            shown, _ = self._process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"it hangs:\n{self._process.communicate()[0]}") from None
        assert self._left() == [], f"processes are left:\n{shown}"
        return self._process.returncode, shown

    def is_running(self) -> bool:
        """Say whether it has not ended yet."""
        return self._process.poll() is None

    def _left(self) -> list[str]:
        """Return the commands of processes that came of it and are still there after some seconds."""
        deadline = time.monotonic() + 5
        while (found := [*self._processes()]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _processes(self) -> Iterator[str]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    yield (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                pass  # it has ended, or is another user's


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "reasonrl", "train")
OWN = ("reasonrl", "train", "--processes=2")


def launch(*arguments: str, folder: Path) -> str:
    """Run a command to its end, and return what was shown."""
    code, shown = Launched(*arguments, "--plain", folder=folder).ended()
    assert code == 0, shown
    return shown


def strategy(name: str) -> str:
    """The setting that chooses it."""
    return f"learner.parallel.strategy={name}"


def make(folder: Path, run: str) -> Path:
    """A folder with a run file, and the rewards of both."""
    folder.mkdir()
    for name, text in (("run.yaml", run), ("noise.py", NOISE), ("trouble.py", TROUBLE)):
        (folder / name).write_text(text)
    return folder


def start_here(folder: Path, *overrides: str) -> None:
    """Train in this process."""
    with contextlib.chdir(folder):
        start_run(Path("run.yaml"), overrides, [], argv=["test"])
    gc.collect()  # the directory is another process's as soon as nothing of this one holds it


def resume_here(folder: Path, *overrides: str) -> None:
    """Go on in this process."""
    with contextlib.chdir(folder):
        resume_run(RUN, overrides, [])
    gc.collect()  # as above


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of everything, in this process, to its eighth step."""
    folder = make(tmp_path_factory.mktemp("alone") / "here", EVERYTHING)
    start_here(folder, "run.steps=8")
    return folder / RUN


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, which went on with other processes, or another strategy, after every second step."""
    folder = make(tmp_path_factory.mktemp("stages") / "here", EVERYTHING)
    launch(*TORCHRUN, "run.yaml", strategy("fsdp2"), folder=folder)
    launch(*OWN, "--resume", str(RUN), "run.steps=4", strategy("ddp"), folder=folder)
    resume_here(folder, "run.steps=6", strategy("auto"))
    launch(*OWN, "--resume", str(RUN), "run.steps=8", strategy("fsdp2"), folder=folder)
    return folder / RUN


def metrics(run: Path) -> dict[int, dict[str, float]]:
    """What a run measured of each step, but for clocks and what is rounding alone."""
    steps: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        named = {name: value for name, value in untimed(line).items() if not name.startswith(NOT_COMPARED)}
        steps.setdefault(line["step"], {}).update(named)
    return steps


def assert_equal_metrics(run: Path, expected: Path, steps: range) -> None:
    """Compare the metrics of some steps, each with a tolerance that is a share of its largest size."""
    ours, theirs = metrics(run), metrics(expected)
    sizes: dict[str, float] = {}
    for line in theirs.values():
        for name, value in line.items():
            sizes[name] = max(sizes.get(name, 0.0), abs(value))
    for step in steps:
        assert ours[step].keys() == theirs[step].keys()
        wrong = {
            name: (ours[step][name], value)
            for name, value in theirs[step].items()
            if abs(ours[step][name] - value) > TOLERANCE * sizes[name] + ROUNDING
        }
        assert not wrong, f"step {step}"


def rollouts(run: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Problems, seeds, completions and scores of every step, but for what rounding moves. Any: JSON values."""
    kept = ("group_id", "sample_index", "prompt", "completion", "seed", "finish_reason", "policy_version", "rewards")
    return {
        path.name: [{key: line[key] for key in kept} for line in map(json.loads, path.read_text().splitlines())]
        for path in sorted(run.glob("rollouts/*"))
    }


def answers(run: Path) -> dict[str, str]:
    """The held-out completions after every step."""
    return {str(path.relative_to(run)): path.read_text() for path in run.glob("evals/*/*/samples.jsonl")}


def files(run: Path) -> set[str]:
    """Names of all files of a run, but for those of the learner's state: every rank writes its part."""
    found = {path.relative_to(run) for path in run.rglob("*") if path.is_file()}
    return {str(path) for path in found if path.suffix != ".distcp" and path.name not in STATE}


def test_a_run_that_goes_on_with_other_ranks_samples_what_it_would_have_in_one_process(
    stages: Path, alone: Path
) -> None:
    assert rollouts(stages) == rollouts(alone)


def test_a_run_that_goes_on_with_other_ranks_measures_what_it_would_have_in_one_process(
    stages: Path, alone: Path
) -> None:
    assert_equal_metrics(stages, alone, range(1, 9))


def test_held_out_suites_on_ranks_have_the_answers_of_one_process(stages: Path, alone: Path) -> None:
    expected = answers(alone)
    assert len(expected) == 5
    assert answers(stages) == expected


def test_ranks_leave_the_run_directory_of_one_process(stages: Path, alone: Path) -> None:
    assert files(stages) == files(alone)


def test_the_trained_model_is_that_of_one_process(stages: Path, alone: Path) -> None:
    from safetensors.torch import load_file

    for name in ("adapter_model.safetensors", "critic/model.safetensors"):
        ours, theirs = (load_file(run / "checkpoints" / "step_000008" / name) for run in (stages, alone))
        assert ours.keys() == theirs.keys()
        for key, expected in theirs.items():
            assert (ours[key] - expected).norm() <= TOLERANCE * expected.norm(), key


def test_ranks_roll_back_together_and_end_as_one_process_does(tmp_path: Path) -> None:
    here, there = make(tmp_path / "alone", ROLLED_BACK), make(tmp_path / "ranks", ROLLED_BACK)
    start_here(here)
    shown = launch(*OWN, "run.yaml", strategy("fsdp2"), folder=there)
    assert "rolled back to the checkpoint of step 2" in shown
    assert json.loads((there / RUN / "manifest.json").read_text())["rollbacks"] == 1
    assert rollouts(there / RUN) == rollouts(here / RUN)
    assert_equal_metrics(there / RUN, here / RUN, range(1, 5))


def test_ctrl_c_stops_all_ranks_after_the_step_and_one_process_goes_on(tmp_path: Path, alone: Path) -> None:
    folder = make(tmp_path / "here", EVERYTHING)
    run = Launched(*OWN, "run.yaml", "run.steps=5000", strategy("ddp"), "--plain", folder=folder)
    while run.is_running() and not (folder / RUN / "rollouts" / "step_000002.jsonl").exists():
        time.sleep(0.05)
    run.press_ctrl_c()
    code, shown = run.ended()
    assert code == 130, shown
    assert shown.count("Ctrl-C: stopping after") == 1
    assert "Traceback" not in shown
    done = max(int(path.name.removeprefix("step_")) for path in (folder / RUN / "checkpoints").glob("step_*"))
    resume_here(folder, f"run.steps={done + 1}")
    first = rollouts(alone)
    ours = rollouts(folder / RUN)
    assert done >= 2
    assert all(ours[name] == first[name] for name in ours.keys() & first.keys())
