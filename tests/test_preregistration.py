"""Figures that a run is judged by: named before its first step, kept as they were, and told apart from all others."""

import hashlib
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import run_config
from rich.console import Console

from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_inputs
from reasonrl.run.roles import num_evaluations
from reasonrl.run.start import resume_run, start_run
from reasonrl.run.terminal import PlainView

RUN = """\
name: one
model: tiny
task: {name: arithmetic, params: {num_problems: 60}}
template: plain
rewards: [numeric_answer]
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 8}
evaluation:
  suites:
    - {name: arithmetic, params: {num_problems: 12}, template: plain, max_new_tokens: 8, num_samples: 2, temperature: 1}
  primary: [{suite: arithmetic, metric: pass@2}]
run: {steps: 1}
"""
SUITES = """
from functools import partial
from reasonrl import Measurement, Suite

def right(rollout):
    return Measurement(float(len(rollout.text) % 2), "7")

def exam(*, load):
    return Suite(name="exam", version=1, problems=load("arithmetic", num_problems=12), metric=right, role="test",
                 template="plain", max_new_tokens=4)
"""


def trained(*overrides: str) -> tuple[Path, str]:
    """A run, and what it printed."""
    Path("run.yaml").write_text(RUN)
    output = StringIO()
    view = PlainView(Console(file=output, width=10_000))
    assert start_run(Path("run.yaml"), overrides, [view], argv=["test"]) == "finished"
    return Path("runs/one"), output.getvalue()


def test_a_run_writes_its_primary_figures_down_before_it_begins_and_its_summary_tells_them_apart(
    in_folder: Path,
) -> None:
    run, shown = trained()
    content = (run / "preregistration.json").read_bytes()
    (primary,) = json.loads(content)["primary"]
    expected = {"suite": "arithmetic", "metric": "pass@2", "direction": "higher", "num_problems": 12, "num_samples": 2}
    assert expected.items() <= primary.items()
    assert {"temperature", "max_new_tokens", "template", "suite_sha", "version"} <= primary.keys()
    results = json.loads((run / "evals" / "step_000000" / "arithmetic" / "results.json").read_text())
    assert primary["suite_sha"] == results["suite"]["suite_sha"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["settings"]["preregistration.sha"] == hashlib.sha256(content).hexdigest()
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith(("avg@2", "pass@2", "truncated"))}
    assert "p (Holm)" in shown
    assert lines["avg@2"].endswith("exploratory")
    assert not lines["pass@2"].endswith("exploratory")


@pytest.mark.slow
def test_a_run_whose_primary_figures_were_changed_does_not_go_on(in_folder: Path) -> None:
    run, _ = trained()
    file = run / "preregistration.json"
    content = file.read_text()
    file.write_text(content.replace("pass@2", "exact"))
    with pytest.raises(RunError, match="is not the one that was there when the run began"):
        resume_run(run, ["run.steps=2"], [])
    file.unlink()
    with pytest.raises(RunError, match="is gone"):
        resume_run(run, ["run.steps=2"], [])
    file.write_text(content)
    with pytest.raises(ConfigError, match="cannot change in a run that is resumed"):
        resume_run(run, ["run.steps=2", "evaluation.primary=[]"], [])
    assert resume_run(run, ["run.steps=2"], []) == "finished"


def test_a_run_without_primary_figures_has_no_file(in_folder: Path) -> None:
    run, shown = trained("evaluation.primary=[]")
    assert not (run / "preregistration.json").exists()
    assert "exploratory" not in shown
    (run / "preregistration.json").write_text("{}")
    with pytest.raises(RunError, match="was not there when the run began"):
        resume_run(run, ["run.steps=2"], [])


def loaded(primary: Sequence[dict[str, str]], **suite: Any) -> Sequence[str]:
    """The warnings of a run with these primary figures. Any: settings of its suite."""
    suites = [{"name": "arithmetic", "params": {"num_problems": 4}, **suite}]
    return load_inputs(run_config(evaluation={"suites": suites, "primary": primary}), Plugins()).warnings


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ({"suite": "arithmetics", "metric": "exact"}, "evaluation.primary.0.suite: no suite 'arithmetics'.*arithmetic"),
        ({"suite": "arithmetic", "metric": "exakt"}, "evaluation.primary.0.metric.*no figure 'exakt'.*'exact'"),
        ({"suite": "arithmetic", "metric": "pass@4"}, "no figure 'pass@4'"),
    ],
)
def test_a_figure_that_the_run_does_not_measure_is_refused_with_the_nearest_name(
    primary: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded([primary])


def test_every_kind_of_figure_of_a_suite_can_be_primary() -> None:
    metrics = ("exact", "avg@4", "pass@4", "pass^2", "maj@4", "best@4", "truncated")
    loaded([{"suite": "arithmetic", "metric": metric} for metric in metrics], num_samples=4, temperature=1.0)


def test_settings_that_would_be_ignored_are_refused() -> None:
    for ignored in ({"primary": [{"suite": "a"}]}, {"rewards": "all"}, {"beside_learning": "never"}):
        with pytest.raises(ValueError, match="there are no suites"):
            run_config(evaluation=ignored)
    with pytest.raises(ValueError, match="is there twice"):
        run_config(evaluation={"suites": ["arithmetic"], "primary": [{"suite": "a"}, {"suite": "a"}]})


# test suites


def test_every_measurement_of_a_test_suite_is_noted_and_told_beforehand(in_folder: Path) -> None:
    Path("suite.py").write_text(SUITES)
    exam = "evaluation={suites: [./suite.py:exam], every: 1}"
    run, shown = trained(exam, "run.steps=2")
    touches = [json.loads(line) for line in (run / "test_touches.jsonl").read_text().splitlines()]
    assert [(touch["suite"], touch["step"]) for touch in touches] == [("exam", 0), ("exam", 1), ("exam", 2)]
    assert "suite 'exam' is a test suite and is measured 3 times in this run" in shown
    with pytest.raises(ReasonRLError, match=r"heldout_fall is rollback.*test suite 'exam'"):
        start_run(Path("run.yaml"), [exam, "alarms.heldout_fall=rollback", "name=two"], [], argv=["test"])


@pytest.mark.parametrize(("steps", "every", "count"), [(60, 20, 4), (50, 20, 4), (1, 50, 2), (21, 20, 3), (20, 20, 2)])
def test_the_evaluations_of_a_run_are_counted(steps: int, every: int, count: int) -> None:
    config = run_config(evaluation={"every": every}, run={"steps": steps})
    assert num_evaluations(config) == count == len({0, steps, *range(every, steps, every)})
