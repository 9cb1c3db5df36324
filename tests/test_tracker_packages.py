"""The trackers that come with reasonrl, with the real packages and without a network: the numbers of metrics.jsonl."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from trackers import TrackedTest, numbers

from reasonrl.run.events import AlarmRaised, MetricsMeasured

Read = Callable[[TrackedTest], Mapping[tuple[int, str], float]]

AGAIN = {"reward/mean": 0.1, "heldout/arithmetic": 0.25}


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the packages a home of their own, without an account."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "SWANLAB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home" / "hf"))
    (tmp_path / "home").mkdir()


def of_trackio(run: TrackedTest) -> Mapping[tuple[int, str], float]:
    found: dict[tuple[int, str], float] = {}
    with sqlite3.connect("trackio/reasonrl.db") as database:
        for name, step, metrics in database.execute("SELECT run_name, step, metrics FROM metrics"):
            assert name == f"test-{run.directory.manifest.run_id[:6]}"
            found |= {(step, key): value for key, value in json.loads(metrics).items() if isinstance(value, float)}
    return found


def of_tensorboard(run: TrackedTest) -> Mapping[tuple[int, str], float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.directory.path / "tensorboard"))
    events.Reload()
    return {(each.step, tag): each.value for tag in events.Tags()["scalars"] for each in events.Scalars(tag)}


def of_wandb(run: TrackedTest) -> Mapping[tuple[int, str], float]:
    found: dict[tuple[int, str], float] = {}
    for record in wandb_records(run):
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            step = int(items["_step"])
            found |= {
                (step, name): value for name, value in items.items() if not name.startswith(("_", "completions/"))
            }
    return found


def wandb_records(run: TrackedTest) -> Iterator[Any]:
    """Every record of wandb's files, which are LevelDB logs. Any: wandb's messages are untyped."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted((run.directory.path / "wandb").glob("offline-run-*/run-*.wandb")):
        content, position, body = path.read_bytes(), 7, b""
        while position + 7 <= len(content):
            if 32768 - position % 32768 < 7:
                position += 32768 - position % 32768
                continue
            length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
            body += content[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # the whole of a record, or its last part
                record = Record()
                record.ParseFromString(body)
                yield record
            if kind in (0, 1, 4):
                body = b""


def of_mlflow(run: TrackedTest) -> Mapping[tuple[int, str], float]:
    found: dict[tuple[int, str], float] = {}
    for path in Path("mlruns").glob("*/*/metrics/*"):
        for line in path.read_text().splitlines():
            _, value, step = line.split()[:3]
            found[int(step), path.name.replace(".", "/")] = float(value)
    return found


TRACKERS: Sequence[Any] = [
    pytest.param({"name": "trackio", "params": {"folder": "trackio"}}, of_trackio, marks=needs("trackio")),
    pytest.param({"name": "tensorboard"}, of_tensorboard, marks=needs("tensorboard")),
    pytest.param({"name": "wandb"}, of_wandb, marks=needs("wandb")),
    pytest.param({"name": "mlflow", "params": {"uri": "mlruns"}}, of_mlflow, marks=[needs("mlflow"), pytest.mark.slow]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("tracker", "read"), TRACKERS)
def test_a_tracker_has_the_numbers_of_metrics_jsonl_also_of_a_run_that_was_killed_and_resumed(
    in_folder: Path, tracker: dict[str, Any], read: Read
) -> None:
    run = TrackedTest([{**tracker, "timeout_s": 60}])
    run.tell(MetricsMeasured(step=0, metrics={"heldout/arithmetic": 0.25, "heldout/arithmetic/reward_mean": 0.5}))
    for step in (1, 2, 3):
        run.step(step)
    run.tell(AlarmRaised(step=3, kind="truncation", message="all cut", action="warn", since=1))
    run.end("failed")
    run.directory.rewind(0)
    run.begin()
    for step in (1, 2, 3, 4, 5):
        run.step(step)
    run.tell(MetricsMeasured(step=5, metrics={"heldout/arithmetic": 0.75}))
    run.end()
    assert run.failures == []
    assert read(run) == pytest.approx(numbers(run.directory.read_metrics()), rel=1e-6)


@pytest.mark.slow
@needs("swanlab")
def test_swanlab_takes_a_run_without_an_account(in_folder: Path) -> None:
    run = TrackedTest([{"name": "swanlab", "timeout_s": 60}])
    run.step(1)
    run.tell(AlarmRaised(step=1, kind="truncation", message="all cut", action="warn", since=1))
    run.end()
    assert run.failures == []
    assert [path.name for path in (run.directory.path / "swanlog").iterdir() if path.is_dir()] != []


@pytest.mark.slow
@needs("wandb")
def test_wandb_keeps_settings_tables_alarms_and_the_end_and_asks_for_no_account(in_folder: Path) -> None:
    run = TrackedTest([{"name": "wandb", "timeout_s": 60}])
    run.step(1)
    run.tell(AlarmRaised(step=1, kind="truncation", message="all cut", action="warn", since=1))
    run.end("failed")
    records = [*wandb_records(run)]
    begun = next(record.run for record in records if record.HasField("run"))
    assert begun.run_id == run.directory.manifest.run_id
    assert begun.display_name == "test"
    assert json.loads({item.key: item.value_json for item in begun.config.update}["seed"]) == 0
    assert [record.alert.title for record in records if record.HasField("alert")] == ["truncation after step 1"]
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1]
    (table,) = (run.directory.path / "wandb").rglob("completions*.table.json")
    row = dict(zip(json.loads(table.read_text())["columns"], json.loads(table.read_text())["data"][0], strict=True))
    assert (row["completion"], row["right"], row["advantage"]) == ("4", 1.0, 0.5)
    assert any(message.text.startswith("tracker wandb: wandb sync ") for message in run.messages)


@pytest.mark.slow
@needs("trackio")
def test_trackio_keeps_traces_a_table_alarms_and_settings(in_folder: Path) -> None:
    run = TrackedTest([{"name": "trackio", "params": {"folder": "trackio", "project": "mine"}, "timeout_s": 60}])
    run.step(1)
    run.tell(AlarmRaised(step=1, kind="truncation", message="all cut", action="warn", since=1))
    run.end()
    with sqlite3.connect("trackio/mine.db") as database:
        alerts = list(database.execute("SELECT title, text, step FROM alerts"))
        (config,) = (json.loads(text) for (text,) in database.execute("SELECT config FROM configs"))
        logged = " ".join(text.decode() for (text,) in database.execute("SELECT metrics FROM metrics"))
    assert alerts == [("truncation", "all cut", 1)]
    assert config["settings"]["run"]["steps"] == 9
    assert "<script>5" in logged or any("<script>5" in path.read_text() for path in Path("trackio").rglob("*.jsonl"))
    assert "tracker trackio: trackio show --project mine" in [message.text for message in run.messages]


@pytest.mark.slow
@needs("trackio")
def test_trackio_finds_the_numbers_under_trls_names(in_folder: Path) -> None:
    run = TrackedTest([{"name": "trackio", "params": {"folder": "trackio"}, "timeout_s": 60}], metric_names="trl")
    run.step(1)
    run.end()
    named = {"train/global_step", "train/reward", "train/rewards/right/mean", "scoring/right/failure_rate"}
    assert {name for _, name in of_trackio(run)} == named


@pytest.mark.slow
@pytest.mark.parametrize(
    "tracker",
    [
        pytest.param({"name": "tensorboard", "params": {"folder": "small"}}, marks=needs("tensorboard")),
        pytest.param({"name": "trackio", "params": {"folder": "small"}}, marks=needs("trackio")),
        pytest.param({"name": "wandb", "params": {"folder": "small"}}, marks=needs("wandb")),
    ],
)
def test_a_tracker_whose_disk_is_full_costs_no_step(in_folder: Path, tracker: dict[str, Any]) -> None:
    with small_disk(in_folder / "small"):
        run = TrackedTest([{**tracker, "timeout_s": 10}])
        for step in range(1, 120):
            run.step(step, **{f"penalty/{number}": float(step + number) for number in range(40)})
        run.end()
    assert len(run.directory.read_metrics()) == 119
    (failure,) = run.failures
    assert re.search("disk is full|No space left on device", failure)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 64 KiB, which only root can make."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@needs("tensorboard")
@pytest.mark.slow
def test_no_tracker_of_ours_needs_torch(in_folder: Path) -> None:
    code = """
import sys
from pathlib import Path
from reasonrl import TrackedRun
from reasonrl.run.trackers.tensorboard import tensorboard
tracker = tensorboard(TrackedRun(id="1", name="one", path=Path.cwd(), config={}, facts={}))
tracker.log(1, {"a": 1.0})
tracker.close("finished", None)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [*in_folder.glob("tensorboard/events.*")] != []
