"""`reasonrl difficulty`: how often each problem is passed, as a file that a run chooses its problems by."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.runfile import load_run
from reasonrl.errors import DataError, ReasonRLError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.difficulty import DifficultyRequest, counted
from reasonrl.run.files.difficulty import DifficultyRow, Posterior, manifest_path, read_difficulty
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.run.tasks import problem_order

RUN = """\
name: judged
model: tiny
template: plain
task: ./mine.py:numbers
rewards: [{name: ./mine.py:mine, isolated: false}, {name: ./mine.py:mine, label: half, weight: 0.5, isolated: false}]
rollout: {prompts_per_step: 4, samples_per_prompt: 2, max_new_tokens: 3}
run: {steps: 2}
"""
MINE = """\
from reasonrl import Problem, Score

def numbers(*, split, seed):
    return [Problem(id=f"p{n}", task="numbers", prompt=f"What is {n}?", answer=str(n)) for n in range(8)]

def mine(rollout):
    n = int(rollout.problem.answer)
    return Score.unscorable("seven") if n == 7 else float(rollout.trajectory.sample_index < n)
"""


@pytest.fixture
def judged(in_folder: Path) -> Path:
    """The run file above, with what it names: of 4 samples of problem n, the first n pass."""
    (in_folder / "mine.py").write_text(MINE)
    (in_folder / "run.yaml").write_text(RUN)
    return in_folder / "run.yaml"


def difficulty(*words: str) -> tuple[int, str]:
    """Measure; return the exit code and what was said."""
    result = CliRunner().invoke(app, ["difficulty", "run.yaml", "--out", "d.jsonl", "--num-samples", "4", *words])
    said = str(result.exception) if isinstance(result.exception, ReasonRLError) else result.output
    return result.exit_code, said


def rows() -> list[dict[str, Any]]:
    """The rows of the file. Any: JSON values."""
    return [json.loads(line) for line in Path("d.jsonl").read_text().splitlines()]


@pytest.fixture
def measured(judged: Path) -> Path:
    """The run file, with what was measured of its problems beside it."""
    code, said = difficulty()
    assert code == 0, said
    return judged


def test_every_problem_has_its_pass_rate_with_a_posterior_and_the_manifest_says_how(measured: Path) -> None:
    found = {row["problem_id"]: row for row in rows()}
    assert {name: (row["num_passed"], row["num_samples"]) for name, row in found.items()} == {
        **{f"p{n}": (min(n, 4), 4) for n in range(7)},
        "p7": (0, 0),
    }
    assert (found["p1"]["pass_rate"], found["p1"]["task"]) == (0.25, "numbers")
    assert found["p1"]["posterior"] == {
        "alpha": 1.5,
        "beta": 3.5,
        "mean": 0.3,
        "lower": pytest.approx(beta.ppf(0.025, 1.5, 3.5)),
        "upper": pytest.approx(beta.ppf(0.975, 1.5, 3.5)),
    }
    assert (found["p7"]["pass_rate"], found["p7"]["num_unscored"]) == (None, 4)
    manifest = json.loads(manifest_path(Path("d.jsonl")).read_text())
    assert manifest["sha256"] == hashlib.sha256(Path("d.jsonl").read_bytes()).hexdigest()
    task = manifest["tasks"]["./mine.py:numbers"]
    assert (manifest["model"], task["template"], task["pass_at"]) == ("tiny", "plain", 1.0)


def test_it_says_what_it_found_and_goes_on_where_it_was(measured: Path) -> None:
    whole = Path("d.jsonl").read_bytes()
    samples = Path("d.samples.jsonl").read_text().splitlines(keepends=True)
    Path("d.samples.jsonl").write_text("".join(samples[:9]))
    code, said = difficulty()
    assert code == 0
    assert Path("d.jsonl").read_bytes() == whole
    assert Path("d.samples.jsonl").read_text() == "".join(samples)
    assert "8 problems x 4 samples, mean pass rate 0.643" in said
    assert "never passed 14.3%, sometimes 42.9%, always 42.9%" in said
    assert re.search(r"0\.25 #+ +1\n", said)
    assert "4 completions have no score" in said


def test_the_threshold_may_be_given_and_other_settings_or_files_are_refused(measured: Path) -> None:
    assert difficulty("--pass-at", "1.6")[0] == 0
    assert {row["num_passed"] for row in rows()} == {0}
    assert 'made with other settings: template was "plain" and is "bare" now' in difficulty("template=bare")[1]
    manifest_path(Path("d.jsonl")).unlink()
    assert "was not made by reasonrl difficulty" in difficulty()[1]


def inputs(path: Path, chosen: str) -> RunInputs:
    """What a run with these settings of difficulty learns from."""
    config = load_run(path, [f"task={{name: ./mine.py:numbers, difficulty: {{file: d.jsonl, {chosen}}}}}"])
    return load_inputs(config, Plugins())


def ids(path: Path, chosen: str) -> list[str]:
    """The problems that such a run learns from."""
    return [problem.id for problem in inputs(path, chosen).problems]


def test_a_run_takes_the_problems_within_its_limits(measured: Path) -> None:
    assert ids(measured, "min_pass_rate: 0.25, max_pass_rate: 0.75") == ["p1", "p2", "p3", "p7"]
    assert ids(measured, "min_pass_rate: 0.25, max_pass_rate: 0.75, missing: drop") == ["p1", "p2", "p3"]
    assert ids(measured, "max_pass_rate: 0, missing: drop") == ["p0"]
    assert not [text for text in inputs(measured, "max_pass_rate: 0.5").warnings if "difficulty" in text]


def test_problems_are_weighed_by_the_variance_of_passing(measured: Path) -> None:
    (task,) = inputs(measured, "weigh: variance, missing: drop").tasks
    assert task.weights is not None
    weights = dict(zip([problem.id for problem in task.problems], task.weights, strict=True))
    assert weights["p2"] == pytest.approx(2.5 * 2.5 / (5 * 6))
    assert weights["p0"] == weights["p4"] == pytest.approx(0.5 * 4.5 / (5 * 6))
    config = load_run(measured)
    taken = [problem.id for problem in problem_order(config, [task]).at(0, 7 * 300)]
    assert taken.count("p2") / taken.count("p0") == pytest.approx(6.25 / 2.25, rel=0.05)


def changed(change: Callable[[str], str]) -> Callable[[], None]:
    """Return what changes the text of the file."""

    def write() -> None:
        Path("d.jsonl").write_text(change(Path("d.jsonl").read_text()))

    return write


def only(count: int) -> Callable[[], None]:
    """Keep so many rows."""
    return changed(lambda text: "".join(text.splitlines(keepends=True)[:count]))


def replaced(old: str, new: str) -> Callable[[], None]:
    """Change a text in the file everywhere."""
    return changed(lambda text: text.replace(old, new))


@pytest.mark.parametrize(
    ("change", "given_settings", "said"),
    [
        (only(5), "max_pass_rate: 0.5", "d.jsonl lacks 3 of 8 problems, such as p"),
        (
            replaced('id": "p', 'id": "q'),
            "max_pass_rate: 0.5",
            "d.jsonl has none of the task's 8 problems. Its 8 rows are of other",
        ),
        (only(0), "max_pass_rate: 0.5", "d.jsonl: is empty"),
        (replaced('"num_samples": 4', '"num_samples": 1'), "max_pass_rate: 0.5", "more than num_samples, which is 1"),
        (replaced('"pass_rate": 1.0', '"pass_rate": 0.9'), "max_pass_rate: 0.5", "pass_rate is 0.9, but 4 of 4 passed"),
        (replaced("p1", "p2"), "max_pass_rate: 0.5", "is the second one of problem p2"),
        (replaced("{", "["), "max_pass_rate: 0.5", "d.jsonl:1: Invalid JSON"),
        (only(8), "min_pass_rate: 0.6, max_pass_rate: 0.7, missing: drop", "has a pass rate from 0.6 to 0.7"),
        (Path("d.jsonl").unlink, "max_pass_rate: 0.5", "cannot read the file of difficulties"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    measured: Path, change: Callable[[], None], given_settings: str, said: str
) -> None:
    change()
    with pytest.raises(DataError) as caught:
        inputs(measured, given_settings)
    assert said in str(caught.value)


def test_a_file_made_otherwise_is_a_warning_that_names_what_differs(measured: Path) -> None:
    config = load_run(
        measured,
        [
            "task={name: ./mine.py:numbers, difficulty: {file: d.jsonl, max_pass_rate: 0.5}}",
            "template=bare",
            "rewards.1.weight=2",
            "rollout.temperature=0.5",
        ],
    )

    def told() -> list[str]:
        return [text for text in load_inputs(config, Plugins()).warnings if "difficulty" in text]

    (said,) = told()
    assert "template 'plain', here 'bare'" in said
    assert "temperature 1.0, here 0.5" in said
    assert "half x 0.5, here ./mine.py:mine x 1.0 + half x 2.0" in said
    assert "max_new_tokens" not in said
    replaced('"num_unscored": 0', '"num_unscored": 1')()
    assert any("was changed after" in text for text in told())
    manifest_path(Path("d.jsonl")).unlink()
    assert [text for text in told() if "has no manifest beside it" in text]


def test_a_mixture_has_rows_for_each_of_its_tasks(judged: Path) -> None:
    text = RUN.replace("task: ./mine.py:numbers", "task: [{name: ./mine.py:numbers, label: a}, ./mine.py:numbers]")
    judged.write_text(text)
    code, said = difficulty("--num-problems", "12")
    assert code == 0, said
    assert sorted(row["task"] for row in rows()) == ["./mine.py:numbers"] * 6 + ["a"] * 6
    assert "task a: 6 problems" in said
    config = load_run(judged, ["task.0.difficulty={file: d.jsonl, max_pass_rate: 0.5, missing: drop}"])
    first, second = load_inputs(config, Plugins()).tasks
    assert len(first.problems) < len(second.problems) == 8
    assert first.warnings == ()
    again = DifficultyRequest(config=config, out=Path("d.jsonl")).sampling().config
    assert [task.ref.difficulty for task in again.tasks] == [None, None], "measured are also those that it leaves out"


@settings(max_examples=30, deadline=None)  # scipy is imported by the first one
@given(passed=st.lists(st.one_of(st.none(), st.booleans()), min_size=1, max_size=20))
def test_a_row_is_what_its_samples_say(passed: list[bool | None]) -> None:
    row = DifficultyRow.of("p", "t", passed)
    assert (row.num_passed, row.num_samples, row.num_unscored) == tuple(
        sum(one is value if value is None else one is not None and (value == "any" or one) for one in passed)
        for value in (True, "any", None)
    )
    assert row.posterior == Posterior.of(row.num_passed, row.num_samples)
    assert 0 < row.posterior.lower < row.posterior.mean < row.posterior.upper < 1
    mean, variance = (of(row.posterior.alpha, row.posterior.beta) for of in (beta.mean, beta.var))
    assert row.variance == pytest.approx(mean - mean**2 - variance)


def test_rows_of_elsewhere_need_only_counts(in_folder: Path) -> None:
    (in_folder / "mine.jsonl").write_text('{"problem_id": "a", "num_samples": 8, "num_passed": 2, "more": 1}\n\n')
    (row,), manifest, _ = read_difficulty(Path("mine.jsonl"))
    assert (row.rate, row.task, manifest) == (0.25, "", None)
    assert counted([], {"t": 1.0}, is_mixture=False) == []
