"""Tests by a reference solution: it runs in the sandbox, and what it answers is what a program is compared to."""

from collections.abc import Iterator
from typing import Any

import pytest

from reasonrl.errors import DataError
from reasonrl_sandbox import (
    AssertTests,
    CallTests,
    ComparisonRules,
    ProgramLimits,
    ReferenceTests,
    Sandbox,
    evalplus,
    judge,
)

PYTHON = ComparisonRules(numbers="python")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(slots=1) as opened:
        yield opened


def outcomes(sandbox: Sandbox, source: str, tests: Any, **limits: Any) -> tuple[str, int]:
    result = judge(sandbox, source, tests, limits=ProgramLimits(**limits))
    return result.outcome, result.passed


def test_a_program_passes_where_it_answers_as_the_reference_does(sandbox: Sandbox) -> None:
    tests = ReferenceTests("f", "def f(x):\n    return x * 2", ((1,), (2.5,), ("ab",)), PYTHON)
    assert outcomes(sandbox, "def f(x):\n    return x + x", tests) == ("passed", 3)
    assert outcomes(sandbox, "def f(x):\n    return 2", tests) == ("failed", 1)
    assert outcomes(sandbox, "def g(x):\n    return x", tests) == ("runtime_error", 0)


def test_long_answers_leave_the_sandbox_as_a_hash_and_are_compared_exactly(sandbox: Sandbox) -> None:
    tests = ReferenceTests("f", "def f(n):\n    return 'x' * n", ((3,), (3_000_000,)))
    assert outcomes(sandbox, "def f(n):\n    return ''.join('x' for _ in range(n))", tests) == ("passed", 2)
    assert outcomes(sandbox, "def f(n):\n    return 'x' * min(n, 2_999_999)", tests) == ("failed", 1)


def test_only_floats_have_the_tolerance_of_floats(sandbox: Sandbox) -> None:
    floats = ComparisonRules(numbers="python", abs_tol=1e-3)
    tests = ReferenceTests("f", "def f(x):\n    return x", ((1.0,), ([1.0, 2.0],), (1,), ([1, 2.0],)), PYTHON, floats)
    near = "def f(x):\n    return x + 1e-4 if not isinstance(x, list) else [y + 1e-4 for y in x]"
    assert judge(sandbox, near, tests).per_test == ("passed", "passed", "failed", "failed")


def test_where_several_answers_are_right_a_third_process_decides(sandbox: Sandbox) -> None:
    agrees = "def agrees(args, answer, expected):\n    return set(answer) == set(expected) and len(args) == 1"
    tests = ReferenceTests("f", "def f(xs):\n    return list(set(xs))", (([3, 1, 3],), ([],)), agrees=agrees)
    assert outcomes(sandbox, "def f(xs):\n    return tuple(xs)", tests) == ("passed", 2)
    assert outcomes(sandbox, "def f(xs):\n    return [1]", tests) == ("failed", 0)
    assert outcomes(sandbox, "def f(xs):\n    return 7", tests)[0] != "passed", "nothing to make a set of"
    assert outcomes(sandbox, "def f(xs):\n    raise KeyError", tests) == ("runtime_error", 0)
    assert outcomes(sandbox, "def agrees(*a):\n    return True\ndef f(xs):\n    return [9]", tests) == ("failed", 0)


def test_an_answer_that_nothing_has_decided_on_is_no_pass(sandbox: Sandbox) -> None:
    tests = ReferenceTests(
        "f", "def f():\n    return True", ((),), agrees="import os\ndef agrees(*a):\n    os._exit(0)"
    )
    assert outcomes(sandbox, "def f():\n    return True", tests) == ("runtime_error", 0)


def test_a_reference_without_an_answer_makes_the_tests_unusable(sandbox: Sandbox) -> None:
    tests = ReferenceTests("f", "def f(x):\n    return 1 / x", ((1,), (0,)))
    with pytest.raises(DataError, match=r"no answer to inputs\[1\]: runtime_error: ZeroDivisionError"):
        judge(sandbox, "def f(x):\n    return 1", tests)
    with pytest.raises(DataError, match="no inputs for 'f'"):
        judge(sandbox, "def f(x):\n    return 1", ReferenceTests("f", "def f(x):\n    return 1", ()))


def test_a_slow_reference_gives_its_programs_time(sandbox: Sandbox) -> None:
    spin = "import time\ndef f(x):\n    end = time.process_time() + {}\n    while time.process_time() < end: pass\n"
    slow = ReferenceTests("f", spin.format(0.2), ((1,),))
    assert outcomes(sandbox, spin.format(0.4), slow, cpu_s=0.1) == ("passed", 1)
    quick = ReferenceTests("f", "def f(x):\n    pass", ((1,),))
    assert outcomes(sandbox, spin.format(0.4), quick, cpu_s=0.1) == ("timeout", 0)


# EvalPlus

AUTHORS: dict[str, Any] = {  # Any: JSON
    "prompt": 'def near(x):\n    """Halve."""\n',
    "canonical_solution": "    return x / 2\n",
    "entry_point": "near",
    "base_input": [[2]],
    "plus_input": [[3], [1e9]],
    "atol": 0,
}
HUB = {key: AUTHORS[key] for key in ("prompt", "canonical_solution", "entry_point")} | {
    "test": "import numpy as np\n\ndef assertion(out, exp, atol):\n    assert np.allclose(out, exp)\n\n"
    "def check(candidate):\n    inputs = [[2], [3]]\n    results = [1.0, 1.5]\n"
    "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n"
}


def test_humaneval_plus_is_read_from_the_authors_file_and_from_the_hubs(sandbox: Sandbox) -> None:
    by_reference = evalplus.humaneval_plus(AUTHORS)
    assert isinstance(by_reference, ReferenceTests)
    by_results = evalplus.humaneval_plus(HUB)
    assert isinstance(by_results, CallTests)
    for tests, count in ((by_reference, 3), (by_results, 2)):
        assert outcomes(sandbox, "def near(x):\n    return x * 0.5 + 1e-8", tests) == ("passed", count)
        assert outcomes(sandbox, "def near(x):\n    return x // 2", tests)[0] == "failed"


def test_tests_of_the_hub_without_results_are_judged_by_the_solution(sandbox: Sandbox) -> None:
    test = HUB["test"].replace("    results = [1.0, 1.5]\n", "").replace("(inp, exp) in", "inp in")
    tests = evalplus.humaneval_plus({**HUB, "test": test.replace("zip(inputs, results)", "inputs")})
    assert isinstance(tests, ReferenceTests)
    assert outcomes(sandbox, "def near(x):\n    return x / 2", tests) == ("passed", 2)


def test_tests_whose_inputs_are_no_constants_run_beside_the_program() -> None:
    test = "def check(candidate):\n    inputs = [[n] for n in range(3)]\n    assert candidate(2) == 1.0\n"
    assert isinstance(evalplus.humaneval_plus({**HUB, "test": test}), AssertTests)


@pytest.mark.parametrize(
    ("task_id", "entry", "given", "received"),
    [
        ("Mbpp/2", "f", [[1], [2]], [(1,), (2,)]),
        ("Mbpp/63", "f", [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        ("Mbpp/115", "f", [[[1], []]], [[{1}, {}]]),
        ("Mbpp/124", "f", [1, "2+3j"], [1.0, 2 + 3j]),
        ("Mbpp/259", "f", [[[1], [2]]], [((1,), (2,))]),
        ("Mbpp/580", "f", [[1, [2, [3]]]], [(1, (2, (3,)))]),
        ("Mbpp/722", "f", [{"a": [1, 2]}, 3], [{"a": (1, 2)}, 3]),
        ("Mbpp/9", "f", [[1], 2], [[1], 2]),
    ],
)
def test_arguments_of_mbpp_plus_get_the_types_that_json_lacks(
    task_id: str, entry: str, given: list[Any], received: list[Any]
) -> None:
    row = {"task_id": task_id, "entry_point": entry, "canonical_solution": "def f(*a):\n    return 0"}
    tests = evalplus.mbpp_plus({**row, "base_input": [given], "plus_input": {}})
    assert isinstance(tests, ReferenceTests)
    assert list(tests.inputs[0]) == received
    assert list(map(type, tests.inputs[0])) == list(map(type, received))


@pytest.mark.parametrize(
    ("entry", "right", "also", "wrong"),
    [
        ("similar_elements", "return (1, 2)", "return [2, 1, 1]", "return (1,)"),
        ("check_str", "import re\n    return re.match('a', 'a')", "return True", "return None"),
        ("sum_div", "return 3", "return 0", "return 2"),
        ("are_equivalent", "return True", "return False", "raise ValueError"),
        ("surface_Area", "return 33", "return 35", "return 34"),
        ("digit_distance_nums", "return 1", "return 0", "return 7"),
    ],
)
def test_problems_of_mbpp_with_more_than_one_right_answer(
    sandbox: Sandbox, entry: str, right: str, also: str, wrong: str
) -> None:
    given = {"surface_Area": [3, 4], "digit_distance_nums": [12, 12]}.get(entry, [1])
    row = {"task_id": "Mbpp/1", "entry_point": entry, "canonical_solution": f"def {entry}(*a):\n    {right}\n"}
    tests = evalplus.mbpp_plus({**row, "base_input": [given], "plus_input": []})
    for body in (right, also):
        assert outcomes(sandbox, f"def {entry}(*a):\n    {body}\n", tests) == ("passed", 1), body
    assert outcomes(sandbox, f"def {entry}(*a):\n    {wrong}\n", tests)[0] != "passed"


def test_the_hubs_rows_of_such_problems_are_compared_in_the_same_way(sandbox: Sandbox) -> None:
    test = "inputs = [[[1, 2], [2, 1]]]\nresults = [(1, 2)]\nfor inp, exp in zip(inputs, results):\n"
    row = {"task_id": 2, "code": "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n"}
    tests = evalplus.mbpp_plus({**row, "test": f"{test}    assertion(similar_elements(*inp), exp, 0)\n"})
    assert outcomes(sandbox, "def similar_elements(a, b):\n    return [2, 1, 2]", tests) == ("passed", 1)


def test_any_root_of_a_polynomial_is_right(sandbox: Sandbox) -> None:
    row = {**AUTHORS, "prompt": "def find_zero(xs):\n", "canonical_solution": "    return -1.0\n"}
    tests = evalplus.humaneval_plus({**row, "entry_point": "find_zero", "base_input": [[[-1, 0, 1]]], "plus_input": []})
    assert outcomes(sandbox, "def find_zero(xs):\n    return 1.0", tests) == ("passed", 1)
    assert outcomes(sandbox, "def find_zero(xs):\n    return 0.9", tests) == ("failed", 0)
    assert outcomes(sandbox, "def find_zero(xs):\n    return float('nan')", tests) == ("failed", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_input": "[[1]]"}, "base_input: must be a list of lists"),
        ({"base_input": [1]}, "base_input: must be a list of lists"),
        ({"entry_point": "f(); import os"}, "is no name of a function"),
        ({"canonical_solution": None}, "canonical_solution: must be text"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evalplus.humaneval_plus({**AUTHORS, **change})


def test_arguments_of_another_shape_than_their_problems_are_refused() -> None:
    row = {"task_id": "Mbpp/2", "entry_point": "f", "canonical_solution": "def f(*a): pass", "plus_input": []}
    with pytest.raises(DataError, match="are not the arguments of this problem"):
        evalplus.mbpp_plus({**row, "base_input": [[5, 6]]})
