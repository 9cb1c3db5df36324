"""``reasonrl status``, ``reasonrl tail`` and ``reasonrl show``: what a person sees of runs from their files."""

import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import run_config
from rich.console import Console
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.run.files import RunDirectory
from reasonrl.run.history import History
from reasonrl.run.plots import plot
from reasonrl.run.show import RunSummary
from reasonrl.run.status import RunStatus
from reasonrl.run.tail import RunTail
from reasonrl.run.terminal import PlainView
from reasonrl.run.time_left import TimeLeft

STEP = {"reward/mean": 0.5, "seconds/step": 3.0, "completion/length_mean": 12.0}


def new_run(name: str = "one", **settings: Any) -> RunDirectory:
    """A run of ten steps that has done none. Any: settings."""
    config = run_config(**{"name": name, "run": {"steps": 10}, **settings})
    return RunDirectory.create(config, "name: one\n", environment={}, argv=["test"])


def half_done(name: str = "one") -> RunDirectory:
    """A run that was measured twice and has done four steps."""
    run = new_run(name)
    run.append_metrics(0, {"heldout/arithmetic": 0.1, "heldout_stderr/arithmetic": 0.01})
    for step in range(1, 5):
        run.append_metrics(step, {**STEP, "reward/mean": step / 10})
    run.append_metrics(4, {"heldout/arithmetic": 0.425, "heldout/arithmetic/reward_mean": 0.4})
    run.append_event("alarm", "truncation: all cut", 3)
    run.append_event("alarm", "truncation: all cut", 4)
    return run


def command(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_run_is_one_line_with_step_figure_reward_time_left_and_alarms(in_folder: Path) -> None:
    half_done()
    assert command("status").splitlines() == [
        "one  running  4/10  arithmetic 10.0% -> 42.5%  reward 0.400  0:00:18 left  alarms: truncation x2"
    ]


def test_runs_in_every_state_have_a_line_and_one_that_cannot_be_read_hides_no_other(in_folder: Path) -> None:
    half_done("going")
    half_done("done").set_status("finished")
    half_done("broken").set_status("failed", "disk\x1b[31m full")
    new_run("new")
    Path("runs/damaged").mkdir()
    Path("runs/damaged/manifest.json").write_text("{")
    lines = command("status", "runs").splitlines()
    assert [line.split()[0] for line in lines] == ["broken", "damaged", "done", "going", "new"]
    assert re.search(r"failed .* ended \d{4}-\d\d-\d\d \d\d:\d\d UTC .* disk\\x1b\[31m full$", lines[0])
    assert "cannot be read" in lines[1]
    assert re.search(r"finished .* ended ", lines[2])
    assert lines[4].split() == ["new", "running", "0/10"]


def test_json_has_the_same_as_values(in_folder: Path) -> None:
    half_done()
    (found,) = json.loads(command("status", "runs/one", "--json"))
    assert found["status"] == "running"
    assert (found["step"], found["num_steps"], found["seconds_left"]) == (4, 10, 18.0)
    assert found["headline"] == {"name": "arithmetic", "base": 0.1, "now": 0.425, "step": 4}
    assert found["alarms"] == {"truncation": 2}


def test_a_run_that_says_it_runs_and_gives_no_sign_is_called_silent(in_folder: Path) -> None:
    run = half_done()
    metrics = run.path / "metrics.jsonl"
    old = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="milliseconds")
    metrics.write_text(re.sub(r'"wall": "[^"]+"', f'"wall": "{old}"', metrics.read_text()))
    status = RunStatus.of(History.open(run.path))
    assert status.status == "silent"
    assert status.seconds_left is None
    assert not status.is_going


def test_a_folder_without_runs_is_told(in_folder: Path) -> None:
    done = CliRunner().invoke(app, ["status", "nowhere"])
    assert "nowhere: there is no such folder" in str(done.exception)


def test_the_length_of_a_reward_model_is_that_of_its_epochs(in_folder: Path) -> None:
    from reasonrl.config.reward_model import RewardModelConfig

    settings = {"name": "rm", "model": "tiny", "data": {"path": "pairs.jsonl"}, "pairs_per_step": 8}
    config = RewardModelConfig.model_validate(settings)
    run = RunDirectory.create(
        config, "name: rm\n", environment={}, argv=["test"], data={"summary": {"train": 33, "heldout": 4}}
    )
    run.append_metrics(0, {"heldout/accuracy": 0.5, "heldout/loss": 0.7})
    run.append_metrics(1, {"rm/loss": 0.6, "rm/accuracy": 0.75, "seconds/step": 1.0})
    assert command("status").startswith("rm  running  1/5  accuracy 50.0%  0:00:04 left")


def test_the_time_left_has_the_share_of_the_evaluations() -> None:
    left = TimeLeft()
    assert left.seconds(5) is None
    assert left.text(5) == ""
    left.add({"seconds/step": 1.0})
    left.add({"seconds/step": 3.0, "seconds/evaluation": 8.0})
    assert left.seconds(5) == 5 * (2.0 + 4.0)
    assert left.text(5) == "0:00:30 left"
    assert left.text(0) == ""


def printed(tail: RunTail, stream: io.StringIO, last: int | None = None) -> list[str]:
    """What a tail prints now."""
    tail.print_new(last)
    lines = stream.getvalue().splitlines()
    stream.seek(0)
    stream.truncate()
    return lines


def test_a_tail_prints_what_comes_once_and_what_a_resumed_run_does_anew(in_folder: Path) -> None:
    run, stream = half_done(), io.StringIO()
    tail = RunTail(History.open(run.path), PlainView(Console(file=stream, width=200, color_system=None)))
    assert printed(tail, stream, last=3) == [
        "step 4/10 | held-out | arithmetic 42.5%",
        "alarm after step 3: truncation: all cut",
        "alarm after step 4: truncation: all cut",
    ]
    assert printed(tail, stream) == []
    run.append_metrics(5, STEP)
    assert printed(tail, stream) == ["step 5/10 | 3.0 s | reward 0.500 | length 12.0 | 0:00:15 left"]
    run.rewind(4)
    run.append_metrics(5, STEP)
    resumed, again = sorted(printed(tail, stream))  # within one millisecond either may come first
    assert resumed.startswith("resumed after step 4: attempt 1 from the checkpoint of step 4")
    assert again.startswith("step 5/10 | 3.0 s")
    assert not tail.is_over
    run.set_status("failed", "disk full")
    assert tail.is_over


def test_a_tail_reads_no_half_line(in_folder: Path) -> None:
    run, stream = half_done(), io.StringIO()
    tail = RunTail(History.open(run.path), PlainView(Console(file=stream, width=200, color_system=None)))
    tail.print_new(0)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "wall": "2026", ')
        file.flush()
        assert printed(tail, stream) == []
        file.write('"reward/mean": 0.5, "seconds/step": 1.0}\n')
    assert printed(tail, stream)[0].startswith("step 5/10 | 1.0 s | reward 0.500")


def test_the_command_ends_with_the_run(in_folder: Path) -> None:
    half_done().set_status("failed", "disk\x1b[2J full")
    lines = command("tail", "runs/one", "-n", "1").splitlines()
    assert lines == ["alarm after step 4: truncation: all cut", "failed: disk full"]


def test_a_run_on_one_screen_has_plots_alarms_and_checkpoints(in_folder: Path) -> None:
    run = half_done()
    text = RunSummary.of(History.open(run.path)).text(100)
    assert text.splitlines()[0] == "one (runs/one)"
    assert "heldout/arithmetic (figure): 0.425" in text
    assert "reward/mean (reward): 0.4" in text
    assert "alarms:\n  step 3: truncation: all cut" in text
    assert text.endswith("checkpoints: none")
    assert max(map(len, text.splitlines())) <= 100
    assert max(map(len, RunSummary.of(History.open(run.path)).text(60).splitlines()[1:])) <= 100
    shown = json.loads(command("show", "runs/one", "--json"))
    assert shown["metrics"]["reward/mean"] == {"steps": [1, 2, 3, 4], "values": [0.1, 0.2, 0.3, 0.4]}


def test_what_is_no_run_is_refused_by_each_command(in_folder: Path) -> None:
    half_done()
    for words in (["show", "runs/on"], ["tail", "runs/on"]):
        assert "Did you mean 'one'" in str(CliRunner().invoke(app, words).exception)


def test_a_curve_rises_from_the_lower_left_to_the_upper_right() -> None:
    lines = plot([0, 10], [0.0, 1.0], width=4, height=2)
    assert lines[-1].split() == ["0", "10"]
    assert [line.split()[0] for line in lines[:2]] == ["1", "0"]
    upper, lower = (line[2:].ljust(4, "⠀") for line in lines[:2])
    assert lower[0] != "⠀" == lower[3]
    assert upper[3] != "⠀" == upper[0]


@pytest.mark.parametrize(
    ("steps", "values"), [([3], [0.5]), ([1, 2], [0.5, 0.5]), (range(500), [float(x % 7) for x in range(500)])]
)
def test_any_curve_fits_its_place(steps: Any, values: list[float]) -> None:
    lines = plot(list(steps), values, width=20, height=4)
    assert len(lines) == 5
    assert any(line.strip("⠀ 0.5") for line in lines[:4])
    assert max(map(len, lines)) <= 20 + len("499 ")
