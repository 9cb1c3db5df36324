"""reasoning-gym's problems and their own scorers."""

import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reward_cases import HOSTILE, rollout

pytest.importorskip("reasoning_gym")

from reasonrl import DataError, Problem, Rollout
from reasonrl_grading.gym import EVALUATED, is_harmless
from reasonrl_rewards.reasoning_gym import reasoning_gym
from reasonrl_tasks.reasoning_gym import reasoning_gym as load

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def first(dataset: str, **config: Any) -> Problem:
    """A problem of a data set. Any: its settings."""
    return load(split="train", seed=1, dataset=dataset, num_problems=1, config=config)[0]


def answered(problem: Problem, answer: str) -> Rollout:
    return replace(rollout(f"<answer>{answer}</answer>"), problem=problem)


def test_problems_are_distinct_and_the_same_every_time() -> None:
    problems = load(split="train", seed=1, dataset="chain_sum", num_problems=20, config={"max_terms": 3})
    assert len({problem.id for problem in problems}) == 20
    assert problems == load(split="train", seed=1, dataset="chain_sum", num_problems=20, config={"max_terms": 3})
    assert problems != load(split="train", seed=2, dataset="chain_sum", num_problems=20, config={"max_terms": 3})
    assert pickle.loads(pickle.dumps(problems)) == problems


def test_the_splits_share_no_problem() -> None:
    train, heldout = (
        {problem.id for seed in (1, 2) for problem in load(split=split, seed=seed, dataset="gcd", num_problems=40)}
        for split in ("train", "heldout")
    )
    assert not train & heldout


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"dataset": "chain_sums"}, "no data set 'chain_sums'. Did you mean 'chain_sum'"),
        ({"dataset": "chain_sum", "config": {"terms": 3}}, "'chain_sum' refuses its config"),
        ({"dataset": "chain_sum", "config": {"min_terms": 9, "max_terms": 2}}, "'chain_sum' refuses its config"),
        (
            {"dataset": "coin_flip", "config": {"min_trials": 1, "max_trials": 1}, "num_problems": 99},
            "were asked for",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=re.escape(why)):
        load(split="train", seed=1, **settings)


@pytest.mark.parametrize(
    "dataset", ["chain_sum", "countdown", "leg_counting", "knights_knaves", "string_insertion", "sentence_reordering"]
)
def test_a_right_answer_scores_1_and_anything_else_nothing(dataset: str) -> None:
    problem = first(dataset)
    assert reasoning_gym(answered(problem, problem.answer)).value == 1
    for text in ("", problem.prompt, *HOSTILE):
        assert reasoning_gym(replace(rollout(text), problem=problem)).value == 0
        assert reasoning_gym(answered(problem, text[:1_000])).value == 0


@pytest.mark.parametrize(
    "text",
    [
        "The answer is {}.",
        "We add them up.\n\n**Answer: {}**",
        "So we get {}.",
        r"\boxed{{{}}}",
        "Adding all terms:\n{}",
        "<answer>The total is {}.</answer>",
        "The sum is {}. I hope this helps!",
    ],
)
def test_an_answer_in_ordinary_writing_is_found_and_another_one_is_not_paid(text: str) -> None:
    problem = first("chain_sum")
    assert reasoning_gym(replace(rollout(text.format(problem.answer)), problem=problem)).value == 1
    assert reasoning_gym(replace(rollout(text.format(f"{problem.answer}1")), problem=problem)).value == 0
    assert reasoning_gym(replace(rollout(text.format(f"not {problem.answer}")), problem=problem)).value == 0


def test_partial_credit_is_given_only_where_it_is_asked_for() -> None:
    problem = first("sentence_reordering")
    assert reasoning_gym(answered(problem, "zzz")).value == 0
    assert reasoning_gym(answered(problem, "zzz"), partial=True).value == pytest.approx(0.05)


def test_an_answer_that_contains_the_right_one_scores_0() -> None:
    problem = first("leg_counting")
    for wrong in (f"{problem.answer}0", f"{problem.answer} or 7", f"7 or {problem.answer}", f"{problem.answer}, 7"):
        assert reasoning_gym(answered(problem, wrong)).value == 0


def test_a_scorer_that_reads_the_first_number_is_not_fooled_by_a_list() -> None:
    problem = first("gsm_symbolic")
    assert reasoning_gym(answered(problem, problem.answer)).value == 1
    assert reasoning_gym(answered(problem, f"{problem.answer} or 1 or 2")).value == 0


def test_a_scorer_that_takes_anything_pays_for_the_right_answer_alone() -> None:
    problem = first("game_of_life_halting")
    assert reasoning_gym(answered(problem, problem.answer)).value == 1
    assert reasoning_gym(answered(problem, "banana")).value == 0


def test_a_scorer_that_raises_says_that_the_answer_is_wrong() -> None:
    assert reasoning_gym(answered(first("prime_factorization"), "zzz")).value == 0


def test_no_scorer_runs_an_answer_as_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    payloads = (
        f"__import__('os').system('touch {marker}')",
        f"[open('{marker}', 'w')]",
        f"(lambda: open('{marker}', 'w'))()",
        f"\N{FULLWIDTH LATIN SMALL LETTER O}pen('{marker}', 'w')",
        f"exec(\"open('{marker}', 'w')\")",
    )
    for dataset in sorted(EVALUATED):
        problem = first(dataset)
        for payload in payloads:
            assert reasoning_gym(answered(problem, payload)).value == 0
    assert not os.path.exists(marker)


@pytest.mark.parametrize(
    "answer",
    ["(3 + 5) * 2", "x**2/2 + sin(3*x) + C", "2*x - 1.5", "['A', 'B']", "[[0, 1], [1, 0]]", "Q _ _\n_ Q _", "1.", "2x"],
)
def test_formulas_are_harmless(answer: str) -> None:
    assert is_harmless(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "open(x)",
        "x.y",
        "x . y",
        "__x",
        "().c",
        "'a'.upper()",
        "\N{FULLWIDTH LATIN SMALL LETTER X}",
        "a\\b",
        "sinx",
        "x1",
    ],
)
def test_names_are_not(answer: str) -> None:
    assert not is_harmless(answer)


def test_every_scorer_that_evaluates_is_known() -> None:
    import reasoning_gym as package

    evaluates = re.compile(r"(?<![\w.])(?:eval|exec|sympify|parse_expr|sp\.parse_expr)\(")
    sources = [path.read_text(encoding="utf-8") for path in Path(package.__path__[0]).rglob("*.py")]
    names = {
        name.group(1) if (name := re.search(r'DATASET_NAME\s*=\s*"(\w+)"', text)) else text[:40]
        for text in sources
        if "def score_answer" in text and evaluates.search(text)
    }
    only_their_own = {"bitwise_arithmetic", "codeio", "number_sorting", "propositional_logic"}
    assert names - only_their_own <= EVALUATED
