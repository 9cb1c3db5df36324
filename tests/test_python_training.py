"""Training and measuring from Python: the same run as the command's, inside an event loop, leaving nothing behind."""

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from builders import untimed
from loops import in_a_loop
from typer.testing import CliRunner

import reasonrl
from reasonrl.commands import app
from reasonrl.errors import RunError
from reasonrl.evaluation.files import read_summary
from reasonrl.run.events import Event, StepFinished

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
SETTINGS: dict[str, Any] = {
    "name": "small",
    "model": "tiny",
    "task": {"name": "arithmetic", "params": {"num_problems": 60, "min_terms": 3, "max_terms": 3}},
    "template": "plain",
    "rewards": ["numeric_answer"],
    "rollout": {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12},
    "evaluation": {
        "suites": [{"name": "arithmetic", "params": {"num_problems": 8}, "template": "plain", "max_new_tokens": 12}],
        "every": 4,
    },
    "run": {"steps": 4, "checkpoint_every": 4},
}


def lines(run: reasonrl.Run) -> list[dict[str, Any]]:
    """What the run measured, without what a clock decides. Any: JSON values."""
    return [untimed(json.loads(line)) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def state() -> tuple[object, ...]:
    """What a run could leave changed in this process."""
    return (
        random.getstate(),
        np.random.get_state(legacy=True)[1].tobytes(),  # type: ignore[index]  # a tuple, of the legacy form
        torch.get_rng_state().numpy().tobytes(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        dict(os.environ),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        threading.active_count(),
        os.getcwd(),
    )


def stopping_at(step: int) -> Callable[[Event], None]:
    """Return a callback that presses Ctrl-C when a step is over."""

    def press(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return press


def test_a_run_is_the_same_inside_an_event_loop_in_a_thread_and_outside_and_leaves_nothing(in_folder: Path) -> None:
    outside = reasonrl.train(SETTINGS, name="outside", show="nothing")
    before = state()
    inside = in_a_loop(lambda: reasonrl.train(SETTINGS, name="inside", show="nothing"))
    assert state() == before
    in_thread = asyncio.run(asyncio.to_thread(reasonrl.train, SETTINGS, name="thread", show="nothing"))
    assert isinstance(inside, reasonrl.Run)
    assert outside.status == inside.status == in_thread.status == "finished"
    assert lines(outside) == lines(inside) == lines(in_thread)
    texts = [run.rollouts().column("completion") for run in (outside, inside, in_thread)]
    assert texts[0] == texts[1] == texts[2]


def test_an_interrupted_run_is_returned_and_goes_on_as_if_it_had_not_stopped(in_folder: Path) -> None:
    whole = reasonrl.train(SETTINGS, name="whole", show="nothing")
    handler = signal.getsignal(signal.SIGINT)
    stopped = in_a_loop(lambda: reasonrl.train(SETTINGS, name="stopped", show="nothing", callbacks=[stopping_at(2)]))
    assert isinstance(stopped, reasonrl.Run)
    assert (stopped.status, stopped.steps) == ("interrupted", 2)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = reasonrl.resume(stopped, show="nothing")
    assert (resumed.status, resumed.steps) == ("finished", 4)
    assert lines(resumed) == lines(whole)
    longer = reasonrl.resume(resumed, run={"steps": 5}, show="nothing")
    assert longer.steps == 5
    forked = reasonrl.fork(longer.at(4), name="forked", run={"steps": 1}, show="nothing")
    assert (forked.steps, forked.manifest.parent) == (1, {"run": str(longer.path), "step": 4})


def test_a_callback_is_told_every_step_and_what_it_raises_ends_the_run(in_folder: Path) -> None:
    seen: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, StepFinished):
            seen.append(event.step)
            if event.step == 2:
                raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        reasonrl.train(SETTINGS, callbacks=[note], show="nothing")
    assert seen == [1, 2]
    assert reasonrl.load_run("runs/small").status == "failed"
    with pytest.raises(RunError, match="small"):
        reasonrl.train(SETTINGS, show="nothing")


def test_the_command_and_the_function_measure_the_same(in_folder: Path) -> None:
    options = ("--limit", "6", "--num-samples", "2", "--temperature", "1", "--max-new-tokens", "12")
    before = state()
    told = in_a_loop(
        lambda: reasonrl.evaluate(
            "tiny", "arithmetic", limit=6, num_samples=2, temperature=1.0, max_new_tokens=12, out="a", show=False
        )
    )
    assert state() == before
    assert isinstance(told, reasonrl.Evaluation)
    done = CliRunner().invoke(app, ["eval", "tiny", "--suite", "arithmetic", *options, "--out", "b", "--json"])
    (printed,) = json.loads(done.stdout)
    assert printed["metrics"] == json.loads(json.dumps(told.summary["metrics"]))
    assert printed["folder"] == "b/tiny/arithmetic"
    assert read_summary(Path("b/tiny/arithmetic"))["metrics"] == told.summary["metrics"]
    several = reasonrl.evaluate("tiny", ["arithmetic", "countdown"], limit=2, max_new_tokens=4, out="c", show=False)
    assert [one.suite for one in several] == ["arithmetic", "countdown"]


def test_events_of_a_run_that_a_command_trains_are_json_lines(in_folder: Path) -> None:
    Path("run.yaml").write_text(json.dumps(SETTINGS))
    done = CliRunner().invoke(app, ["train", "run.yaml", "--json"], catch_exceptions=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started"
    assert (kinds.count("step"), kinds.count("evaluation"), kinds.count("ended")) == (4, 2, 1)
    steps = {event["step"]: event["metrics"]["reward/mean"] for event in events if event["event"] == "step"}
    written = reasonrl.load_run("runs/small").metrics("reward/mean")
    assert steps == {row["step"]: row["reward/mean"] for row in written}


def test_samples_difficulty_and_an_examination_are_printed_as_json(in_folder: Path) -> None:
    Path("run.yaml").write_text(json.dumps(SETTINGS))

    def printed(*arguments: str) -> Any:
        return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)

    sampled = printed("sample", "run.yaml", "--num-problems", "3", "--out", "samples.jsonl")
    assert (sampled["completions"], sampled["problems"]) == (12, 3)
    assert set(sampled["rewards"]) == {"numeric_answer"}
    measured = printed("difficulty", "run.yaml", "--num-problems", "4", "--num-samples", "2")
    (figures,) = measured["tasks"].values()
    assert figures["problems"] == 4
    examined = printed("doctor", "run.yaml", "--steps", "2")
    assert examined["passed"] is True
    assert all(check["passed"] for check in examined["checks"])


def test_the_notebook_runs_and_shows_what_it_promises(in_folder: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(in_folder)}})
    client.execute()
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    pages = [
        output.data["text/html"] for outputs in shown for output in outputs if "text/html" in output.get("data", {})
    ]
    assert any("<svg" in page and "heldout/arithmetic" in page for page in pages), "the run and its curves"
    assert any("numeric_answer" in page and "completion" in page for page in pages), "rollouts"
    assert any("B - A (paired, 95 %)" in page for page in pages), "the comparison"
    assert any("<iframe" in page and "report.html" in page for page in pages), "the report"
    assert not any("<script" in page for page in pages)
    assert any("<progress" in page and "step 4/4" in page for page in pages), "how far it is while it trains"
    streams = [output.text for outputs in shown for output in outputs if output.output_type == "stream"]
    assert not any("Traceback" in text or "reasonrl/" in text for text in streams)
    assert sum(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 20
    assert (in_folder / "runs" / "notebook" / "report.html").is_file()
