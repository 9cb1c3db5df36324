"""Suites measure held-out problems with the metric they say."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reasonrl import DataError, Measurement, PluginError, Problem, Rollout, Suite, Trajectory, split_of
from reasonrl.config.settings import SuiteRef
from reasonrl.evaluation.suites import with_overrides
from reasonrl.plugins.lookup import Plugins, installed_plugins
from reasonrl_evals import reasonrl_metrics, reasonrl_suites
from reasonrl_evals.files import jsonl
from reasonrl_evals.generated import addition_two_digit, arithmetic, countdown
from reasonrl_evals.metrics import answer_match, countdown_solved, last_number, number_in_answer
from reasonrl_tasks import reasonrl_tasks


def load(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="heldout", seed=0, **params)


def rollout(text: str, answer: str, **meta: object) -> Rollout:
    problem = Problem(id="1", task="test", prompt="?", answer=answer, meta=meta)
    completion = Trajectory.single_turn(
        token_ids=(), text=text, logprobs=(), finish_reason="stop", policy_version=0, sample_index=0, seed=0
    )
    return Rollout(problem=problem, prompt="?", trajectory=completion)


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# Suites


def readme_example(folder: str) -> dict[str, Any]:
    """Run the Python example of a README and return what it defines. Any: functions of several kinds."""
    text = (Path(__file__).parents[1] / folder / "README.md").read_text(encoding="utf-8")
    defined: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], defined)
    return defined


def test_the_example_of_the_readme_is_a_suite() -> None:
    suite = readme_example("evals")["hard_sums"](load=load, num_problems=5)
    assert {problem.meta["num_operands"] for problem in suite.problems} <= {5, 6}
    assert len(suite.problems) == 5


def test_the_offered_suites_are_the_documented_ones() -> None:
    readme = (Path(__file__).parents[1] / "evals" / "README.md").read_text(encoding="utf-8")
    assert sorted(reasonrl_suites()) == sorted(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE))


@pytest.mark.parametrize(
    ("suite", "num_problems", "template", "metric"),
    [
        (arithmetic, 400, "r1_zero", number_in_answer),
        (addition_two_digit, 300, "chat", last_number),
        (countdown, 400, "r1_zero", countdown_solved),
    ],
)
def test_generated_suites_hold_distinct_held_out_problems(
    suite: object, num_problems: int, template: str, metric: object
) -> None:
    made: Suite = suite(load=load)  # type: ignore[operator]  # parametrized
    ids = {problem.id for problem in made.problems}
    assert len(ids) == len(made.problems) == num_problems
    assert {split_of(id) for id in ids} == {"heldout"}
    assert (made.template, made.metric, made.role) == (template, metric, "valid")


def test_two_digit_addition_is_what_its_name_says() -> None:
    for problem in addition_two_digit(load=load).problems:
        assert problem.prompt.startswith("What is ")
        left, right = map(int, problem.prompt.removeprefix("What is ").removesuffix("?").split(" + "))
        assert 10 <= min(left, right) <= max(left, right) <= 99
        assert problem.answer == str(left + right)


def test_difficulty_reaches_the_task() -> None:
    suite = arithmetic(load=load, num_problems=20, min_terms=5, max_terms=5, max_value=99)
    assert {problem.meta["num_operands"] for problem in suite.problems} == {5}


def of_file(path: str, metric: str, **columns: Any) -> Suite:
    """Make a suite of a file. Any: names of columns."""
    return jsonl(
        load=load, find_metric=lambda name, /, **params: reasonrl_metrics()[name], path=path, metric=metric, **columns
    )


def test_a_file_becomes_a_suite_under_its_own_name(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"q": "1 + 1", "a": "so #### 2"}, {"q": "2 + 2", "a": "#### 4"})
    suite = of_file(path, "last_number", question="q", answer="a", answer_pattern="#### (.+)")
    assert (suite.name, suite.metric, suite.role) == ("mine", last_number, "valid")
    assert [problem.answer for problem in suite.problems] == ["2", "4"]


def test_a_file_with_words_for_answers_is_refused_by_a_metric_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"question": "1 + 1", "answer": "two"})
    with pytest.raises(DataError, match=r"compares numbers, but 1 of 1 answers are none, such as 'two'"):
        of_file(path, "number_in_answer")
    assert of_file(path, "answer_match").problems


OVERRIDES: dict[str, Any] = {  # Any: fields of several types
    "template": "plain",
    "max_new_tokens": 7,
    "num_samples": 4,
    "temperature": 0.6,
    "top_p": 0.9,
    "stop": ("\n\n",),
}


def test_a_run_file_may_replace_what_a_suite_says_of_sampling() -> None:
    suite = countdown(load=load, num_problems=5)
    for name, value in OVERRIDES.items():
        changed = with_overrides(suite, SuiteRef.model_validate({"name": "countdown", name: value}))
        assert changed == replace(suite, **{name: value}) != suite
    assert with_overrides(suite, SuiteRef(name="countdown")) == suite
    assert with_overrides(suite, SuiteRef(name="countdown", **OVERRIDES)) == replace(suite, **OVERRIDES)


@pytest.mark.parametrize("name", OVERRIDES)
def test_sampling_among_the_parameters_of_a_suite_is_an_error_that_says_where_it_goes(name: str) -> None:
    ref = SuiteRef(name="countdown", params={name: OVERRIDES[name]})
    with pytest.raises(PluginError, match=rf"'{name}' is not one of its parameters: write it beside name"):
        Plugins().function("suites", ref)


@pytest.mark.parametrize("setting", [{"num_samples": 0}, {"temperature": -1}, {"max_new_tokens": 0}, {"stop": [""]}])
def test_sampling_that_makes_no_sense_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SuiteRef(name="countdown", **setting)


# Metrics


@pytest.mark.parametrize(
    ("text", "value", "parsed"),
    [
        ("<answer>85</answer>", 1, "85"),
        (r"\boxed{85.0}", 1, "85.0"),
        ("#### 85", 1, "85"),
        ("<answer>84 or 85</answer>", 0, "84 or 85"),
        ("It is 85.", 0, None),
        ("<think>#### 85</think> done", 0, None),
        ("", 0, None),
    ],
)
def test_number_in_answer_wants_a_marked_number(text: str, value: float, parsed: str | None) -> None:
    measured = number_in_answer(rollout(text, "85"))
    assert (measured.value, measured.parsed) == (value, parsed)


@pytest.mark.parametrize(
    ("text", "value", "parsed"),
    [
        ("47 + 38 is 85.", 1, "85"),
        ("<answer>85 apples</answer>", 1, "85"),
        ("85, because 47 + 38 = 85, not 75", 0, "75"),
        ("47 + 38", 0, "38"),
        ("<think>85</think> I do not know", 0, None),
    ],
)
def test_last_number_takes_any_number(text: str, value: float, parsed: str | None) -> None:
    measured = last_number(rollout(text, "85"))
    assert (measured.value, measured.parsed) == (value, parsed)


def test_countdown_solved_checks_the_expression() -> None:
    assert countdown_solved(rollout("<answer>3 * 5</answer>", "15", numbers=[5, 3])).value == 1
    assert countdown_solved(rollout("<answer>15</answer>", "15", numbers=[5, 3])).value == 0
    assert countdown_solved(rollout("15", "15", numbers=[5, 3])).parsed is None


def test_countdown_solved_refuses_other_problems() -> None:
    with pytest.raises(DataError, match="needs whole meta"):
        countdown_solved(rollout("<answer>15</answer>", "15"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("0.5", r"\frac{1}{2}"),
        ("10080", r"10,\!080"),
        (r"\dfrac{\sqrt{3}}{3}", r"\frac{\sqrt{3}}{3}"),
        (r"\left(3, \frac{\pi}{2}\right)", r"(3,\frac{\pi}{2})"),
        ("Evelyn", r"\text{Evelyn}"),
        (r"90^{\circ}", r"90^\circ"),
        ("90", r"90^\circ"),
        ("$x + 1$.", "x+1"),
        ("1+x", "x+1"),
        (r"(-\infty, 0]", r"(-\infty,0]"),
    ],
)
def test_answer_match_looks_through_writing(given: str, wanted: str) -> None:
    assert answer_match(rollout(rf"\boxed{{{given}}}", wanted)).value == 1


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("1 1/2", "11/2"),
        ("12 3", "123"),
        ("1+x", "x-1"),
        ("(1,2)", "(2,1)"),
        (r"\{1,2\}", "(1,2)"),
        ("x>3", r"x \ge 3"),
        ("x=5", "y=5"),
        ("7, 8", "7"),
        ("8=7", "7"),
        ("AB", "BA"),
        (r"1011_2", "1011"),
        (r"\sqrt{12}", r"\sqrt{13}"),
        (r"\leftarrow", "arrow"),
    ],
)
def test_answer_match_keeps_different_answers_apart(given: str, wanted: str) -> None:
    assert answer_match(rollout(rf"\boxed{{{given}}}", wanted)).value == 0


def test_answer_match_wants_a_mark() -> None:
    assert answer_match(rollout("Evelyn", "Evelyn")).value == 0


def test_a_suite_says_where_its_metric_looks_for_the_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"question": "1 + 1", "answer": "2"})
    params = {"path": str(path), "metric": "number_in_answer", "sources": ["phrase"]}
    suites = of_file(path, "number_in_answer"), installed(params), arithmetic(load=load, sources=("phrase",))
    measured = [suite.metric(rollout("The answer is 2.", "2")) for suite in suites]
    assert [one.value for one in measured if isinstance(one, Measurement)] == [0, 1, 1]
    with pytest.raises(PluginError, match=r"(?s)last_number.*sources"):
        installed({**params, "metric": "last_number"})


def installed(params: dict[str, Any]) -> Suite:
    """The installed suite ``jsonl`` with parameters of a run file. Any: their types are the suite's."""
    suite: Suite = installed_plugins().call("suites", SuiteRef(name="jsonl", params=params), load=load)
    return suite


DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the checkout")
def test_last_number_agrees_with_the_published_labels_of_gsm8k_solutions() -> None:
    with (DATA / "gsm8k_model_solutions.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            answer = row["ground_truth"].split()[-1]
            for judged in (value for value in row.values() if isinstance(value, dict)):
                measured = last_number(rollout(judged["solution"], answer))
                assert bool(measured.value) is judged["is_correct"], judged["solution"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the checkout")
def test_answer_match_accepts_the_reference_solutions_of_math500() -> None:
    with (DATA / "math500.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            assert answer_match(rollout(row["solution"], row["answer"])).value == 1, row["answer"]
