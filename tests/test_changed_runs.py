"""Runs that are made longer, changed or forked: what may change, what is noticed, and what goes on to the last bit."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import untimed
from optimizer_state import optimizer_state
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.settings import LearnerSettings
from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.learner.optimizer import learning_rate_at
from reasonrl.run.changes import CHANGEABLE
from reasonrl.run.events import Event, Message
from reasonrl.run.files import RunDirectory
from reasonrl.run.start import fork_run, resume_run, start_run

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [{{name: ./right.py:right, isolated: false}}]
algorithm: dr_grpo
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 5e-4, minibatch_sequences: 4}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 6}}, template: plain, max_new_tokens: 12}}]
  every: 2
run: {{steps: {steps}, checkpoint_every: 2, keep_checkpoints: 9}}
"""
RIGHT = "def right(rollout, *, digits: int = 1):\n    return float(len(rollout.text) % (digits + 1))\n"
ONE = Path("runs/one")


def write(name: str, steps: int, changes: Sequence[tuple[str, str]] = ()) -> Path:
    text = RUN.format(name=name, steps=steps)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = Path(f"{name}.yaml")
    path.write_text(text)
    Path("right.py").write_text(RIGHT)
    return path


def go(path: Path, *overrides: str, observers: Sequence[Callable[[Event], None]] = ()) -> str:
    return start_run(path, overrides, observers, argv=["reasonrl", "train", str(path)])


def resume(*overrides: str, path: Path = ONE) -> list[str]:
    """Go on with a run to its end; return what was said."""
    said: list[Event] = []
    assert resume_run(path, overrides, [said.append]) == "finished"
    return [event.text for event in said if isinstance(event, Message)]


def manifest(path: Path = ONE) -> Any:
    return json.loads((path / "manifest.json").read_text())


def rows(run: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock decides. Any: JSON values."""
    return [untimed(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]


def state(run: Path, step: int) -> dict[str, Any]:
    """All that a checkpoint holds of the learner. Any: tensors and numbers."""
    folder = run / "checkpoints" / f"step_{step:06d}"
    return {
        "parameters": AutoModelForCausalLM.from_pretrained(folder).state_dict(),
        "learner": torch.load(folder / "learner.pt", weights_only=True),
        "optimizer": optimizer_state(folder),
        "rng": (folder / "rng.pt").read_bytes(),
        "position": json.loads((folder / "checkpoint.json").read_text())["position"],
    }


def identical(one: Any, other: Any) -> bool:
    """Compare to the last bit. Any: what a checkpoint holds."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that is finished after 4 steps; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert go(write("one", 4)) == "finished"
    return folder


@pytest.fixture
def one(finished: Path, in_folder: Path) -> Path:
    """A copy of the finished run, in the current folder."""
    shutil.copytree(finished, in_folder, dirs_exist_ok=True)
    return ONE


# Runs that are made longer.


@pytest.mark.slow
def test_a_finished_run_that_is_made_longer_is_one_that_was_longer_from_the_start(one: Path) -> None:
    said = resume("run.steps=6")
    go(write("longer", 6))
    longer = Path("runs/longer")
    assert rows(one) == rows(longer)
    assert identical(state(one, 6), state(longer, 6))
    assert RunDirectory.open(one).read_rollouts(6) == RunDirectory.open(longer).read_rollouts(6)
    assert "learning rate: constant, so it goes on: 0.0005 at step 5" in said
    assert manifest()["status"] == "finished"


@pytest.mark.slow
def test_what_was_changed_stands_in_manifest_configuration_and_events(one: Path) -> None:
    said = resume("run.steps=5", "evaluation.every=5", "alarms.patience=7")
    (change,) = manifest()["changes"]
    expected = {"run.steps": [4, 5], "evaluation.every": [2, 5], "alarms.patience": [5, 7]}
    assert (change["step"], change["settings"]) == (4, expected)
    resolved = yaml.safe_load((one / "config.resolved.yaml").read_text())
    assert (resolved["run"]["steps"], resolved["evaluation"]["every"], resolved["alarms"]["patience"]) == (5, 5, 7)
    events = [event["message"] for event in RunDirectory.open(one).read_events() if event["kind"] == "changed"]
    assert "after step 4: run.steps is 5, was 4" in events
    assert set(events) <= set(said)
    resume("run.steps=6")
    assert [change["settings"]["run.steps"] for change in manifest()["changes"]] == [[4, 5], [5, 6]]


@pytest.mark.slow
def test_a_schedule_is_that_of_the_new_length_and_the_run_says_so(in_folder: Path) -> None:
    go(write("one", 4, [("learning_rate: 5e-4", "learning_rate: 5e-4, schedule: linear, warmup_steps: 1")]))
    said = resume("run.steps=8")
    settings = LearnerSettings(learning_rate=5e-4, schedule="linear", warmup_steps=1)
    expected = [learning_rate_at(step, 4 if step < 4 else 8, settings) for step in range(8)]
    assert [row["policy/learning_rate"] for row in rows(ONE) if "policy/learning_rate" in row] == expected
    assert f"learning rate: linear over 8 steps from here on, the run's new length: {expected[4]:.3g} at step 5" in said


@pytest.mark.slow
def test_a_schedule_with_a_length_of_its_own_makes_a_longer_run_the_same_run(in_folder: Path) -> None:
    planned = [("learning_rate: 5e-4", "learning_rate: 5e-4, schedule: cosine, schedule_steps: 6")]
    go(write("one", 4, planned))
    go(write("longer", 6, planned))
    said = resume("run.steps=6")
    assert rows(ONE) == rows(Path("runs/longer"))
    assert identical(state(ONE, 6), state(Path("runs/longer"), 6))
    assert any("cosine over 6 steps as before (learner.schedule_steps)" in line for line in said)
    assert any("it is over, so nothing more is learned" in line for line in resume("run.steps=7"))


@pytest.mark.parametrize("settings", ["schedule: constant, schedule_steps: 9", "schedule: linear, schedule_steps: 2"])
def test_a_length_that_a_schedule_cannot_have_is_refused(in_folder: Path, settings: str) -> None:
    path = write("one", 4, [("learning_rate: 5e-4", f"learning_rate: 5e-4, warmup_steps: 2, {settings}")])
    with pytest.raises(ConfigError, match="schedule_steps"):
        go(path)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_another_length_too(in_folder: Path) -> None:
    text = write("one", 6, [("run:", "alarms: {truncation: stop, max_truncated: 0.0, patience: 3}\nrun:")])
    with pytest.raises(RunError, match=r"--resume runs/one alarms\.truncation=warn"):
        go(text)
    assert manifest()["status"] == "failed"
    resume("alarms.truncation=warn", "run.steps=4")
    go(write("straight", 4))
    assert identical(state(ONE, 4)["parameters"], state(Path("runs/straight"), 4)["parameters"])


@pytest.mark.slow
def test_a_run_that_samples_ahead_samples_anew_where_it_was_over(in_folder: Path) -> None:
    ahead = [("rollout: {", "rollout: {engine: copies:copy_engine, async_steps: 1, ")]
    go(write("one", 2, ahead))
    resume("run.steps=4")
    stale = [row["staleness/max"] for row in rows(ONE) if "staleness/max" in row]
    assert stale[:3] == [0.0, 2.0, 0.0], "the first batch after the old end is sampled with its weights"


REFUSED = (
    "seed=1",
    "name=two",
    "model.name=other",
    "task.params.num_problems=10",
    "template=bare",
    "rewards.0.weight=2",
    "algorithm.preset=grpo",
    "algorithm.kl_coefficient=0.1",
    "rollout.samples_per_prompt=8",
    "rollout.temperature=0.7",
    "rollout.engine=vllm",
    "learner.learning_rate=1e-3",
    "learner.schedule=linear",
    "learner.minibatch_sequences=8",
    "evaluation.suites=[]",
    "run.root=elsewhere",
    "run={steps: 8, root: elsewhere}",
)


@pytest.mark.parametrize("override", REFUSED)
def test_what_would_make_it_another_run_is_refused_by_name_with_the_way_to_do_it(one: Path, override: str) -> None:
    before = {path: path.read_bytes() for path in one.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as refused:
        resume_run(one, ["run.steps=8", override], [])
    key = "run.root" if override.startswith("run=") else override.partition("=")[0]
    assert f"{key} cannot change" in str(refused.value)
    assert f"--fork runs/one@STEP name=NEW {override}" in str(refused.value)
    assert {path: path.read_bytes() for path in one.rglob("*") if path.is_file()} == before


def test_a_length_that_is_over_already_and_a_name_that_is_wrong_are_refused(one: Path) -> None:
    for steps in (2, 3):
        with pytest.raises(ConfigError, match="has done 4 already"):
            resume_run(one, [f"run.steps={steps}"], [])
    for same in ([], ["run.steps=4"], ["alarms.patience=2"]):
        with pytest.raises(RunError, match=r"finished(.|\n)*--resume runs/one run\.steps=8"):
            resume_run(one, same, [])
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        resume_run(one, ["run.stps=9"], [])
    assert manifest()["attempts"] == 1


def test_every_setting_that_may_change_is_one(one: Path) -> None:
    settings = manifest()["settings"]
    others = ("run.epochs", "distillation.")  # the length of a reward model's run, and a group that is not there
    ours = [name for name in CHANGEABLE if not name.startswith(others)]
    assert [name for name in ours if not any(key == name or key.startswith(f"{name}.") for key in settings)] == []


def test_a_kill_between_the_files_of_a_change_is_mended_by_the_same_command(one: Path) -> None:
    path = one / "config.resolved.yaml"
    path.write_text(path.read_text().replace("steps: 4", "steps: 6"))
    resume("run.steps=6")
    assert manifest()["changes"][0]["settings"] == {"run.steps": [4, 6]}
    with pytest.raises(RunError, match="is finished"):
        resume_run(one, [], [])


# What has changed although it may not.


def interrupted(run: Path) -> None:
    RunDirectory.open(run).set_status("interrupted")
    shutil.rmtree(run / "checkpoints" / "step_000004")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_edited_configuration_is_noticed_with_every_key_that_differs(one: Path) -> None:
    interrupted(one)
    rewrite(one / "config.resolved.yaml", "learning_rate: 0.0005", "learning_rate: 0.001")
    rewrite(one / "config.resolved.yaml", "steps: 4", "steps: 6")
    with pytest.raises(RunError) as refused:
        resume_run(one, [], [])
    said = str(refused.value)
    assert "learner.learning_rate: 0.0005 when it began, 0.001 now" in said
    assert "run.steps: 4 when it began, 6 now" in said
    assert "config.resolved.yaml was edited" in said
    assert "--resume runs/one run.steps=6" in said
    assert "--fork runs/one@STEP name=NEW" in said
    assert manifest()["attempts"] == 1
    rewrite(one / "config.resolved.yaml", "learning_rate: 0.001", "learning_rate: 0.0005")
    rewrite(one / "config.resolved.yaml", "steps: 6", "steps: 4")
    resume()


def test_comments_and_spaces_are_no_change(one: Path) -> None:
    interrupted(one)
    path = one / "config.resolved.yaml"
    path.write_text(f"# mine\n{path.read_text()}\n")
    resume()


def as_of_a_version_without(run: Path, key: str) -> None:
    """Make a run look as if it had begun before there was a setting."""
    found = manifest(run)
    del found["settings"][key]
    found["environment"]["reasonrl"] = "0.0.1"
    (run / "manifest.json").write_text(json.dumps(found))
    *groups, last = key.split(".")
    data = here = yaml.safe_load((run / "config.resolved.yaml").read_text())
    for group in groups:
        here = here[group]
    del here[last]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    (run / "config.resolved.yaml").write_text(text)


def test_a_setting_that_another_version_lacked_is_noticed_unless_it_could_change_anyway(one: Path) -> None:
    interrupted(one)
    as_of_a_version_without(one, "learner.adam_epsilon")
    with pytest.raises(RunError, match=r"learner\.adam_epsilon: 'not there' when it began, 1e-08 now(.|\n)*0\.0\.1"):
        resume_run(one, [], [])
    as_of_a_version_without(one, "alarms.patience")
    found = manifest()
    found["settings"]["learner.adam_epsilon"] = 1e-8
    (one / "manifest.json").write_text(json.dumps(found))
    resume()


def test_other_defaults_of_a_plugin_are_noticed(one: Path) -> None:
    interrupted(one)
    Path("right.py").write_text(RIGHT.replace("digits: int = 1", "digits: int = 12"))
    with pytest.raises(RunError, match=r"rewards\.0\.params\.digits: 1 when it began, 12 now"):
        resume_run(one, [], [])


def test_other_problems_are_noticed(in_folder: Path) -> None:
    rows_ = [{"question": f"{a} + {a}?", "answer": str(2 * a)} for a in range(20)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_))
    go(write("one", 4, [("{name: arithmetic, params: {num_problems: 60, min_terms: 3, max_terms: 3}}", TASK)]))
    interrupted(ONE)
    rewrite(Path("sums.jsonl"), "3 + 3?", "3 + 30?")
    with pytest.raises(RunError, match=r"task\.problems: '\d+ problems, digest \w+' when it began"):
        resume_run(ONE, [], [])


TASK = "{name: jsonl, params: {path: sums.jsonl}}"


def test_a_run_whose_manifest_has_the_digest_alone_is_refused_if_it_was_edited(one: Path) -> None:
    interrupted(one)
    found = manifest()
    del found["settings"]
    (one / "manifest.json").write_text(json.dumps(found))
    rewrite(one / "config.resolved.yaml", "learning_rate: 0.0005", "learning_rate: 0.001")
    with pytest.raises(RunError, match="was edited after the run began"):
        resume_run(one, [], [])
    rewrite(one / "config.resolved.yaml", "learning_rate: 0.001", "learning_rate: 0.0005")
    resume()


# Forks.


def problems(run: Path, step: int) -> list[str]:
    """The problems of a step in their order."""
    return list(dict.fromkeys(record.prompt for record in RunDirectory.open(run).read_rollouts(step)))


def texts(run: Path, step: int) -> list[str]:
    return [record.completion for record in RunDirectory.open(run).read_rollouts(step)]


def forked(name: str, *overrides: str, **order: Any) -> str:
    """Fork the run from its second step; return what was said first. Any: the order."""
    said: list[Event] = []
    given = [f"name={name}", "run.steps=2", *overrides]
    assert fork_run("runs/one@2", given, [said.append], argv=[], **order) == "finished"
    return next(event.text for event in said if isinstance(event, Message))


@pytest.mark.slow
def test_a_fork_has_an_order_and_samples_of_its_own_unless_it_is_told_to_go_on(one: Path) -> None:
    parent = [problem for step in (1, 2, 3, 4) for problem in problems(one, step)]
    fresh, again, same, onward = (Path("runs") / name for name in ("fresh", "again", "same", "onward"))
    said = forked("fresh")
    seed = RunDirectory.open(fresh).config.seed
    assert f"fork of runs/one@2: fresh order of data and samples (seed {seed})" in said
    of_fork = [problem for step in (1, 2) for problem in problems(fresh, step)]
    assert of_fork not in (parent[:4], parent[4:])
    forked("again")
    assert texts(again, 2) == texts(fresh, 2), "two forks of a checkpoint are alike"

    assert "(seed 0)" in forked("same", "seed=0")
    assert [problem for step in (1, 2) for problem in problems(same, step)] == parent[:4]

    said = forked("onward", order="continue")
    assert "goes on in the parent's order (seed 0), after its first 4 problems" in said
    assert [problem for step in (1, 2) for problem in problems(onward, step)] == parent[4:]
    assert manifest(onward)["parent"] == {"run": "runs/one", "step": 2, "position": 4}
    assert "position" not in manifest(fresh)["parent"]


@pytest.mark.slow
def test_a_fork_that_goes_on_does_so_when_it_is_resumed_before_its_first_checkpoint(one: Path) -> None:
    forked("onward", order="continue")
    expected = rows(Path("runs/onward"))
    shutil.rmtree("runs/onward/checkpoints/step_000002")
    RunDirectory.open(Path("runs/onward")).set_status("failed", "killed")
    resume(path=Path("runs/onward"))
    assert rows(Path("runs/onward")) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [("seed=3", "leave seed out"), ("task.params.num_problems=50", "the task is another")],
)
def test_an_order_that_cannot_go_on_is_refused(one: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        forked("onward", override, order="continue")
    assert not Path("runs/onward").exists()


def test_the_order_of_a_fork_is_an_option_of_the_command_for_forks_alone(one: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["train", "one.yaml", "--data-order", "fresh"])
    assert isinstance(result.exception, ReasonRLError)
    assert "--data-order is for a fork" in str(result.exception)
    command = ["train", "--plain", "--fork", "runs/one@2", "--data-order", "continue", "name=onward", "run.steps=1"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert re.search(r"goes on in the parent's order", result.output)
