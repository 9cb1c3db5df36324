"""Runs that train a reward model: one command, one directory, and the promises of any other run."""

import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from builders import untimed
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.reward_model import RewardModelAlarmSettings
from reasonrl.errors import ConfigError, DataError, ReasonRLError, RunError
from reasonrl.preference.card import find_reward_model, read_card
from reasonrl.preference.model import RewardModel
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.events import AlarmRaised, CheckpointSaved, Event, HeldoutMeasured, Message, RunEnded, StepFinished
from reasonrl.run.files import RunDirectory
from reasonrl.run.metric_names import describe
from reasonrl.run.reward_model.alarms import RewardModelAlarms
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.run.terminal import choose_view
from reasonrl.types import Problem

RM = """\
name: {name}
model: tiny
data: {{path: pairs.jsonl, heldout_share: 0.3, max_length: 64}}
template: plain
pairs_per_step: 8
learner: {{learning_rate: 5e-4, schedule: cosine, warmup_steps: 1}}
evaluation: {{every: 2}}
run: {{steps: 6, checkpoint_every: 2, keep_checkpoints: 9}}
"""
MANIFEST = "manifest.json"


def write_pairs(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Sums, the right one chosen; the rejected one is longer."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        a, b = chance.randint(1, 20), chance.randint(1, 20)
        wrong = a + b + chance.choice([-2, -1, 1, 2])
        rows.append({"prompt": f"{number}: {a} + {b}?", "chosen": f"It is {a + b}", "rejected": f"It may be {wrong}"})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_run(folder: Path, name: str = "one", text: str = RM) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(name=name))
    return path


def go(path: Path, *overrides: str, observers: Sequence[Callable[[Event], None]] = ()) -> str:
    return start_run(path, overrides, observers, argv=["reasonrl", "rm", "train"], kind="reward_model")


def resume(path: Path, *observers: Callable[[Event], None]) -> str:
    return resume_run(path, [], observers, kind="reward_model")


def stop_after(last: int) -> Callable[[Event], None]:
    """An observer that presses Ctrl-C once when a step is finished."""

    def observe(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == last:
            os.kill(os.getpid(), signal.SIGINT)

    return observe


def rows(run: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock decides. Any: JSON values."""
    return [untimed(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]


def result(run: Path) -> dict[str, Any]:
    """What a run measured and ended in: files byte for byte, and the card but for the place of the data. Any: JSON."""
    files = ["model/model.safetensors", "checkpoints/step_000006/learner.pt", "checkpoints/step_000006/rng.pt"]
    card = read_card(run / "model").model_dump()
    return {
        "rows": rows(run),
        "card": {**card, "data": {**card["data"], "source": None}},
        **{name: (run / name).read_bytes() for name in files},
    }


def assert_same_run(one: Path, other: Path) -> None:
    expected, found = result(one), result(other)
    assert [name for name in expected if expected[name] != found[name]] == []


def events(run: Path) -> list[dict[str, Any]]:
    """Any: JSON values."""
    return RunDirectory.open(run).read_events()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is finished; tests work on copies."""
    folder = tmp_path_factory.mktemp("trained")
    pairs = write_pairs(folder)
    path = write_run(folder, text=RM.replace("path: pairs.jsonl", f"path: {pairs}"))
    assert go(path, f"run.root={folder / 'runs'}") == "finished"
    return folder / "runs" / "one"


@pytest.fixture
def work(in_folder: Path) -> Path:
    """The current folder, with pairs and a run file."""
    write_pairs(in_folder)
    write_run(in_folder)
    return in_folder


@pytest.fixture
def one(trained: Path, work: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(trained, work / "runs" / "one").relative_to(work))


def test_a_run_leaves_everything_a_reader_needs(trained: Path) -> None:
    manifest = json.loads((trained / MANIFEST).read_text())
    assert (manifest["kind"], manifest["status"], manifest["cause"]) == ("reward_model", "finished", None)
    assert "trains a reward model: 6 of 6 steps" in " ".join((trained / "report.html").read_text().split())
    assert [path.name for path in sorted((trained / "evals").iterdir())] == [
        f"step_00000{step}" for step in (0, 2, 4, 6)
    ]
    assert [path.name for path in sorted((trained / "checkpoints").glob("step_*"))] == [
        f"step_00000{step}" for step in (2, 4, 6)
    ]
    steps = [row for row in rows(trained) if "rm/loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert {"rm/accuracy", "rm/margin", "rm/grad_norm", "rm/learning_rate"} <= set(steps[0])
    measured = [row for row in rows(trained) if "heldout/accuracy" in row]
    assert [row["step"] for row in measured] == [0, 2, 4, 6]
    data = json.loads((trained / "data.json").read_text())
    assert data["summary"]["train"] + data["summary"]["heldout"] == 60
    assert not (trained / "rollouts").exists()


def test_every_metric_that_a_run_writes_is_declared(trained: Path) -> None:
    written = {name for line in rows(trained) for name in line if "/" in name}
    assert [name for name in written if describe(name) is None] == []


def test_the_finished_model_is_published_with_the_last_measurement_on_its_card(trained: Path) -> None:
    assert find_reward_model(trained) == trained / "model"
    card = read_card(trained / "model")
    assert card.evaluation is not None
    assert card.evaluation.accuracy.value == rows(trained)[-1]["heldout/accuracy"]
    assert card.evaluation.model_dump() == RunDirectory.open(trained).read_evaluation(6)
    model = RewardModel.load(trained / "model", torch.device("cpu"))
    problem = Problem(id="1", task="sums", prompt="1: 2 + 2?", answer="")
    (scores,) = model.scores([(problem, "It is 4")])
    assert scores is not None
    assert math.isfinite(scores[0])


def test_labeled_completions_train_a_model_that_says_that_it_was_not_measured_on_pairs(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = [{"prompt": f"{i} + 1?", "completion": str(i + 1 + i % 2), "label": i % 2 == 0} for i in range(40)]
    (work / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labeled))
    view = choose_view(plain=True, show_samples=0)
    go(work / "one.yaml", "data.path=labels.jsonl", "objective=outcome", "run.steps=2", observers=[view])
    said = capsys.readouterr().out
    assert "step 2/6" not in said
    assert re.search(r"step 2/2 \| held-out \| label accuracy \d+\.\d% \| loss 0\.\d+\n", said)
    assert "Held-out accuracy: none" in said
    assert "not known whether the model is better than length alone, so a run refuses it" in said
    assert read_card(Path("runs/one/model")).evaluation is None


def test_the_closing_words_have_accuracy_beside_length_alone_and_how_to_use_the_model(one: Path) -> None:
    RunDirectory.open(one).set_status("interrupted")
    (one / "model").rename("gone")
    result = CliRunner().invoke(app, ["rm", "train", "--resume", str(one), "--plain"])
    assert result.exit_code == 0
    evaluation = read_card(one / "model").evaluation
    assert evaluation is not None
    shown = result.output.split("Held-out: ")[1]
    figures = [evaluation.accuracy, evaluation.length_only]
    for name, figure in zip(("accuracy", "length only"), figures, strict=True):
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{name} ")]
        assert f"{figure.value:.1%} [{figure.lower:.1%}, {figure.upper:.1%}]" in line
    assert f"{100 * evaluation.difference.value:+.1f} points" in shown
    assert "prefer the shorter" in shown  # all right answers are the shorter ones
    assert "not better than length alone, so a run refuses it" in shown
    assert "    - {name: preference, params: {model: runs/one}}" in shown
    assert "reasonrl rm eval runs/one --pairs FILE" in shown


def test_ctrl_c_stops_after_the_step_and_the_resumed_run_is_as_if_it_had_not_stopped(trained: Path, work: Path) -> None:
    said: list[Event] = []
    assert go(work / "one.yaml", observers=[stop_after(3), said.append]) == "interrupted"
    run = Path("runs/one")
    assert RunDirectory.open(run).manifest.status == "interrupted"
    assert "reasonrl rm train --resume runs/one" in said[-1].message  # type: ignore[union-attr]
    assert not (run / "model").exists()
    with pytest.raises(ReasonRLError, match="without a finished reward model"):
        find_reward_model(run)
    measured: list[Event] = []
    assert resume(run, measured.append) == "finished"
    assert [event.step for event in measured if isinstance(event, HeldoutMeasured)] == [4, 6]
    assert [event.step for event in measured if isinstance(event, CheckpointSaved)] == [4, 6]
    assert_same_run(trained, run)
    assert events(run)[-1]["message"] == "attempt 2 from the checkpoint of step 3"


def test_a_model_that_was_published_is_made_again_when_the_run_goes_back_before_its_end(one: Path) -> None:
    before = (one / "model" / "model.safetensors").read_bytes()
    RunDirectory.open(one).set_status("failed", "killed")
    shutil.rmtree(one / "checkpoints" / "step_000006")

    def look(event: Event) -> None:
        assert isinstance(event, RunEnded | Message) or not (one / "model").exists()

    assert resume(one, look) == "finished"
    assert (one / "model" / "model.safetensors").read_bytes() == before


def test_a_run_whose_data_has_changed_is_not_resumed(work: Path) -> None:
    go(work / "one.yaml", observers=[stop_after(2)])
    write_pairs(work, seed=1)
    with pytest.raises(DataError, match=r"not those that runs/one began with(.|\n)*rm train --fork runs/one@STEP"):
        resume(Path("runs/one"))
    assert RunDirectory.open(Path("runs/one")).manifest.attempts == 1


def test_a_fork_starts_from_the_checkpoint_under_its_own_name_and_with_other_data(one: Path) -> None:
    write_pairs(Path("."), seed=1)
    with pytest.raises(ConfigError, match="name=NEW"):
        fork_run("runs/one@2", [], [], argv=[], kind="reward_model")
    overrides = ["name=two", "run.steps=2", "data.path=pairs.jsonl", "run.root=runs"]
    assert fork_run("runs/one@2", overrides, [], argv=[], kind="reward_model") == "finished"
    assert json.loads(Path("runs/two/manifest.json").read_text())["parent"] == {"run": "runs/one", "step": 2}
    assert read_card(Path("runs/two/model")).base_model == "runs/one/checkpoints/step_000002"


@pytest.mark.slow
def test_a_finished_run_that_is_made_longer_is_one_that_was_longer_from_the_start(work: Path) -> None:
    constant = RM.replace("schedule: cosine", "schedule: constant")
    go(write_run(work, text=constant), "run.steps=4")
    said: list[Event] = []
    assert resume_run(Path("runs/one"), ["run.steps=6"], [said.append], kind="reward_model") == "finished"
    assert "learning rate: constant, so it goes on: 0.0005 at step 5" in {getattr(event, "text", "") for event in said}
    go(write_run(work, "longer", constant))
    assert_same_run(Path("runs/longer"), Path("runs/one"))
    for override, refused in (("pairs_per_step=4", "pairs_per_step cannot change"), ("run.steps=6", "is finished")):
        with pytest.raises(ReasonRLError, match=refused):
            resume_run(Path("runs/one"), [override], [], kind="reward_model")


def test_each_command_refuses_the_other_kind_of_run_with_the_right_command(one: Path) -> None:
    RunDirectory.open(one).set_status("interrupted")
    for wrong in (
        lambda: resume_run(one, [], []),
        lambda: fork_run("runs/one@2", ["name=two"], [], argv=[]),
        lambda: CliRunner().invoke(app, ["train", "one.yaml"], catch_exceptions=False),
        lambda: CliRunner().invoke(app, ["doctor", "one.yaml"], catch_exceptions=False),
    ):
        with pytest.raises(ConfigError, match=r"trains a reward model, not a policy: .*reasonrl rm train"):
            wrong()
    with pytest.raises(ConfigError, match=r"quickstart trains a policy, not a reward model: reasonrl train quickstart"):
        CliRunner().invoke(app, ["rm", "train", "quickstart"], catch_exceptions=False)
    with pytest.raises(RunError, match="reasonrl rm eval runs/one"):
        checkpoint_of("runs/one")
    with pytest.raises(RunError, match=r"reasonrl rm train --resume runs/one(.|\n)*rm train --fork runs/one@6"):
        go(Path("one.yaml"))


def test_a_directory_of_an_older_reasonrl_which_names_no_kind_trains_a_policy(tmp_path: Path) -> None:
    from builders import run_config

    path = RunDirectory.create(run_config(run={"steps": 3, "root": str(tmp_path)}), "", environment={}, argv=[]).path
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["kind"]
    (path / MANIFEST).write_text(json.dumps(manifest))
    assert RunDirectory.open(path).kind.name == "policy"


MISTAKES: list[tuple[Sequence[str], str]] = [
    (["pairs_per_stpe=4"], "Did you mean 'pairs_per_step'"),
    (["data.sampled={model: tiny, task: arithmetic, gold: numeric_answer}"], "either path"),
    (["data.path=nowhere.jsonl"], "nowhere.jsonl"),
    (["data.path=empty.jsonl"], "empty.jsonl"),
    (["data.path=broken.jsonl"], "broken.jsonl:2"),
    (["data.columns={chosen: better}"], "no column 'better'"),
    (["data.max_length=8"], "data.max_length"),
    (["objective=outcome"], "bradley_terry"),
    (["objective.kind=outcom"], "Did you mean 'outcome'"),
    (["objective={kind: outcome, margin: true}"], "objective.margin: unknown setting"),
    (["run.epochs=2"], "steps and epochs are both set"),
    (["run.rollouts_every=2"], "run.rollouts_every: unknown setting"),
    (["ensemble.bootstrap=false"], "set num_heads"),
    (["learner.warmup_steps=6"], "only 6 steps"),
    (["template=chat"], "no chat template"),
    (["template=plane"], "Did you mean 'plain'"),
    (["model.name=tinny"], "Did you mean 'tiny'"),
    (["observers=[nothing]"], "no 'nothing'"),
]


@pytest.mark.parametrize(("overrides", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_ends_in_one_clear_error_and_leaves_nothing_behind(
    work: Path, overrides: Sequence[str], said: str
) -> None:
    (work / "empty.jsonl").write_text("")
    (work / "broken.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\nnot json\n')
    with pytest.raises(ReasonRLError) as caught:
        go(work / "one.yaml", *overrides)
    assert said in str(caught.value)
    assert not (work / "runs").exists()


def test_mistakes_of_a_run_file_have_file_and_line(work: Path) -> None:
    text = RM.replace("pairs_per_step", "pairs_per_stpe") + "objective: {{centring: 1}}\n"
    with pytest.raises(ConfigError) as caught:
        go(write_run(work, text=text))
    assert str(caught.value).splitlines() == [
        "one.yaml:9  objective.centring: unknown setting. Did you mean 'centering'? "
        "Known: kind, margin, centering, by_prompt.",
        *str(caught.value).splitlines()[1:],
    ]
    assert "one.yaml:5  pairs_per_stpe: unknown setting. Did you mean 'pairs_per_step'?" in str(caught.value)


def test_settings_are_explained_and_described_for_each_kind(work: Path) -> None:
    explained = CliRunner().invoke(app, ["config", "explain", "objective", "--kind", "reward_model"]).output
    assert "Learns from pairs" in explained
    assert "Learns from completions with a label" in explained
    with pytest.raises(ConfigError, match="add --kind reward_model"):
        CliRunner().invoke(app, ["config", "explain", "data.heldout_share"], catch_exceptions=False)
    schema = json.loads(CliRunner().invoke(app, ["config", "schema", "--kind", "reward_model"]).output)
    assert schema["title"] == "RewardModelConfig"
    shown = CliRunner().invoke(app, ["config", "show", "one.yaml", "ensemble.num_heads=2"]).output
    assert "num_heads: 2" in shown
    write_run(work, "again", shown.replace("{", "{{").replace("}", "}}"))
    assert CliRunner().invoke(app, ["config", "show", "again.yaml"]).output == shown


def test_a_plan_says_what_the_training_would_cost_and_writes_nothing(work: Path) -> None:
    before = sorted(work.iterdir())
    planned = CliRunner().invoke(app, ["plan", "one.yaml", "data.max_length=18"], catch_exceptions=False).output
    for said in ("train      ", "held-out   ", "budget     6 steps", "4 measurements", "total      about", "memory "):
        assert said in planned
    assert "data.max_length) and are left out" in planned
    assert sorted(work.iterdir()) == before


def test_a_plan_for_another_machine_says_what_it_could_not_check(work: Path) -> None:
    planned = CliRunner().invoke(app, ["plan", "one.yaml", "model.name=owner/model"], catch_exceptions=False).output
    assert "not checked here" in planned
    assert "train      " in planned


def test_an_observer_plugin_is_told_of_everything_in_order_and_one_that_fails_is_detached(work: Path) -> None:
    (work / "watch.py").write_text(
        "def watch(event):\n"
        "    with open('told.txt', 'a') as log:\n"
        "        log.write(type(event).__name__ + '\\n')\n"
        "def fail(event):\n"
        "    raise ValueError('no')\n"
    )
    go(work / "one.yaml", "observers=[./watch.py:watch, ./watch.py:fail]", "run.steps=2", "evaluation.every=2")
    told = [name for name in Path("told.txt").read_text().split() if name != "Message"]
    assert told == [
        *("RunStarted", "HeldoutMeasured", "StepFinished"),
        *("StepFinished", "CheckpointSaved", "HeldoutMeasured", "RunEnded"),
    ]
    assert [event["kind"] for event in events(Path("runs/one"))] == ["observer_failed"]


def test_a_full_disk_fails_the_run_which_can_be_resumed(trained: Path, work: Path) -> None:
    folder = Path("runs/one/evals/step_000002")

    def fill_the_disk(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 1:
            folder.mkdir(parents=True)
            (folder / ".evaluation.json.partial").symlink_to("/dev/full")

    with pytest.raises(RunError, match=r"disk full while writing .* reasonrl rm train --resume runs/one"):
        go(work / "one.yaml", observers=[fill_the_disk])
    assert RunDirectory.open(Path("runs/one")).manifest.status == "failed"
    assert resume(Path("runs/one")) == "finished"
    assert_same_run(trained, Path("runs/one"))


def test_an_alarm_rolls_the_training_back_with_a_lower_learning_rate_until_that_is_too_often(work: Path) -> None:
    alarms = ["alarms.gradient_spike=rollback", "alarms.spike_factor=1.0001", "alarms.max_rollbacks=1"]
    alarms.append("alarms.no_learning=off")
    still = ["learner={learning_rate: 1e-9}", "pairs_per_step=1", "run.steps=15", "evaluation.every=15"]
    told: list[Event] = []
    with pytest.raises(RunError, match=r"rolled back 1 times already (.|\n)*rm train --resume runs/one"):
        go(work / "one.yaml", *alarms, *still, observers=[told.append])
    run = Path("runs/one")
    assert RunDirectory.open(run).manifest.rollbacks == 1
    (alarm, *_) = [event for event in told if isinstance(event, AlarmRaised)]
    rates = [
        (event.step, event.record.metrics["rm/learning_rate"]) for event in told if isinstance(event, StepFinished)
    ]
    again = rates.index((alarm.step, 1e-9)) + 1
    assert rates[again][0] <= alarm.step
    assert {rate for _, rate in rates[again:]} == {0.5e-9}
    assert "rolled_back" in [event["kind"] for event in events(run)]
    assert any("learning rate is now 0.5" in event.text for event in told if isinstance(event, Message))


def test_a_gradient_that_is_not_finite_stops_the_training_with_its_alarm(work: Path) -> None:
    with pytest.raises(RunError, match=r"alarm not_finite stopped the run after step 2(.|\n)*rm/grad_norm"):
        go(work / "one.yaml", "learner.learning_rate=1e30", "learner.warmup_steps=0", "learner.max_grad_norm=1e30")
    manifest = RunDirectory.open(Path("runs/one")).manifest
    assert manifest.status == "failed"


def steps_of(monitor: RewardModelAlarms, norms: Sequence[float], accuracies: Sequence[float]) -> list[AlarmRaised]:
    """Alarms of steps with these gradient norms and training accuracies."""
    return [
        alarm
        for step, (norm, accuracy) in enumerate(zip(norms, accuracies, strict=True), start=1)
        for alarm in monitor.after_step(step, {"rm/grad_norm": norm, "rm/accuracy": accuracy})
    ]


def monitor(**settings: Any) -> RewardModelAlarms:
    """Alarms that tell nobody. Any: their settings."""
    return RewardModelAlarms(RewardModelAlarmSettings(**settings), lambda _: None)


def test_a_spike_of_the_gradient_is_an_alarm_once_and_an_even_norm_is_none() -> None:
    assert steps_of(monitor(), [1.0] * 30, [0.5] * 30) == []
    (alarm,) = steps_of(monitor(), [1.0] * 10 + [11.0, 12.0] + [1.0] * 5, [0.5] * 17)
    assert (alarm.kind, alarm.step, alarm.since) == ("gradient_spike", 11, 11)
    assert "gradient norm 11, usual 1" in alarm.message


@pytest.mark.parametrize(
    ("measured", "seen"),
    [
        ({"rm/learning_rate": 0.0}, "the learning rate is 0"),
        ({"rm/learning_rate": 1e-12, "rm/update": 1e-9}, "moves the weights by 1.0e-09 of their size"),
    ],
)
def test_a_training_without_effect_is_an_alarm(measured: dict[str, float], seen: str) -> None:
    alarms = monitor()
    found = [alarms.after_step(step, {"rm/grad_norm": 1.0, **measured}) for step in range(1, 9)]
    ((alarm,),) = [raised for raised in found if raised]
    assert (alarm.kind, alarm.step, alarm.since) == ("no_learning", 5, 1)
    assert seen in alarm.message


def test_a_fall_on_held_out_prompts_is_an_alarm_only_while_training_improves() -> None:
    for rises, expected in ((True, ["heldout_fall"]), (False, [])):
        alarms = monitor()
        steps_of(alarms, [1.0] * 60, [0.5 + 0.005 * step * rises for step in range(60)])
        assert alarms.after_evaluation(0, {"heldout/accuracy": 0.5}) == []
        assert alarms.after_evaluation(20, {"heldout/accuracy": 0.7}) == []
        assert alarms.after_evaluation(40, {"heldout/accuracy": 0.66}) == []
        assert [alarm.kind for alarm in alarms.after_evaluation(60, {"heldout/accuracy": 0.6})] == expected


def test_alarms_of_a_resumed_training_are_those_of_one_that_never_stopped(tmp_path: Path) -> None:
    chance = random.Random(0)
    records: list[dict[str, Any]] = []
    for step in range(1, 41):
        records.append({"step": step, "rm/grad_norm": chance.lognormvariate(0, 1), "rm/accuracy": 0.5 + step / 100})
        if step % 5 == 0:
            records.append({"step": step, "heldout/accuracy": chance.uniform(0.5, 0.8), "heldout/loss": 0.6})

    def observe(alarms: RewardModelAlarms, record: dict[str, Any]) -> list[AlarmRaised]:
        metrics = {name: value for name, value in record.items() if "/" in name}
        observed = alarms.after_evaluation if "heldout/loss" in record else alarms.after_step
        return observed(record["step"], metrics)

    settings = {"spike_factor": 2.0}
    straight = monitor(**settings)
    expected = [observe(straight, record) for record in records]
    assert {alarm.kind for alarms in expected for alarm in alarms} == {"gradient_spike", "heldout_fall"}
    for stop in (3, 17, 30):
        resumed = monitor(**settings).replay(records[:stop])
        assert [observe(resumed, record) for record in records[stop:]] == expected[stop:]


SAMPLED = """\
name: {name}
model: tiny
data:
  sampled:
    model: tiny
    task: {{name: arithmetic, params: {{num_problems: {problems}, min_terms: 2, max_terms: 2}}}}
    template: plain
    gold: {{name: "./gold.py:brevity", isolated: false}}
    num_problems: {problems}
    samples_per_prompt: 3
    max_new_tokens: 8
  heldout_share: 0.4
  max_length: 64
template: plain
pairs_per_step: 8
evaluation: {{every: 9}}
run: {{steps: 2, checkpoint_every: 1}}
"""


def write_sampled_run(folder: Path, problems: int) -> Path:
    """A run that samples pairs for so many problems, where the shorter completion is the better one."""
    (folder / "gold.py").write_text("def brevity(rollout):\n    return -len(rollout.text)\n")
    return write_run(folder, text=SAMPLED.replace("{problems}", str(problems)))


@pytest.mark.slow
def test_sampled_pairs_are_made_once_and_kept_for_resumed_runs_and_forks(in_folder: Path) -> None:
    told: list[Event] = []

    def sampled() -> list[str]:
        return [event.text for event in told if isinstance(event, Message) and event.text.startswith("sampling")]

    assert go(write_sampled_run(in_folder, 20), observers=[told.append, stop_after(1)]) == "interrupted"
    assert sampled() == ["sampling the data: 20 problems, 3 completions each, from tiny, labeled by ./gold.py:brevity"]
    run = Path("runs/one")
    pairs = [json.loads(line) for line in (run / "pairs.jsonl").read_text().splitlines()]
    counts = json.loads((run / "data.json").read_text())["summary"]
    assert 0 < counts["train"] + counts["heldout"] == len(pairs)
    assert {"prompt", "chosen", "rejected"} <= pairs[0].keys()
    assert resume(run, told.append) == "finished"
    forked = ["name=two", "learner.learning_rate=1e-4"]
    assert fork_run("runs/one@1", forked, [told.append], argv=[], kind="reward_model") == "finished"
    assert len(sampled()) == 1
    assert Path("runs/two/pairs.jsonl").read_bytes() == (run / "pairs.jsonl").read_bytes()
    fork_run("runs/one@1", ["name=three", "data.sampled.num_problems=15"], [told.append], argv=[], kind="reward_model")
    assert len(sampled()) == 2


def test_a_plan_of_sampled_data_samples_a_part_and_scales_it_up(in_folder: Path) -> None:
    write_sampled_run(in_folder, 120)
    planned = CliRunner().invoke(app, ["plan", "one.yaml", "run.steps=7"], catch_exceptions=False).output
    assert "data       120 problems of task 'arithmetic' x 3 completions of tiny x at most 8 tokens" in planned
    assert "budget     7 steps" in planned
    assert "time       startup " in planned
    assert ", data " in planned


def start_child(folder: Path, file: str | None) -> ForkServerProcess:
    """Train in a process of its own, forked from one that has imported what takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reasonrl.preference.trainer", "reasonrl.run.start", "transformers.models.llama"])
    process = context.Process(target=killing.train_reward_model, args=(folder, file))
    process.start()
    return process


def kill_when(path: Path, process: ForkServerProcess) -> None:
    """Kill a process as soon as a file or folder is there."""
    for _ in range(60_000):
        if path.exists():
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            return
        assert process.is_alive(), "the run ended before it got there"
        time.sleep(0.001)
    pytest.fail(f"{path} did not appear")


@pytest.mark.slow
@pytest.mark.parametrize(
    "places",
    [
        ["evals/step_000000", "checkpoints/.step_000002.partial", "checkpoints/step_000002", ".model.partial"],
        ["metrics.jsonl", "checkpoints/step_000002", "checkpoints/step_000004"],
    ],
    ids=["half written", "between two files"],
)
def test_a_training_that_is_killed_at_any_moment_goes_on_as_if_nothing_had_happened(
    trained: Path, work: Path, places: Sequence[str]
) -> None:
    run = work / "runs" / "one"
    for attempt, place in enumerate(places, start=1):
        kill_when(run / place, start_child(work, None if attempt > 1 else "one.yaml"))
        wait_for_status(run, "failed")
        assert RunDirectory.open(run).manifest.attempts == attempt
    shutil.rmtree(run / "model", ignore_errors=True)
    child = start_child(work, None)
    child.join(timeout=120)
    assert child.exitcode == 0
    assert_same_run(trained, run)


def wait_for_status(run: Path, wanted: str) -> None:
    """Wait until whoever watches a run that was killed has written that down."""
    for _ in range(200):
        if RunDirectory.open(run).manifest.status == wanted:
            return
        time.sleep(0.05)
    pytest.fail(f"{run} is {RunDirectory.open(run).manifest.status}")


@pytest.mark.slow
def test_a_training_that_was_killed_says_how_to_go_on(work: Path) -> None:
    command = [sys.executable, "-m", "reasonrl", "rm", "train", "one.yaml", "--plain", "run.steps=2000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for _ in range(12_000):
        if (work / "runs/one/checkpoints/step_000002").exists():
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=60)  # ends when whoever watches the run has said so
    assert f"Go on with: reasonrl rm train --resume {work / 'runs/one'}" in output
