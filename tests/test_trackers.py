"""Trackers are told what a run's own files have, and nothing that they do costs the run a step."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from builders import run_config, untimed
from pydantic import ValidationError
from trackers import SOURCE, TrackedTest, noted, numbers, tracked

from reasonrl.config.runfile import load_settings
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ReasonRLError
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.check import check_trackers
from reasonrl.run.events import AlarmRaised, MetricsMeasured
from reasonrl.run.files import RunDirectory
from reasonrl.run.metric_spellings import in_trackers
from reasonrl.run.start import resume_run, start_run
from reasonrl.run.trackers.backlog import Backlog
from reasonrl.run.trackers.messages import Alarm, Closing, Metrics, Opening, Table
from reasonrl.run.trackers.progress import Progress
from reasonrl.system import extras

ALARM = AlarmRaised(step=2, kind="truncation", message="all cut", action="warn", since=1)


def test_a_tracker_gets_the_settings_the_numbers_of_metrics_jsonl_rollouts_alarms_and_the_end(in_folder: Path) -> None:
    run = TrackedTest([{"name": "./bad.py:notes", "rollouts": 1}])
    run.tell(MetricsMeasured(step=0, metrics={"heldout/arithmetic": 0.25, "push/mismatch_max": 0.0}))
    run.step(1)
    run.step(2)
    run.tell(ALARM)
    run.tell(MetricsMeasured(step=2, metrics={"heldout/arithmetic": 0.5, "lost": float("inf")}))
    run.end()
    opened, *_, closed = noted()
    assert opened["config"] == run.config.model_dump(mode="json")
    assert opened["facts"]["model"] == "tiny (1 M parameters)"
    assert (opened["name"], opened["id"]) == ("test", run.directory.manifest.run_id)
    told = {(line["step"], name): value for line in noted(call="log") for name, value in line["metrics"].items()}
    assert told == numbers(run.directory.read_metrics())
    assert told[2, "heldout/arithmetic"] == 0.5
    first, second = noted(call="table")
    assert [first["step"], second["step"]] == [1, 2]
    (row,) = first["rows"]
    assert (row["completion"], row["right"], row["advantage"], row["why"]) == ("4", 1.0, 0.5, "right: right")
    (alarm,) = noted(call="alarm")
    assert alarm == {"call": "alarm", "step": 2, "kind": "truncation", "message": "all cut"}
    assert closed == {"call": "close", "status": "finished", "cause": None}
    assert [message.text for message in run.messages] == ["tracker ./bad.py:notes: less notes.jsonl"]


@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        ("raising", "ValueError: no such project (bad.py:"),
        ("sleeping", "did not return within 0.4 s (bad.py:"),
        ("stuck", "had not taken everything 0.4 s after the end of the run."),
        ("leaving", "its process exited with code 7; see "),
        ("lingering", "did not return within 0.4 s (bad.py:"),
        ("full", "OSError: [Errno 28] No space left on device"),
        ("unable", "SystemExit: log in first"),
    ],
)
def test_a_tracker_that_fails_in_any_way_is_told_nothing_more_and_named_once_with_its_cause(
    in_folder: Path, tracker: str, said: str
) -> None:
    run = TrackedTest([{"name": f"./bad.py:{tracker}", "timeout_s": 0.4}])
    for step in range(1, 5):
        run.step(step)
    run.end()
    (failure,) = run.failures
    assert failure.startswith(f"tracker './bad.py:{tracker}' is detached: ")
    assert said in failure
    assert failure.endswith("The run's own files have everything.")
    assert failure.count(tracker) == 1 or "see " in failure
    assert [line["step"] for line in run.directory.read_metrics()] == [1, 2, 3, 4]
    assert [event["kind"] for event in run.directory.read_events()] == ["tracker_failed"]


@pytest.mark.slow
def test_a_tracker_that_fails_takes_no_other_with_it(in_folder: Path) -> None:
    run = TrackedTest(["./bad.py:raising", "./bad.py:notes"])
    for step in range(1, 4):
        run.step(step)
    run.end()
    assert len(run.failures) == 1
    assert [line["step"] for line in noted(call="log")] == [1, 2, 3]
    assert noted()[-1]["call"] == "close"


@pytest.mark.slow
def test_what_a_tracker_prints_goes_to_its_log_and_not_to_the_run(
    in_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = TrackedTest(["./bad.py:chatty"])
    run.end()
    assert capfd.readouterr() == ("", "")
    (log,) = (run.directory.path / "trackers").glob("*.log")
    assert log.read_text() == "A link: http://somewhere\n"


@pytest.mark.slow
def test_a_resumed_run_tells_a_tracker_nothing_twice_and_all_that_it_missed(in_folder: Path) -> None:
    run = TrackedTest([{"name": "./bad.py:notes", "timeout_s": 20}])
    for step in (1, 2, 3):
        run.step(step)
    run.end("interrupted")
    run.directory.rewind(None)  # as after a kill: nothing is left, and the steps come again
    run.begin()
    for step in (1, 2, 3, 4):
        run.step(step)
    run.end()
    assert [line["step"] for line in noted(call="log")] == [1, 2, 3, 4]
    assert [line["step"] for line in noted(call="table")] == [1, 2, 3, 4]
    assert len({line["id"] for line in noted(call="open")}) == 1
    Path("notes.jsonl").unlink()
    next((run.directory.path / "trackers").glob("*.json")).unlink()
    run.begin(4)
    run.end()
    assert [line["step"] for line in noted(call="log")] == [1, 2, 3, 4], "it has the curve from the start"


@pytest.mark.slow
def test_a_roll_back_begins_another_run_in_the_tracker_with_the_whole_curve(in_folder: Path) -> None:
    run = TrackedTest(["./bad.py:notes"])
    run.step(1)
    run.step(2)
    run.directory.roll_back(None, at=2, cause="not_finite: nan")
    run.end("rolled_back")
    run.begin()
    run.step(1)
    run.end()
    first, second = noted(call="open")
    assert [first["name"], second["name"]] == ["test", "test-rollback-1"]
    assert first["id"] != second["id"]
    assert [line["step"] for line in noted(call="log")] == [1, 2, 1]
    assert [line["status"] for line in noted(call="close")] == ["rolled_back", "finished"]


@pytest.mark.slow
def test_a_tracker_of_a_run_that_is_killed_is_closed_as_failed_with_all_that_it_was_sent(in_folder: Path) -> None:
    code = """
import os, signal, time
from trackers import TrackedTest
run = TrackedTest(["./bad.py:notes"])
run.step(1)
while not os.path.exists("notes.jsonl") or "log" not in open("notes.jsonl").read():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while not noted(call="close") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert noted()[-1] == {"call": "close", "status": "failed", "cause": "the process that trained was killed"}
    assert [line["step"] for line in noted(call="log")] == [1]


def test_the_backlog_drops_the_oldest_tables_first_then_the_oldest_records_and_counts_them() -> None:
    backlog = Backlog(max_rows=4, max_items=3)
    rows = [{"step": 1}] * 2
    for step in (1, 2, 3):
        backlog.put(Table(step, rows))
    assert (backlog.dropped_rows, backlog.dropped_items) == (2, 0)
    backlog.put(Metrics(4, {"a": 1.0}))
    backlog.put(Alarm(5, "a", "b"))
    assert (backlog.dropped_rows, backlog.dropped_items) == (4, 0)
    backlog.put(Metrics(6, {"a": 1.0}))
    backlog.put(Metrics(7, {"a": 1.0}))
    assert (backlog.dropped_rows, backlog.dropped_items) == (6, 1)
    closing = Closing("finished", None)
    backlog.close(closing)
    taken = [backlog.get(0.0) for _ in range(5)]
    assert [getattr(item, "step", None) for item in taken[:3]] == [5, 6, 7]
    assert taken[3:] == [closing, closing]


def test_nothing_that_comes_in_time_is_nothing() -> None:
    assert Backlog().get(0.01) is None


def test_progress_is_by_step_and_part_and_of_one_run_and_place(tmp_path: Path) -> None:
    def opening(identity: str = "1", **params: str) -> Opening:
        return Opening("notes", params, 1.0, tracked(tmp_path, id=identity), tmp_path / "a.json")

    progress = Progress.of(opening())
    assert progress.new(0, ["a"]) == {"a"}
    progress.note(3, ["a", "b"])
    progress.note(3, ["c"])
    again = Progress.of(opening())
    assert again.new(2, ["a"]) == set()
    assert again.new(3, ["a", "c", "d"]) == {"d"}
    assert again.new(4, ["a"]) == {"a"}
    assert Progress.of(opening("2")).new(1, ["a"]) == {"a"}
    assert Progress.of(opening(file="other")).new(1, ["a"]) == {"a"}
    (tmp_path / "a.json").write_text("{")
    assert Progress.of(opening()).new(1, ["a"]) == {"a"}


def test_metrics_have_the_names_that_dashboards_of_trls_trainers_know() -> None:
    ours = {
        "reward/mean": 0.5,
        "reward/exact": 0.25,
        "reward/exact/part": 0.1,
        "scoring/exact/failure_rate": 0.0,
        "groups/useful": 0.75,
        "completion/length_mean": 12.0,
        "policy/kl": 0.01,
        "seconds/sampling": 3.0,
        "heldout/gsm8k": 0.3,
        "heldout/gsm8k/reward_mean": 0.6,
        "heldout/accuracy": 0.7,
    }
    assert in_trackers(7, ours, "trl") == {
        "train/global_step": 7.0,
        "train/reward": 0.5,
        "train/rewards/exact/mean": 0.25,
        "reward/exact/part": 0.1,
        "scoring/exact/failure_rate": 0.0,
        "train/frac_reward_zero_std": 0.25,
        "train/completions/mean_length": 12.0,
        "train/kl": 0.01,
        "seconds/sampling": 3.0,
        "heldout/gsm8k": 0.3,
        "eval/gsm8k_reward": 0.6,
        "eval/accuracy": 0.7,
    }
    assert in_trackers(7, ours, "reasonrl") == ours


@pytest.mark.slow
def test_a_tracker_gets_the_names_that_the_run_file_chooses(in_folder: Path) -> None:
    run = TrackedTest(["./bad.py:notes"], metric_names="trl")
    run.step(1)
    run.end()
    (line,) = noted(call="log")
    assert line["metrics"] == {
        "train/global_step": 1.0,
        "train/reward": pytest.approx(0.1),
        "train/rewards/right/mean": 0.2,
        "scoring/right/failure_rate": 0.0,
    }
    assert "reward/mean" in run.directory.read_metrics()[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trackers": ["trakio"]}, "no 'trakio'. Did you mean 'trackio'?"),
        ({"trackers": ["trackio", "trackio"]}, "trackers.1: 'trackio' is there already"),
        ({"trackers": [{"name": "trackio", "timeout": 3}]}, "timeout"),
        ({"trackers": [{"name": "trackio", "timeout_s": 0}]}, "greater than 0"),
        ({"metric_names": "trl"}, "there are no trackers whose metrics it would name"),
        ({"trackers": ["trackio"], "metric_names": "verl"}, "metric_names"),
    ],
)
def test_a_slip_in_the_trackers_of_a_run_file_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        run_config(run={"steps": 1, **settings})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        ({"name": "trackio", "params": {"projct": "a"}}, "unknown parameter 'projct'. Did you mean 'project'?"),
        ({"name": "wandb", "params": {"mode": "onlin"}}, "parameter 'mode'"),
        ({"name": "tensorboard", "params": {"folder": 3}}, "parameter 'folder'"),
        ({"name": "mlflow", "params": {"timeout_s": 3}}, "write it beside name, not under params"),
    ],
)
def test_parameters_of_a_tracker_are_checked_by_its_source(tracker: dict[str, Any], said: str) -> None:
    with pytest.raises(ReasonRLError) as caught:
        check_trackers(run_config(run={"steps": 1, "trackers": [tracker]}), installed_plugins())
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["trackio", "wandb", "tensorboard", "mlflow", "swanlab"])
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ReasonRLError) as caught:
        check_trackers(run_config(run={"steps": 1, "trackers": [name]}), installed_plugins())
    assert str(caught.value) == (
        f"run.trackers.0: {name} needs the package {name!r}, which is not installed. Install it with: pip install "
        f"'reasonrl[{name}]'"
    )


def test_a_folder_of_the_packages_name_is_not_the_package(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_folder / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(in_folder)
    with pytest.raises(ReasonRLError, match="needs the package 'no_such_tracker'"):
        extras.require_extra("no_such_tracker", "none", "it")


def test_mistakes_of_trackers_are_found_before_torch_is_imported(in_folder: Path) -> None:
    code = """
import sys
from pathlib import Path
from reasonrl.config.runfile import load_run
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.check import check_trackers
check_trackers(load_run(Path("run.yaml")), installed_plugins())
heavy = {"torch", "transformers", "trackio", "wandb", "tensorboard", "mlflow", "swanlab"} & sys.modules.keys()
assert not heavy, heavy
"""
    Path("run.yaml").write_text(
        "name: a\nmodel: tiny\ntask: arithmetic\nrewards: [numeric_answer]\n"
        "run: {steps: 1, trackers: [{name: tensorboard, params: {folder: x}}]}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Real training


RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 40}}}}
template: plain
rewards: [{{name: numeric_answer, isolated: false}}]
algorithm: dr_grpo
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 8}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 6}}, template: plain, max_new_tokens: 8}}]
  every: 2
run: {{steps: 4, checkpoint_every: 2}}
"""


def trained(name: str, *overrides: str) -> RunDirectory:
    Path("bad.py").write_text(SOURCE)
    Path(f"{name}.yaml").write_text(RUN.format(name=name))
    assert start_run(Path(f"{name}.yaml"), overrides, [], argv=["test"]) == "finished"
    return RunDirectory.open(Path("runs") / name)


@pytest.mark.slow
def test_no_step_of_a_run_is_lost_or_changed_by_trackers_that_raise_hang_and_fill_the_disk(in_folder: Path) -> None:
    bad = ", ".join(f"{{name: './bad.py:{name}', timeout_s: 2}}" for name in ("raising", "sleeping", "full", "stuck"))
    alone, beside = trained("alone"), trained("beside", f"run.trackers=[{bad}]")
    assert [*map(untimed, alone.read_metrics())] == [*map(untimed, beside.read_metrics())]
    failures = [event["message"] for event in beside.read_events() if event["kind"] == "tracker_failed"]
    assert sorted(failure.split("'")[1] for failure in failures) == [
        f"./bad.py:{name}" for name in ("full", "raising", "sleeping", "stuck")
    ]


@pytest.mark.slow
def test_a_tracker_that_is_added_to_a_run_when_it_is_resumed_gets_the_whole_curve(in_folder: Path) -> None:
    run = trained("one")
    assert resume_run(run.path, ["run.steps=6", "run.trackers=['./bad.py:notes']"], []) == "finished"
    run = RunDirectory.open(run.path)
    told = {(line["step"], name): value for line in noted(call="log") for name, value in line["metrics"].items()}
    assert told == numbers(run.read_metrics())
    assert max(step for step, _ in told) == 6
    assert any("run.trackers" in event["message"] for event in run.read_events() if event["kind"] == "changed")


@pytest.mark.slow
def test_the_option_of_the_command_is_the_setting(in_folder: Path) -> None:
    Path("bad.py").write_text(SOURCE)
    Path("one.yaml").write_text(RUN.format(name="one"))
    command = [sys.executable, "-m", "reasonrl", "train", "one.yaml", "run.steps=1", "run.trackers=[./bad.py:notes]"]
    subprocess.run([*command, "--metric-names", "trl"], check=True, capture_output=True)
    assert "train/reward" in {name for line in noted(call="log") for name in line["metrics"]}
    config = load_settings(Path("runs/one/config.resolved.yaml"), (), RunConfig)
    assert config.run.metric_names == "trl"
    assert json.loads(next(Path("runs/one/trackers").glob("*.json")).read_text())["step"] == 1
