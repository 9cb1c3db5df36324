"""What a reward may ask for, what it may return, and what is refused when it is loaded."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import group, reward

from reasonrl.config.settings import RewardRef
from reasonrl.errors import PluginError
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import RewardFn
from reasonrl.scoring.contract import ARGUMENTS, arguments_for, as_score, as_scores, bind, load_reward
from reasonrl.types import Rollout, Score

MEMBERS = group(["one", "two"], meta={"level": 3}).rollouts()
FIRST = MEMBERS[0]


def asked(function: RewardFn, rollouts: Sequence[Rollout] = MEMBERS[:1], step: int = 7) -> dict[str, Any]:
    """What a function is given. Any: its arguments."""
    return arguments_for(reward(function), rollouts, step)


def test_a_function_of_one_rollout_is_given_the_arguments_that_it_names() -> None:
    def all_of_them(rollout, text, answer, problem, prompt, messages, meta, completion, step) -> None:  # type: ignore[no-untyped-def]
        """Name every argument."""

    assert asked(all_of_them) == {
        "rollout": FIRST,
        "text": "one",
        "answer": "2",
        "problem": FIRST.problem,
        "prompt": "1 + 1?",
        "messages": ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "one"}),
        "meta": {"level": 3},
        "completion": FIRST.completion,
        "step": 7,
    }
    assert asked(all_of_them).keys() == ARGUMENTS["rollout"].keys()


def test_a_function_of_a_group_is_given_the_arguments_that_it_names() -> None:
    def all_of_them(group, texts, problem, answer, prompt, meta, step) -> None:  # type: ignore[no-untyped-def]
        """Name every argument."""

    given = asked(all_of_them, MEMBERS)
    assert given["group"] == MEMBERS
    assert given["texts"] == ("one", "two")
    assert (given["problem"], given["answer"], given["prompt"]) == (FIRST.problem, "2", "1 + 1?")
    assert (given["meta"], given["step"]) == ({"level": 3}, 7)
    assert given.keys() == ARGUMENTS["group"].keys()


def test_a_function_of_a_batch_is_given_the_arguments_that_it_names() -> None:
    def all_of_them(batch, texts, answers, problems, step) -> None:  # type: ignore[no-untyped-def]
        """Name every argument."""

    other = group(["three"], text="2 + 2?", answer="4").rollouts()
    given = asked(all_of_them, (*MEMBERS, *other))
    assert given["batch"] == (*MEMBERS, *other)
    assert (given["texts"], given["answers"]) == (("one", "two", "three"), ("2", "2", "4"))
    assert given["problems"] == (FIRST.problem, FIRST.problem, other[0].problem)
    assert given.keys() == ARGUMENTS["batch"].keys()


@pytest.mark.parametrize(
    ("function", "unit"),
    [
        (lambda text: 0, "rollout"),
        (lambda answer, problem: 0, "rollout"),
        (lambda group: 0, "group"),
        (lambda texts, answer: 0, "group"),
        (lambda batch: 0, "batch"),
        (lambda texts, answers: 0, "batch"),
        (lambda problems: 0, "batch"),
    ],
)
def test_what_a_function_scores_at_once_follows_from_what_it_names(function: RewardFn, unit: str) -> None:
    assert reward(function).unit == unit


def test_only_what_a_function_names_is_sent_to_it() -> None:
    assert asked(lambda answer, text: 0).keys() == {"answer", "text"}


def test_a_conversation_ends_with_the_completion() -> None:
    talk = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "1 + 1?"})
    (member,) = group(["2"], messages=talk).rollouts()
    assert asked(lambda messages: 0, [member])["messages"] == (*talk, {"role": "assistant", "content": "2"})


def test_every_argument_is_one_that_a_run_file_may_not_set() -> None:
    assert set(GIVEN["rewards"]) == {name for unit in ARGUMENTS.values() for name in unit}


class Judge:
    """A reward with a state."""

    def __call__(self, text: str) -> float:
        return float(len(text))


class Waiting:
    """The same, awaited."""

    async def __call__(self, text: str) -> float:
        return float(len(text))


async def later(text: str, *, factor: float = 1.0) -> float:
    return factor * len(text)


def test_async_functions_are_told_from_ordinary_ones() -> None:
    assert not reward(Judge()).is_async
    for function in (later, partial(later, factor=2.0), Waiting()):
        assert bind(RewardRef(name="r"), function).is_async


def positional(text: str, /) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("function", "settings", "said"),
    [
        (lambda: 1.0, {}, "names nothing to score.*rollout, text, answer"),
        (lambda strict=True: 1.0, {}, "names nothing to score"),
        (lambda txt: 1.0, {}, r"nothing is given for its parameter 'txt'. Did you mean 'text'\?"),
        (lambda text, gold: 1.0, {}, "nothing is given for its parameter 'gold'.*Known: answer"),
        (lambda group, batch: [], {}, "names both 'batch' and 'group'.*whole batch"),
        (lambda batch, text: [], {}, "names both 'batch' and 'text'.*texts, answers"),
        (lambda group, completion: [], {}, "names both 'group' and 'completion'"),
        (positional, {}, "'text' has none; take the '/' out"),
        (lambda text: 1.0, {"retries": 5}, "retries is 5, but it is for async rewards"),
        (lambda text: 1.0, {"per_minute": 5}, "per_minute is 5, but it is for async rewards"),
        (later, {}, "isolated is false, but an async reward is never run in a worker"),
        (lambda text: 1.0, {"style": "trl"}, "style trl passes 'completions'"),
        (lambda text: 1.0, {"style": "verl"}, "style verl passes 'solution_str'"),
        (lambda completions: [], {"style": "plain"}, "nothing is given for its parameter 'completions'"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_with_what_would_mend_it(
    function: RewardFn, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(PluginError, match=rf"rewards: 'mine'.*{said}"):
        reward(function, name="mine", **settings)


def loaded(folder: Path, code: str, **settings: Any) -> Any:
    """A reward of a local file. Any: it is called with whatever it names."""
    (folder / "mine.py").write_text(code)
    return load_reward(RewardRef(name=f"{folder}/mine.py:score", **settings), Plugins())


def test_parameters_come_from_the_run_file_with_their_types(tmp_path: Path) -> None:
    code = "def score(text, *, least: int, words: tuple[str, ...] = ()):\n    return least + len(words)"
    found = loaded(tmp_path, code, params={"least": 3, "words": ["a", "b"]})
    assert found.function(text="") == 5
    assert found.arguments == ("text",)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def score(txt): ...", r"parameter 'txt' is required; set it under params. Did you mean 'text'\?"),
        ("def score(text, *, least: int): ...", "parameter 'least' is required"),
        ("def score(text, *, lest: int = 0): ...", "unknown parameter 'least'. Did you mean 'lest'"),
        ("score = 3", "int, not a function"),
    ],
)
def test_a_reward_of_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, code: str, said: str) -> None:
    params = {"least": 1} if "lest" in code else {}
    with pytest.raises(PluginError, match=said):
        loaded(tmp_path, code, params=params)


def test_types_that_cannot_be_looked_up_stop_no_reward(tmp_path: Path) -> None:
    code = "def score(text: 'Missing', *, least: int = 2, _cache={}):\n    return least"
    assert loaded(tmp_path, code, params={"least": 4}).function(text="") == 4


# What a reward returns.


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (True, 1.0),
        (2, 2.0),
        (0.5, 0.5),
        (Fraction(1, 4), 0.25),
        (Decimal("0.75"), 0.75),
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.array(3), 3.0),
        (torch.tensor(3.0), 3.0),
        (torch.tensor(True), 1.0),
        ({"format": 0.25, "answer": 1}, 1.25),
        ({"score": 0.5, "format": 3}, 0.5),
        (Score(0.5, "half"), 0.5),
    ],
)
def test_numbers_of_any_kind_and_named_parts_are_scores(returned: Any, value: float) -> None:
    assert as_score(returned).value == value


def test_the_parts_of_a_score_are_kept() -> None:
    assert as_score({"format": np.float64(0.25), "answer": True}).parts == {"format": 0.25, "answer": 1.0}
    assert as_score({"score": 0.5, "format": 3}).parts == {"format": 3.0}
    assert as_score({"score": None, "format": 3}) == Score(
        None, "the reward returned None as score", "unscorable", {"format": 3.0}
    )


def test_none_cannot_be_judged() -> None:
    assert as_score(None).outcome == "unscorable"


@pytest.mark.parametrize(
    "returned",
    [
        *("1.0", b"1", [1.0], (1.0,), 1j, np.complex128(1j), np.array([1.0]), torch.tensor([1.0, 2.0]), object()),
        *(math.nan, math.inf, -math.inf, np.float64("nan"), torch.tensor(math.inf), 10**400),
        *({}, {"a": "1"}, {"a": None}, {"a": math.nan}, {1: 1.0}, {"score": "1"}, Score(1.0, parts={"a": math.inf})),
    ],
)
def test_anything_else_is_an_error_of_the_reward(returned: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        as_score(returned)
    (score, other) = as_scores([returned, 1.0], MEMBERS)
    assert (score.value, score.outcome) == (None, "error")
    assert other == Score(1.0)


class Trap:
    """Raises whatever is done with it."""

    def __float__(self) -> float:
        raise RuntimeError("not on this device")

    def __repr__(self) -> str:
        raise RuntimeError("nothing to show")

    def tolist(self) -> list[float]:
        raise RuntimeError("not on this device")


def test_an_object_that_raises_when_it_is_read_costs_its_rollout_only() -> None:
    trap, fine = as_scores([Trap(), 1.0], MEMBERS)
    assert (trap.outcome, fine.value) == ("error", 1.0)
    assert {score.why for score in as_scores(Trap(), MEMBERS)} == {"RuntimeError: not on this device"}
    assert as_scores({"x": 1.0, MEMBERS[0].id: Trap()}, MEMBERS)[0].outcome == "error"


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ([1.0], "returned 1 values for 2 rollouts"),
        ([1.0, 0.0, 1.0], "returned 3 values for 2 rollouts"),
        (torch.ones(3), "returned 3 values for 2 rollouts"),
        ("10", "one value for each of them"),
        (1.0, "returned 1.0; a reward of 2 rollouts returns one value for each of them"),
        (None, "returned None"),
        ({"x": 1.0}, "returned a value for 'x', the id of none of its 2 rollouts"),
    ],
)
def test_the_wrong_number_of_values_is_an_error_for_all(returned: Any, why: str) -> None:
    scores = as_scores(returned, MEMBERS)
    assert [score.outcome for score in scores] == ["error", "error"]
    assert re.search(re.escape(why), scores[0].why)


@pytest.mark.parametrize("returned", [[1, None], (1, None), np.array([1.0, 0.0]), torch.tensor([1, 0])])
def test_values_of_several_rollouts_are_read_in_their_order(returned: Any) -> None:
    first, second = as_scores(returned, MEMBERS)
    assert (first.value, second.value or 0) == (1.0, 0.0)


def test_values_may_be_given_by_the_rollouts_id() -> None:
    values: Mapping[str, Any] = {MEMBERS[1].id: 2.0, MEMBERS[0].id: {"a": 1.0}}
    assert [score.value for score in as_scores(values, MEMBERS)] == [1.0, 2.0]
    first, second = as_scores({MEMBERS[1].id: 2.0}, MEMBERS)
    assert (first.outcome, second.value) == ("error", 2.0)
    assert "no value for this rollout" in first.why


def test_a_score_cannot_contradict_its_outcome() -> None:
    for arguments in ((None,), (1.0, "", "error"), (1.0, "", "unscorable"), (math.inf,)):
        with pytest.raises(ValueError, match=r"."):
            Score(*arguments)
    assert Score(0.0, "too slow", "timeout").value == 0.0
