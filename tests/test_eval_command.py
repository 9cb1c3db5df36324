"""``reasonrl eval``: several suites in one call, what is written, prompts, parts of suites, test suites, kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reasonrl import commands
from reasonrl.config.schema import suite_file_schema
from reasonrl.config.settings import SuiteRef
from reasonrl.config.suite_file import read_suite_file, suite_refs
from reasonrl.errors import ReasonRLError
from reasonrl.evaluation.files import read_measured
from reasonrl.models import identity, locate
from reasonrl.models.identity import weights_identity
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.checkpoints import run_of
from reasonrl.run.inputs import load_suite

MINE = """\
suite: my_sums
version: 2
role: test
description: Sums of one's own.
source: {file: sums.jsonl, question: q, answer: a}
template: plain
variants: [bare, t.jinja]
sampling: {num_samples: 2, temperature: 1.0, top_p: 0.9, max_new_tokens: 12}
metric: last_number
further_metrics:
  strict: {name: number_in_answer, params: {sources: [boxed]}}
  short: {name: "./own.py:short", params: {limit: 9}}
equal_answers: ./own.py:same
cluster: family
limits: {metric_timeout_s: 5}
"""
OWN = """\
from reasonrl import Measurement

def short(rollout, *, limit: int = 20):
    return Measurement(float(len(rollout.text) < limit))

def same(a: str, b: str) -> bool:
    return float(a) == float(b)
"""


def say(*arguments: str) -> str:
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(commands.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def mine(in_folder: Path) -> Path:
    """A folder of a suite: its file, problems, template and functions."""
    folder = in_folder / "mine"
    folder.mkdir()
    rows = [{"q": f"What is {n} + {n % 3}?", "a": str(n + n % 3), "family": n // 3} for n in range(6)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.py").write_text(OWN)
    (folder / "t.jinja").write_text("Sum: {{ prompt }} =")
    (folder / "suite.yaml").write_text(MINE)
    return folder


def loaded(mine: Path, old: str = "", new: str = "", **params: Any) -> Suite:
    """The suite with a piece of its file replaced. Any: parameters."""
    assert old in MINE
    (mine / "suite.yaml").write_text(MINE.replace(old, new, 1) if old else MINE)
    (ref,) = suite_refs(["mine/suite.yaml"], params=params, settings={})
    return load_suite(ref, Plugins())


# Suites in YAML


def test_a_yaml_file_is_a_suite_with_everything_beside_it(mine: Path) -> None:
    suite = loaded(mine)
    assert (suite.name, suite.version, suite.role, suite.cluster) == ("my_sums", 2, "test", "family")
    assert (suite.num_samples, suite.temperature, suite.top_p, suite.max_new_tokens) == (2, 1.0, 0.9, 12)
    assert [problem.answer for problem in suite.problems] == ["0", "2", "4", "3", "5", "7"]
    assert list(suite.further_metrics) == ["strict", "short"]
    assert suite.variants == ("bare", "mine/t.jinja")
    assert suite.metric_timeout_s == 5
    assert suite.equal_answers is not None
    assert suite.equal_answers("2.0", "2")


def test_a_suite_in_yaml_may_take_the_problems_of_a_task(mine: Path) -> None:
    given = {"num_problems": 7, "max_terms": 2}
    suite = loaded(mine, "{file: sums.jsonl, question: q, answer: a}", "{task: arithmetic, params: {num_problems: 3}}")
    assert len(suite.problems) == 3
    (ref,) = suite_refs(["mine/suite.yaml"], params=given, settings={"num_samples": 3})
    assert (len(load_suite(ref, Plugins()).problems), load_suite(ref, Plugins()).num_samples) == (7, 3)


def test_other_data_may_stand_for_the_file_of_a_suite(mine: Path) -> None:
    (mine / "other.jsonl").write_text('{"q": "1 + 1?", "a": "2"}\n')
    assert len(loaded(mine, data="mine/other.jsonl").problems) == 1


def test_where_the_answer_stands_is_the_metrics_parameter(mine: Path) -> None:
    suite = loaded(mine, "metric: last_number", "metric: number_in_answer\nsources: [boxed]")
    assert suite.metric.keywords == {"sources": ("boxed",)}  # type: ignore[attr-defined]  # a partial


MISTAKES = [
    ("version: 2", "version: two", r"suite.yaml:2  version: input should be a valid integer"),
    ("role: test", "rol: test", r"suite.yaml:3  rol: unknown setting. Did you mean 'role'\?"),
    ("role: test", "role: tset", r"suite.yaml:3  role: .*Did you mean 'test'\?"),
    (
        "max_new_tokens: 12",
        "max_new_token: 12",
        r"suite.yaml:8  sampling.max_new_token: .*mean 'max_new_tokens'",
    ),
    ("temperature: 1.0", "temperature: 0", r"suite.yaml:8  sampling: num_samples is 2, but temperature is 0"),
    ("metric: last_number", "metric: last_numbr", r"mine/suite.yaml: metric: .*Did you mean 'last_number'\?"),
    ("{sources: [boxed]}", "{source: [boxed]}", r"further_metrics.strict: .*'source'. Did you mean 'sources'\?"),
    ("./own.py:short", "./own.py:shrt", r"further_metrics.short: .*no 'shrt'. Did you mean 'short'\?"),
    ("./own.py:same", "./own.py:sme", r"equal_answers: .*no 'sme'. Did you mean 'same'\?"),
    ("sums.jsonl", "gone.jsonl", r"mine/suite.yaml: source: gone.jsonl: cannot be read"),
    ("question: q", "question: qq", r"mine/suite.yaml: source: mine/sums.jsonl:1: no column 'qq'"),
    ("{file: sums.jsonl, question: q, answer: a}", "{task: arithmetik}", r"source: .*Did you mean 'arithmetic'\?"),
    ("{file: sums.jsonl, ", "{file: sums.jsonl, task: arithmetic, ", r"source: give either task, .* or file"),
    ("[bare, t.jinja]", "[bare, plane]", r"mine/suite.yaml: variants.1: template: no 'plane'. Did you mean 'plain'\?"),
    ("[bare, t.jinja]", "[plain]", r"variants: 'plain' is the template already"),
    ("suite: my_sums", "suite: my/sums", r"suite.yaml:1  suite: string should match"),
    ("limits: {metric_timeout_s: 5}", "limits: {timeout_s: 5}", r"limits.timeout_s: unknown .*Known: metric_timeout_s"),
    ("suite: my_sums\n", "", r"suite.yaml  suite: this setting is required"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES, ids=[new or old for old, new, _ in MISTAKES])
def test_a_mistake_in_a_suite_file_is_told_with_its_key_and_the_nearest_name(
    mine: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ReasonRLError, match=told):
        loaded(mine, old, new)


def test_a_file_may_name_several_suites_each_with_its_settings(in_folder: Path) -> None:
    (in_folder / "suites.yaml").write_text(
        "suites:\n- {name: arithmetic, num_samples: 4, temperature: 0.6, params: {num_problems: 9}}\n- countdown\n"
    )
    both = suite_refs(["suites.yaml"], params={"max_value": 9}, settings={"num_samples": 2})
    first = {"name": "arithmetic", "num_samples": 2, "temperature": 0.6}
    assert both[0] == SuiteRef(**first, params={"num_problems": 9, "max_value": 9})
    assert both[1] == SuiteRef(name="countdown", num_samples=2, params={"max_value": 9})
    assert [ref.name for ref in suite_refs(["suites.yaml:countdown"], params={}, settings={})] == ["countdown"]
    with pytest.raises(ReasonRLError, match=r"suites.yaml: has no suite 'countdwn'. Did you mean 'countdown'\?"):
        suite_refs(["suites.yaml:countdwn"], params={}, settings={})


def test_the_schema_of_suite_files_takes_what_is_read(mine: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    jsonschema.validate(yaml.safe_load(MINE), suite_file_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(MINE.replace("role", "rol")), suite_file_schema())
    assert "metric_timeout_s: 5" in say("suites", "show", "mine/suite.yaml")
    assert read_suite_file("mine/suite.yaml").description == "Sums of one's own."


# The command


def test_two_suites_in_one_call_with_prompts_parts_and_looks(mine: Path, in_folder: Path) -> None:
    """One model is loaded for all of them; what is asked for once more is not sampled again."""
    small = ["--suite", "mine/suite.yaml", "--suite", "mine/two.yaml", "--limit", "4", "--variants"]
    (mine / "two.yaml").write_text(MINE.replace("my_sums", "two").replace("role: test", "role: valid"))
    told = say("eval", "tiny", *small)
    measured = read_measured(in_folder / "results" / "tiny" / "my_sums")
    summary = json.loads((measured.folder / "results.json").read_text())
    assert told.count("limited: 4 of 6 problems") == 2
    assert (measured.result.num_problems_in_suite, len(measured.result.rows)) == (6, 8)
    assert summary["n-samples"]["my_sums"] == {"original": 6, "effective": 4}
    assert measured.model["weights"].startswith("sha256:")
    assert (measured.about["engine"]["name"], measured.about["suite_ref"]["name"]) == ("local", "mine/suite.yaml")
    assert measured.about["touches"] == {"count": 1, "final": False}
    variants = measured.about["variants"]
    values = [
        read_measured(folder).result.estimate().value
        for folder in (measured.folder, *sorted((measured.folder / "variants").iterdir()))
    ]
    assert list(variants["exact"]) == ["plain", "bare", "mine/t.jinja"]
    assert sorted(variants["exact"].values()) == sorted(values)
    assert (variants["min"], variants["max"]) == (min(values), max(values))
    assert "3 templates: min " in told
    assert "touches" not in read_measured(in_folder / "results" / "tiny" / "two").about
    assert say("eval", "tiny", *small).count("measured before: nothing was sampled") == 2


def test_measuring_for_the_record_is_counted_and_marked(mine: Path, in_folder: Path) -> None:
    touches = in_folder / "results" / "tiny" / "test_touches.jsonl"
    assert "test suite, not final (--final measures for the record); looked at 1 time" in say(
        "eval", "tiny", "--suite", "mine/suite.yaml"
    )
    told = say("eval", "tiny", "--suite", "mine/suite.yaml", "--final")
    assert "test suite, measured for the record; looked at 2 times" in told
    assert "nothing was sampled" in told
    assert [json.loads(line)["final"] for line in touches.read_text().splitlines()] == [False, True]
    assert "looked at 2 times" in say("eval", "tiny", "--suite", "mine/suite.yaml")
    assert read_measured(in_folder / "results" / "tiny" / "my_sums").about["touches"]["final"] is True


def test_a_training_reward_stands_beside_the_metric(mine: Path, in_folder: Path) -> None:
    told = say("eval", "tiny", "--suite", "mine/suite.yaml", "--reward", "numeric_answer")
    rows = read_measured(in_folder / "results" / "tiny" / "my_sums").result.rows
    assert all(row.rewards["numeric_answer"] == row.reward for row in rows)
    assert "best@2" in told


def test_a_checkpoint_belongs_to_its_run(in_folder: Path) -> None:
    checkpoint = in_folder / "runs" / "a" / "checkpoints" / "step_000040"
    checkpoint.mkdir(parents=True)
    (in_folder / "runs" / "a" / "manifest.json").write_text("{}")
    assert run_of(str(checkpoint)) == (in_folder / "runs" / "a", 40)
    assert run_of("tiny") is None
    assert run_of(str(in_folder)) is None


@pytest.mark.slow
def test_an_evaluation_that_is_killed_again_and_again_samples_every_completion_once(in_folder: Path) -> None:
    arguments = ["--suite", "arithmetic", "--param", "num_problems=150", "--template", "plain", "--num-samples", "2"]
    command = [sys.executable, "-m", "reasonrl", "eval", "tiny", *arguments, "--temperature", "1"]
    samples, earlier = in_folder / "results" / "tiny" / "arithmetic" / "samples.jsonl", 0
    kept: list[str] = []
    for target in (20, 150):
        process = subprocess.Popen([*command, "--max-concurrent", "8"], stderr=subprocess.DEVNULL)
        while earlier < target and process.poll() is None:
            time.sleep(0.01)
            earlier = samples.read_bytes().count(b"\n") if samples.exists() else 0
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        lines = samples.read_text().split("\n")[:-1]
        assert lines[: len(kept)] == kept
        kept = lines
    assert len(kept) >= 150
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    assert f"arithmetic in plain: {len(kept)} of 300 completions" in finished.stderr
    whole = read_measured(samples.parent).result.rows
    by_key = {(row.problem_id, row.sample_index): row.completion for row in whole}
    assert len(by_key) == len(whole) == 300
    assert all(by_key[row["problem_id"], row["sample_index"]] == row["completion"] for row in map(json.loads, kept))


def test_a_model_is_recognized_by_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "same", "other"):
        shutil.copytree(locate("tiny"), tmp_path / name)
    with (tmp_path / "other" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    one, same, other = (weights_identity(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other
    assert one.startswith("sha256:")
    monkeypatch.setattr(identity, "MAX_WHOLE_BYTES", 1000)
    monkeypatch.setattr(identity, "BLOCK_BYTES", 1000)
    assert weights_identity(tmp_path / "one").startswith("sha256-of-blocks:")
