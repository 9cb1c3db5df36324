"""Whole runs on the packaged model: they resume exactly, refuse what is wrong, and leave usable checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import untimed
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from reasonrl.commands.train import fork_run, resume_run, start_run
from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.terminal import PlainView

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 200, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [numeric_answer]
algorithm: dr_grpo
rollout: {{prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 24}}
learner: {{learning_rate: 5e-4, minibatch_sequences: 8}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 12}}, template: plain, max_new_tokens: 24}}]
  every: 2
run: {{steps: 4, checkpoint_every: 2}}
"""


def write_run(folder: Path, name: str = "one", text: str = RUN) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(name=name))
    return path


def go(path: Path, *overrides: str) -> int:
    return start_run(path, overrides, PlainView(Console(file=StringIO())), argv=["reasonrl", "train", str(path)])


def reasonrl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "reasonrl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def rows(run: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock decides. Any: JSON values."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [untimed(line) for line in lines]


def parameters(run: Path, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForCausalLM.from_pretrained(
        run / "checkpoints" / f"step_{step:06d}"
    ).state_dict()
    return state


def same_run(one: Path, other: Path, step: int = 4) -> bool:
    a, b = parameters(one, step), parameters(other, step)
    same_weights = all(torch.equal(a[name], b[name]) for name in a)
    rollouts = [(run / "rollouts" / "step_000004.jsonl").read_text() for run in (one, other)]
    return same_weights and rows(one) == rows(other) and rollouts[0] == rollouts[1]


def test_a_run_leaves_everything_a_reader_needs(in_folder: Path) -> None:
    assert go(write_run(in_folder)) == 0
    run = in_folder / "runs" / "one"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert sorted(path.name for path in (run / "evals").iterdir()) == ["step_000000", "step_000002", "step_000004"]
    assert {path.name for path in (run / "checkpoints").glob("step_*")} == {"step_000002", "step_000004"}
    steps = [row for row in rows(run) if "reward/mean" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert {"reward/numeric_answer", "groups/useful", "policy/entropy", "completion/truncated"} <= set(steps[0])
    line = json.loads((run / "rollouts" / "step_000001.jsonl").read_text().splitlines()[0])
    assert line["rewards"]["numeric_answer"]["why"]


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(in_folder: Path) -> None:
    assert go(write_run(in_folder, "straight")) == 0
    write_run(in_folder, "killed")
    process = subprocess.Popen([sys.executable, "-m", "reasonrl", "train", "killed.yaml", "--plain"])
    wait_for(in_folder / "runs" / "killed" / "rollouts" / "step_000003.jsonl", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert resume_run(in_folder / "runs" / "killed", [], PlainView(Console(file=StringIO()))) == 0
    assert same_run(in_folder / "runs" / "straight", in_folder / "runs" / "killed")


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float = 240) -> None:
    for _ in range(int(seconds / 0.02)):
        if path.exists():
            return
        assert process.poll() is None, "the run ended before it got there"
        time.sleep(0.02)
    pytest.fail(f"{path} did not appear")


def test_ctrl_c_stops_after_the_step_and_says_how_to_go_on(in_folder: Path) -> None:
    write_run(in_folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "reasonrl", "train", "one.yaml", "run.steps=200", "evaluation.every=200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(in_folder / "runs" / "one" / "rollouts" / "step_000001.jsonl", process)  # type: ignore[arg-type]  # text
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "reasonrl train --resume runs/one" in output
    assert "Traceback" not in output
    manifest = json.loads((in_folder / "runs" / "one" / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert list((in_folder / "runs" / "one" / "checkpoints").glob("step_*"))


def test_an_existing_run_is_not_overwritten(in_folder: Path) -> None:
    path = write_run(in_folder)
    go(path, "run.steps=1")
    with pytest.raises(RunError, match=r"--resume runs/one(.|\n)*--fork runs/one@1 name=NEW(.|\n)*rm -r runs/one"):
        go(path)


def test_a_finished_run_cannot_be_resumed_and_settings_cannot_change_on_resume(in_folder: Path) -> None:
    go(write_run(in_folder), "run.steps=1")
    view = PlainView(Console(file=StringIO()))
    with pytest.raises(RunError, match="finished"):
        resume_run(Path("runs/one"), [], view)
    with pytest.raises(ConfigError, match="fork"):
        resume_run(Path("runs/one"), ["seed=1"], view)


def test_a_fork_starts_from_the_checkpoint_under_its_own_name(in_folder: Path) -> None:
    go(write_run(in_folder), "run.steps=1")
    view = PlainView(Console(file=StringIO()))
    with pytest.raises(ConfigError, match="name=NEW"):
        fork_run("runs/one@1", [], view, argv=[])
    with pytest.raises(RunError, match="Steps with one: 1"):
        fork_run("runs/one@7", ["name=two"], view, argv=[])
    assert fork_run("runs/one@1", ["name=two"], view, argv=[]) == 0
    assert json.loads(Path("runs/two/manifest.json").read_text())["parent"] == {"run": "runs/one", "step": 1}


def test_a_checkpoint_loads_with_transformers_and_answers_as_in_the_evaluation(in_folder: Path) -> None:
    go(write_run(in_folder))
    folder = in_folder / "runs/one/checkpoints/step_000004"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    samples = (in_folder / "runs/one/evals/step_000004/arithmetic/samples.jsonl").read_text().splitlines()
    for sample in map(json.loads, samples):
        inputs = tokenizer(sample["prompt"], return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        completion = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert completion == sample["completion"]


def test_a_local_reward_trains_and_its_parts_are_logged(in_folder: Path) -> None:
    (in_folder / "my_reward.py").write_text(
        "from reasonrl import Score\n"
        "def score(rollout, *, target: int = 10):\n"
        "    return Score(-abs(len(rollout.text) - target) / 10, f'{len(rollout.text)} characters')\n"
    )
    rewards = "rewards: [{{name: ./my_reward.py:score, weight: 0.5, params: {{target: 5}}}}]"
    go(write_run(in_folder, text=RUN.replace("rewards: [numeric_answer]", rewards)), "run.steps=1")
    assert "reward/./my_reward.py:score" in rows(in_folder / "runs/one")[1]


def test_a_reward_that_fails_now_and_then_is_counted_under_its_name(in_folder: Path) -> None:
    (in_folder / "bad.py").write_text(
        "def score(rollout):\n    return float('nan') if rollout.completion.sample_index == 1 else 1.0\n"
    )
    text = RUN.replace("[numeric_answer]", "[numeric_answer, ./bad.py:score]")
    go(write_run(in_folder, text=text), "run.steps=1", "scoring.max_failure_rate=0.3")
    assert rows(in_folder / "runs/one")[1]["outcome/./bad.py:score/error"] == 4.0


def test_a_reward_that_always_fails_stops_the_run_with_its_cause(in_folder: Path) -> None:
    (in_folder / "bad.py").write_text("def score(rollout):\n    raise KeyError('column')\n")
    with pytest.raises(RunError, match=r"bad\.py:score.*KeyError"):
        go(write_run(in_folder, text=RUN.replace("numeric_answer", "./bad.py:score")))
    manifest = json.loads((in_folder / "runs/one/manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "KeyError" in manifest["cause"]


BAD_RUNS: list[tuple[Sequence[str], str]] = [
    (["model.name=smollm2-135m-instrukt"], "Did you mean 'smollm2-135m-instruct'"),
    (["model.name=./nowhere"], "there is no folder"),
    (["model.name=owner/model-that-is-not-here"], "cannot be loaded"),
    (["task.name=arithmetics"], "Did you mean 'arithmetic'"),
    (["task.params.max_valeu=3"], "Did you mean 'max_value'"),
    (["rewards.0.name=numeric_anser"], "Did you mean 'numeric_answer'"),
    (["rewards.0.params.sources=[nowhere]"], "sources"),
    (["evaluation.suites.0.name=arithmetik"], "Did you mean 'arithmetic'"),
    (["template=r2_zero"], "Did you mean 'r1_zero'"),
    (["template=./no_prompt.jinja"], "does not contain the prompt"),
    (["template=./broken.jinja"], "broken.jinja"),
    (["template=chat"], "no chat template"),
    (["rollout.samples_per_prompt=1"], "2 or more"),
    (["rollout.max_new_tokens=100000"], "positions"),
    (["task={name: jsonl, params: {path: empty.jsonl}}"], "empty.jsonl"),
    (["task={name: jsonl, params: {path: gone.jsonl}}"], "gone.jsonl"),
    (["task={name: ./tasks.py:nothing}"], "has no train problems"),
    (["task={name: ./tasks.py:numbers}"], "list of Problem"),
    (["task={name: ./tasks.py:heldout}"], "held-out problems are among"),
    (["model.device=cuda:9"], "not here"),
    (["model.device=gpu"], "not a device"),
    (["algorithm.advantage=group_centred"], "Did you mean 'group_centered'"),
    (["algorithm.loss=surrogate"], "clipped_surrogate"),
]

TASKS = """
from reasonrl_tasks.arithmetic import arithmetic
def nothing(*, split, seed):
    return []
def numbers(*, split, seed):
    return [1, 2]
def heldout(*, split, seed):
    return arithmetic(split="heldout", seed=0, num_problems=50, min_terms=3, max_terms=4)
"""


@pytest.mark.parametrize(("overrides", "said"), BAD_RUNS, ids=lambda value: str(value)[:40])
def test_a_mistake_ends_in_one_clear_error_and_leaves_nothing_behind(
    in_folder: Path, overrides: Sequence[str], said: str
) -> None:
    (in_folder / "no_prompt.jinja").write_text("Answer the question.")
    (in_folder / "broken.jinja").write_text("{{ prompt }} {{ unknown_thing }}")
    (in_folder / "empty.jsonl").write_text("")
    (in_folder / "tasks.py").write_text(TASKS)
    with pytest.raises(ReasonRLError) as caught:
        go(write_run(in_folder), *overrides)
    assert said in str(caught.value)
    assert not (in_folder / "runs").exists() or "positions" in said


def test_an_overlap_is_allowed_for_a_reason_which_is_kept(in_folder: Path) -> None:
    (in_folder / "tasks.py").write_text(TASKS)
    go(
        write_run(in_folder),
        "task={name: ./tasks.py:heldout}",
        "evaluation.allow_overlap=a test of memory",
        "run.steps=1",
    )
    data = json.loads((in_folder / "runs/one/data.json").read_text())
    assert data["allow_overlap"] == "a test of memory"
    assert "allowed because: a test of memory" in " ".join(data["warnings"])


def test_every_recipe_parses_and_names_plugins_that_exist() -> None:
    from reasonrl.config.runfile import load_run

    plugins = Plugins()
    for name, entry in plugins.entries("configs").items():
        config = load_run(entry.value)
        assert config.name == name
        assert config.description
        plugins.function("tasks", config.task)
        for reward in config.rewards:
            plugins.function("rewards", reward)
        for suite in config.evaluation.suites:
            plugins.function("suites", suite)


@pytest.mark.slow
def test_quickstart_learns(in_folder: Path) -> None:
    assert reasonrl("train", "quickstart", "--plain").returncode == 0
    comparison = reasonrl("compare", "runs/quickstart")
    assert comparison.returncode == 0
    figures = [
        json.loads(line)["heldout/arithmetic"]
        for line in Path("runs/quickstart/metrics.jsonl").read_text().splitlines()
        if "heldout/arithmetic" in line
    ]
    assert figures[-1] >= figures[0] + 0.3
    assert os.path.isdir("runs/quickstart/checkpoints")
