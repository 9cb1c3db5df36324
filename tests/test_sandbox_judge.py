"""Verdicts on programs, in every form of test. The programs are real, and run in the sandbox."""

import base64
import gc
import json
import pickle
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sandboxes import ALWAYS_EQUAL

from reasonrl.errors import DataError
from reasonrl_sandbox import ProgramLimits, Sandbox
from reasonrl_sandbox.assert_calls import as_calls
from reasonrl_sandbox.compare import ComparisonRules, matches, same_lines, same_tokens
from reasonrl_sandbox.formats import apps, humaneval, livecodebench, mbpp
from reasonrl_sandbox.forms import AssertTests, CallTests, Case, FileTests, StdioCase, StdioTests
from reasonrl_sandbox.judge import judge, judge_many
from reasonrl_sandbox.testfile import read_tests

LIAR = "class Liar(int):\n    __eq__ = lambda left, right: True\n    __hash__ = int.__hash__\n"

DOUBLE = CallTests("double", (Case((2,), expected=4), Case((3,), expected=6)))
SHORT = ProgramLimits(cpu_s=0.5, wall_s=3.0)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def outcome(sandbox: Sandbox, source: str, tests: CallTests | StdioTests | AssertTests | FileTests = DOUBLE) -> str:
    return judge(sandbox, source, tests, limits=SHORT).outcome


# Calls


def test_a_program_passes_when_every_answer_is_the_expected_one(sandbox: Sandbox) -> None:
    result = judge(sandbox, "def double(x):\n    return 2 * x", DOUBLE)
    assert (result.outcome, result.passed, result.total) == ("passed", 2, 2)
    assert result.per_test == ("passed", "passed")
    assert result.isolation == sandbox.report().level


def test_one_wrong_answer_fails_it_and_the_detail_says_which(sandbox: Sandbox) -> None:
    result = judge(sandbox, "def double(x):\n    return 4", DOUBLE)
    assert (result.outcome, result.passed, result.per_test) == ("failed", 1, ("passed", "failed"))
    assert result.detail == "double(3) answered 4, not 6"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def double(x):\n    return x / 0", "runtime_error"),
        ("def double(x):\n    return [0] * 10**12", "memory_limit"),
        ("def double(x):\n    while True: pass", "timeout"),
        ("def double(x:\n    return 2 * x", "compile_error"),
        ("def other(x):\n    return 2 * x", "no_entry"),
        ("double = 7", "no_entry"),
        ("def double(x):\n    return 'x' * 2**22", "output_limit"),
        ("def double(x):\n    return print", "failed"),
        ("raise ValueError('no')\ndef double(x):\n    return 2 * x", "runtime_error"),
        ("def double(x):\n    return 2.0 * x", "failed"),
        ("def double(x):\n    return str(2 * x)", "failed"),
        ("def double(x):\n    return [2 * x]", "failed"),
    ],
)
def test_outcomes_of_programs_that_do_not_pass(sandbox: Sandbox, program: str, expected: str) -> None:
    assert outcome(sandbox, program) == expected


@pytest.mark.parametrize(
    "program",
    [
        ALWAYS_EQUAL + "def double(x):\n    return AlwaysEqual()",
        ALWAYS_EQUAL + "class double(AlwaysEqual):\n    def __init__(self, x): pass",
        LIAR + "def double(x):\n    return Liar(1)",
        "import os\ndef double(x):\n    os._exit(0)",
        "import os\nos._exit(0)",
        "import sys\ndef double(x):\n    sys.exit(0)",
        "raise SystemExit(0)",
        "def double(x):\n    raise SystemExit(0)",
        "def double(x):\n    print('passed OK 2/2', True, 1.0)",
        "import atexit, os\natexit.register(os._exit, 0)\ndef double(x):\n    return 0",
        "def double(x):\n    while True:\n        yield x",
        "def double(x):\n    knot = []\n    knot.append(knot)\n    return knot",
        "import os\nos.close(4)\ndef double(x):\n    return 2 * x",
    ],
)
def test_no_way_around_the_answers_passes(sandbox: Sandbox, program: str) -> None:
    assert outcome(sandbox, program) not in ("passed", "sandbox_error")


FORGER = """
import os
def say(line):
    for descriptor in range(256):
        try:
            os.write(descriptor, line.encode())
        except OSError:
            pass
for index in range(2):
    say('{"i": %d, "outcome": "passed", "detail": "", "raised": null}\\n' % index)
    say('{"i": %d, "v": true}\\n{"passed": true}\\npassed\\n' % index)
def double(x):
    os._exit(0)
"""


@pytest.mark.parametrize(
    "tests",
    [
        DOUBLE,
        AssertTests("double", "for n in range(2):\n    assert double(n) == 2 * n\nassert double(5) == 10"),
        StdioTests((StdioCase("", "six"),)),
        FileTests("from solution import double\ndef test_it():\n    assert double(5) == 10"),
    ],
)
def test_writing_verdicts_on_every_descriptor_passes_nothing(
    sandbox: Sandbox, tests: CallTests | StdioTests | AssertTests | FileTests
) -> None:
    assert outcome(sandbox, FORGER, tests) not in ("passed", "sandbox_error")


def test_what_a_program_can_write_itself_are_its_answers_and_they_are_judged_as_such(sandbox: Sandbox) -> None:
    told = 'import os\nos.write(4, b\'{"i":0,"v":4}\\n{"i":1,"v":6}\\n\')\ndef double(x): return None'
    assert outcome(sandbox, told) == "passed"
    assert outcome(sandbox, told.replace('"v":6', '"v":7')) == "failed"
    twice = judge(sandbox, told.replace('"i":1,"v":6', '"i":0,"v":5'), DOUBLE)
    assert twice.per_test == ("passed", "runtime_error")


def test_answers_count_whatever_the_program_does_after_them(sandbox: Sandbox) -> None:
    lingering = (
        "import atexit, threading, time\n"
        "atexit.register(time.sleep, 60)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def double(x):\n    return 2 * x"
    )
    result = judge(sandbox, lingering, DOUBLE, limits=SHORT)
    assert result.outcome == "passed"
    assert result.wall_s < 2


def test_a_test_that_the_program_did_not_live_to_see_has_the_outcome_that_ended_it(sandbox: Sandbox) -> None:
    result = judge(sandbox, "def double(x):\n    while x == 3: pass\n    return 2 * x", DOUBLE, limits=SHORT)
    assert (result.outcome, result.passed, result.per_test) == ("timeout", 1, ("passed", "timeout"))


def test_an_entry_is_a_function_a_method_of_solution_or_of_the_class_before_the_dot(sandbox: Sandbox) -> None:
    method = "class {}:\n    def double(self, x):\n        self.x = x\n        return 2 * x"
    assert outcome(sandbox, method.format("Solution")) == "passed"
    assert outcome(sandbox, method.format("Numbers"), CallTests("Numbers.double", DOUBLE.cases)) == "passed"
    assert outcome(sandbox, method.format("Numbers")) == "no_entry"


def test_what_a_program_would_do_as_a_script_is_left_out(sandbox: Sandbox) -> None:
    assert outcome(sandbox, "def double(x): return 2 * x\nif __name__ == '__main__':\n    input()") == "passed"


@pytest.mark.parametrize(
    "made", ["(n for n in {0})", "iter({0})", "map(int, {0})", "range(1, 4)", "dict.fromkeys({0}).keys()"]
)
def test_what_gives_the_items_of_a_list_is_no_list(sandbox: Sandbox, made: str) -> None:
    tests = CallTests("count", (Case((3,), {"start": 1}, [1, 2, 3]),))
    program = "def count(n, start):\n    return {0}"
    items = "list(range(start, start + n))"
    assert outcome(sandbox, program.format(made.format(items)), tests) == "failed"
    assert outcome(sandbox, program.format(items), tests) == "passed"


@pytest.mark.parametrize(
    "text", ["assert list(count(3)) == [0, 1, 2]", "assert str(Point(3)) == '(3)'", "assert sorted(bag(2)) == [1, 2]"]
)
def test_asserts_about_objects_are_run_where_they_cannot_be_calls(sandbox: Sandbox, text: str) -> None:
    program = (
        "def count(n): yield from range(n)\n"
        "class Point:\n    def __init__(self, x): self.x = x\n    def __str__(self): return f'({self.x})'\n"
        "def bag(n):\n    return iter([2, 1][:n])"
    )
    entry = text.partition("(")[2].partition("(")[0] if "sorted" in text or "list" in text else "Point"
    tests = AssertTests(entry, text)
    assert as_calls(tests) is not None
    assert outcome(sandbox, program, tests) == "passed"
    assert (
        outcome(
            sandbox, program.replace("range(n)", "range(1, n)").replace("({", "[{").replace("[2, 1]", "[2, 3]"), tests
        )
        == "failed"
    )


def test_arguments_are_fresh_for_every_call(sandbox: Sandbox) -> None:
    tests = CallTests("grow", (Case(([1],), expected=[1, 0]), Case(([1],), expected=[1, 0])))
    assert outcome(sandbox, "def grow(items):\n    items.append(0)\n    return items", tests) == "passed"


SNOOP = """
import gc, sys
def found():
    seen = []
    for thing in gc.get_objects():
        try:
            seen.append(repr(thing))
        except BaseException:
            pass
    frame = sys._getframe()
    while frame:
        seen.append(repr(frame.f_locals) + repr(list(frame.f_globals)))
        frame = frame.f_back
    return "".join(["31", "415926"]) in "".join(seen)
def double(x):
    return found()
"""


@pytest.mark.parametrize(
    "tests",
    [
        CallTests("double", (Case((1,), expected=31415926),)),
        AssertTests("double", "for n in [1]:\n    assert double(n) in (31415926, False)"),
    ],
)
def test_expected_values_are_nowhere_in_the_memory_of_the_program(
    sandbox: Sandbox, tests: CallTests | AssertTests
) -> None:
    result = judge(sandbox, SNOOP, tests, limits=ProgramLimits(cpu_s=10))
    assert result.outcome == ("failed" if isinstance(tests, CallTests) else "passed")
    assert "answered False" in result.detail or result.outcome == "passed"


def test_a_huge_integer_is_compared_and_shown(sandbox: Sandbox) -> None:
    tests = CallTests("power", (Case((10**4,), expected=3 ** (10**4)), Case((10**5,), expected=1)))
    result = judge(sandbox, "def power(n):\n    return 3 ** n", tests)
    assert (result.per_test, "a huge number" in result.detail) == (("passed", "failed"), True)


# Comparison


@pytest.mark.parametrize(
    ("answer", "expected", "rules", "right"),
    [
        (True, 1, ComparisonRules(), False),
        (1, 1.0, ComparisonRules(), False),
        (1, 1.0, ComparisonRules(numbers="python"), True),
        (True, 1, ComparisonRules(numbers="python"), True),
        (True, 1, ComparisonRules(abs_tol=0.5), False),
        (1.0000001, 1, ComparisonRules(rel_tol=1e-6), True),
        (1.1, 1, ComparisonRules(abs_tol=0.01), False),
        ([0.1 + 0.2, {"a": 0.1 + 0.2}], [0.3, {"a": 0.3}], ComparisonRules(abs_tol=1e-9), True),
        (float("inf"), 1.0, ComparisonRules(rel_tol=1.0), False),
        (float("nan"), 1.0, ComparisonRules(abs_tol=1e9), False),
        (float("nan"), float("nan"), ComparisonRules(), True),
        (10**400, 1.0, ComparisonRules(rel_tol=0.5), False),
        ((1, 2), [1, 2], ComparisonRules(), False),
        ((1, (2,)), [1, [2]], ComparisonRules(tuple_is_list=True), True),
        ({2, 1}, {1, 2}, ComparisonRules(), True),
        ({1}, {True}, ComparisonRules(), False),
        ({True: "a"}, {1: "a"}, ComparisonRules(), False),
        ({1: "a"}, {1.0: "a"}, ComparisonRules(numbers="python"), True),
        ({1}, frozenset({1}), ComparisonRules(), False),
        ("1", 1, ComparisonRules(numbers="python"), False),
        (None, False, ComparisonRules(numbers="python"), False),
        ([3, 1, 2], [1, 2, 3], ComparisonRules(conversions=("sorted",)), True),
        ([[1], "a"], [], ComparisonRules(conversions=("sorted",)), False),
        ([1, 1], {1}, ComparisonRules(conversions=("set",)), True),
        ([1], None, ComparisonRules("truthy"), True),
        ([], None, ComparisonRules("falsy"), True),
    ],
)
def test_answers_are_compared_as_plain_data(answer: Any, expected: Any, rules: ComparisonRules, right: bool) -> None:
    assert matches(answer, expected, rules) is right


def test_a_set_made_of_an_answer_does_not_hang_on_keys_that_collide() -> None:
    colliding = [n * (2**61 - 1) for n in range(50_000)]
    assert not matches(colliding, {0}, ComparisonRules(conversions=("set",)))


@pytest.mark.parametrize(
    ("stdout", "right"), [("1 2\n3", True), ("1  2 3\n\n", True), ("1 2", False), ("1 2 3 4", False), ("", False)]
)
def test_outputs_are_compared_by_all_their_words(stdout: str, right: bool) -> None:
    assert same_tokens(stdout, "1 2\n3\n") is right


def test_words_that_are_numbers_may_be_off_by_the_tolerance_only() -> None:
    assert same_tokens("x 0.3333", "x 0.33333333", abs_tol=1e-3)
    assert not same_tokens("y 0.3333", "x 0.33333333", abs_tol=1e-3)
    assert not same_tokens("x nan", "x 0.33333333", abs_tol=1e9)
    assert not same_tokens("x", "x 0.33333333", abs_tol=1e-3)


def test_lines_are_compared_exactly_but_for_white_space_at_their_ends() -> None:
    assert same_lines("a b \nc\n\n", "a b\nc")
    assert not same_lines("a  b\nc", "a b\nc")
    assert not same_lines(" a b\nc", "a b\nc")


# Standard input and output

SUM = StdioTests((StdioCase("1 2", "3\n"), StdioCase("5 6", "11\n"), StdioCase("7 8", "15\n")))
ADDS = "print(sum(map(int, input().split())))"


def test_a_script_passes_by_what_it_prints(sandbox: Sandbox) -> None:
    result = judge(sandbox, ADDS, SUM)
    assert (result.outcome, result.passed, result.total) == ("passed", 3, 3)
    assert outcome(sandbox, f"if __name__ == '__main__':\n    {ADDS}\n    exit()", SUM) == "passed"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print(3)", "failed"),
        ("import sys\nsys.exit(0)", "failed"),
        ("print('passed')", "failed"),
        (ADDS + "\nprint('more')", "failed"),
        (ADDS + "\nraise ValueError", "runtime_error"),
        (ADDS + "\nexit(1)", "runtime_error"),
        (ADDS + "\nwhile True: pass", "timeout"),
        ("while True: print('x' * 1000)", "output_limit"),
        ("print((", "compile_error"),
    ],
)
def test_outcomes_of_scripts_that_do_not_pass(sandbox: Sandbox, program: str, expected: str) -> None:
    assert outcome(sandbox, program, SUM) == expected


def test_cases_after_a_failure_run_only_for_a_share(sandbox: Sandbox) -> None:
    program = "a, b = map(int, input().split())\nprint(0 if a == 5 else a + b)"
    assert judge(sandbox, program, SUM).per_test == ("passed", "failed")
    shared = judge(sandbox, program, SUM, partial=True)
    assert (shared.outcome, shared.passed, shared.total) == ("failed", 2, 3)


def test_a_checker_judges_where_more_than_one_output_is_right(sandbox: Sandbox) -> None:
    def is_factor(stdin: str, stdout: str, _: str) -> bool:
        return stdout.strip().isdigit() and 1 < int(stdout) < int(stdin) and int(stdin) % int(stdout) == 0

    tests = StdioTests((StdioCase("15", "3"),), checker=is_factor)
    assert outcome(sandbox, "print(5)", tests) == "passed"
    assert outcome(sandbox, "print(7)", tests) == "failed"


# Asserts


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("assert f(2) == 4", 4, 5),
        ("assert 4 == f(2)", 4.0, 5),
        ("assert f(1.0 / 3, x=-1) == [2] * 2", [2, 2], (2, 2)),
        ("assert f([1, {'a': (2,)}]) == ({1, 2}, None)", ({1, 2}, None), ([1, 2], None)),
        ("assert f(int) is None", None, False),
        ("assert f(1) is True, 'said so'", True, 1),
        ("assert f(1) == False", 0, 1),
        ("assert f(1)", "x", ""),
        ("assert not f(1)", 0, 1),
        ("assert abs(f(1) - 0.5) < 1e-3", 0.5005, 0.501),
        ("import math\nassert math.isclose(f(1), 2.0, rel_tol=1e-3)", 2.001, 2.1),
        ("assert set(f(1)) == {1, 2}", [2, 1, 1], [1, 3]),
        ("assert sorted(f(1)) == sorted([2, 1])", [2, 1], [2]),
        ("def check(candidate):\n    assert candidate(1) == 3\n    assert True, 'a mark'\ncheck(f)", 3, 4),
    ],
)
def test_asserts_that_compare_to_constants_become_calls(text: str, right: object, wrong: object) -> None:
    calls = as_calls(AssertTests("f", text))
    assert calls is not None
    (case,) = calls.cases
    assert case.comparison is not None
    assert matches(right, case.expected, case.comparison)
    assert not matches(wrong, case.expected, case.comparison)


@pytest.mark.parametrize(
    "text",
    [
        "for n in range(3):\n    assert f(n) == n",
        "x = [1]\nassert f(x) == 1",
        "assert f(2) == g(2)",
        "assert f(2) < 5",
        "assert f(f(2)) == 4",
        "assert f(*[2]) == 4",
        "assert f(2) == 4 and f(3) == 6",
        "assert f(2) == 10 ** 10 ** 10",
        "assert f(2) == [0] * 10 ** 10",
        "import random\nrandom.seed(f(1))\nassert f(2) == 4",
        "def check(candidate):\n    if candidate(2) != 4:\n        return\n    assert candidate(3) == 6",
    ],
)
def test_other_asserts_are_run(text: str) -> None:
    assert as_calls(AssertTests("f", text)) is None


LOOP = AssertTests("double", "for n in range(20):\n    assert double(n) == n + n\nassert double('a') == 'aa'")


def test_test_text_runs_beside_the_program_and_each_statement_is_a_test(sandbox: Sandbox) -> None:
    result = judge(sandbox, "def double(x):\n    return 2 * x", LOOP)
    assert (result.outcome, result.passed, result.total) == ("passed", 2, 2)
    half = judge(sandbox, "def double(x):\n    return 2 * x if isinstance(x, int) else x", LOOP)
    assert (half.outcome, half.per_test) == ("failed", ("passed", "failed"))
    assert "double('a') == 'aa'" in half.detail


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (ALWAYS_EQUAL + "def double(x):\n    return AlwaysEqual()", "failed"),
        (ALWAYS_EQUAL + "class double(AlwaysEqual):\n    def __init__(self, x): pass", "failed"),
        ("def double(x):\n    raise AssertionError", "runtime_error"),
        ("import os\ndef double(x):\n    os._exit(0)", "runtime_error"),
        ("import sys\ndef double(x):\n    sys.exit(0)", "runtime_error"),
        ("def double(x):\n    print('passed')", "failed"),
        ("def double(x):\n    while True: pass", "timeout"),
        ("def double(x):\n    return [0] * 10**12", "memory_limit"),
        ("import os\nos.close(5)\ndef double(x):\n    return 2 * x", "runtime_error"),
        ("import os\nos.write(5, b'garbage\\n' * 9)\ndef double(x):\n    return 2 * x", "runtime_error"),
        ("import os\nos.write(5, b'x' * 2**24)\ndef double(x):\n    return 2 * x", "runtime_error"),
        ('import os\ndef double(x):\n    os.write(5, b\'{"i":9,"v":0}\\n\')\n    return 2 * x', "runtime_error"),
        ("def other(x): pass", "no_entry"),
        ("def double(x:", "compile_error"),
        ("import builtins\nbuiltins.AssertionError = Exception\ndef double(x):\n    return 1", "failed"),
    ],
)
def test_nothing_that_a_program_does_makes_test_text_pass(sandbox: Sandbox, program: str, expected: str) -> None:
    assert outcome(sandbox, program, LOOP) == expected


def test_a_check_function_that_returns_early_is_run_as_it_stands(sandbox: Sandbox) -> None:
    text = "def check(candidate):\n    if candidate(2) == 4:\n        return\n    assert candidate(3) == 7"
    assert outcome(sandbox, "def double(x):\n    return 2 * x", AssertTests("double", text)) == "passed"
    assert outcome(sandbox, "def double(x):\n    return 3 * x", AssertTests("double", text)) == "failed"


def test_helpers_of_the_tests_come_from_the_setup_and_not_from_the_program(sandbox: Sandbox) -> None:
    text = "for n in range(3):\n    assert decode(encode(n)) == n"
    cheat = "def encode(n):\n    return n\ndef decode(n):\n    return n"
    honest = "def decode(n):\n    return n - 7"
    setup = "def encode(n):\n    return n + 7\ndef decode(n):\n    '''The prompt's empty one.'''"
    with pytest.raises(DataError, match="the tests use 'encode', which only the program defines"):
        judge(sandbox, cheat, AssertTests("decode", text))
    assert outcome(sandbox, cheat, AssertTests("decode", text, setup)) == "failed"
    assert outcome(sandbox, honest, AssertTests("decode", text, setup)) == "passed"


def test_modules_that_test_text_forgot_to_import_are_there(sandbox: Sandbox) -> None:
    tests = AssertTests("size", "assert size((1, 2)) == sys.getsizeof((1, 2))")
    assert outcome(sandbox, "import sys\ndef size(x):\n    return sys.getsizeof(x)", tests) == "passed"


def test_exceptions_of_the_program_reach_the_tests_by_their_type(sandbox: Sandbox) -> None:
    text = "try:\n    half(3)\n    assert False\nexcept ValueError as error:\n    assert 'odd' in str(error)"
    tests = AssertTests("half", text)
    assert outcome(sandbox, "def half(x):\n    raise ValueError('odd')", tests) == "passed"
    assert outcome(sandbox, "def half(x):\n    raise TypeError('odd')", tests) == "runtime_error"
    assert outcome(sandbox, "def half(x):\n    return 1", tests) == "failed"


TREE = "class Node:\n    def __init__(self, value):\n        self.value, self.left = value, None\n"
DEPTH = TREE + "def depth(node):\n    return 1 + depth(node.left) if node else 0"


def test_objects_of_the_programs_classes_can_be_built_and_passed_back(sandbox: Sandbox) -> None:
    text = "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert depth(root) == 3"
    assert outcome(sandbox, DEPTH, AssertTests("depth", text)) == "passed"
    assert outcome(sandbox, DEPTH.replace("1 + depth", "2 + depth"), AssertTests("depth", text)) == "failed"


STACK = """
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __eq__(self, other): return True
"""


def test_a_class_under_test_answers_through_its_methods(sandbox: Sandbox) -> None:
    text = "s = Stack()\ns.push('a')\nassert len(s) == 1\nassert s.pop() == 'a'\nassert s.items == []"
    assert judge(sandbox, STACK, AssertTests("Stack", text)).per_test == ("passed",) * 3
    wrong = STACK.replace("self.items.pop()", "'b'")
    assert judge(sandbox, wrong, AssertTests("Stack", text)).per_test == ("passed", "failed", "failed")


def test_an_object_decides_what_it_is_equal_to_only_where_the_tests_allow_it(sandbox: Sandbox) -> None:
    text = "s = Stack()\ns.push(1)\nassert s == Stack()\nassert 5 == Stack()"
    refused = judge(sandbox, STACK, AssertTests("Stack", text))
    assert (refused.per_test, refused.forgeable) == (("failed", "failed"), False)
    assert "allow_forgeable" in refused.unscorable
    allowed = judge(sandbox, STACK, AssertTests("Stack", text, allow_forgeable=True))
    assert (allowed.passed, allowed.forgeable, allowed.unscorable) == (2, True, "")


# Files

UNITTEST = """
import unittest
from solution import Stack, double, Odd

class Doubles(unittest.TestCase):
    def setUp(self):
        self.numbers = [1, 2, 3]
    def test_numbers(self):
        self.assertEqual([double(n) for n in self.numbers], [2, 4, 6])
    def test_text(self):
        self.assertEqual(double("a"), "aa")
    def test_odd(self):
        with self.assertRaises(Odd):
            double(None)

def test_stack():
    stack = Stack()
    stack.push(1)
    assert stack.pop() == 1
"""
MODULE = STACK + (
    "class Odd(ValueError): pass\ndef double(x):\n    if x is None:\n        raise Odd('none')\n    return 2 * x\n"
)


def test_a_file_of_tests_imports_the_program_as_a_module(sandbox: Sandbox) -> None:
    result = judge(sandbox, MODULE, FileTests(UNITTEST))
    assert (result.outcome, result.passed, result.total) == ("passed", 4, 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 2 * x", "return 2 * x if x != 'a' else AlwaysEqual()"),
        ("raise Odd", "raise ValueError"),
        ("self.items.pop()", "None"),
    ],
)
def test_a_wrong_program_fails_one_test_of_the_file(sandbox: Sandbox, old: str, new: str) -> None:
    result = judge(sandbox, ALWAYS_EQUAL + MODULE.replace(old, new), FileTests(UNITTEST))
    assert (result.passed, result.total) == (3, 4)


@pytest.mark.parametrize(
    "program",
    ["import os\nos._exit(0)", "import sys\nsys.exit(0)", "print('OK')", MODULE.replace("def double", "def triple")],
)
def test_a_program_without_what_the_file_imports_fails(sandbox: Sandbox, program: str) -> None:
    assert outcome(sandbox, program, FileTests(UNITTEST)) in ("failed", "runtime_error")


@pytest.mark.parametrize(
    ("body", "expected"), [("while True: pass", "timeout"), ("import os; os._exit(0)", "runtime_error")]
)
def test_a_program_that_ends_within_a_file_of_tests_has_the_outcome_that_ended_it(
    sandbox: Sandbox, body: str, expected: str
) -> None:
    program = MODULE.replace("    return 2 * x", f"    {body}")
    assert outcome(sandbox, program, FileTests(UNITTEST)) == expected


def test_a_program_lends_a_file_of_tests_no_name_of_pythons_or_of_its_own(sandbox: Sandbox) -> None:
    text = (
        "from collections import Counter\n"
        "from solution import *\n"
        "def same(left, right): return sorted(left) == right\n"
        "def test_it(): assert same(shuffled([2, 1]), [1, 2]) and Counter('a') == {'a': 1}"
    )
    assert outcome(sandbox, "def shuffled(items): return items", FileTests(text)) == "passed"
    cheat = "def shuffled(items): return items[:1]\ndef sorted(items): return [1, 2]\n"
    cheat += "def same(left, right): return True\ndef Counter(text): return {'a': 1}"
    assert outcome(sandbox, cheat, FileTests(text)) == "failed"


def test_a_test_that_skips_itself_has_not_passed(sandbox: Sandbox) -> None:
    text = (
        "import unittest, solution\nclass T(unittest.TestCase):\n    @unittest.skipIf(not hasattr(solution, 'f'), '')\n"
    )
    assert outcome(sandbox, "", FileTests(text + "    def test_f(self): assert solution.f() == 1")) == "failed"


COUNTED = """
import unittest
from solution import double

def setUpModule():
    MODULE_SET_UP

class First(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        FIRST_SET_UP
    @classmethod
    def tearDownClass(cls):
        FIRST_TORN_DOWN
    def tearDown(self):
        TEST_TORN_DOWN
    def test_each(self):
        for n in (1, 2, 3):
            with self.subTest(n=n):
                self.assertEqual(double(n), 2 * n)
    def test_one(self):
        self.assertEqual(double(1), 2)

class Second(unittest.TestCase):
    def test_two(self):
        self.assertEqual(double(2), 4)
"""


def counted(**bodies: str) -> FileTests:
    text = COUNTED
    for place in ("MODULE_SET_UP", "FIRST_SET_UP", "FIRST_TORN_DOWN", "TEST_TORN_DOWN"):
        text = text.replace(place, bodies.get(place.lower(), "pass"))
    return FileTests(text)


DOUBLES = "def double(x):\n    return 2 * x"


@pytest.mark.parametrize(
    ("program", "tests", "per_test"),
    [
        (DOUBLES, counted(), "PPP"),
        ("def double(x):\n    return 2 if x == 1 else 0", counted(), "FPF"),
        ("def double(x):\n    return 0 if x == 1 else 2 * x", counted(), "FFP"),
        (DOUBLES, counted(module_set_up="1 / 0"), "FFF"),
        (DOUBLES, counted(first_set_up="assert double(1) == 3"), "FFP"),
        (DOUBLES, counted(first_set_up="raise unittest.SkipTest('no')"), "FFP"),
        (DOUBLES, counted(first_torn_down="1 / 0"), "PFP"),
        (DOUBLES, counted(test_torn_down="1 / 0"), "FFP"),
        ("def double(x):\n    return 0", counted(test_torn_down="1 / 0", first_torn_down="1 / 0"), "FFF"),
    ],
)
def test_every_test_of_unittest_has_one_outcome_in_its_own_place(
    sandbox: Sandbox, program: str, tests: FileTests, per_test: str
) -> None:
    result = judge(sandbox, program, tests)
    assert "".join("P" if one == "passed" else "F" for one in result.per_test) == per_test
    assert (result.total, result.passed) == (3, per_test.count("P"))
    assert result.outcome == ("passed" if per_test == "PPP" else "failed")


def test_the_first_failure_of_a_test_is_the_one_that_is_told(sandbox: Sandbox) -> None:
    both = counted(first_set_up="raise KeyError('first')", first_torn_down="1 / 0")
    assert "KeyError: 'first'" in judge(sandbox, DOUBLES, both).detail
    torn_down = judge(sandbox, "def double(x):\n    return 0", counted(test_torn_down="1 / 0"))
    assert torn_down.detail.startswith("AssertionError: 0 != 2")


def test_a_test_that_the_program_does_not_live_through_keeps_its_place(sandbox: Sandbox) -> None:
    text = (
        "import unittest\nfrom solution import double\nclass T(unittest.TestCase):\n"
        "    def test_a(self): assert double(1) == 2\n    def test_b(self): double(0)\n    def test_c(self): double(1)"
    )
    result = judge(sandbox, "import os\ndef double(x): return 2 * x or os._exit(0)", FileTests(text))
    assert (result.per_test, result.total) == (("passed", "runtime_error", "runtime_error"), 3)


def test_a_file_without_tests_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(DataError, match="no test in the file"):
        judge(sandbox, MODULE, FileTests("from solution import double\nassert double(1) == 2"))


PYTEST = """
import pytest
from solution import Odd, double

@pytest.fixture
def numbers():
    return [1, 2]

@pytest.mark.parametrize("text", ["a", "b"])
def test_text(text):
    assert double(text) == text + text

def test_numbers(numbers):
    assert [double(n) for n in numbers] == pytest.approx([2.0, 4.0])

class TestOdd:
    def test_raises(self):
        with pytest.raises(Odd, match="none"):
            double(None)
"""


def test_a_file_for_pytest_runs_where_the_sandbox_has_pytest(sandbox: Sandbox) -> None:
    with Sandbox(slots=1, preimport=("pytest",)) as with_pytest:
        assert judge(with_pytest, MODULE, FileTests(PYTEST)).per_test == ("passed",) * 4
        wrong = judge(with_pytest, MODULE.replace("2 * x", "x"), FileTests(PYTEST))
        assert wrong.per_test == ("failed", "failed", "failed", "passed")
    with pytest.raises(DataError, match="they import 'pytest'"):
        judge(sandbox, MODULE, FileTests(PYTEST))


TEARDOWN = """
import pytest
from solution import double

@pytest.fixture
def bad():
    yield 1
    raise ValueError("torn down")

def test_a(bad):
    assert double(bad) == 2

@pytest.fixture(scope="module", autouse=True)
def around():
    yield
    assert double(0) == 1, "after all"

def test_b():
    assert double(2) == 4

class TestC:
    def test_c(self, bad):
        assert double(2) == 5

def test_d():
    assert double(2) == 4
"""


def test_a_test_of_pytest_passes_only_when_its_teardown_does() -> None:
    with Sandbox(slots=1, preimport=("pytest",)) as with_pytest:
        result = judge(with_pytest, DOUBLES, FileTests(TEARDOWN), partial=True)
    assert (result.per_test, result.passed, result.total) == (("failed", "passed", "failed", "failed"), 1, 4)
    assert "torn down" in result.detail


# Many at once


def test_many_programs_are_judged_at_once_and_in_order(sandbox: Sandbox) -> None:
    jobs = [(f"def double(x):\n    return {n % 3} * x", DOUBLE) for n in range(12)]
    assert [result.outcome for result in judge_many(sandbox, jobs)] == ["failed", "failed", "passed"] * 4


# Reading tests


@pytest.mark.parametrize(
    ("content", "tests"),
    [
        (
            {"calls": {"entry": "f", "cases": [{"args": [1], "kwargs": {"x": 2}, "expected": [3]}], "abs_tol": 1}},
            CallTests("f", (Case((1,), {"x": 2}, [3]),), ComparisonRules(tuple_is_list=True, abs_tol=1.0)),
        ),
        ({"stdio": [{"stdin": "1", "stdout": "2"}]}, StdioTests((StdioCase("1", "2"),))),
        (
            {"stdio": {"cases": [{"stdin": "1", "stdout": "2"}], "compare": "lines"}},
            StdioTests((StdioCase("1", "2"),), "lines"),
        ),
        ({"asserts": {"entry": "f", "source": "assert f()"}}, AssertTests("f", "assert f()")),
        ({"file": {"source": "import main", "module": "main"}}, FileTests("import main", "main")),
    ],
)
def test_a_file_of_json_holds_tests_of_any_form(content: dict[str, Any], tests: object, tmp_path: Path) -> None:
    path = tmp_path / "tests.json"
    path.write_text(json.dumps(content))
    assert read_tests(path) == read_tests(content) == tests


def test_every_form_is_shown_in_the_documentation_as_it_is_read() -> None:
    page = Path(__file__).parents[1] / "docs" / "code.md"
    shown = [read_tests(json.loads(line)) for line in page.read_text().splitlines() if line.startswith('{"')]
    assert {type(tests) for tests in shown} == {CallTests, StdioTests, AssertTests, FileTests}


STDIO_WITH = '{"stdio": {"cases": [{"stdin": "", "stdout": ""}], %s}}'
CALLS_WITH = '{"calls": {"entry": "f", "cases": [{"expected": 1}], %s}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (
            r'{"stdio": [{"stdin": "", "stdout": ""}, {"stdin": "\ud800", "stdout": ""}]}',
            r"stdio: cases\[1\]: 'stdin' .*ud800",
        ),
        (r'{"stdio": [{"stdin": "", "stdout": "\udfff"}]}', r"stdio: cases\[0\]: 'stdout' .*surrogate"),
        (STDIO_WITH % '"compare": "lines", "abs_tol": 0.1', "stdio: 'lines' compares text"),
        (STDIO_WITH % '"rel_tol": -0.1', "stdio: 'rel_tol' is -0.1; use a finite number, 0 or more"),
        (CALLS_WITH % '"abs_tol": NaN', "calls: 'abs_tol' is nan"),
        (CALLS_WITH % '"abs_tol": Infinity', "calls: 'abs_tol' is inf"),
        (CALLS_WITH % ('"abs_tol": 1' + "0" * 400), "calls: 'abs_tol' is 1000"),
        ("[]", "must be an object with one of the keys calls"),
        ('{"call": {}}', "unknown form 'call'. Did you mean 'calls'?"),
        ('{"calls": {"entry": "f"}}', "calls: 'cases' is missing"),
        ('{"calls": {"entry": "f", "cases": []}}', "cases: is empty"),
        (
            '{"calls": {"entry": "f", "cases": [{"args": 1, "expected": 1}]}}',
            r"cases\[0\]: 'args' must be a list, not 1",
        ),
        (
            '{"calls": {"entry": "f", "cases": [{"arg": [1], "expected": 1}]}}',
            "unknown key 'arg'. Did you mean 'args'?",
        ),
        ('{"calls": {"entry": "f", "cases": [{"args": [1]}]}}', r"cases\[0\]: 'expected' is missing"),
        ('{"stdio": [{"stdin": 1, "stdout": ""}]}', r"stdio\[0\]: 'stdin' must be a string, not 1"),
        ('{"stdio": {"cases": [{"stdin": "", "stdout": ""}], "compare": "loose"}}', "use 'tokens' or 'lines'"),
        ('{"asserts": {"entry": "f", "source": 1}}', "'source' must be a string"),
    ],
)
def test_what_is_wrong_with_a_file_of_tests_is_said_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "tests.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_tests(path)
    assert str(caught.value).startswith(str(path))


def test_tolerances_and_text_that_cannot_be_used_are_refused_in_python_too() -> None:
    for tolerance in (-1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="'rel_tol' is"):
            ComparisonRules(rel_tol=tolerance)
        with pytest.raises(DataError, match="'abs_tol' is"):
            StdioTests((), abs_tol=tolerance)
    with pytest.raises(DataError, match="'lines' compares text"):
        StdioTests((), "lines", rel_tol=0.1)
    with pytest.raises(DataError, match=r"cases\[0\]: 'stdin'"):
        StdioTests((StdioCase("\ud800", ""),))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("assert f(", "not Python"),
        ("assert f() == " + "-" * 100_000 + "1", "not Python"),
        ("x = 1", "no assert"),
        ("assert True", "no assert"),
    ],
)
def test_test_text_that_tests_nothing_is_refused(sandbox: Sandbox, source: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        judge(sandbox, "def f(): pass", AssertTests("f", source))


def test_an_argument_that_is_no_plain_data_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(DataError, match=r"cases\[0\]"):
        judge(sandbox, "", CallTests("f", (Case((object(),)),)))


# Data sets


def test_a_row_of_humaneval_brings_its_helpers() -> None:
    row = {
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 2",
        "prompt": "def f(x):\n    ''''''",
    }
    assert humaneval(row) == AssertTests("f", row["test"], row["prompt"])


def test_a_row_of_mbpp_names_its_function_by_its_asserts() -> None:
    row = {"test_list": ["assert set(f((1, 2))) == set((1,))", "assert f(2) == 3"], "test_setup_code": "", "code": ""}
    assert mbpp(row).entry == "f"
    assert mbpp({**row, "test_list": ["assert sum(1, 2) == 3"]}).entry == "sum"


def test_rows_of_apps_and_taco_are_scripts_or_functions() -> None:
    scripts = {"inputs": ["1\n", ["1", "2"]], "outputs": ["2\n", ["3"]]}
    assert apps({"input_output": json.dumps(scripts)}) == StdioTests((StdioCase("1\n", "2\n"), StdioCase("1\n2", "3")))
    functions = {"fn_name": "f", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]}
    tests = apps({"input_output": functions})
    assert isinstance(tests, CallTests)
    assert tests.cases == (Case((1, 2), expected=3), Case((3, 4), expected=7))


CASES = [{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize("private", [json.dumps(CASES), packed(json.dumps(CASES).encode()), CASES])
def test_rows_of_livecodebench_hold_plain_or_compressed_json(private: object) -> None:
    row = {"public_test_cases": "[]", "private_test_cases": private, "metadata": '{"func_name": "f"}'}
    tests = livecodebench(row)
    assert isinstance(tests, CallTests)
    assert (tests.entry, tests.cases) == ("f", (Case(([1, 2], 3), expected=6),))
    scripts = [{"input": "1", "output": "2", "testtype": "stdin"}]
    assert livecodebench({"public_test_cases": json.dumps(scripts)}) == StdioTests((StdioCase("1", "2"),))


class Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_by_name_and_never_read(tmp_path: Path) -> None:
    for protocol, says in enumerate(["not JSON", "not JSON", "a pickle", "a pickle", "a pickle", "a pickle"]):
        column = packed(pickle.dumps(Trap(tmp_path / "trap"), protocol))
        with pytest.raises(DataError, match=f"private_test_cases: is {says}"):
            livecodebench({"private_test_cases": column})
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("size", [1, 300, 100_000])
def test_a_pickle_of_one_text_is_read_as_livecodebench_publishes_it(size: int) -> None:
    cases = json.dumps([{"input": "é" * size, "output": "2", "testtype": "stdin"}])
    row = {"public_test_cases": "[]", "private_test_cases": packed(pickle.dumps(cases))}
    assert livecodebench(row) == StdioTests((StdioCase("é" * size, "2"),))


TEXT = pickle.dumps(json.dumps([{"input": "1", "output": "2"}]))


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps([json.dumps(CASES)]),
        pickle.dumps(CASES),
        pickle.dumps(b"[]"),
        pickle.dumps("[]", 2),
        TEXT + TEXT,
        TEXT + b" ",
        TEXT[:-1],
        TEXT[:-1] + b"R.",
        TEXT[:-2] + b"cos\nsystem\n\x94.",
        b"\x80\x04cos\nsystem\n.",
        b"\x80",
        b"\x80\x04.",
        b"\x80\x04\x8c\x02[]\x8c\x02[].",
        b"\x80\x04\x8d" + b"\xff" * 8,
    ],
)
def test_a_pickle_of_anything_else_is_refused(pickled: bytes) -> None:
    with pytest.raises(DataError, match="private_test_cases: is a pickle that is not one text alone"):
        livecodebench({"private_test_cases": packed(pickled)})


@pytest.mark.parametrize(
    ("read", "row", "says"),
    [
        (mbpp, {"test_list": ["assert f(1)"], "test_setup_code": None}, "test_setup_code: must be text, not None"),
        (mbpp, {"test_list": ["assert f(1)"], "test_imports": None}, "test_imports: must be a list, not None"),
        (mbpp, {"test_list": ["assert f(1)"], "test_imports": "import os"}, "test_imports: must be a list"),
        (mbpp, {"test_list": ["assert f(1)", 2]}, r"test_list\[1\]: must be text, not 2"),
        (mbpp, {"test_list": ["-" * 100_000 + "1"]}, "test_list: is not Python"),
        (apps, {"input_output": {"fn_name": "f", "inputs": [[1], 5], "outputs": [1, 2]}}, r"inputs\[1\]: .*not 5"),
        (apps, {"input_output": {"fn_name": "f", "inputs": ["ab"], "outputs": [1]}}, r"inputs\[0\]: .*not 'ab'"),
        (apps, {"input_output": {"fn_name": 0, "inputs": [[1]], "outputs": [1]}}, "fn_name: must be text"),
        (apps, {"input_output": {"inputs": [{"a": 1}], "outputs": ["1"]}}, r"inputs\[0\]: must be text or a list"),
        (apps, {"input_output": {"inputs": ["1"], "outputs": [[["1"]]]}}, r"outputs\[0\]: must be text or a list"),
        (apps, {"input_output": {"inputs": ["\ud800"], "outputs": ["1"]}}, r"cases\[0\]: 'stdin'"),
        (apps, {"input_output": "[" * 100_000}, "input_output: is not JSON"),
        (livecodebench, {"public_test_cases": CASES, "metadata": "[]"}, "metadata: must be an object with 'func_name'"),
        (livecodebench, {"public_test_cases": CASES}, "metadata: must be an object with 'func_name'"),
        (livecodebench, {"public_test_cases": CASES, "metadata": {}}, "func_name: must be text, not None"),
        (livecodebench, {"public_test_cases": {}}, "public_test_cases: must be a list"),
        (
            livecodebench,
            {"public_test_cases": [*CASES, {"input": "1", "output": "1"}]},
            "testtype: must be 'stdin' in all",
        ),
        (livecodebench, {"public_test_cases": [{"input": 1, "output": "1"}]}, "input: must be text, not 1"),
    ],
)
def test_a_row_that_cannot_be_read_says_which_field_is_wrong(read: Any, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(row)


def test_a_column_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonrl_sandbox.formats.MAX_UNPACKED", 1000)
    bomb = packed(b"[" + b" " * 10_000_000)
    for column in (packed(b"[" + b" " * 1000), bomb):
        with pytest.raises(DataError, match="private_test_cases: unpacks to more"):
            livecodebench({"private_test_cases": column})
    with pytest.raises(DataError, match="is cut off"):
        livecodebench({"private_test_cases": base64.b64encode(zlib.compress(b"[" * 20)[:-4]).decode()})


def test_test_texts_are_parsed_in_many_threads_at_once() -> None:
    """CPython counts the depth of a tree for all threads together, and raised SystemError where a collection ran."""
    text = "\n".join(f"assert f([[{number}, 1]]) == [{number}]" for number in range(100))

    def give_way(*_: object) -> None:
        time.sleep(1e-4)

    thresholds = gc.get_threshold()
    gc.set_threshold(100)
    gc.callbacks.append(give_way)
    try:
        with ThreadPoolExecutor(4) as threads:
            parsed = list(threads.map(as_calls, [AssertTests(entry="f", source=text)] * 40))
    finally:
        gc.callbacks.remove(give_way)
        gc.set_threshold(*thresholds)
    assert len(parsed) == 40
