"""What is kept of samples to learn from: which completions, in which pairs, and as rows of which schema."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.errors import ConfigError, DataError
from reasonrl.preference.finetuning_rows import finetuning_row
from reasonrl.preference.samples import RewardRow, SampleRow
from reasonrl.preference.schema import examples_of
from reasonrl.preference.selection import Choice, Schema, Selected, Selection, normalized, select


def row(text: str, score: float | None = 1.0, *, problem: str = "p", index: int = 0, **changes: Any) -> SampleRow:
    """A completion with a score. Any: fields of SampleRow."""
    fields: dict[str, Any] = {"num_tokens": len(text), **changes}
    name = f"{problem}/{index}"
    return SampleRow(
        id=name, problem_id=problem, prompt=problem, completion=text, score=score, sample_index=index, **fields
    )


def samples(*scored: tuple[str, float | None], problem: str = "p", **changes: Any) -> list[SampleRow]:
    """Completions of one problem. Any: fields of SampleRow."""
    return [row(text, score, problem=problem, index=index, **changes) for index, (text, score) in enumerate(scored)]


def good(found: Selected) -> list[str]:
    """The texts of the good completions."""
    return [choice.good.completion for choice in found.choices if choice.good]


def pairs(found: Selected) -> list[tuple[str, str]]:
    """The texts of pairs."""
    return [(choice.good.completion, choice.bad.completion) for choice in found.choices if choice.good and choice.bad]


def test_the_best_completion_is_the_shortest_of_those_with_the_highest_score() -> None:
    given_ = samples(("long and right", 1.0), ("wrong", 0.0), ("right", 1.0), ("no score", None))
    found = select(given_, Selection(schema="sft", keep="best"))
    assert good(found) == ["right"]
    assert (found.counts.completions, found.counts.unlabeled, found.counts.rows) == (4, 1, 1)
    assert good(select(given_, Selection(schema="sft", keep="best", per_problem=2))) == ["right", "long and right"]


def test_right_completions_are_those_from_a_threshold_on_capped_for_each_problem() -> None:
    given_ = [*samples(("aaa", 1.0), ("bb", 1.0), ("c", 0.5)), *samples(("d", 0.0), problem="q")]
    assert good(select(given_, Selection(schema="sft"))) == ["bb", "aaa"]
    assert good(select(given_, Selection(schema="sft", threshold=0.5))) == ["bb", "aaa", "c"]
    found = select(given_, Selection(schema="sft", per_problem=1))
    assert good(found) == ["bb"]
    assert (found.counts.problems, found.counts.problems_with_rows) == (2, 1)
    assert good(select(given_, Selection(schema="sft", usual={"samples": 0.5}))) == ["bb", "aaa", "c"]


def test_a_sum_of_floats_that_is_one_but_for_rounding_is_right() -> None:
    assert good(select(samples(("a", 0.1 + 0.2 + 0.7 - 1e-16)), Selection(schema="sft"))) == ["a"]


def test_completions_that_say_the_same_count_once() -> None:
    given_ = samples(("It is  2", 1.0), (" it is 2\n", 1.0), ("It is 3", 1.0))
    assert normalized("It is  2") == normalized(" it is 2\n")
    found = select(given_, Selection(schema="sft"))
    assert good(found) == ["It is 3", "It is  2"]
    assert found.counts.repeated == 1
    assert good(select(given_, Selection(schema="sft", keep="all"))) == ["It is  2", "It is 3"]


def test_a_completion_that_was_cut_is_no_good_one_unless_that_is_asked_for() -> None:
    given_ = [row("cut", 1.0, finish_reason="length"), row("whole", 1.0, index=1), row("wrong", 0.0, index=2)]
    found = select(given_, Selection(schema="sft"))
    assert (good(found), found.counts.truncated) == (["whole"], 1)
    assert good(select(given_, Selection(schema="sft", truncated=True))) == ["cut", "whole"]
    cut = [row("right", 1.0), row("cut", 0.0, index=1, finish_reason="length")]
    assert pairs(select(cut, Selection(schema="preference"))) == [("right", "cut")]  # a bad one may be


def test_the_rejected_completion_is_the_one_whose_length_is_nearest() -> None:
    given_ = samples(("x" * 30, 0.0), ("right one", 1.0), ("w" * 10, 0.0), ("middle", 0.5))
    found = select(given_, Selection(schema="preference"))
    assert pairs(found) == [("right one", "w" * 10)]
    assert (found.lengths.mean_difference, found.lengths.chosen_longer) == (-1.0, 0.0)


def test_right_and_wrong_completions_meet_once_each_and_all_meets_every_two() -> None:
    given_ = samples(("a", 1.0), ("bbb", 1.0), ("cc", 0.0), ("ddddd", 0.0))
    once = pairs(select(given_, Selection(schema="preference", keep="right")))
    assert once == [("a", "cc"), ("bbb", "ddddd")]
    every = pairs(select(given_, Selection(schema="preference", keep="all")))
    assert sorted(every) == [("a", "cc"), ("a", "ddddd"), ("bbb", "cc"), ("bbb", "ddddd")]
    assert len(select(given_, Selection(schema="preference", keep="all", per_problem=3)).choices) == 3
    assert pairs(select(samples(("a", 0.5), ("b", 0.75)), Selection(schema="preference", keep="all"))) == [("b", "a")]


def test_kto_has_right_and_wrong_completions_or_the_best_and_the_worst() -> None:
    given_ = samples(("right", 1.0), ("wrong", 0.0), ("also wrong", 0.2))
    labels = [
        (choice.row().completion, choice.good is not None) for choice in select(given_, Selection(schema="kto")).choices
    ]
    assert labels == [("right", True), ("wrong", False), ("also wrong", False)]
    best = select(given_, Selection(schema="kto", keep="best"))
    assert [(choice.row().completion, choice.good is not None) for choice in best.choices] == [
        ("right", True),
        ("wrong", False),
    ]
    assert len(select(given_, Selection(schema="kto", per_problem=1)).choices) == 2


def test_one_reward_may_say_which_is_better() -> None:
    polite = {"polite": RewardRow(value=1.0, outcome="scored")}
    given_ = [
        row("rude", 1.0, rewards={"polite": RewardRow(value=0.0, outcome="scored")}),
        row("kind", 0.0, index=1, rewards=polite),
    ]
    assert good(select(given_, Selection(schema="sft", label="polite"))) == ["kind"]
    with pytest.raises(ConfigError, match=r"--label polit: .* Did you mean 'polite'"):
        select(given_, Selection(schema="sft", label="polit"))


def test_nothing_to_learn_from_is_an_error_that_counts_what_there_was() -> None:
    with pytest.raises(DataError, match="nothing is left to learn from") as error:
        select(samples(("a", 0.0), ("A", 0.0)), Selection(schema="sft"))
    assert "2 completions of 1 problems" in str(error.value)
    assert "1 repeat" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "kto", "keep": "right"}, "it learns from wrong completions too"),
        ({"schema": "sft", "keep": "best", "threshold": 0.5}, "--threshold has no effect"),
        ({"schema": "preference", "per_problem": 2}, "--per-problem has no effect"),
        ({"label": "polite"}, "--label has no effect"),
        ({"truncated": True}, "--truncated has no effect"),
    ],
)
def test_options_that_change_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Selection(**changes)


SCORED = st.lists(
    st.tuples(st.sampled_from(["a", "b", "B ", "ccc", "dd"]), st.sampled_from([None, 0.0, 0.5, 1.0])), max_size=8
)


@given(SCORED, SCORED, st.sampled_from(["sft", "preference", "kto"]), st.sampled_from([None, "best", "all"]))
def test_what_is_chosen_for_a_problem_depends_on_its_own_completions_alone(
    one: Sequence[tuple[str, float | None]], other: Sequence[tuple[str, float | None]], schema: Schema, keep: Any
) -> None:
    def chosen(rows: list[SampleRow]) -> list[tuple[str, str]]:
        try:
            found = select(rows, Selection(schema=schema, keep=keep)).choices
        except DataError:
            return []
        return [(choice.good.id if choice.good else "", choice.bad.id if choice.bad else "") for choice in found]

    apart = [samples(*one, problem="p"), samples(*other, problem="q")]
    assert chosen([*apart[0], *apart[1]]) == [*chosen(apart[0]), *chosen(apart[1])]


@given(SCORED, st.sampled_from(["best", "right", "all"]))
def test_a_pair_has_two_different_texts_and_the_better_one_is_chosen(
    scored: Sequence[tuple[str, float | None]], keep: Any
) -> None:
    try:
        found = select(samples(*scored), Selection(schema="preference", keep=keep))
    except DataError:
        return
    for choice in found.choices:
        assert choice.good is not None
        assert choice.bad is not None
        assert normalized(choice.good.completion) != normalized(choice.bad.completion)
        assert choice.good.score is not None
        assert choice.bad.score is not None
        assert choice.good.score > choice.bad.score


def test_rows_have_the_columns_of_the_schemas_of_trl() -> None:
    right, wrong = row(" 2", 1.0, index=1), row(" 3", 0.0, index=2, finish_reason="length")
    about = {"problem_id": "p", "template": "plain", "prompt": "1 + 1?"}
    facts = {"score": 1.0, "finish_reason": "stop", "num_tokens": 2}
    sft = finetuning_row(Choice(good=right), Selection(schema="sft"), "1 + 1?", "plain")
    assert sft == {"id": "p/1", **about, "completion": " 2", **facts}
    pair = finetuning_row(Choice(good=right, bad=wrong), Selection(schema="preference"), "1 + 1?", "plain")
    assert {name: pair[name] for name in ("id", "chosen", "rejected")} == {
        "id": "p/1-p/2",
        "chosen": " 2",
        "rejected": " 3",
    }
    assert (pair["score"], pair["rejected_score"], pair["rejected_finish_reason"]) == (1.0, 0.0, "length")
    kto = finetuning_row(Choice(bad=wrong), Selection(schema="kto"), "1 + 1?", "plain")
    assert (kto["completion"], kto["label"], kto["score"]) == (" 3", False, 0.0)


def test_a_reward_model_refuses_prompts_that_are_rendered_already() -> None:
    made = finetuning_row(Choice(good=row("2"), bad=row("3", 0.0)), Selection(schema="preference"), "1 + 1?", "plain")
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: .* reasonrl rm pairs SAMPLES"):
        list(examples_of("pairs.jsonl:1", made, "bradley_terry"))


def test_rows_of_a_chat_hold_messages() -> None:
    messages = [{"role": "user", "content": "1 + 1?"}]
    made = finetuning_row(Choice(good=row("2"), bad=row("3", 0.0)), Selection(schema="preference"), messages, "chat")
    assert made["prompt"] == messages
    assert made["chosen"] == [{"role": "assistant", "content": "2"}]
    assert made["rejected"] == [{"role": "assistant", "content": "3"}]
