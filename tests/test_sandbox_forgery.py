"""Tests that are written carelessly, and programs that would profit from it: none passes, and honest ones still do."""

from collections.abc import Iterator

import pytest

from reasonrl_sandbox import (
    AssertTests,
    CallTests,
    Case,
    FileTests,
    ProgramLimits,
    Sandbox,
    StdioCase,
    StdioTests,
    judge,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox("basic", slots=1) as running:
        yield running


ZERO = "def f(x): return 0"

UNTOLD = [
    "def test_f():\n    assert f(2) == 4\nassert f(0) == 0\ntest_f()",
    "def helper(x, y): assert f(x) == y\nassert f(0) == 0\nfor x in range(5): helper(x, x * x)",
    "def check(candidate):\n    def t(x, y): assert candidate(x) == y\n    assert candidate(0) == 0\n"
    "    for x in range(10): t(x, x * x)\ncheck(f)",
    "assert f(0) == 0\nresults = [f(i) for i in range(3)]\nif results != [0, 1, 4]: raise AssertionError",
    "assert f(0) == 0\nif __name__ == '__main__':\n    assert f(2) == 4",
    "import asyncio\nasync def main(): assert f(2) == 4\nassert f(0) == 0\nasyncio.run(main())",
]


@pytest.mark.parametrize("text", UNTOLD)
def test_what_fails_after_the_last_assert_fails_the_program(sandbox: Sandbox, text: str) -> None:
    wrong = judge(sandbox, ZERO, AssertTests("f", text))
    right = judge(sandbox, "def f(x): return x * x", AssertTests("f", text))

    assert wrong.outcome != "passed", wrong
    assert right.outcome == "passed", right.detail


EXPECTING = [
    "with self.assertRaises(TypeError): f(lambda: 1)",
    "self.assertRaises(TypeError, f, object())",
    "with self.assertRaises(ValueError): f(list(range(10**6)))",
    "with self.assertRaises(Exception): f(-1)",
    "with self.assertRaises(BaseException): f(-2)",
    "with self.assertRaises(BaseException): f(-3)",
]


@pytest.mark.parametrize("line", EXPECTING)
def test_what_the_sandbox_raises_is_not_what_a_test_expects_of_the_program(sandbox: Sandbox, line: str) -> None:
    program = (
        "import os\ndef f(x):\n    if x == -1: return object()\n    if x == -2: os._exit(0)\n"
        "    while x == -3: pass\n    return 1"
    )
    text = f"import unittest\nfrom solution import f\nclass T(unittest.TestCase):\n    def test(self):\n        {line}"

    result = judge(sandbox, program, FileTests(text), limits=ProgramLimits(cpu_s=0.3))

    assert result.outcome != "passed"
    assert result.outcome == ("timeout" if "-3" in line else result.outcome)


def test_a_program_that_ends_passes_no_test_that_catches_everything(sandbox: Sandbox) -> None:
    text = (
        "assert f(1) == 1\ndef raises(x):\n    try: f(x)\n    except: return True\n    return False\n"
        "assert raises(-1)\nassert raises(-2)"
    )
    ends = judge(sandbox, "import os\ndef f(x):\n    if x < 0: os._exit(3)\n    return x", AssertTests("f", text))
    raises = judge(sandbox, "def f(x):\n    if x < 0: raise ValueError\n    return x", AssertTests("f", text))

    assert ends.per_test == ("passed", "runtime_error", "runtime_error")
    assert raises.outcome == "passed"


@pytest.mark.parametrize("kind", ["StopIteration", "StopAsyncIteration", "type('S', (StopIteration,), {})"])
def test_no_exception_of_a_program_ends_an_iteration_of_its_tests(sandbox: Sandbox, kind: str) -> None:
    text = "assert all(map(lambda a: f(a) == a + 1, range(5)))"

    assert judge(sandbox, f"def f(x): raise {kind}", AssertTests("f", text)).outcome == "runtime_error"


OWN = "class Base(ValueError): pass\nclass Sub(Base): pass\ndef f(x): raise Sub(x)"


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("import json\ndef f(x): json.loads('{')", "ValueError"),
        ("def f(x): b'\\xff'.decode()", "ValueError"),
        (OWN, "ValueError"),
        (OWN, "Base"),
        (OWN, "Sub"),
        (OWN, "Exception"),
    ],
)
def test_tests_may_expect_the_exception_of_a_program_by_any_type_above_it(
    sandbox: Sandbox, program: str, kind: str
) -> None:
    names = "f, Base, Sub" if "Base" in program else "f"
    text = (
        f"import unittest\nfrom solution import {names}\nclass T(unittest.TestCase):\n"
        f"    def test(self):\n        with self.assertRaises({kind}): f('why')"
    )
    result = judge(sandbox, program, FileTests(text))
    assert result.outcome == "passed", result.detail
    assert judge(sandbox, program.replace("Sub(x)", "KeyError(x)"), FileTests(text)).outcome == (
        "passed" if "Sub(x)" not in program or kind == "Exception" else "runtime_error"
    )


def test_asserts_may_catch_an_exception_of_the_programs_own(sandbox: Sandbox) -> None:
    text = "try:\n    f(1)\nexcept StackError:\n    caught = True\nassert caught"
    program = "class StackError(Exception): pass\ndef f(x): raise StackError('empty')"

    assert judge(sandbox, program, AssertTests("f", text)).outcome == "passed"


def test_half_a_character_in_a_message_can_still_be_written_down(sandbox: Sandbox) -> None:
    text = "for x in (1, 2):\n    assert f(x) == x"
    result = judge(sandbox, "def f(x): raise ValueError('\\ud800')", AssertTests("f", text))

    assert result.outcome == "runtime_error"
    assert "ud800" in result.detail.encode().decode()


IDLE = [
    "async def test_a():\n    assert f(1) == 1",
    "def test_a():\n    assert f(1) == 1\n    yield",
    "class T(unittest.TestCase):\n    async def test_a(self): assert f(1) == 1",
    "class TestF:\n    def test_a(self): assert f(1) == 1\ndef test_b(): pass",
]


@pytest.mark.parametrize("tests", IDLE)
def test_a_test_function_that_would_not_run_is_not_passed(sandbox: Sandbox, tests: str) -> None:
    result = judge(sandbox, "def f(x): return 99", FileTests(f"import unittest\nfrom solution import f\n{tests}"))

    assert result.outcome == "failed", result


def test_test_functions_run_in_classes_and_by_asyncio_and_what_is_imported_is_none(sandbox: Sandbox) -> None:
    text = (
        "import unittest\nfrom solution import f, test_prime\nclass TestF:\n    def test_a(self): assert f(1) == 1\n"
        "class T(unittest.IsolatedAsyncioTestCase):\n    async def test_b(self): assert f(2) == 2"
    )
    result = judge(sandbox, "def f(x): return x\ndef test_prime(n): return n > 1", FileTests(text))

    assert (result.outcome, result.total) == ("passed", 2), result.detail


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("9" * 400, "1" + "0" * 350), ("9007199254740992", "9007199254740993"), ("1_000", "1000"), ("1e999", "inf")],
)
def test_no_number_passes_for_another_because_floats_are_coarse(sandbox: Sandbox, printed: str, expected: str) -> None:
    tests = StdioTests((StdioCase("", expected),), abs_tol=1e-6)

    assert judge(sandbox, f"print('{printed}')", tests).outcome == "failed"
    assert judge(sandbox, f"print('{expected}')", tests).outcome == "passed"


def test_a_method_is_meant_rather_than_what_the_program_imports_by_its_name(sandbox: Sandbox) -> None:
    program = "from heapq import *\nclass Solution:\n    def merge(self, a, b): return sorted(a + b)"
    tests = CallTests("merge", (Case(([3, 1], [2]), expected=[1, 2, 3]),))

    assert judge(sandbox, program, tests).outcome == "passed"
