"""Rows in the schemas of TRL, verl (and PRIME), open-instruct and verifiers become problems, or are refused by name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from reasonrl import DataError, Problem
from reasonrl_sandbox import CallTests, StdioCase, StdioTests
from reasonrl_tasks import reasonrl_tasks
from reasonrl_tasks.eurus import AROUND

Rows = Sequence[Mapping[str, Any]]

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "1 + 1?"}
SAID = {"role": "assistant", "content": "2"}


def write(path: Path, rows: Rows) -> str:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(task: str, split: str = "train", **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split=split, seed=0, **params)


def verl(source: str = "openai/gsm8k", truth: object = "2", **others: object) -> dict[str, object]:
    return {
        "data_source": source,
        "prompt": [SYSTEM, ASKED],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": 0, "split": "train"},
        **others,
    }


def instruct(truth: object = "2", dataset: object = "gsm8k", **others: object) -> dict[str, object]:
    return {"messages": [ASKED], "ground_truth": truth, "dataset": dataset, **others}


GOOD: Sequence[tuple[str, Mapping[str, Any], str, tuple[dict[str, str], ...] | None]] = [
    ("trl", {"prompt": "1 + 1?", "answer": 2}, "2", None),
    ("trl", {"prompt": "1 + 1?", "completion": " 2"}, "2", None),
    ("trl", {"prompt": [SYSTEM, ASKED], "ground_truth": "2"}, "2", (SYSTEM, ASKED)),
    ("trl", {"prompt": [ASKED], "completion": [SAID]}, "2", (ASKED,)),
    ("trl", {"prompt": [ASKED], "solution": r"So $\boxed{2}$.", "images": None}, "2", (ASKED,)),
    ("trl", {"prompt": [ASKED], "solution": "long", "answer": "2"}, "2", (ASKED,)),
    ("trl", {"prompt": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}, "2", None),
    ("verl", verl(), "2", (SYSTEM, ASKED)),
    ("verl", verl(truth=2), "2", (SYSTEM, ASKED)),
    ("verl", {**verl(), "prompt": "1 + 1?"}, "2", None),
    ("open_instruct", instruct(), "2", (ASKED,)),
    ("open_instruct", instruct(["2"], ["gsm8k"]), "2", (ASKED,)),
    ("open_instruct", {**instruct(), "messages": [SYSTEM, ASKED, SAID]}, "2", (SYSTEM, ASKED)),
    ("verifiers", {"question": "1 + 1?", "answer": "2", "task": "sums", "info": {}}, "2", None),
    ("verifiers", {"prompt": [SYSTEM, ASKED], "answer": "2", "info": '{"level": 1}'}, "2", (SYSTEM, ASKED)),
    ("verifiers", {"question": "1 + 1?", "info": {"tests": ["a"]}}, "", None),
]


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize(("task", "row", "answer", "messages"), GOOD)
def test_a_row_becomes_a_problem(
    tmp_path: Path, task: str, row: dict[str, Any], answer: str, messages: object, form: str
) -> None:
    if form.endswith("parquet"):
        row = {name: value for name, value in row.items() if value != {}}  # Parquet has no empty objects
    (problem,) = load(task, data=write(tmp_path / form, [row]))
    assert (problem.task, problem.prompt, problem.answer, problem.messages) == (task, "1 + 1?", answer, messages)


def test_columns_that_choose_a_reward_go_to_meta(tmp_path: Path) -> None:
    (problem,) = load("verl", data=write(tmp_path / "a.parquet", [verl()]))
    assert problem.meta == {name: value for name, value in verl().items() if name != "prompt"}
    (problem,) = load("open_instruct", data=write(tmp_path / "a.jsonl", [instruct(["2"], ["gsm8k"])]))
    assert problem.meta["dataset"] == "gsm8k"
    row = {"question": "1 + 1?", "answer": "2", "task": "sums", "info": '{"level": 1}'}
    (problem,) = load("verifiers", data=write(tmp_path / "a.jsonl", [row]))
    assert problem.meta == {"task": "sums", "info": {"level": 1}}
    (problem,) = load("trl", data=write(tmp_path / "a.jsonl", [{"prompt": "?", "answer": "2", "solution": "so"}]))
    assert problem.meta == {"solution": "so"}


def test_only_some_rows_of_a_mixed_file_are_taken(tmp_path: Path) -> None:
    sums = verl(), verl("math_dapo", "3"), verl("openai/gsm8k", "4")
    path = write(tmp_path / "a.parquet", sums)
    assert [problem.answer for problem in load("verl", data=path)] == ["2", "3", "4"]
    assert [p.answer for p in load("verl", data=path, only={"data_source": ["openai/gsm8k"]})] == ["2", "4"]
    with pytest.raises(
        DataError, match=r"no row has 'openai/gsm' in column 'data_source'.*Known: math_dapo, openai/gs"
    ):
        load("verl", data=path, only={"data_source": ["openai/gsm"]})
    with pytest.raises(DataError, match=r"no column 'data_sorce'\. Did you mean 'data_source'"):
        load("verl", data=path, only={"data_sorce": ["openai/gsm8k"]})
    listed = write(tmp_path / "b.jsonl", [instruct(["2"], ["gsm8k"]), instruct("3", "math")])
    assert [p.answer for p in load("open_instruct", data=listed, only={"dataset": ["gsm8k"]})] == ["2"]


def test_a_share_of_the_problems_is_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": str(number), "answer": number % 3} for number in range(99)])
    sides = [
        {problem.id for problem in load("trl", split, data=path, heldout_share=0.3)} for split in ("train", "heldout")
    ]
    assert sides[0].isdisjoint(sides[1])
    assert min(map(len, sides)) > 10
    assert len(sides[0] | sides[1]) == 99


def test_a_problem_has_one_id_in_every_schema(tmp_path: Path) -> None:
    rows: Mapping[str, Mapping[str, Any]] = {
        "trl": {"prompt": "1 + 1?", "answer": "2"},
        "verl": {**verl(), "prompt": "1 + 1?"},
        "open_instruct": instruct(),
        "verifiers": {"question": " 1 + 1? ", "answer": 2},
        "jsonl": {"question": "1 + 1?", "answer": 2},
    }
    paths = {task: write(tmp_path / f"{task}.jsonl", [row]) for task, row in rows.items()}
    ids = {load(task, **{"path" if task == "jsonl" else "data": path})[0].id for task, path in paths.items()}
    assert len(ids) == 1


MIXED = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "image": "x"}]}
MISTAKES: Sequence[tuple[str, Mapping[str, Any], str]] = [
    ("trl", {"answer": "2"}, ":1: no column 'prompt'"),
    ("trl", {"prompt": "", "answer": "2"}, ":1: column 'prompt' is empty"),
    ("trl", {"prompt": "a"}, ":1: column 'answer' or 'ground_truth' or 'solution' or 'completion' is not there"),
    ("trl", {"prompt": "a", "answer": ""}, "is empty"),
    ("trl", {"prompt": "a", "answer": ["1", "2"]}, "column 'answer' holds 2 answers"),
    ("trl", {"prompt": [ASKED, SAID], "answer": "2"}, "ends with a message of role 'assistant'"),
    ("trl", {"prompt": [ASKED], "completion": [ASKED]}, "must be one message of role 'assistant'"),
    ("trl", {"prompt": [{"role": "user", "text": "a"}], "answer": "2"}, "is not a list of messages"),
    ("trl", {"prompt": [{"role": "tool", "content": "a"}, ASKED], "answer": "2"}, "message of role 'tool'"),
    ("trl", {"prompt": [{**SAID, "tool_calls": [{"id": 1}]}, ASKED], "answer": "2"}, "with tool_calls"),
    ("trl", {"prompt": [MIXED], "answer": "2"}, "has a message that holds image, and problems are text alone"),
    ("trl", {"prompt": "a", "answer": "2", "images": ["x"]}, "column 'images' is not empty"),
    ("trl", {"prompt": "a", "answer": "2", "tools": [{"name": "x"}]}, "column 'tools' is not empty"),
    ("verl", {**verl(), "reward_model": {"style": "model"}}, "is no object with 'style' and 'ground_truth'"),
    ("verl", verl(truth={"target": 1}), "reward_model.ground_truth' holds a dict"),
    ("verl", verl(truth=""), "reward_model.ground_truth' is empty"),
    ("verl", verl(extra_info={"need_tools_kwargs": True}), "extra_info asks for tools"),
    ("verl", verl("taco", "not json"), "reward_model.ground_truth is not JSON"),
    ("verl", verl("taco", '{"inputs": ["1"], "outputs": []}'), "1 inputs and 0 outputs"),
    ("open_instruct", instruct(["2", "3"], ["gsm8k", "math"]), "column 'dataset' holds 2 answers"),
    ("open_instruct", instruct(["2", "3"]), "column 'ground_truth' holds 2 answers"),
    ("open_instruct", instruct(["x = 1"], "code"), "no assert in it calls a function"),
    ("verifiers", {"question": "a", "answer": "", "info": None}, "columns 'answer' and 'info' are empty"),
    ("verifiers", {"question": "a", "answer": "1", "info": "{"}, "column 'info' is not JSON"),
    ("verifiers", {"question": "a", "answer": "1", "info": "[1]"}, "column 'info' must be an object"),
]


@pytest.mark.parametrize(("task", "row", "message"), MISTAKES)
def test_a_row_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, task: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(task, data=write(tmp_path / "mine.jsonl", [row]))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"task {task!r}: ")
    assert "\n" not in str(caught.value)


def test_the_data_is_named_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [verl()])
    for places in ({}, {"data": path, "hub_name": "x/y"}):
        with pytest.raises(DataError, match="give either data, a file or folder, or hub_name"):
            load("verl", **places)
    with pytest.raises(DataError, match=r"config is 'main', but .*a\.jsonl is one file"):
        load("verl", data=path, config="main")
    with pytest.raises(DataError, match=r"hub_split is 'train\[:1\]', but .*a\.jsonl is one file"):
        load("verl", data=path, hub_split="train[:1]")
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "train.jsonl", [verl()])
    write(tmp_path / "b" / "test.jsonl", [verl(truth="3")])
    assert [p.answer for p in load("verl", data=str(tmp_path / "b"), hub_split="test")] == ["3"]


# Programs


STDIO = json.dumps({"inputs": ["1 1\n", "2 2\n"], "outputs": ["2\n", "4\n"]})
CALLS = json.dumps({"fn_name": "add", "inputs": [[1, 1]], "outputs": [2]})


def test_code_rows_of_verl_have_tests(tmp_path: Path) -> None:
    rows = [verl("taco", STDIO), {**verl("my_source", CALLS), "ability": "code", "prompt": [ASKED]}]
    whole, called = load("verl", data=write(tmp_path / "a.parquet", rows))
    assert whole.meta["tests"] == StdioTests((StdioCase("1 1\n", "2\n"), StdioCase("2 2\n", "4\n")))
    assert isinstance(called.meta["tests"], CallTests)
    assert called.meta["tests"].entry == "add"
    assert "stub" in called.meta
    assert (whole.answer, whole.meta["data_source"]) == ("", "taco")


def test_code_rows_of_open_instruct_have_tests(tmp_path: Path) -> None:
    rows = [
        instruct(["assert add(1, 1) == 2"], "code"),
        {
            **instruct(json.dumps([{"input": "1 1", "output": "2"}]), ["code_stdio"]),
            "messages": [{**ASKED, "content": "b"}],
        },
    ]
    asserts, stdio = load("open_instruct", data=write(tmp_path / "a.jsonl", rows))
    assert asserts.meta["tests"].entry == "add"
    assert stdio.meta["tests"] == StdioTests((StdioCase("1 1", "2"),))


# Eurus-2


ACTIONS = {"role": "system", "content": "You have access to the following actions: [ASSESS]"}


def eurus(source: str, question: str, truth: str) -> dict[str, object]:
    is_code = source == "codecontests"
    return {
        "data_source": source,
        "prompt": [ACTIONS, {"role": "user", "content": question + AROUND[is_code][1]}],
        "ability": "code" if is_code else "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": 0, "split": "dummy"},
    }


@pytest.fixture
def prime(tmp_path: Path) -> str:
    """A folder with both splits of Eurus-2."""
    math, code = eurus("numina_olympiads", "1 + 1?", r"\frac{4}{2}"), eurus("codecontests", "Add.", STDIO)
    write(tmp_path / "train-00000-of-00001.parquet", [math, code])
    write(tmp_path / "validation-00000-of-00001.parquet", [eurus("numina_aops_forum", "2 + 2?", "4")])
    return str(tmp_path)


def test_eurus_has_mathematics_and_programs(prime: str) -> None:
    math, code = load("eurus2", data=prime)
    assert (math.prompt, math.answer, math.messages) == ("1 + 1?", r"\frac{4}{2}", None)
    assert (code.prompt, code.answer, code.messages) == ("Add.", "", None)
    assert isinstance(code.meta["tests"], StdioTests)
    assert [p.prompt for p in load("eurus2", data=prime, part="math")] == ["1 + 1?"]
    assert [p.prompt for p in load("eurus2", data=prime, part="code")] == ["Add."]
    assert [p.answer for p in load("eurus2", "heldout", data=prime)] == ["4"]


def test_eurus_as_published_keeps_its_system_message_and_its_ids(prime: str) -> None:
    plain, published = load("eurus2", data=prime), load("eurus2", data=prime, wording="published")
    assert [problem.messages[0] for problem in published if problem.messages] == [ACTIONS, ACTIONS]
    assert published[0].prompt == "1 + 1?" + AROUND[0][1]
    assert [problem.id for problem in plain] == [problem.id for problem in published]


def test_eurus_passes_over_what_it_cannot_use_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [eurus("numina", "a", ""), eurus("codecontests", "b", "{}"), eurus("numina", "c", "1")]
    path = write(tmp_path / "train.parquet", rows)
    assert [problem.prompt for problem in load("eurus2", data=path, unusable="skip")] == ["c"]
    with pytest.raises(DataError, match=r"task 'eurus2': .*row 1: .*unusable: skip passes over such rows"):
        load("eurus2", data=path)
