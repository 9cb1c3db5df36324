"""Every generator of reasoning-gym as ``reasoning_gym:NAME``, for training and held out."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

pytest.importorskip("reasoning_gym")

from reasonrl import Problem
from reasonrl.config.settings import PluginRef, SuiteRef
from reasonrl.errors import DataError, PluginError
from reasonrl.evaluation.replies import ANSWER_FORMATS, SOLUTION, rollout_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_suite
from reasonrl.run.task_source import family_of
from reasonrl.run.tasks import load_problems
from reasonrl_evals.gym import full_credit, own_score
from reasonrl_grading.gym import data_set_names

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::SyntaxWarning"
)

NO_GOLD = {"boxnet", "rush_hour"}
"""Generators that name no right answer, and give no example of one."""
NO_DEFAULTS = {"composite"}
"""Generators that need a config."""


def right_answer(problem: Problem) -> str:
    return str(problem.meta.get(SOLUTION, problem.answer))


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [name for name in data_set_names() if name not in NO_DEFAULTS])
def test_the_right_answer_of_every_generator_scores_1(dataset: str) -> None:
    found = load_problems(PluginRef(name=f"reasoning_gym:{dataset}", params={"max_problems": 3}), Plugins())
    for problem in found:
        assert bool(right_answer(problem)) == (dataset not in NO_GOLD), "reasoning-gym has changed: mend NO_GOLD"
        if right_answer(problem):
            reply = ANSWER_FORMATS[0].reply(right_answer(problem))
            assert full_credit(rollout_of(problem, reply, prompt=problem.prompt)).value == 1
        assert own_score(rollout_of(problem, "", prompt=problem.prompt)).value == 0


def test_a_generator_is_a_task_and_a_suite_by_its_name_and_their_problems_are_apart() -> None:
    plugins = Plugins()
    train = load_problems(PluginRef(name="reasoning_gym:gcd", params={"num_problems": 50}), plugins)
    suite = load_suite(SuiteRef(name="reasoning_gym:gcd", params={"max_problems": 20}), plugins)
    assert (suite.name, len(suite.problems)) == ("reasoning_gym:gcd", 20)
    assert {*suite.further_metrics} == {"exact"}
    assert not {problem.id for problem in train} & {problem.id for problem in suite.problems}
    assert "reasoning_gym:gcd" in family_of("reasoning_gym", plugins)
    assert family_of("arithmetic", plugins) == []


@pytest.mark.parametrize("dataset", ["list_functions", "codeio"])
def test_a_generator_that_draws_from_shared_random_numbers_is_the_same_every_time(dataset: str) -> None:
    ref = PluginRef(name=f"reasoning_gym:{dataset}", params={"max_problems": 40})
    state = random.getstate()
    first_time, again = ([problem.id for problem in load_problems(ref, Plugins())] for _ in range(2))
    assert first_time == again
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("reasoning_gym:gdc", {}, "no data set 'gdc'. Did you mean 'gcd'"),
        ("reasoning_gym", {}, "parameter 'dataset' is required"),
        ("reasoning_gym:gcd", {"dataset": "lcm"}, "sets 'dataset' by its name"),
        ("reasoning_gym:tower_of_hanoi", {"num_problems": 150}, "150 were asked for"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused(name: str, params: dict[str, object], said: str) -> None:
    with pytest.raises((DataError, PluginError), match=said):
        load_problems(PluginRef(name=name, params=params), Plugins())


def first(dataset: str) -> Problem:
    return load_problems(PluginRef(name=f"reasoning_gym:{dataset}", params={"max_problems": 1}), Plugins())[0]


def scored(problem: Problem, answers: Sequence[str]) -> list[float]:
    return [
        own_score(rollout_of(problem, f"<answer>{answer}</answer>", prompt=problem.prompt)).value for answer in answers
    ]


def test_a_suite_measures_with_the_generators_own_scorer() -> None:
    problem = first("sentence_reordering")
    assert scored(problem, [problem.answer, "zzz"]) == pytest.approx([1, 0.05])
    assert full_credit(rollout_of(problem, "<answer>zzz</answer>", prompt="")).value == 0


def test_full_credit_that_any_answer_would_get_is_not_counted() -> None:
    problem = first("game_of_life_halting")
    assert scored(problem, [problem.answer, "banana"]) == [1, 0]


def test_a_scorer_that_does_not_look_at_the_problem_pays_for_its_own_answer_alone() -> None:
    params = {"max_problems": 2}
    one, other = load_problems(PluginRef(name="reasoning_gym:puzzle24", params=params), Plugins())
    assert scored(one, [one.answer, one.answer.replace(" ", ""), other.answer]) == [1, 1, 0]
    coin = next(
        one
        for one in load_problems(PluginRef(name="reasoning_gym:coin_flip", params={"max_problems": 30}), Plugins())
        if float(one.answer) < 1e-4
    )
    assert scored(coin, [coin.answer, f"{float(coin.answer) * 1.001:.9f}", "1e-9"]) == [1, 1, 0]


def test_a_problem_of_another_task_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="does not come from the task 'reasoning_gym'"):
        scored(replace(first("gcd"), meta={}), ["1"])
