"""Preference data: every schema and form that is read, every row that is refused, and the split by prompt."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import ConfigError, DataError, UnreachableError
from reasonrl.preference.data import Example, Kind, LabeledCompletion, Pair, PreferenceData, load_data, split_by_prompt
from reasonrl.preference.schema import examples_of
from reasonrl.preference.sources import read_rows
from reasonrl.types import Problem, digest

Row = dict[str, Any]
"""Columns. Any: of all kinds."""

QUESTION = "What is two plus two?"


def user(text: object) -> Row:
    return {"role": "user", "content": text}


def assistant(text: object) -> Row:
    return {"role": "assistant", "content": text}


def examples(row: Row, kind: Kind = "bradley_terry") -> list[Example]:
    return list(examples_of("pairs.jsonl:7", row, kind))


def pair(row: Row) -> Pair:
    (example,) = examples(row)
    assert isinstance(example, Pair)
    return example


def refusal(row: Row, kind: Kind = "bradley_terry") -> str:
    with pytest.raises(DataError) as error:
        examples(row, kind)
    assert str(error.value).startswith("pairs.jsonl:7: ")
    return str(error.value)


def loaded(path: Path, kind: Kind = "bradley_terry", **changes: Any) -> PreferenceData:
    """What is read of a file. Any: settings of data."""
    return load_data(PreferenceDataSettings(path=str(path), heldout_share=0.3, **changes), kind)


def pairs_of(count: int) -> list[Row]:
    return [{"prompt": f"Question {number}?", "chosen": f"yes {number}", "rejected": "no"} for number in range(count)]


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


# Schemas.


def test_every_way_to_write_a_pair_gives_the_same_one() -> None:
    said, right, wrong = user(QUESTION), assistant(" 4"), assistant(" 5")
    plain = pair({"prompt": QUESTION, "chosen": " 4", "rejected": " 5"})
    assert (plain.problem.prompt, plain.chosen, plain.rejected) == (QUESTION, " 4", " 5")
    assert (plain.margin, plain.tags, plain.problem.messages) == (None, (), None)
    for row in (
        {"prompt": [said], "chosen": [right], "rejected": [wrong]},
        {"prompt": [said], "chosen": " 4", "rejected": " 5"},
        {"prompt": {"messages": [said]}, "chosen": {"messages": [right]}, "rejected": {"messages": [wrong]}},
        {"prompt": [said], "chosen": [said, right], "rejected": [said, wrong]},
        {"prompt": QUESTION, "chosen": [said, right], "rejected": [said, wrong]},
        {"chosen": [said, right], "rejected": [said, wrong]},
        {"prompt": None, "chosen": [said, right], "rejected": [said, wrong], "margin": None, "tools": None},
        {"prompt": [{**said, "tool_calls": None}], "chosen": [right], "rejected": [wrong]},
        {"prompt": [user([{"type": "text", "text": QUESTION}])], "chosen": [right], "rejected": [wrong]},
    ):
        assert pair(row) == plain


def test_a_conversation_of_several_turns_keeps_them_and_has_an_id_of_its_own() -> None:
    turns = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello"), user(QUESTION)]
    explicit = pair({"prompt": turns, "chosen": [assistant("4")], "rejected": [assistant("5")]})
    implicit = pair({"chosen": [*turns, assistant("4")], "rejected": [*turns, assistant("5")]})
    assert explicit == implicit
    assert list(explicit.problem.messages or ()) == turns
    assert explicit.problem.prompt == QUESTION
    assert explicit.problem.id != pair({"prompt": QUESTION, "chosen": "4", "rejected": "5"}).problem.id


def test_the_prompt_of_two_texts_is_what_they_begin_with_up_to_a_space() -> None:
    found = pair({"chosen": f"{QUESTION}\n\nIt is four.", "rejected": f"{QUESTION}\n\nIt if five."})
    assert found.problem.prompt == f"{QUESTION}\n\nIt"
    assert (found.chosen, found.rejected) == (" is four.", " if five.")
    assert "do not begin with the same words" in refusal({"chosen": "Yes.", "rejected": "Yet not."})


def test_the_last_message_is_the_completion_even_where_both_are_equal() -> None:
    row = {"chosen": [user("Hi"), assistant("Hello")], "rejected": [user("Hi"), assistant("Hello")]}
    assert pair(row).chosen == pair(row).rejected == "Hello"


def test_margin_and_tags_are_kept() -> None:
    row = {"prompt": QUESTION, "chosen": "4", "rejected": "5"}
    assert pair({**row, "margin": 2}).margin == 2.0
    assert pair({**row, "tags": "math"}).tags == ("math",)
    assert pair({**row, "tags": ["math", "easy"]}).tags == ("math", "easy")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [("a", "b"), ("a", "c"), ("b", "c")]),
        ({"scores": [1, 3, 2]}, [("b", "a"), ("c", "a"), ("b", "c")]),
        ({"ranks": [2, 1, 2]}, [("b", "a"), ("b", "c")]),
        ({"scores": [1, 1, 1]}, []),
    ],
)
def test_ranked_completions_give_all_pairs_with_a_gap(columns: Row, expected: list[tuple[str, str]]) -> None:
    found = examples({"prompt": QUESTION, "completions": ["a", "b", "c"], **columns})
    assert [(one.chosen, one.rejected) for one in found if isinstance(one, Pair)] == expected
    assert len({one.problem.id for one in found}) <= 1


@pytest.mark.parametrize(("label", "expected"), [(True, 1.0), (False, 0.0), (0, 0.0), (1, 1.0), (0.25, 0.25)])
def test_labels_are_truth_values_or_shares(label: object, expected: float) -> None:
    (found,) = examples({"prompt": [user(QUESTION)], "completion": [assistant("4")], "label": label}, "outcome")
    assert isinstance(found, LabeledCompletion)
    assert (found.completion, found.label) == ("4", expected)


# Rows that cannot be used.

GOOD = {"prompt": QUESTION, "chosen": "4", "rejected": "5"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": QUESTION, "chosen": "4"}, "no column 'rejected'"),
        ({"prompt": QUESTION, "chosen": "4", "rejectd": "5"}, "Did you mean 'rejectd'?"),
        ({**GOOD, "rejected": None}, "no column 'rejected', or it is null"),
        ({**GOOD, "prompt": "  "}, "column 'prompt' is empty"),
        ({**GOOD, "prompt": 5}, "column 'prompt' is 5, neither a text nor a list of messages"),
        ({**GOOD, "chosen": 4.5}, "column 'chosen' is 4.5"),
        ({**GOOD, "margin": float("nan")}, "column 'margin' holds nan, which is not a finite number"),
        ({**GOOD, "margin": "2"}, "column 'margin' holds '2'"),
        ({**GOOD, "tags": 3}, "column 'tags' is 3"),
        ({**GOOD, "tools": [{"type": "function"}]}, "column 'tools' is set"),
        ({**GOOD, "chat_template_kwargs": {"thinking": True}}, "column 'chat_template_kwargs' is set"),
        ({**GOOD, "prompt": [user("Hi"), assistant("Hello")]}, "ends with a message of the assistant"),
        ({**GOOD, "chosen": [assistant("4"), user("Thanks")]}, "is not one message of the assistant"),
        ({**GOOD, "chosen": [user("4")]}, "is not one message of the assistant"),
        ({**GOOD, "chosen": [{"role": "assistant"}]}, "content is None, not a text"),
        ({**GOOD, "chosen": [{"content": "4"}]}, "in place of a message with role and content"),
        ({**GOOD, "chosen": [{**assistant("4"), "tool_calls": [1]}]}, "a message with 'tool_calls'"),
        ({**GOOD, "chosen": [assistant([{"type": "image"}])]}, "not a text"),
        ({"chosen": [assistant("4")], "rejected": [assistant("5")]}, "without its last message, is empty"),
        (
            {"chosen": [user("a"), assistant("4")], "rejected": [user("b"), assistant("5")]},
            "without its last message, is empty",
        ),
        (
            {"chosen": [user("a"), assistant("x"), user("b"), assistant("y")], "rejected": [user("a"), assistant("z")]},
            "is not one message of the assistant",
        ),
        ({"completions": ["a", "b"]}, "no column 'prompt'"),
        ({"prompt": QUESTION, "completions": ["a"]}, "not a list of two texts or more"),
        ({"prompt": QUESTION, "completions": "ab"}, "not a list of two texts or more"),
        ({"prompt": QUESTION, "completions": ["a", "b"], "scores": [1]}, "not a list of 2 numbers"),
        ({"prompt": QUESTION, "completions": ["a", "b"], "scores": [1, True]}, "holds True"),
        ({"prompt": QUESTION, "completions": ["a", "b"], "scores": [1, 2], "ranks": [2, 1]}, "both 'scores' and"),
        ({"prompt": QUESTION, "completions": ["a", "b"], "margin": 1}, "column 'margin' belongs to a pair"),
        ({"prompt": QUESTION, "completion": "4", "label": True}, "Use objective.kind: outcome."),
    ],
)
def test_a_row_that_is_no_pair_is_refused_with_its_place_and_its_mistake(row: Row, said: str) -> None:
    assert said in refusal(row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD, "Use objective.kind: bradley_terry."),
        ({"prompt": QUESTION, "completion": "4"}, "no column 'label'"),
        ({"prompt": QUESTION, "completion": "4", "label": 2}, "column 'label' is 2"),
        ({"prompt": QUESTION, "completion": "4", "label": float("nan")}, "not a finite number"),
        ({"prompt": QUESTION, "completion": "4", "label": "true"}, "column 'label' holds 'true'"),
        ({"completion": "4", "label": True}, "no column 'prompt'"),
    ],
)
def test_a_row_that_is_no_labeled_completion_is_refused(row: Row, said: str) -> None:
    assert said in refusal(row, "outcome")


# Forms.


def test_json_lines_a_json_array_and_parquet_hold_the_same(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{**row, "margin": 1.0, "tags": ["x"]} for row in pairs_of(20)]
    lines = loaded(write_lines(tmp_path / "a.jsonl", rows))
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    write_lines(tmp_path / "c.json", rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert len(lines.train) + len(lines.heldout) == 20
    for name in ("b.json", "c.json", "d.parquet"):
        other = loaded(tmp_path / name)
        assert (other.train, other.heldout, other.digest) == (lines.train, lines.heldout, lines.digest)


def test_conversations_survive_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"chosen": [user(f"Say {n}"), assistant("a")], "rejected": [user(f"Say {n}"), assistant("b")]}
        for n in range(20)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert loaded(tmp_path / "a.parquet").digest == loaded(write_lines(tmp_path / "a.jsonl", rows)).digest


def test_folders_that_datasets_saved_are_read(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = pairs_of(20)
    Dataset.from_list(rows).save_to_disk(tmp_path / "one")
    DatasetDict({"train": Dataset.from_list(rows), "test": Dataset.from_list(rows[:9])}).save_to_disk(tmp_path / "two")
    expected = loaded(write_lines(tmp_path / "a.jsonl", rows)).digest
    assert loaded(tmp_path / "one").digest == loaded(tmp_path / "two").digest == expected
    assert loaded(tmp_path / "two", split="test").digest != expected
    with pytest.raises(DataError, match=r"has no split 'tests'. Did you mean 'test'\?"):
        loaded(tmp_path / "two", split="tests")
    with pytest.raises(ConfigError, match=r"data.split is set"):
        loaded(tmp_path / "one", split="test")


def test_a_folder_of_files_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "train.jsonl", pairs_of(20))
    assert loaded(tmp_path / "data").summary["train"] + loaded(tmp_path / "data").summary["heldout"] == 20


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    rows = [{"q": row["prompt"], "better": row["chosen"], "worse": row["rejected"]} for row in pairs_of(20)]
    path = write_lines(tmp_path / "a.jsonl", rows)
    names = {"prompt": "q", "chosen": "better", "rejected": "worse"}
    expected = loaded(write_lines(tmp_path / "b.jsonl", pairs_of(20))).digest
    assert loaded(path, columns=names).digest == expected
    with pytest.raises(DataError, match=r"a.jsonl:1: no column 'beter' \(data.columns.chosen\). Did you mean 'better'"):
        loaded(path, columns={**names, "chosen": "beter"})
    with pytest.raises(ConfigError, match=r"data.columns: no column 'chose' in the schema. Did you mean 'chosen'\?"):
        loaded(path, columns={"chose": "better"})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"prompt": 1}\n\n[1]', "a.jsonl:3: is a JSON list, not an object"),
        ("a.jsonl", b'\n{"prompt": ', "a.jsonl:2: is not JSON: Expecting value at column"),
        ("a.json", b'[{"prompt":\n1},]', "a.json: is not JSON: .* at line 2, column"),
        ("a.json", b'[{"a": 1}, 3]', "a.json, row 2: is a JSON int"),
        ("a.jsonl", b"\xff\xfe", "is not UTF-8 text"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"prompt,chosen", r"is of no known form. Give a file whose name ends in .jsonl, .json, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(rows_of(tmp_path / name))


def rows_of(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a file. Any: as they are."""
    return read_rows(PreferenceDataSettings(path=str(path)))[1]


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        loaded(tmp_path / "a.jsonl")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match=r"'nobody/nothing' is no file or folder here"):
        load_data(PreferenceDataSettings(path="nobody/nothing"), "bradley_terry")
    with pytest.raises(ConfigError, match=r"data.split is set, but data.path, .*, is a file"):
        loaded(write_lines(tmp_path / "a.jsonl", pairs_of(9)), split="test")


# The split.


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    prompts=st.lists(st.sampled_from([f"Question {n}" for n in range(30)]), min_size=20, max_size=60),
    order=st.randoms(use_true_random=False),
    share=st.floats(0.2, 0.8),
)
def test_no_prompt_is_on_both_sides_and_order_moves_none(prompts: list[str], order: Any, share: float) -> None:
    """Any: hypothesis has a class of its own for random numbers."""
    rows = [
        {"prompt": prompt.upper() if number % 2 else f" {prompt}\n", "chosen": f"{number}", "rejected": "no"}
        for number, prompt in enumerate(prompts)
    ]
    given_ = [example for row in rows for example in examples(row)]
    shuffled = order.sample(given_, len(given_))
    try:
        data, other = (split_by_prompt(some, heldout_share=share, source="a") for some in (given_, shuffled))
    except DataError:
        return  # all prompts fell on one side
    sides = [{" ".join(one.problem.prompt.split()).casefold() for one in side} for side in (data.train, data.heldout)]
    assert not sides[0] & sides[1]
    assert len(data.train) + len(data.heldout) == len(rows)
    assert (data.train, data.heldout, data.digest) == (other.train, other.heldout, other.digest)
    if fewer := data.train[1:]:
        assert split_by_prompt([*fewer, *data.heldout], heldout_share=share, source="a").heldout == data.heldout


def test_other_data_or_another_label_is_another_digest() -> None:
    made = [example for row in pairs_of(20) for example in examples(row)]
    digests = {
        split_by_prompt(some, heldout_share=0.3, source="a").digest
        for some in (made, made[1:], [*made[1:], examples({**pairs_of(1)[0], "margin": 1})[0]])
    }
    assert len(digests) == 3


def test_a_prompt_found_in_several_lengths_stays_on_one_side() -> None:
    def row(question: str, end: str) -> Row:
        return {"chosen": f"Human: {question} Assistant:{end} A", "rejected": f"Human: {question} Assistant:{end} B"}

    made = [
        example
        for number in range(60)
        for end in ("", " So", " So it is", " Well")
        for example in examples(row(f"What is the number {number}?", end))
    ]
    data = split_by_prompt(made, heldout_share=0.3, source="a")
    sides = [{one.problem.prompt.split("?")[0] for one in side} for side in (data.train, data.heldout)]
    assert not sides[0] & sides[1]
    assert any("may stand on both sides" in warning for warning in data.warnings)


def test_odd_rows_are_counted() -> None:
    rows = [
        *pairs_of(40),
        {"prompt": "Question 0?", "chosen": "no", "rejected": "yes 0"},
        {"prompt": "question  1?", "chosen": "yes 1", "rejected": "no"},
        *pairs_of(3)[2:],
        {"prompt": "Question 3?", "chosen": "same", "rejected": "same"},
        {"prompt": "Question 4?", "chosen": "something", "rejected": " "},
    ]
    data = split_by_prompt([one for row in rows for one in examples(row)], heldout_share=0.3, source="a")
    assert len(data.train) + len(data.heldout) == len(rows) - 1
    counts = ("equal_texts", "contradicting", "repeated", "empty_completions")
    assert [data.summary[name] for name in counts] == [1, 1, 1, 1]
    assert [warning.split()[0] for warning in data.warnings] == ["1", "1", "1"]


def test_contradicting_labels_are_counted() -> None:
    rows = [{"prompt": f"Question {n}?", "completion": "4", "label": 1} for n in range(20)]
    rows += [{"prompt": "Question 3?", "completion": "4", "label": 0}]
    made = [one for row in rows for one in examples(row, "outcome")]
    assert split_by_prompt(made, heldout_share=0.3, source="a").summary["contradicting"] == 1


def test_data_that_leaves_a_side_empty_is_refused() -> None:
    problem = Problem(id=digest("one"), task="preference", prompt="One?", answer="")
    with pytest.raises(
        DataError, match=r"a: has 1 usable prompts, and none of them is left to (learn from|measure on)"
    ):
        split_by_prompt([Pair(problem=problem, chosen="a", rejected="b")], heldout_share=0.3, source="a")
    with pytest.raises(DataError, match=r"has 0 usable prompts \(1 pairs of equal texts were left out\)"):
        split_by_prompt([Pair(problem=problem, chosen="a", rejected="a")], heldout_share=0.3, source="a")


def test_reading_preferences_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = write_lines(tmp_path / "a.jsonl", pairs_of(20))
    program = (
        "import sys; from reasonrl.config.reward_model import PreferenceDataSettings as S;"
        f"from reasonrl.preference.data import load_data; load_data(S(path={str(path)!r}), 'bradley_terry');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
