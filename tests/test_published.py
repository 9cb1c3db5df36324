"""Published sets of mathematics are read with the columns of their authors, and measured by their metric."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from reasonrl import DataError, Measurement, Problem, Rollout, Suite, Trajectory
from reasonrl_evals import reasonrl_metrics, reasonrl_suites
from reasonrl_evals.math_metrics import equal_answers
from reasonrl_evals.mathematics import SUITES
from reasonrl_tasks import reasonrl_tasks
from reasonrl_tasks.catalog import catalog
from reasonrl_tasks.math_sets import SETS

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the checkout")

Rows = Sequence[Mapping[str, Any]]

DAPO_PROMPT = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is $3 + 4$?\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)
# Made-up problems in the columns of each published copy, and the answers that they have.
COPIES: Mapping[str, tuple[str, str, Rows]] = {
    "gsm8k": ("gsm8k", "72", [{"question": "Ann?", "answer": "48/2 = <<48/2=24>>24\n24 * 3 = 72\n#### 72"}]),
    "gsm8k comma": ("gsm8k", "1,080", [{"question": "Ann?", "answer": "a #### b\n#### 1,080"}]),
    "math": (
        "math",
        r"\frac{1}{2}",
        [
            {
                "problem": "?",
                "level": "Level 1",
                "type": "Algebra",
                "solution": r"$a=\boxed{3}$. No: \boxed{\frac{1}{2}}.",
            }
        ],
    ),
    "math answer": ("math", "98", [{"problem": "?", "answer": "98", "difficulty": 5.0, "type": "Algebra"}]),
    "math500": (
        "math500",
        r"(3,\pi)",
        [
            {
                "problem": "?",
                "solution": r"\boxed{(3, \pi)}",
                "answer": r"(3,\pi)",
                "subject": "Algebra",
                "level": 2,
                "unique_id": "test/algebra/1.json",
            }
        ],
    ),
    "aime24": (
        "aime24",
        "33",
        [{"id": 60, "problem": "?", "solution": "so 33", "answer": "033", "url": "", "year": "2024"}],
    ),
    "aime24 capital": ("aime24", "33", [{"ID": "2024-I-1", "Problem": "?", "Solution": "so", "Answer": 33}]),
    "aime24 boxed": ("aime24", "33", [{"id": 60, "problem": "?", "solution": r"\boxed{033}", "url": ""}]),
    "aime25": ("aime25", "336", [{"problem_idx": 1, "problem": "?", "answer": 336, "problem_type": ["Geometry"]}]),
    "aime25 degrees": ("aime25", "336", [{"question": "?", "answer": r"336^\circ"}]),
    "aime26": ("aime26", "0", [{"problem_idx": 1, "problem": "?", "answer": "000"}]),
    "amc": ("amc", "142", [{"id": 0, "problem": "?", "answer": 142.0, "url": ""}]),
    "amc23": ("amc", "27", [{"id": 0, "question": "?", "answer": "27.0", "url": ""}]),
    "hmmt": (
        "hmmt",
        r"\frac{9}{23}",
        [{"problem_idx": 1, "problem": "?", "answer": r"\frac{9}{23}", "problem_type": ["A"]}],
    ),
    "olympiadbench": (
        "olympiadbench",
        "2, -1",
        [
            {
                "id": 1606,
                "question": "?",
                "solution": ["so"],
                "final_answer": ["2", "-1"],
                "context": None,
                "modality": "Text-only",
                "is_multiple_answer": True,
                "unit": None,
                "answer_type": "Numerical",
                "error": None,
            }
        ],
    ),
    "minerva": ("minerva", "1.6e-9", [{"question": "?", "answer": "1.6e-9"}]),
    "minerva solution": ("minerva", "6e13", [{"problem": "?", "solution": r"so \boxed{6e13} m", "type": "x"}]),
    "dapo17k": (
        "dapo17k",
        "7",
        [
            {
                "data_source": "math_dapo",
                "prompt": [{"content": DAPO_PROMPT, "role": "user"}],
                "ability": "MATH",
                "reward_model": {"ground_truth": "7", "style": "rule-lighteval/MATH_v2"},
                "extra_info": {"index": "9a9b6eb4"},
            }
        ]
        * 3,
    ),
    "dapo17k processed": (
        "dapo17k",
        "7",
        [
            {
                "prompt": "What is $3 + 4$?",
                "solution": "7",
                "data_source": "math_dapo",
                "source_prompt": [{"content": DAPO_PROMPT, "role": "user"}],
                "ability": "MATH",
                "reward_model": {"ground_truth": "7", "style": "rule"},
                "extra_info": {"index": "9a9b6eb4"},
            }
        ],
    ),
    "deepscaler": ("deepscaler", "24", [{"problem": "?", "answer": "24", "solution": "so 24"}]),
    "bigmath": (
        "bigmath",
        "2",
        [{"problem": "?", "answer": "2", "source": "orca_math", "domain": ["Algebra"], "llama8b_solve_rate": 0.5}],
    ),
    "openr1_math": (
        "openr1_math",
        "9",
        [
            {
                "problem": "?",
                "solution": "so",
                "answer": "9",
                "generations": ["<think>..."] * 2,
                "correctness_math_verify": [True, False],
                "messages": [{"role": "user", "content": "?"}],
            }
        ],
    ),
}


def write(path: Path, rows: Rows) -> str:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(task: str, /, split: str = "heldout", **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split=split, seed=0, **params)


def rollout(text: str, problem: Problem) -> Rollout:
    completion = Trajectory.single_turn(
        token_ids=(), text=text, logprobs=(), finish_reason="stop", policy_version=0, sample_index=0, seed=0
    )
    return Rollout(problem=problem, prompt="?", trajectory=completion)


def measured(suite: Suite, text: str, problem: Problem) -> float:
    result = suite.metric(rollout(text, problem))
    assert isinstance(result, Measurement)
    return result.value


# Sets


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("copy", COPIES)
def test_every_published_copy_is_read_with_its_own_columns(tmp_path: Path, copy: str, form: str) -> None:
    task, answer, rows = COPIES[copy]
    (problem,) = load(task, data=write(tmp_path / form, rows))
    assert (problem.answer, problem.task, problem.messages) == (answer, task, None)
    assert problem.prompt in ("?", "Ann?", "What is $3 + 4$?")


def test_copies_of_a_problem_in_other_columns_have_one_id(tmp_path: Path) -> None:
    def ids(*copies: str) -> set[str]:
        read = (load(COPIES[name][0], data=write(tmp_path / "a.jsonl", COPIES[name][2])) for name in copies)
        return {problem.id for problems in read for problem in problems}

    assert len(ids("aime24", "aime24 capital", "aime24 boxed")) == 1
    assert len(ids("dapo17k", "dapo17k processed")) == 1
    assert len(ids("aime25", "aime25 degrees")) == 1
    plain = write(tmp_path / "b.jsonl", [{"q": "what is  $3 + 4$? ", "a": 7}])
    assert ids("dapo17k") == {problem.id for problem in load("jsonl", path=plain, question="q", answer="a")}


def test_other_columns_are_kept_but_those_that_are_too_large(tmp_path: Path) -> None:
    (one,) = load("bigmath", data=write(tmp_path / "a.jsonl", COPIES["bigmath"][2]))
    assert one.meta == {"source": "orca_math", "domain": ["Algebra"], "llama8b_solve_rate": 0.5}
    (one,) = load("openr1_math", data=write(tmp_path / "a.jsonl", COPIES["openr1_math"][2]))
    assert set(one.meta) == {"solution", "correctness_math_verify"}
    (one,) = load("gsm8k", data=write(tmp_path / "a.jsonl", COPIES["gsm8k"][2]))
    assert one.meta["answer"].endswith("#### 72")


def test_published_wording_keeps_the_instructions_and_the_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", COPIES["dapo17k"][2])
    (plain,), (published,) = load("dapo17k", data=path), load("dapo17k", data=path, wording="published")
    assert published.id == plain.id
    assert published.prompt == DAPO_PROMPT
    assert published.messages == ({"role": "user", "content": DAPO_PROMPT},)


def test_a_context_stands_before_the_question(tmp_path: Path) -> None:
    row = {**COPIES["olympiadbench"][2][0], "context": "Let $a=1$."}
    (problem,) = load("olympiadbench", data=write(tmp_path / "a.jsonl", [row]))
    assert problem.prompt == "Let $a=1$.\n?"


def test_a_set_trains_on_its_own_training_problems_and_holds_out_its_test_problems(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k_train.jsonl", [{"question": "a", "answer": "#### 1"}])
    write(tmp_path / "gsm8k_test.jsonl", [{"question": "b", "answer": "#### 2"}])
    sides = [load("gsm8k", split, data=str(tmp_path)) for split in ("train", "heldout")]
    assert [[problem.prompt for problem in side] for side in sides] == [["a"], ["b"]]
    with pytest.raises(DataError, match=r"task 'gsm8k': .*gsm8k_test\.jsonl: its name says test, but split 'train'"):
        load("gsm8k", "train", data=str(tmp_path / "gsm8k_test.jsonl"))


def test_a_set_without_training_problems_is_not_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", COPIES["aime24"][2])
    with pytest.raises(DataError, match="task 'aime24': all of HuggingFaceH4/aime_2024 is held out"):
        load("aime24", "train", data=path)


def test_a_set_without_held_out_problems_can_hold_out_a_share(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": str(number), "answer": number} for number in range(99)])
    sides = [{p.id for p in load("bigmath", split, data=path, heldout_share=0.3)} for split in ("train", "heldout")]
    assert sides[0].isdisjoint(sides[1])
    assert min(map(len, sides)) > 0
    assert len(sides[0] | sides[1]) == 99


def test_one_question_with_two_answers_stands_on_one_side(tmp_path: Path) -> None:
    rows = [{"problem": text.format(n), "answer": text[:1]} for n in range(50) for text in ("q {}", "Q  {}")]
    path = write(tmp_path / "a.jsonl", rows)
    sides = [load("bigmath", split, data=path, heldout_share=0.3) for split in ("train", "heldout")]
    asked = [{" ".join(problem.prompt.lower().split()) for problem in side} for side in sides]
    assert asked[0].isdisjoint(asked[1])
    assert min(map(len, asked)) > 0


PARTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra")


def test_math_in_its_seven_subjects_is_read_whole(tmp_path: Path) -> None:
    for subject in (*PARTS, "precalculus"):
        (tmp_path / subject).mkdir()
        for split in ("train", "test"):
            row = {"problem": f"{subject} {split}?", "solution": rf"\boxed{{{len(subject)}}}"}
            write(tmp_path / subject / f"{split}-00000-of-00001.parquet", [row])
    problems = load("math", data=str(tmp_path))
    assert [problem.prompt for problem in problems] == [f"{subject} test?" for subject in (*PARTS, "precalculus")]


MISTAKES: Sequence[tuple[str, Rows, str]] = [
    ("gsm8k", [{"qestion": "a", "answer": "#### 1"}], ":1: no column 'question'. Did you mean 'qestion'?"),
    ("gsm8k", [{"question": "a", "answer": "1"}], ":1: column 'answer' has no answer after '####'; it ends in '1'."),
    ("gsm8k", [{"question": "a", "answer": "####  "}], "has no answer after '####'"),
    ("gsm8k", [{"question": " ", "answer": "#### 1"}], ":1: column 'question' must be a question, not ' '"),
    ("math", [{"problem": "a", "solution": "so 1"}], "column 'solution' has no \\boxed{} with an answer"),
    ("math", [{"problem": "a", "answer": None}], ":1: column 'answer' is empty"),
    (
        "math500",
        [{"problem": "a", "answer": ["1", "2"]}],
        "column 'answer' holds 2 answers, and one is wanted: ['1', '2']",
    ),
    ("math500", [{"problem": "a", "answer": {"value": 1}}], "column 'answer' holds a dict"),
    ("math500", [{"problem": "a", "answer": True}], "column 'answer' holds a bool"),
    ("math500", [{"problem": "a", "answer": "<answer>1"}], "is not one <answer>...</answer> and nothing else"),
    ("aime24", [{"problem": "a", "answer": "1000"}], "column 'answer' is '1000', not a whole number from 0 to 999"),
    ("aime24", [{"problem": "a", "answer": "1/2"}], "not a whole number from 0 to 999"),
    ("amc", [{"problem": "a", "answer": float("nan")}], "column 'answer' is empty"),
    ("olympiadbench", [{"question": "a", "final_answer": []}], "column 'final_answer' is empty: a proof"),
    ("olympiadbench", [{"question": "a", "final_answer": ["1"], "images": ["x"]}], "column 'images' is not empty"),
    ("dapo17k", [{"prompt": "a", "reward_model": {"style": "rule"}}], "column 'reward_model' has no 'ground_truth'"),
    ("openr1_math", [{"problem": "a", "answer": "proof"}], "column 'answer' says 'proof': there is no answer"),
    ("minerva", [], "it has no usable rows"),
]


@pytest.mark.parametrize(("task", "rows", "message"), MISTAKES)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, task: str, rows: Rows, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(task, data=write(tmp_path / "mine.jsonl", rows))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"task {task!r}: ")


@pytest.mark.parametrize(
    ("given", "answer"),
    [("<answer> 5 </answer>", "5"), (r"\boxed{5}", "5"), (["5"], "5"), (5, "5"), (5.0, "5"), (2.5, "2.5")],
)
def test_an_answer_in_a_wrapper_is_taken_out_of_it(tmp_path: Path, given: object, answer: str) -> None:
    (problem,) = load("math500", data=write(tmp_path / "a.jsonl", [{"problem": "a", "answer": given}]))
    assert problem.answer == answer


def test_rows_without_an_answer_are_passed_over_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [{"problem": "a", "answer": ""}, {"problem": "b", "answer": "1"}, {"problem": "c", "answer": "proof"}]
    path = write(tmp_path / "a.jsonl", rows)
    assert [p.prompt for p in load("openr1_math", data=path, unusable="skip")] == ["b"]
    with pytest.raises(DataError, match=r"a\.jsonl:1: column 'answer' is empty.*unusable: skip"):
        load("openr1_math", data=path)
    with pytest.raises(DataError, match=r"column 'answer' is empty\.$"):  # held-out problems are never passed over
        load("math", "heldout", data=path, unusable="skip")
    broken = write(tmp_path / "b.jsonl", [{"problm": "a", "answer": "1"}])
    with pytest.raises(DataError, match="no column"):  # a wrong column is no row to pass over
        load("openr1_math", data=broken, unusable="skip")


def test_as_many_rows_are_passed_over_as_are_known_to_have_no_answer(tmp_path: Path) -> None:
    known = SETS["deepscaler"].num_unanswered
    rows = [{"problem": f"{number}", "answer": ""} for number in range(known)]
    path = write(tmp_path / "a.jsonl", [*rows, {"problem": "b", "answer": "1"}])
    assert [problem.prompt for problem in load("deepscaler", "train", data=path)] == ["b"]
    assert [problem.prompt for problem in load("deepscaler", "heldout", data=path)] == ["b"]
    path = write(tmp_path / "b.jsonl", [*rows, {"problem": "b", "answer": "1"}, {"problem": "c", "answer": ""}])
    with pytest.raises(DataError, match=rf"b\.jsonl:{known + 2}: column 'answer' is empty.*unusable: skip"):
        load("deepscaler", "train", data=path)


# Suites


def test_every_suite_has_a_task_and_every_set_stands_in_the_catalog() -> None:
    assert {name for name, found in SETS.items() if found.heldout} == set(SUITES)
    assert set(SUITES) <= set(reasonrl_suites())
    assert {*SETS, "eurus2"} <= set(reasonrl_tasks()) & set(catalog())


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_for_tests_alone_and_brings_the_sampling_of_papers(tmp_path: Path, name: str) -> None:
    copy = next(copy for copy in COPIES.values() if copy[0] == name)
    path = write(tmp_path / "rows.jsonl", copy[2])
    suite: Suite = SUITES[name](load=load, data=path)
    assert (suite.name, suite.role, suite.template, len(suite.problems)) == (name, "test", "boxed", 1)
    sampling = (suite.num_samples, suite.temperature, suite.top_p, suite.max_new_tokens)
    long = {"aime24": 32, "aime25": 32, "aime26": 32, "amc": 16, "hmmt": 16}
    short = {"gsm8k": 512, "math": 1024, "math500": 1024, "olympiadbench": 4096, "minerva": 4096}
    assert sampling == ((long[name], 0.6, 0.95, 32_768) if name in long else (1, 0.0, 1.0, short[name]))
    (problem,) = suite.problems
    assert measured(suite, rf"So \boxed{{{problem.answer}}}", problem) == 1
    assert measured(suite, rf"So \boxed{{{problem.answer}7}}", problem) == 0
    assert measured(suite, problem.answer, problem) == 0
    sent: Suite = pickle.loads(pickle.dumps(suite))  # to the processes that measure
    assert measured(sent, rf"So \boxed{{{problem.answer}}}", problem) == 1
    assert sent.equal_answers is equal_answers
    assert SUITES[name](load=load, data=path, num_problems=0).problems == []


def test_a_suite_looks_for_answers_where_it_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", COPIES["olympiadbench"][2])
    suite: Suite = SUITES["olympiadbench"](load=load, data=path, sources=("phrase",))
    assert measured(suite, "The answer is $2, -1$.", suite.problems[0]) == 1


@pytest.mark.parametrize(
    ("given", "other", "is_equal"),
    [
        ("0.5", r"\frac{1}{2}", True),
        ("3", "3.0", True),
        ("x", "x", True),
        ("1,2", "2,1", True),
        ("3", "4", False),
        ("", "3", False),
    ],
)
def test_answers_are_counted_as_equal_by_their_value(given: str, other: str, is_equal: bool) -> None:
    assert equal_answers(given, other) is equal_answers(other, given) is is_equal


def olympiad(answer: str, **meta: object) -> Problem:
    return Problem(id="1", task="olympiadbench", prompt="?", answer=answer, meta=meta)


@pytest.mark.parametrize(
    ("problem", "given", "value"),
    [
        (olympiad("2, -1"), "-1, 2", 1),
        (olympiad("2, -1"), "2", 0),
        (olympiad("$(1,2)$, $(3,4)$"), "(3,4), (1,2)", 1),
        (olympiad("5", unit="cm"), r"5\text{ cm}", 1),
        (olympiad("5", unit="cm"), "5", 1),
        (olympiad("5", unit="cm"), r"5\text{ kg}", 0),
        (olympiad("33.3", error="1e-1"), "33.35", 1),
        (olympiad("33.3", error="1e-1"), "33.5", 0),
        (olympiad("33.3"), "33.35", 0),
        (olympiad("33.3, 100.5", error="1e-1"), "33.31, 100.5", 1),
        (olympiad("33.3, 100.5", error="1e-1"), "33.3, 100.8", 0),
    ],
)
def test_olympiad_answers_count_together_within_their_error(problem: Problem, given: str, value: float) -> None:
    result = reasonrl_metrics()["olympiad_match"](rollout(rf"\boxed{{{given}}}", problem))
    assert isinstance(result, Measurement)
    assert (result.value, result.parsed) == (value, given)


def test_an_error_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match=r"meta\['error'\] is 'small', no number"):
        reasonrl_metrics()["olympiad_match"](rollout(r"\boxed{1}", olympiad("1", error="small")))


@pytest.mark.parametrize(
    ("given", "tolerance", "value"),
    [
        ("1.61e-9", 0.01, 1),
        (r"1.61 \times 10^{-9}", 0.01, 1),
        (r"1.6 \times 10^{-9} \text{ m}", 0.01, 1),
        ("1.63e-9", 0.01, 0),
        ("1.61e-9", 1e-4, 0),
        ("1.6e-8", 0.01, 0),
    ],
)
def test_minerva_allows_numbers_a_tolerance(tmp_path: Path, given: str, tolerance: float, value: float) -> None:
    path = write(tmp_path / "a.jsonl", COPIES["minerva"][2])
    suite: Suite = SUITES["minerva"](load=load, data=path, tolerance=tolerance)
    assert measured(suite, rf"\boxed{{{given}}}", suite.problems[0]) == value


# The published files


@needs_data
def test_gsm8k_and_math500_are_read_in_full_and_apart() -> None:
    train, test = (load("gsm8k", split, data=str(DATA)) for split in ("train", "heldout"))
    assert (len(train), len(test), len(load("math500", data=str(DATA)))) == (7473, 1319, 500)
    assert {problem.id for problem in train}.isdisjoint(problem.id for problem in test)


@needs_data
def test_the_training_file_of_math_is_read_but_for_its_rows_without_an_answer() -> None:
    problems = load("math", "train", data=str(DATA / "math_train.json"))
    assert len(problems) == 7474 - 4 - 1  # four without an answer, one that is there twice


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [("gsm8k", "gsm8k_test.jsonl"), ("math500", "math500.jsonl")])
def test_every_published_answer_is_right_and_another_problems_is_not(name: str, file: str) -> None:
    suite: Suite = SUITES[name](load=load, data=str(DATA / file))
    wrong = [p for p in suite.problems if not measured(suite, rf"\boxed{{{p.answer}}}", p)]
    assert wrong == []
    pairs = zip(suite.problems, suite.problems[1:], strict=False)
    mixed = [(p, q) for p, q in pairs if measured(suite, rf"\boxed{{{q.answer}}}", p) and p.answer != q.answer]
    assert [(p, q) for p, q in mixed if not equal_answers(p.answer, q.answer)] == []


@needs_data
@pytest.mark.slow
def test_every_answer_of_the_training_file_of_math_is_right() -> None:
    suite: Suite = SUITES["math"](load=lambda *_, **__: load("math", "train", data=str(DATA)))
    wrong = [p.answer for p in suite.problems if not measured(suite, rf"\boxed{{{p.answer}}}", p)]
    assert wrong == []
