"""What keeps a figure honest: held-out problems apart from training, metrics apart from rewards."""

import functools
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.errors import OverlapError
from reasonrl.evaluation import at_k
from reasonrl.evaluation.at_k import pass_at_k as chance
from reasonrl.evaluation.matches import Overlap, overlap_file
from reasonrl.evaluation.overlap import NUM_SHOWN, find_overlap, require_apart
from reasonrl.evaluation.shared_code import shared_functions
from reasonrl.evaluation.texts import normalized_text
from reasonrl.plugins.types import Measurement
from reasonrl.types import Problem, Rollout, Score, digest, split_of


def _problem(prompt: str, problem_id: str | None = None) -> Problem:
    """Make a problem whose id follows from its prompt unless one is given."""
    return Problem(id=problem_id or digest(prompt), task="test", prompt=prompt, answer="")


def _overlap(train: str, heldout: str) -> Overlap:
    """Compare two problems with ids of their own."""
    return find_overlap([_problem(train, "t")], [_problem(heldout, "h")])


def test_an_id_that_occurs_in_both_is_found_whatever_the_wording() -> None:
    found = find_overlap([_problem("3 + 4?", "same"), _problem("1 + 1?")], [_problem("4 + 3?", "same")])
    assert found.exact == ("same",)
    assert found.normalized == ()


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ("What is 7 - 3?", "what is  7-3"),
        ("What is 7 - 3?", "What is 7 \u2212 3 ?"),
        ("What is 7 * 3?", "What is 7 \u00d7 3?"),
        ("Find x\u00b2.", "Find x^2"),
        ("Say \u201cyes\u201d.", 'Say "yes".'),
        ("\uff37hat is 7\uff1f", "What is 7?"),
        ("What is\u00a07\u200b?", "What is 7?"),
        ("Tom's 2 apples", "Tom\u2019s 2 apples,"),
        ("Three pens cost $1,000.50.", "3 pens cost $ 1000.5"),
        ("He has two hundred and twenty-five coins", "He has 225 coins."),
        ("a city of 2.5 million people", "A city of 2,500,000 people"),
    ],
)
def test_texts_that_differ_in_their_surface_are_one_problem(train: str, heldout: str) -> None:
    assert _overlap(train, heldout).normalized == (("t", "h"),)


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ("What is 7 - 3?", "What is 7 + 3?"),
        ("What is 7 - 3?", "What is 73?"),
        ("What is 7 * 3?", "What is 7 / 3?"),
        ("What is -3 + 7?", "What is 3 + 7?"),
        ("What is 2.5?", "What is 25?"),
        ("What is .5?", "What is 5?"),
        ("What is (7 - 3) * 2?", "What is 7 - (3 * 2)?"),
        ("What is 10\u00b2?", "What is 102?"),
        ("What is 3\u00bd?", "What is 31/2?"),
        ("What is 5!?", "What is 5?"),
        ("Find f'(2).", "Find f(2)."),
        ("7 < 3", "7 > 3"),
        ("\u221a4", "4"),
        ("???", "!!!"),
        ("He has twenty five-coin bags", "He has 20 6-coin bags"),
        ("one hundred", "100 1"),
    ],
)
def test_texts_that_ask_something_else_are_two_problems(train: str, heldout: str) -> None:
    assert _overlap(train, heldout).matches == ()


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalized_text(text)
    assert normalized_text(once) == once


@given(st.lists(st.integers(0, 99), min_size=2, max_size=5), st.data())
def test_expressions_with_other_signs_never_look_alike(numbers: list[int], data: st.DataObject) -> None:
    signs = st.lists(st.sampled_from("+-*/"), min_size=len(numbers) - 1, max_size=len(numbers) - 1)
    first, second = data.draw(signs), data.draw(signs)
    texts = [
        "What is " + str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(chosen, numbers[1:], strict=True))
        for chosen in (first, second)
    ]
    assert (normalized_text(texts[0]) == normalized_text(texts[1])) == (first == second)


def test_a_conversation_is_compared_by_what_is_said() -> None:
    chat = Problem(id="c", task="test", prompt="", answer="", messages=({"role": "user", "content": "7 + 3"},))
    assert find_overlap([_problem("7+3.")], [chat]).normalized == ((digest("7+3."), "c"),)


def test_ten_thousand_by_a_thousand_problems_take_seconds_at_most() -> None:
    train = [_problem(f"What is {index} + 1?") for index in range(10_000)]
    heldout = [_problem(f"what is {index}+1") for index in range(9_900, 10_900)]
    started = time.process_time()
    found = find_overlap(train, heldout)
    assert time.process_time() - started < 3
    assert len(found.normalized) == 100
    assert found.summary.startswith(
        "100 of 1000 held-out problems are among 10000 training problems (0 by id, 100 by text); 900 of a template"
    )


WORDS = "amber basil cedar delta ember fjord grove heron inlet jewel kayak lotus maple north olive pearl quilt river"
STORIES = [
    f"In the {a} shop {b} sells {i + 12} jars of jam for {i + 3} dollars each and buys a {c} lamp for {i + 7} dollars."
    for i, (a, b, c) in enumerate(itertools.islice(itertools.permutations(WORDS.split(), 3), 0, 4000, 40))
]
"""A hundred problems with words of their own and few of a template."""


PEOPLE = [*itertools.islice(itertools.permutations(WORDS.split(), 3), 0, 4000, 13)]


def _kinds(train: Sequence[str], heldout: Sequence[str]) -> list[str]:
    found = find_overlap(
        [_problem(text, f"t{i}") for i, text in enumerate(train)],
        [_problem(text, f"h{i}") for i, text in enumerate(heldout)],
    )
    return [match.kind for match in found.refused]


@pytest.mark.parametrize(
    ("planted", "heldout", "kind"),
    [
        (
            f"Question: {STORIES[7]} How much is left?\nThink step by step.",
            STORIES[7] + " How much is left?",
            "contained",
        ),
        (STORIES[7].replace("19 jars", "nineteen jars"), STORIES[7], "normalized"),
        ("Answer briefly.\nWhen did the war end? Give a year.", "When did the war end", "contained"),
        (STORIES[7] + " " + STORIES[8], STORIES[8], "contained"),
    ],
)
def test_a_planted_problem_is_refused_however_it_is_wrapped(planted: str, heldout: str, kind: str) -> None:
    assert _kinds([*STORIES[20:], planted], [*STORIES[9:19], heldout]) == [kind]
    assert _kinds(STORIES[20:], [*STORIES[9:19], heldout]) == []


def test_a_problem_that_is_planted_many_times_is_no_template() -> None:
    copies = [f"Question: {STORIES[7]}\nTry {words}." for words in WORDS.split()] * 3
    assert "contained" in _kinds([*STORIES[20:40], *copies], [STORIES[7]])


def test_a_few_changed_words_or_numbers_are_told_and_refused_when_they_are_many() -> None:
    heldout = [
        f"{STORIES[i]} The {WORDS.split()[i]} boat leaves at dawn and it is never seen again." for i in range(10)
    ]
    reworded = [text.replace("never seen", "not seen") for text in heldout]
    renumbered = [re.sub(r"\d+", lambda number: str(int(number[0]) + 1), text) for text in heldout]
    for changed, kind in ((reworded, "near"), (renumbered, "renumbered")):
        few = find_overlap([_problem(changed[0], "t")], [_problem(text) for text in [*heldout, *STORIES[10:50]]])
        assert ([match.kind for match in few.copies], few.is_refused) == ([kind], False)
        assert _kinds(changed, heldout) == [kind] * 10


def test_problems_of_one_template_are_counted_and_not_refused() -> None:
    texts = [f"Make {n + 30} from the numbers {n}, {n + 2} and {n + 5}, using each exactly once." for n in range(100)]
    found = find_overlap([_problem(text) for text in texts[:80]], [_problem(text) for text in texts[80:]])
    assert (found.masked_rate, found.is_refused) == (1.0, False)
    assert "20 of a template with other numbers" in found.summary


def test_problems_that_a_task_splits_by_id_may_be_alike() -> None:
    texts = [f"Ann is the {a} friend of {b} and of {c}. Who is the friend of {a}?" for a, b, c in PEOPLE]
    problems = [_problem(text) for text in texts]
    sides = {side: [one for one in problems if split_of(one.id) == side] for side in ("train", "heldout")}
    assert find_overlap(sides["train"], sides["heldout"]).refused == ()
    assert find_overlap(sides["train"], sides["heldout"][:4]).split_by_id == ("test",)
    assert find_overlap(sides["train"][:5], sides["heldout"][:1]).split_by_id == ()
    twin = replace(sides["train"][0], id=sides["heldout"][0].id, prompt=sides["heldout"][0].prompt)
    assert len(find_overlap([*sides["train"], twin], sides["heldout"]).refused) == 1


def test_the_file_of_a_run_has_counts_rates_rows_and_the_reason() -> None:
    written = json.loads(overlap_file({"leaky": _overlap("What is 7 - 3?", "what is 7-3")}, "a test"))
    suite = written["suites"]["leaky"]
    assert (written["allow_overlap"], suite["verdict"], suite["counts"]["normalized"]) == ("a test", "overlap", 1)
    assert suite["rows"][0]["train_text"] == "What is 7 - 3?"
    assert suite["rates"]["same"] == 1


def test_an_overlap_is_refused_with_both_prompts_and_the_way_to_allow_it() -> None:
    overlaps = {"clean": _overlap("1 + 1", "2 + 2"), "leaky": _overlap("What is 7 - 3?", "what is 7-3")}
    with pytest.raises(OverlapError) as caught:
        require_apart(overlaps, reason="")
    message = str(caught.value)
    assert "suite 'leaky': 1 of 1 held-out problems" in message
    assert "'What is 7 - 3?'" in message
    assert "'what is 7-3'" in message
    assert 'evaluation.allow_overlap="why"' in message
    assert "clean" not in message


def test_an_overlap_is_allowed_for_a_reason_and_problems_apart_need_none() -> None:
    require_apart({"leaky": _overlap("7 - 3", "7-3")}, reason="memorization is what we measure")
    require_apart({"clean": _overlap("1 + 1", "2 + 2")}, reason="")


def test_a_long_overlap_shows_its_first_rows_only() -> None:
    problems = [_problem(f"{index} + {index}") for index in range(20)]
    with pytest.raises(OverlapError) as caught:
        require_apart({"suite": find_overlap(problems, problems)}, reason=" ")
    assert str(caught.value).count("exact: train") == NUM_SHOWN


def _last_number(text: str) -> str:
    """Read what both the metric and the reward below read."""
    return str((re.findall(r"\d+", text) or [""])[-1])


def _metric(rollout: Rollout) -> Measurement:
    return Measurement(float(_last_number(rollout.text) == rollout.problem.answer))


def _reward(rollout: Rollout) -> Score:
    return Score(float(any(_last_number(line) == rollout.problem.answer for line in rollout.text.splitlines())))


def _other_reward(rollout: Rollout) -> Score:
    json.dumps(yaml.safe_load(rollout.text))
    return Score(0.0)


def _other_metric(rollout: Rollout) -> Measurement:
    json.dumps(yaml.safe_load(rollout.text))
    return Measurement(0.0)


class _Judge:
    """A reward that is an object and reads through a method."""

    def __call__(self, rollout: Rollout) -> Score:
        return Score(self.read(rollout))

    def read(self, rollout: Rollout) -> float:
        return float(_last_number(rollout.text) or 0)


class _Reader:
    """Something whose methods a reward may use."""

    def read(self, rollout: Rollout) -> str:
        return _last_number(rollout.text)


def _reward_by_class(rollout: Rollout) -> float:
    return float(_Reader().read(rollout) or 0)


def _with_closure(read: Callable[[str], str]) -> Callable[[Rollout], float]:
    def reward(rollout: Rollout) -> float:
        return float(read(rollout.text) or 0)

    return reward


def _parameterized(rollout: Rollout, scale: float) -> float:
    return scale * float(_last_number(rollout.text) or 0)


@functools.cache
def _cached(text: str) -> str:
    return _last_number(text)


def _reward_by_cache(rollout: Rollout) -> float:
    return float(_cached(rollout.text) or 0)


@pytest.mark.parametrize(
    "reward",
    [
        _reward,
        functools.partial(_parameterized, scale=2.0),
        functools.partial(functools.partial(_parameterized), scale=2.0),
        _with_closure(_last_number),
        _reward_by_class,
        _Judge(),
        _Judge().read,
        _reward_by_cache,
        lambda rollout: float(_last_number(rollout.text) or 0),
    ],
)
def test_a_function_that_metric_and_reward_both_use_is_named(reward: Callable[..., object]) -> None:
    assert shared_functions(_metric, reward) == [f"{__name__}._last_number"]


def test_one_function_as_metric_and_reward_shares_itself() -> None:
    assert f"{__name__}._metric" in shared_functions(_metric, functools.partial(_metric))


def test_libraries_and_the_types_of_reasonrl_are_not_shared_code() -> None:
    assert shared_functions(_other_metric, _other_reward) == []


def _metric_by_module(rollout: Rollout) -> Measurement:
    return Measurement(at_k.pass_at_k(4, len(rollout.text) % 4, 1))


def _reward_by_name(rollout: Rollout) -> float:
    return chance(4, len(rollout.text) % 4, 2)


def test_a_function_reached_through_its_module_is_the_same_function() -> None:
    assert "reasonrl.evaluation.at_k.pass_at_k" in shared_functions(_metric_by_module, _reward_by_name)


def _recursive(rollout: Rollout) -> float:
    return _recursive(rollout)


def test_a_function_that_calls_itself_is_followed_once() -> None:
    assert shared_functions(_recursive, _metric) == []
