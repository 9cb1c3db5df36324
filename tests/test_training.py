"""Whole runs on the packaged model: they resume exactly, refuse what is wrong, and leave usable checkpoints."""

import json
import os
import shutil
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

from reasonrl.config.runfile import load_any
from reasonrl.config.settings import RunConfig
from reasonrl.config.stages import is_pipeline_file
from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import find_template
from reasonrl.run.events import Event, StepFinished
from reasonrl.run.files import RunDirectory
from reasonrl.run.metric_names import describe
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.run.terminal import LiveView

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


def go(path: Path, *overrides: str) -> str:
    return start_run(path, overrides, [], argv=["reasonrl", "train", str(path)])


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
    rollouts = [RunDirectory.open(run).read_rollouts(step) for run in (one, other)]
    return same_weights and rows(one) == rows(other) and rollouts[0] == rollouts[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is finished; tests work on copies."""
    folder = tmp_path_factory.mktemp("trained")
    path = write_run(folder, text=RUN.replace("steps: 4", "root: " + str(folder / "runs") + ", steps: 4"))
    assert go(path) == "finished"
    return folder / "runs" / "one"


@pytest.fixture
def one(trained: Path, in_folder: Path) -> Path:
    """A copy of the finished run."""
    write_run(in_folder)
    return Path(shutil.copytree(trained, in_folder / "runs" / "one").relative_to(in_folder))


def test_a_run_leaves_everything_a_reader_needs(trained: Path) -> None:
    manifest = json.loads((trained / "manifest.json").read_text())
    assert (manifest["status"], manifest["cause"]) == ("finished", None)
    assert "trains a policy: 4 of 4 steps" in " ".join((trained / "report.html").read_text().split())
    assert sorted(path.name for path in (trained / "evals").iterdir()) == ["step_000000", "step_000002", "step_000004"]
    assert {path.name for path in (trained / "checkpoints").glob("step_*")} == {"step_000002", "step_000004"}
    steps = [row for row in rows(trained) if "reward/mean" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert {"reward/numeric_answer", "groups/useful", "policy/entropy", "completion/truncated"} <= set(steps[0])
    rollouts = RunDirectory.open(trained).read_rollouts(1)
    assert len(rollouts) == 16
    assert all(rollout.rewards["numeric_answer"].why for rollout in rollouts)


@pytest.mark.slow
def test_a_run_that_was_killed_says_so_and_goes_on_as_if_nothing_had_happened(trained: Path, in_folder: Path) -> None:
    write_run(in_folder, "killed")
    killed = in_folder / "runs" / "killed"
    process = start("train", "killed.yaml", "--plain")
    wait_for(killed / "rollouts" / "step_000003.jsonl", process)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=60)  # ends when whoever watches the run has said so
    assert "killed (out of memory?)" in output
    assert f"Go on with: reasonrl train --resume {killed}" in output
    manifest = RunDirectory.open(killed).manifest
    assert (manifest.status, "without a word" in str(manifest.cause)) == ("failed", True)
    assert resume_run(killed, [], []) == "finished"
    assert same_run(trained, killed)


def start(*arguments: str) -> "subprocess.Popen[str]":
    """Begin a command whose output is read later."""
    command = [sys.executable, "-m", "reasonrl", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, process: "subprocess.Popen[str]", seconds: float = 240) -> None:
    for _ in range(int(seconds / 0.02)):
        if path.exists():
            return
        assert process.poll() is None, "the run ended before it got there"
        time.sleep(0.02)
    pytest.fail(f"{path} did not appear")


@pytest.mark.slow
def test_ctrl_c_stops_after_the_step_and_says_how_to_go_on(in_folder: Path) -> None:
    write_run(in_folder)
    process = start("train", "one.yaml", "run.steps=200", "evaluation.every=200")
    wait_for(in_folder / "runs" / "one" / "rollouts" / "step_000001.jsonl", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "reasonrl train --resume runs/one" in output
    assert "Traceback" not in output
    manifest = json.loads((in_folder / "runs" / "one" / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert list((in_folder / "runs" / "one" / "checkpoints").glob("step_*"))


def test_an_existing_run_is_not_overwritten(one: Path) -> None:
    with pytest.raises(RunError, match=r"name=one-2(.|\n)*--overwrite(.|\n)*--fork runs/one@4 name=one-2"):
        go(Path("one.yaml"))


def test_every_metric_that_a_run_writes_is_declared(one: Path) -> None:
    written = {name for line in rows(one) for name in line if "/" in name}
    assert {"reward/mean", "policy/loss", "heldout/arithmetic"} <= written
    assert [name for name in written if describe(name) is None] == []


def test_a_finished_run_cannot_be_resumed_and_settings_cannot_change_on_resume(one: Path) -> None:
    with pytest.raises(RunError, match="finished"):
        resume_run(one, [], [])
    with pytest.raises(ConfigError, match="fork"):
        resume_run(one, ["seed=1"], [])


def test_a_run_of_an_older_version_is_neither_resumed_nor_forked(one: Path) -> None:
    manifest = one / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(RunError, match="whose run directories have version 1"):
        resume_run(one, [], [])
    with pytest.raises(RunError, match="whose run directories have version 1"):
        fork_run(f"{one}@4", ["name=two"], [], argv=[])


def test_a_fork_starts_from_the_checkpoint_under_its_own_name(one: Path) -> None:
    with pytest.raises(ConfigError, match="name=NEW"):
        fork_run("runs/one@2", [], [], argv=[])
    with pytest.raises(RunError, match="Steps with one: 2, 4"):
        fork_run("runs/one@7", ["name=two"], [], argv=[])
    assert fork_run("runs/one@2", ["name=two", "run={root: runs, steps: 1}"], [], argv=[]) == "finished"
    assert json.loads(Path("runs/two/manifest.json").read_text())["parent"] == {"run": "runs/one", "step": 2}


def test_a_checkpoint_loads_with_transformers_and_answers_as_in_the_evaluation(trained: Path) -> None:
    folder = trained / "checkpoints/step_000004"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    samples = (trained / "evals/step_000004/arithmetic/samples.jsonl").read_text().splitlines()
    for sample in map(json.loads, samples):
        inputs = tokenizer(sample["prompt"], return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        completion = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert completion == sample["completion"]


OBSERVER = """
def watch(event, *, file):
    with open(file, "a") as log:
        log.write(type(event).__name__ + "\\n")
"""


def test_an_observer_is_told_of_everything_in_order_with_the_checkpoint_before_the_evaluation(in_folder: Path) -> None:
    (in_folder / "watch.py").write_text(OBSERVER)
    observer = "observers=[{name: ./watch.py:watch, params: {file: told.txt}}]"
    go(write_run(in_folder), observer, "run.steps=1")
    assert Path("told.txt").read_text().split() == [
        "RunStarted",
        *("SuiteEvaluated", "EvaluationFinished"),
        "Message",  # where the start-up report is
        *("StepFinished", "CheckpointSaved", "SuiteEvaluated", "EvaluationFinished"),
        "RunEnded",
    ]


@pytest.mark.slow
def test_a_disk_that_is_full_while_an_evaluation_is_written_fails_the_run_which_can_be_resumed(
    trained: Path, in_folder: Path
) -> None:
    folder = Path("runs/full/evals/step_000002/arithmetic")

    def fill_the_disk(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 1:
            folder.mkdir(parents=True)
            (folder / ".results.json.partial").symlink_to("/dev/full")

    with pytest.raises(RunError, match=r"disk full while writing \S+/arithmetic.* --resume runs/full"):
        start_run(write_run(in_folder, "full"), [], [fill_the_disk], argv=[])
    manifest = RunDirectory.open(Path("runs/full")).manifest
    assert (manifest.status, "disk full" in str(manifest.cause)) == ("failed", True)
    assert list(folder.iterdir()) == []
    assert resume_run(Path("runs/full"), [], []) == "finished"
    assert same_run(trained, Path("runs/full"))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("a mistake of our own"), "ValueError: a mistake of our own"),
        (SystemExit(0), "the process was told to exit"),
    ],
)
def test_whatever_ends_a_run_is_its_cause_and_the_terminal_is_given_back(
    in_folder: Path, error: BaseException, cause: str
) -> None:
    screen = StringIO()

    def fail(event: Event) -> None:
        if isinstance(event, StepFinished):
            raise error

    live = LiveView(Console(file=screen, force_terminal=True))
    with pytest.raises(type(error)):
        start_run(write_run(in_folder), [], [live, fail], argv=[])
    manifest = RunDirectory.open(Path("runs/one")).manifest
    assert (manifest.status, manifest.cause) == ("failed", cause)
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")


@pytest.mark.slow
def test_a_run_whose_records_are_damaged_is_not_called_running_when_it_cannot_be_resumed(one: Path) -> None:
    RunDirectory.open(one).set_status("interrupted")
    (one / "metrics.jsonl").write_text("{\n")
    with pytest.raises(RunError, match=r"metrics.jsonl:1: not a JSON record"):
        resume_run(one, [], [])
    assert RunDirectory.open(one).manifest.status == "interrupted"


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
    (["template=r1_zer"], "Did you mean 'r1_zero'"),
    (["template=./no_prompt.jinja"], "does not contain the prompt"),
    (["template=./broken.jinja"], "broken.jinja"),
    (["template=chat"], "no chat template"),
    (["rollout.samples_per_prompt=1", "learner.minibatch_sequences=null"], "2 or more"),
    (["critic.pretrain_steps=1"], "there is no critic"),
    (["algorithm=ppo", "critic.init=./nowhere"], "there is no folder"),
    (["rollout.max_new_tokens=100000"], "can have 1024 tokens"),
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
    plugins = Plugins()
    for name, entry in plugins.entries("configs").items():
        if is_pipeline_file(entry.value):  # read in test_pipeline_file.py
            continue
        config = load_any(entry.value)
        assert config.name == name
        assert config.description
        find_template(config.template, plugins)
        if not isinstance(config, RunConfig):
            continue
        plugins.function("tasks", config.tasks[0].ref)
        for reward in config.rewards:
            plugins.function("rewards", reward)
        for suite in config.evaluation.suites:
            plugins.function("suites", suite)


def heldout_figures() -> list[float]:
    """What a run of quickstart measured."""
    lines = map(json.loads, Path("runs/quickstart/metrics.jsonl").read_text().splitlines())
    return [line["heldout/arithmetic"] for line in lines if "heldout/arithmetic" in line]


@pytest.mark.slow
def test_quickstart_learns(in_folder: Path) -> None:
    settings = ("run.steps=24", "evaluation.every=12")
    assert reasonrl("train", "quickstart", "--plain", *settings).returncode == 0
    comparison = reasonrl("compare", "runs/quickstart")
    assert comparison.returncode == 0
    figures = heldout_figures()
    assert figures[-1] >= figures[0] + 0.3
    assert os.path.isdir("runs/quickstart/checkpoints")
    events = Path("runs/quickstart/events.jsonl")
    assert "alarm" not in (events.read_text() if events.exists() else "")


@pytest.mark.slow
def test_a_model_learns_through_products_of_another_type_than_its_weights(in_folder: Path) -> None:
    settings = ("model.compute_dtype=bfloat16", "run.steps=15", "evaluation.every=15")
    assert reasonrl("train", "quickstart", "--plain", *settings).returncode == 0
    assert heldout_figures()[-1] > 0.8
