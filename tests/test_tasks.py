"""Tasks return distinct, solvable problems, always the same, and keep training and held-out apart."""

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet as pyarrow_parquet

from reasonrl import DataError, Problem, digest, split_of
from reasonrl_grading.answers import evaluate_expression, solves_countdown
from reasonrl_tasks import reasonrl_tasks
from reasonrl_tasks.arithmetic import arithmetic, expression, running_totals
from reasonrl_tasks.countdown import countdown, steps_to
from reasonrl_tasks.drawing import draw_distinct
from reasonrl_tasks.files import jsonl, parquet
from reasonrl_tasks.hub import hub

GENERATED = [arithmetic, countdown]


def ids(problems: Sequence[Problem]) -> set[str]:
    return {problem.id for problem in problems}


def readme_example(folder: str) -> dict[str, Any]:
    """Run the Python example of a README and return what it defines. Any: functions of several kinds."""
    text = (Path(__file__).parents[1] / folder / "README.md").read_text(encoding="utf-8")
    defined: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], defined)
    return defined


def test_the_example_of_the_readme_is_a_task() -> None:
    squares = readme_example("tasks")["squares"]
    train, heldout = (squares(split=split, seed=0) for split in ("train", "heldout"))
    assert ids(train).isdisjoint(ids(heldout))
    assert len(train) + len(heldout) == 501


def test_the_offered_tasks_are_the_documented_ones() -> None:
    readme = (Path(__file__).parents[1] / "tasks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`.*?) \|", readme, re.MULTILINE)
    assert sorted(reasonrl_tasks()) == sorted(name for row in rows for name in re.findall(r"`(\w+)`", row))


# Generated problems


@pytest.mark.parametrize("task", GENERATED)
def test_training_and_held_out_problems_are_disjoint_whatever_the_seeds(task: type) -> None:
    train = [ids(task(split="train", seed=seed, num_problems=300)) for seed in range(4)]
    heldout = [ids(task(split="heldout", seed=seed, num_problems=100)) for seed in range(4)]
    assert all(some.isdisjoint(others) for some, others in product(train, heldout))


@pytest.mark.parametrize("task", GENERATED)
def test_a_seed_always_gives_the_same_problems(task: type) -> None:
    assert task(split="train", seed=3, num_problems=50) == task(split="train", seed=3, num_problems=50)


@pytest.mark.parametrize("task", GENERATED)
def test_another_seed_gives_other_problems(task: type) -> None:
    first, second = (ids(task(split="train", seed=seed, num_problems=50)) for seed in (0, 1))
    assert len(first & second) < 10


@pytest.mark.parametrize("task", GENERATED)
def test_more_problems_begin_with_the_same_ones(task: type) -> None:
    few, many = (task(split="train", seed=0, num_problems=number) for number in (20, 40))
    assert list(many[:20]) == list(few)


@pytest.mark.parametrize("task", GENERATED)
def test_as_many_distinct_problems_come_as_were_asked_for(task: type) -> None:
    problems = task(split="train", seed=0, num_problems=200)
    assert len(problems) == len(ids(problems)) == 200


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        (arithmetic, {"operations": ""}, "operations is ''"),
        (arithmetic, {"operations": "+/"}, "use any of"),
        (arithmetic, {"min_terms": 1}, "2 <= min_terms"),
        (arithmetic, {"min_terms": 4, "max_terms": 3}, "got 4 and 3"),
        (arithmetic, {"min_value": -1}, "got -1 and 20"),
        (arithmetic, {"min_value": 9, "max_value": 8}, "got 9 and 8"),
        (arithmetic, {"max_value": 2, "max_terms": 2}, "only about"),
        (arithmetic, {"min_value": 5, "max_value": 5, "min_terms": 3, "operations": "-"}, "only about 0"),
        (countdown, {"operations": "^"}, "use any of"),
        (countdown, {"num_numbers": 1}, "use 2 or more"),
        (countdown, {"min_value": 0}, "got 0 and 20"),
        (countdown, {"max_value": 2, "num_numbers": 2}, "only about"),
        (countdown, {"max_target": 0}, "only about 0"),
    ],
)
def test_settings_that_allow_too_little_are_refused(task: type, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        task(split="train", seed=0, num_problems=100, **settings)


def test_the_whole_space_is_found_when_it_is_asked_for() -> None:
    def draw(random: Random) -> Problem:
        number = random.randrange(1000)
        return Problem(id=digest(number), task="test", prompt=str(number), answer="")

    size = sum(split_of(digest(number)) == "train" for number in range(1000))
    assert len(draw_distinct(draw, task="test", split="train", seed=0, num_problems=size)) == size


def test_commuted_sums_and_products_are_one_problem() -> None:
    problems = arithmetic(split="train", seed=0, num_problems=1500, max_terms=3, max_value=9, operations="+-*")
    assert any("*" in problem.prompt for problem in problems)
    seen = {problem.prompt for problem in problems}
    for problem in problems:
        asked = problem.prompt.removeprefix("What is ").removesuffix("?")
        for sign in "+*":
            if re.fullmatch(rf"\d+ \{sign} \d+", asked):
                commuted = f" {sign} ".join(reversed(asked.split(f" {sign} ")))
                assert commuted == asked or f"What is {commuted}?" not in seen


@pytest.mark.parametrize("settings", [{}, {"operations": "+-*", "max_terms": 6}, {"allow_negative": True}])
def test_the_answer_of_a_sum_is_its_value(settings: dict[str, object]) -> None:
    for problem in arithmetic(split="train", seed=0, num_problems=200, **settings):  # type: ignore[arg-type]  # parametrized
        result = evaluate_expression(problem.prompt.removeprefix("What is ").removesuffix("?"))
        assert result is not None
        assert str(result[0]) == problem.answer


def test_no_running_total_is_negative_unless_allowed() -> None:
    settings = {"split": "train", "seed": 0, "num_problems": 300, "max_terms": 5}
    kept, free = arithmetic(**settings), arithmetic(**settings, allow_negative=True)  # type: ignore[arg-type]  # one dict of several types
    assert min(int(problem.answer) for problem in kept) >= 0 > min(int(problem.answer) for problem in free)


def test_terms_are_written_with_products_unbracketed_and_no_leading_sign() -> None:
    terms: list[tuple[object, list[int]]] = [(1, [7]), (1, [3, 5]), (-1, [4])]
    assert expression(terms) == "7 + 3 * 5 - 4"  # type: ignore[arg-type]  # signs are literals
    assert running_totals(terms) == [7, 22, 18]  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("num_numbers", [2, 3, 4])
def test_every_countdown_problem_comes_with_a_solution(num_numbers: int) -> None:
    for problem in countdown(split="train", seed=0, num_problems=100, num_numbers=num_numbers):
        numbers, target, solution = (problem.meta[name] for name in ("numbers", "target", "solution"))
        assert len(numbers) == num_numbers
        assert problem.answer == str(target)
        assert 1 <= target <= 100
        assert solves_countdown(solution, numbers, target)


def _reachable(numbers: Sequence[int]) -> set[float]:
    """Every value of every order, operation and bracketing of three numbers, by floating point."""
    values: set[float] = set()
    for (a, b, c), (first, second) in product(permutations(numbers), product("+-*/", repeat=2)):
        for text in (f"({a}{first}{b}){second}{c}", f"{a}{first}({b}{second}{c})"):
            try:
                values.add(round(eval(text), 9))
            except ZeroDivisionError:
                continue
    return values


def test_brute_force_reaches_every_countdown_target() -> None:
    for problem in countdown(split="train", seed=1, num_problems=60):
        assert float(problem.answer) in _reachable(problem.meta["numbers"])


def test_every_list_of_steps_reaches_the_target() -> None:
    found = list(steps_to([3, 5, 2], 16))
    assert found
    for steps in found:
        assert steps[-1][3] == 16
        for left, sign, right, result in steps:
            assert evaluate_expression(f"{left} {sign} {right}") == (Fraction(result), [left, right])


def test_no_steps_lead_to_what_brute_force_does_not_reach() -> None:
    reachable = _reachable([3, 5, 2])
    for target in range(1, 60):
        assert not list(steps_to([3, 5, 2], target)) or target in reachable


def test_the_order_of_the_numbers_does_not_make_another_countdown_problem() -> None:
    problems = countdown(split="train", seed=0, num_problems=800, max_value=8)
    asked = [(tuple(sorted(problem.meta["numbers"])), problem.answer) for problem in problems]
    assert len(set(asked)) == len(asked)


# Files


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: str, split: str = "train", **settings: object) -> Sequence[Problem]:
    return jsonl(split=split, seed=0, path=path, **settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


def test_each_line_becomes_a_problem_and_other_columns_stay(file: Path) -> None:
    (problem,) = read(write(file, {"question": " What is 1 + 1? ", "answer": 2, "level": 3, "tags": ["a"]}))
    assert (problem.prompt, problem.answer, problem.task) == ("What is 1 + 1?", "2", "jsonl")
    assert problem.meta == {"level": 3, "tags": ["a"]}


def test_columns_may_have_other_names(file: Path) -> None:
    (problem,) = read(write(file, {"q": "1 + 1?", "gold": 2.5}), question="q", answer="gold")
    assert (problem.prompt, problem.answer, problem.meta) == ("1 + 1?", "2.5", {})


def test_a_pattern_cuts_the_answer_out_and_the_column_stays(file: Path) -> None:
    path = write(file, {"question": "?", "answer": "1 + 1 = 2\n#### 2"})
    (problem,) = read(path, answer_pattern=r"####\s*(.+)")
    assert (problem.answer, problem.meta) == ("2", {"answer": "1 + 1 = 2\n#### 2"})


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_passed_over(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"question": "a", "answer": "b"}\r\n\r\n{"question": "c", "answer": "d"}')
    assert [problem.prompt for problem in read(str(file))] == ["a", "c"]


def test_a_line_separator_inside_a_text_does_not_end_the_line(file: Path) -> None:
    file.write_text('{"question": "a\u2028b", "answer": "c"}\n', encoding="utf-8")
    assert len(read(str(file))) == 1


def test_rewordings_in_case_and_white_space_are_one_problem_and_the_first_is_kept(file: Path) -> None:
    rows = [
        {"question": "What is  X?", "answer": "Yes", "n": 1},
        {"question": "what is x? ", "answer": "yes", "n": 2},
    ]
    (problem,) = read(write(file, *rows))
    assert problem.meta == {"n": 1}


def test_one_question_with_two_answers_stays_two_problems(file: Path) -> None:
    problems = read(write(file, {"question": "x", "answer": "1"}, {"question": "x", "answer": "2"}))
    assert [problem.answer for problem in problems] == ["1", "2"]
    assert len(ids(problems)) == 2


def test_an_id_does_not_depend_on_the_file_or_on_the_order(tmp_path: Path) -> None:
    rows = [{"question": str(number), "answer": number} for number in range(10)]
    first, second = write(tmp_path / "a.jsonl", *rows), write(tmp_path / "b.jsonl", *reversed(rows))
    assert ids(read(first)) == ids(read(second))


def test_a_held_out_share_splits_by_problem(file: Path) -> None:
    path = write(file, *({"question": str(number), "answer": number % 7} for number in range(400)))
    train, heldout = (ids(read(path, split, heldout_share=0.25)) for split in ("train", "heldout"))
    assert train.isdisjoint(heldout)
    assert len(train | heldout) == 400
    assert 70 <= len(heldout) <= 130


def test_one_question_with_many_answers_stands_on_one_side_of_the_split(file: Path) -> None:
    path = write(file, *({"question": f"q{number % 20}", "answer": number} for number in range(200)))
    train, heldout = (
        {problem.prompt for problem in read(path, split, heldout_share=0.5)} for split in ("train", "heldout")
    )
    assert train.isdisjoint(heldout)


def test_without_a_held_out_share_the_whole_file_serves_either_split(file: Path) -> None:
    path = write(file, *({"question": str(number), "answer": 1} for number in range(30)))
    assert read(path, "train") == read(path, "heldout")
    assert len(read(path)) == 30


def test_a_conversation_is_kept_and_its_last_user_message_is_the_question(file: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?", "name": None},
    ]
    (problem,) = read(write(file, {"chat": messages, "answer": "4", "question": "kept"}), messages="chat")
    assert problem.prompt == "And 2 + 2?"
    assert problem.messages is not None
    assert list(problem.messages) == [*messages[:3], {"role": "user", "content": "And 2 + 2?"}]
    assert problem.meta == {"question": "kept"}


def test_conversations_that_differ_before_the_last_question_are_two_problems(file: Path) -> None:
    def row(first: str) -> dict[str, object]:
        return {"chat": [{"role": "user", "content": text} for text in (first, "And?")], "answer": "4"}

    assert len(read(write(file, row("1?"), row("2?")), messages="chat")) == 2


GOOD: Mapping[str, object] = {"question": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "mine.jsonl: it has no usable rows"),
        (
            [GOOD, {"question": "x", "answr": "2"}],
            {},
            ":2: no column 'answer'. Did you mean 'answr'? Known: answr, question.",
        ),
        ([GOOD, {"question": "x", "answer": None}], {}, ":2: column 'answer' is empty"),
        ([GOOD, {"question": " ", "answer": "2"}], {}, ":2: column 'question' is empty"),
        ([GOOD, {"question": "x", "answer": ["2"]}], {}, ":2: column 'answer' holds a list"),
        ([GOOD, {"question": {"a": 1}, "answer": "2"}], {}, ":2: column 'question' holds a dict"),
        ([GOOD, [1]], {}, ":2: is a JSON list, not an object"),
        (
            [{"question": "x", "answer": "### 2"}],
            {"answer_pattern": "#### (.+)"},
            ":1: answer_pattern '#### (.+)' finds nothing in column 'answer', which ends in '### 2'",
        ),
        ([{"question": "x", "answer": "####  "}], {"answer_pattern": "####(.*)"}, "finds nothing"),
        ([GOOD], {"answer_pattern": "####.+"}, "has 0 groups"),
        ([GOOD], {"answer_pattern": "(a)(b)"}, "has 2 groups"),
        ([GOOD], {"answer_pattern": "(a"}, "'(a' is not a regular expression"),
        ([GOOD], {"heldout_share": 1}, "heldout_share is 1; use 0 or more and less than 1"),
        ([GOOD], {"heldout_share": -0.1}, "heldout_share is -0.1"),
        ([GOOD], {"heldout_share": 0.999999}, "none of its 1 usable rows is in split 'train'"),
        ([GOOD], {"messages": "question"}, ":1: column 'question' is not a list of messages"),
        ([{"m": [], "answer": "2"}], {"messages": "m"}, "is not a list of messages"),
        ([{"m": [{"role": "user"}], "answer": "2"}], {"messages": "m"}, "is not a list of messages"),
        (
            [{"m": [{"role": "system", "content": "x"}], "answer": "2"}],
            {"messages": "m"},
            "no message with role 'user'",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(
    file: Path, rows: list[object], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(write(file, *rows), **settings)  # type: ignore[arg-type]  # settings of several types
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_that_is_not_json_is_named(file: Path) -> None:
    file.write_text('{"question": "x", "answer": 1}\n{"question": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.jsonl:2: is not JSON: Expecting value at column 14"):
        read(str(file))


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(DataError, match=r"mine\.jsonl: cannot be read: No such file or directory"):
        read(str(file))


def test_a_file_that_is_not_text_is_named(file: Path) -> None:
    file.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(DataError, match=r"mine\.jsonl: is not UTF-8 text: byte 14"):
        read(str(file))


# Parquet


def test_parquet_rows_become_the_same_problems_as_json_lines(tmp_path: Path, file: Path) -> None:
    rows = [{"question": f"{number} + 1?", "answer": number + 1, "level": "easy"} for number in range(5)]
    path = tmp_path / "mine.parquet"
    pyarrow_parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    problems, wanted = parquet(split="train", seed=0, path=str(path)), read(write(file, *rows))
    assert [(p.id, p.prompt, p.answer, p.meta) for p in problems] == [
        (p.id, p.prompt, p.answer, p.meta) for p in wanted
    ]
    assert {problem.task for problem in problems} == {"parquet"}


def test_a_conversation_in_parquet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    row = {"chat": [{"role": "user", "content": "1 + 1?"}], "answer": 2}
    pyarrow_parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    (problem,) = parquet(split="train", seed=0, path=str(path), messages="chat")
    assert problem.messages == ({"role": "user", "content": "1 + 1?"},)


def test_a_parquet_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    rows = [{"question": "x", "answer": "1"}, {"question": "y", "answer": None}]
    pyarrow_parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(DataError, match=r"mine\.parquet, row 2: column 'answer' is empty"):
        parquet(split="train", seed=0, path=str(path))


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pyarrow_parquet.write_table(pyarrow.table({"question": [], "answer": []}), path)
    with pytest.raises(DataError, match="it has no usable rows"):
        parquet(split="train", seed=0, path=str(path))


@pytest.mark.parametrize("content", [None, b"", b"not parquet at all"])
def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.parquet: cannot be read as Parquet"):
        parquet(split="train", seed=0, path=str(path))


# Hub


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ``datasets`` from the network and from the user's cache, loaded already or not."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("offline")
def test_a_hub_that_cannot_be_reached_is_said_in_a_line_with_what_to_do() -> None:
    with pytest.raises(DataError) as caught:
        hub(split="train", seed=0, name="openai/gsm8k", config="main")
    message = str(caught.value)
    assert "cannot load the data set 'openai/gsm8k'" in message
    assert "data: PATH" in message
    assert "\n" not in message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set in a folder, which ``datasets`` loads like one from the hub."""
    rows = [{"question": f"{number} + 1?", "answer": f"#### {number + 1}"} for number in range(40)]
    path = tmp_path / "dataset"
    path.mkdir()
    write(path / "train.jsonl", *rows)
    write(path / "test.jsonl", *({**row, "question": f"Test: {row['question']}"} for row in rows[:5]))
    return path


@pytest.mark.usefixtures("offline")
def test_a_data_set_becomes_problems(folder: Path) -> None:
    problems = hub(split="train", seed=0, name=str(folder), hub_split="test", answer_pattern="#### (.+)")
    assert [(p.prompt, p.answer, p.task) for p in problems[:1]] == [("Test: 0 + 1?", "1", "hub")]
    assert len(problems) == 5


def test_a_data_set_is_read_from_a_folder_in_place_of_the_hub(folder: Path) -> None:
    problems = hub(split="train", seed=0, name="x/y", hub_split="test", data=str(folder), answer_pattern="#### (.+)")
    assert (len(problems), problems[0].prompt) == (5, "Test: 0 + 1?")


@pytest.mark.usefixtures("offline")
def test_a_data_set_is_split_like_a_file(folder: Path) -> None:
    def sides(load: type, **settings: object) -> list[set[str]]:
        shared = {"seed": 0, "answer_pattern": "#### (.+)", "heldout_share": 0.3, **settings}
        return [ids(load(split=split, **shared)) for split in ("train", "heldout")]

    from_hub = sides(hub, name=str(folder))  # type: ignore[arg-type]  # a function
    assert from_hub == sides(jsonl, path=str(folder / "train.jsonl"))  # type: ignore[arg-type]  # as above
    assert from_hub[0].isdisjoint(from_hub[1])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hub_split": "validation"}, 'Unknown split "validation"'),
        ({"config": "hard"}, "BuilderConfig 'hard' not found"),
        ({"answer": "gold"}, "row 1: no column 'gold'. Known: answer, question."),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(folder: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        hub(split="train", seed=0, name=str(folder), **settings)  # type: ignore[arg-type]  # settings of several types


DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the checkout")
def test_gsm8k_is_read_in_full_and_its_parts_do_not_overlap() -> None:
    train, test = (read(str(DATA / f"gsm8k_{part}.jsonl"), answer_pattern=r"####\s*(.+)") for part in ("train", "test"))
    assert (len(train), len(test)) == (7473, 1319)
    assert ids(train).isdisjoint(ids(test))
