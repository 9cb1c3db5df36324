"""``reasonrl pipeline``: stages by their own commands, a kill -9 in any of them, and the table across them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
import results
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.stages import load_pipeline
from reasonrl.errors import RunError
from reasonrl.evaluation.files import read_measured
from reasonrl.run.files import RunDirectory
from reasonrl.run.pipeline.execute import run_stages, standings
from reasonrl.run.pipeline.measuring import MeasuredModel
from reasonrl.run.pipeline.page import pipeline_page
from reasonrl.run.pipeline.table import stage_table

ARITHMETIC: Final = "{name: arithmetic, params: {num_problems: 60, min_terms: 2, max_terms: 2, max_value: 9}}"
PIPELINE: Final = f"""\
name: small
description: Every kind of stage <in> little.
stages:
- name: warm
  sft:
    model: tiny
    template: plain
    data: {{task: {ARITHMETIC}, completion: " {{{{ answer }}}}", max_length: 64}}
    rows_per_step: 4
    learner: {{learning_rate: 1e-4, warmup_steps: 0}}
    run: {{steps: 6, checkpoint_every: 1}}
- name: rl
  train:
    model: ${{warm}}
    template: plain
    task: {ARITHMETIC}
    rewards: [{{name: numeric_answer, isolated: false}}]
    rollout: {{prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 6}}
    run: {{steps: 6, checkpoint_every: 1}}
- name: kept
  sample:
    run:
      model: ${{rl}}
      template: plain
      task: {ARITHMETIC}
      rewards: [{{name: numeric_answer, isolated: false}}]
      rollout: {{prompts_per_step: 2, max_new_tokens: 6}}
    keep: all
    num_problems: 48
    num_samples: 4
- name: judge
  rm_train:
    model: tiny
    template: plain
    data: {{path: pairs.jsonl, heldout_share: 0.3, max_length: 64}}
    pairs_per_step: 8
    learner: {{learning_rate: 5e-4, warmup_steps: 0}}
    run: {{steps: 6, checkpoint_every: 1}}
- name: out
  export: {{model: "${{rl}}", dtype: float32}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 24, min_terms: 2, max_terms: 2}}, template: plain,
            max_new_tokens: 6}}]
"""
STAGES: Final = ("warm", "rl", "kept", "judge", "out")


def written(folder: Path) -> Path:
    """Write the pipeline and the pairs of its reward model."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"{n}: {n} + 1?", "chosen": f"It is {n + 1}", "rejected": f"It may be {n}"} for n in range(60)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "small.yaml").write_text(PIPELINE)
    return folder


def begin(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Run the pipeline in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "reasonrl", "pipeline", "small.yaml", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that was run in one go; tests work on copies."""
    folder = written(tmp_path_factory.mktemp("whole"))
    process = begin(folder)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return folder


@pytest.fixture
def copy(whole: Path, in_folder: Path) -> Path:
    """A copy of that, which is the current folder."""
    shutil.copytree(whole, in_folder, dirs_exist_ok=True)
    return in_folder


BEGUN: Final = {
    "warm": "warm/checkpoints/step_000001",
    "rl": "rl/checkpoints/step_000001",
    "kept": "kept/samples.jsonl",
    "judge": "judge/checkpoints/step_000001",
}
"""What is there while a stage is under way."""


def kill_in(folder: Path, stage: str) -> None:
    """Run the pipeline until a stage is under way, then kill it as ``kill -9`` does."""
    process = begin(folder)
    sign = folder / "runs" / "small" / BEGUN[stage]
    while not sign.exists() or (sign.is_file() and not sign.stat().st_size):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_pipeline_that_is_killed_in_every_stage_ends_in_the_same_table(whole: Path, tmp_path: Path) -> None:
    folder = written(tmp_path / "killed")
    for stage in BEGUN:
        kill_in(folder, stage)
        assert not (folder / "runs/small/table.txt").exists()
    process = begin(folder)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    for name in ("table.txt", "table.json", "kept/sft.jsonl", "kept/samples.jsonl"):
        assert (folder / "runs/small" / name).read_bytes() == (whole / "runs/small" / name).read_bytes(), name
    attempts = {
        name: RunDirectory.open(folder / "runs/small" / name).manifest.attempts for name in ("warm", "rl", "judge")
    }
    assert set(attempts.values()) == {2}, "each was killed once, and gone on with"
    assert said.count("done\n") >= 3


@pytest.mark.slow
def test_ctrl_c_ends_the_stage_after_its_step_and_the_same_command_goes_on(in_folder: Path) -> None:
    written(in_folder)
    (first,) = [stage for stage in PIPELINE.split("- name: ") if stage.startswith("warm")]
    Path("small.yaml").write_text(f"name: small\nstages:\n- name: {first}".replace("steps: 6", "steps: 400"))
    process = begin(in_folder)
    while not Path("runs/small/warm/checkpoints/step_000002").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the pipeline is stopped; what is done is kept" in said
    assert RunDirectory.open(Path("runs/small/warm")).manifest.status == "interrupted"
    (stood,) = standings(load_pipeline(Path("small.yaml")))
    assert stood.line() == "warm (sft): goes on where it was stopped"


@pytest.mark.slow
def test_each_stage_is_a_run_that_names_the_one_before_and_the_table_has_all_models(whole: Path) -> None:
    root = whole / "runs" / "small"
    assert RunDirectory.open(root / "rl").manifest.parent == {"run": "runs/small/warm", "step": 6}
    table = json.loads((root / "table.json").read_text())
    assert [row["stage"] for row in table["suites"]["arithmetic"]] == ["base", "warm", "rl", "out"]
    assert [row["difference"] is None for row in table["suites"]["arithmetic"]] == [True, False, False, False]
    last = table["suites"]["arithmetic"][-1]["difference"]
    assert (last["difference"], last["wins"], last["losses"]) == (0.0, 0, 0)  # the exported model is the run's
    rows = {stage["name"]: stage for stage in table["stages"]}
    assert rows["kept"]["rows"]["samples"] == 192
    assert "held-out accuracy" in rows["judge"]["made"]
    text = (root / "table.txt").read_text()
    assert "from the row before (paired, 95 %)" in text
    assert "small&lt;" not in (root / "report.html").read_text()
    assert "Every kind of stage &lt;in&gt; little." in (root / "report.html").read_text()


@pytest.mark.slow
def test_what_did_not_change_is_kept_and_what_follows_from_a_change_is_not(copy: Path) -> None:
    path = Path("small.yaml")

    def stood(*overrides: str) -> dict[str, str]:
        return {one.stage.name: one.standing for one in standings(load_pipeline(path, overrides))}

    assert stood() == dict.fromkeys(STAGES, "done")
    assert stood("description=other") == dict.fromkeys(STAGES, "done")
    assert stood("rl.learner.learning_rate=0.5") == {
        **dict.fromkeys(STAGES, "done"),
        "rl": "changed",
        "kept": "waits",
        "out": "waits",
    }
    assert stood("kept.num_samples=2")["kept"] == "changed"
    with Path("pairs.jsonl").open("a") as file:
        file.write('{"prompt": "x", "chosen": "a", "rejected": "b"}\n')
    (changed,) = [one for one in standings(load_pipeline(path)) if one.standing != "done"]
    assert changed.line() == "judge (rm_train): is done again: the content of pairs.jsonl changed"
    with Path("runs/small/rl/checkpoints/step_000006/model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x55")
    assert {name for name, standing in stood().items() if standing == "changed"} == {"kept", "judge", "out"}


@pytest.mark.slow
def test_a_finished_pipeline_does_nothing_but_print_its_table(copy: Path) -> None:
    before = Path("runs/small/table.txt").read_text()
    said = CliRunner().invoke(app, ["pipeline", "small.yaml", "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == json.loads(Path("runs/small/table.json").read_text())
    assert Path("runs/small/table.txt").read_text() == before
    status = CliRunner().invoke(app, ["pipeline", "small.yaml", "--status", "--json"])
    assert {one["standing"] for one in json.loads(status.stdout)} == {"done"}
    listed = CliRunner().invoke(app, ["status", "runs/small", "--json"])
    assert [one["name"] for one in json.loads(listed.stdout)] == ["judge", "rl", "warm"]
    Path("runs/small/report.html").rename("before.html")
    assert CliRunner().invoke(app, ["report", "runs/small"]).exit_code == 0
    assert Path("runs/small/report.html").read_text() == Path("before.html").read_text()
    planned = CliRunner().invoke(app, ["plan", "small.yaml"])
    assert planned.exit_code == 0, planned.output
    assert "[5/5] out (export): done" in planned.stdout


@pytest.mark.slow
def test_a_stage_that_fails_stops_the_pipeline_with_its_command(in_folder: Path) -> None:
    written(in_folder)
    Path("pairs.jsonl").write_text("{}\n")
    (only,) = [stage for stage in PIPELINE.split("- name: ") if stage.startswith("judge")]
    Path("small.yaml").write_text(f"name: small\nstages:\n- name: {only}")
    pipeline = load_pipeline(Path("small.yaml"))
    with pytest.raises(RunError, match=r"reasonrl rm train runs/small/judge.yaml ended with exit code 3"):
        run_stages(pipeline, lambda text: None, quiet=True)
    assert [one.standing for one in standings(pipeline)] == ["begun"]


def test_a_folder_that_something_else_has_made_is_refused(in_folder: Path) -> None:
    written(in_folder)
    Path("runs/small/warm").mkdir(parents=True)
    with pytest.raises(RunError, match=r"runs/small/warm exists already .* choose another name: name=small-2"):
        run_stages(load_pipeline(Path("small.yaml")), lambda text: None)


HOLDER: Final = """
import fcntl, time
file = open("runs/small/.lock", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_only_one_process_runs_a_pipeline(in_folder: Path) -> None:
    written(in_folder)
    Path("runs/small").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(RunError, match="another process is running this pipeline"):
                run_stages(load_pipeline(Path("small.yaml")), lambda text: None)
        finally:
            other.kill()


def test_the_table_pairs_each_model_with_the_one_before(in_folder: Path) -> None:
    Path("small.yaml").write_text(
        "name: small\nstages:\n- name: one\n  export: {model: tiny}\n- name: two\n  export: {model: tiny}\n"
    )
    pipeline = load_pipeline(Path("small.yaml"))
    values: dict[str, Any] = {"base": [[0.0], [0.0], [1.0]], "one": [[1.0], [0.0], [1.0]], "two": [[0.0], [0.0], [0.0]]}
    models = [
        MeasuredModel(
            name=name,
            stage=next((stage for stage in pipeline.stages if stage.name == name), None),
            measured={"sums": read_measured(results.written(results.result(of), Path("evals") / name / "sums"))},
        )
        for name, of in values.items()
    ]
    table = stage_table(pipeline, models)
    found = [
        (row["value"]["value"], row["difference"] and row["difference"]["difference"])
        for row in table.values["suites"]["sums"]
    ]
    assert found == [
        (pytest.approx(1 / 3), None),
        (pytest.approx(2 / 3), pytest.approx(1 / 3)),
        (0.0, pytest.approx(-2 / 3)),
    ]
    _, of_suite = table.text.split("\n\n")
    assert [line.split()[0] for line in of_suite.splitlines()[2:5]] == ["base", "one", "two"]
    assert "<b>" not in pipeline_page({**table.values, "description": "<b>"})
