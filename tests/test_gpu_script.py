"""`benchmarks/gpu.sh` is for machines that are rarely there: whether it could run on them is seen here."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from reasonrl.config.runfile import load_run
from reasonrl.config.settings import RunConfig
from reasonrl_configs import reasonrl_configs

ROOT: Final = Path(__file__).parent.parent
SCRIPT: Final = ROOT / "benchmarks" / "gpu.sh"


def _commands(*, device: str) -> dict[str, list[str]]:
    environment = {**os.environ, "DRY_RUN": "1", "DEVICE": device}
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=True, env=environment)
    parts = (line.partition(": ") for line in done.stdout.splitlines())
    return {name: shlex.split(command) for name, _, command in parts}


COMMANDS: Final = _commands(device="cuda")


def _run_of(command: list[str]) -> RunConfig:
    recipe, *rest = command[command.index("train") + 1 :]
    return load_run(reasonrl_configs()[recipe], [word for word in rest if "=" in word])


def test_it_measures_sampling_and_learning_on_one_gpu_with_and_without_shards_and_vllm() -> None:
    runs = {name: _run_of(command) for name, command in COMMANDS.items() if "train" in command}
    assert all(run.model.device == "cuda" for run in runs.values())
    assert [name for name, run in runs.items() if run.learner.parallel.strategy == "fsdp2"] == [
        "fsdp2-torchrun",
        "fsdp2-processes",
    ]
    assert [name for name, run in runs.items() if run.rollout.engine.name == "vllm" and run.vllm.sleep] == [
        "vllm-sleep"
    ]
    assert {run.name for run in runs.values()} == runs.keys(), "none may replace another"


def test_all_that_can_runs_without_a_gpu_too() -> None:
    assert COMMANDS.keys() - _commands(device="cpu").keys() == {"conformance"}


def test_what_it_runs_beside_runs_is_there() -> None:
    others = [command for command in COMMANDS.values() if "train" not in command]
    files = [[word for word in command if word.endswith(".py")] for command in others]
    assert all(files)
    assert all((ROOT / name).is_file() for names in files for name in names)


def test_parts_for_which_no_time_is_left_are_named(tmp_path: Path) -> None:
    environment = {**os.environ, "DEVICE": "cpu", "LIMIT_S": "0"}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )
    summary = (tmp_path / "summary.txt").read_text()
    assert done.returncode == 0
    assert all(name in summary for name in _commands(device="cpu"))
    assert summary.count("left out") == len(_commands(device="cpu"))


@pytest.mark.slow
def test_a_step_of_both_sides_ends_in_one_figure() -> None:
    pytest.importorskip("trl", reason="compares with TRL, which is not installed: pip install 'reasonrl[trl]'")
    command = [*_commands(device="cpu")["step"], "--pairs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MFU of learning" in done.stdout
    assert float(done.stdout.splitlines()[-1].removesuffix("x")) > 0


@pytest.mark.slow
def test_the_fast_path_and_transformers_agree_in_bfloat16() -> None:
    command = [*_commands(device="cpu")["paths"], "--steps", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MFU of sampling" in done.stdout
    assert done.stdout.splitlines()[-1] == "the two ways agree"
