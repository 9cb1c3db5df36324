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
    judge_many,
)

SHORT = ProgramLimits(cpu_s=0.5, wall_s=5.0)

ENDS_WELL = ("passed", "sandbox_error")


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


# ---- objects of the program

OMNIVOROUS = """
class Any(BASE):
    def yes(self, *args): return True
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = __instancecheck__ = yes
    __hash__ = lambda self: 0
    __len__ = __int__ = __index__ = lambda self: 1
    __float__ = lambda self: 1.0
    def more(self, *args): return MORE
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __abs__ = __neg__ = __round__ = more
    __getitem__ = __call__ = __enter__ = more
    __iter__ = lambda self: iter(())
    __exit__ = lambda self, *error: True
    __getattr__ = lambda self, name: self
def f(*args): return Any()
"""
"""Programs whose objects say yes to everything, and give more such objects, or the number 0."""

VARIANTS = [
    OMNIVOROUS.replace("BASE", base).replace("MORE", more)
    for base in ("object", "int", "float", "str", "list", "dict", "tuple")
    for more in ("Any()", "0.0")
]

QUESTIONS = [
    "for x in range(3):\n    assert f(x) == x * x",
    "x = f(2)\nassert 3 < x < 5",
    "x = f(2)\nassert x >= 4 and x <= 4",
    "x = f(2)\nassert abs(x - 4) < 1e-6",
    "x = f(2)\nassert not x != 4",
    "x = f(2)\nassert x - 4 == 0 and x % 4 == 0",
    "x = f(2)\nassert x in (4, 5)",
    "x = f(2)\nassert 4 in [x] or 4 in x",
    "assert [f(1), f(2)] == [1, 4]",
    "assert {'a': f(2)} == {'a': 4} or {f(2)} == {4}",
    "assert sum([f(1), f(2)]) == 5",
    "assert sorted([f(2), 1])[1] == 4 or max(f(2), 1) == 4",
    "assert f(1) < f(2) < f(3)",
    "import math\nx = f(3)\nassert math.isclose(x, 9) or round(x) == 9",
    "r = f(3)\nassert 3 in r and 2 in r",
    "with f(3) as x:\n    assert x == 5",
    "with f(3) as x:\n    assert x.upper() == 'A' and x.upper() == 'B'",
]


@pytest.mark.parametrize(
    "program", [VARIANTS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in VARIANTS[1:])]
)
def test_an_object_that_says_yes_to_everything_passes_no_test(sandbox: Sandbox, program: str) -> None:
    results = judge_many(sandbox, [(program, AssertTests("f", text)) for text in QUESTIONS], limits=SHORT)

    assert [text for text, result in zip(QUESTIONS, results, strict=True) if result.outcome in ENDS_WELL] == []


CLASS_QUESTIONS = [
    "assert Any(1, 2) + Any(3, 4) == Any(4, 6)",
    "assert Any(1) < Any(2)",
    "assert Any(1) <= Any(2) and Any(2) >= Any(1)",
    "assert Any(1) == Any(1) and Any(1) != Any(2)",
    "assert Any(1, 2) == (1, 2)",
    "assert 3 in Any([1, 2])",
    "assert max(Any(1), Any(2)) == Any(2)",
    "assert abs(Any(3) - 3) < 1",
    "with Any(1) as x:\n    assert x == 5",
]


@pytest.mark.parametrize(
    "head",
    [
        "def __init__(self, *args): pass",
        "shared = {}\n    def __init__(self, *args): self.__dict__ = Any.shared; self.args = args",
        "def __init__(self, *args): self.x = 1",
        "__dict__ = property(lambda self: {})\n    def __init__(self, *args): pass",
    ],
)
def test_a_class_whose_objects_are_all_alike_passes_no_test_that_tells_them_apart(sandbox: Sandbox, head: str) -> None:
    program = VARIANTS[0].replace("    def yes", f"    {head}\n    def yes", 1)
    results = judge_many(sandbox, [(program, AssertTests("Any", text)) for text in CLASS_QUESTIONS], limits=SHORT)

    assert [text for text, result in zip(CLASS_QUESTIONS, results, strict=True) if result.outcome in ENDS_WELL] == []


TAKEN_AT_ITS_WORD = [
    (
        "EXPECTED = 3\ndef f(x): return 3",
        "from solution import f, EXPECTED\ndef test_f():\n    assert f(2) == EXPECTED",
    ),
    (
        "EXPECTED = 3\ndef f(x): return 3",
        "import solution\ndef test_f():\n    assert solution.f(2) == solution.EXPECTED",
    ),
    (
        "import enum\nclass C(enum.Enum):\n    RED = GREEN = 1\ndef f(x): return C.RED",
        "from solution import C, f\ndef test_f():\n    assert f('r') == C.RED\n    assert f('g') == C.GREEN",
    ),
]


@pytest.mark.parametrize(("program", "text"), TAKEN_AT_ITS_WORD)
def test_a_test_that_would_take_the_programs_word_cannot_be_scored(sandbox: Sandbox, program: str, text: str) -> None:
    refused = judge(sandbox, program, FileTests(text))

    assert refused.outcome == "failed"
    assert "allow_forgeable" in refused.unscorable or "tell them apart" in refused.unscorable
    assert judge(sandbox, program, FileTests(text, allow_forgeable=True)).outcome == "passed"


def test_a_test_that_fails_by_itself_is_not_unscorable(sandbox: Sandbox) -> None:
    text = "from solution import f, LIMIT\ndef test_f():\n    assert f(1) == 5\n    assert f(LIMIT) == LIMIT"
    program = "class P:\n    def __init__(self, x): pass\n    __eq__ = lambda a, b: True"
    asserts = AssertTests("P", "assert P(1) == P(2)\nassert P(1).x == 1")

    assert not judge(sandbox, program, asserts).unscorable
    assert judge(sandbox, "LIMIT = 3\ndef f(x): return 3", FileTests(text)).outcome == "failed"


GIVES_AWAY = [
    "from solution import E, f\nclass T(unittest.TestCase):\n    def test_f(self):\n"
    "        with self.assertRaises(E): self.assertEqual(f(1), 2)"
]


@pytest.mark.parametrize("kind", ["Exception", "BaseException", "AssertionError"])
@pytest.mark.parametrize("text", GIVES_AWAY)
def test_no_exception_of_the_program_stands_for_a_failed_assertion(sandbox: Sandbox, kind: str, text: str) -> None:
    tests = FileTests(f"import unittest\n{text}")

    assert judge(sandbox, f"E = {kind}\ndef f(x): return 1", tests).outcome in ("failed", "runtime_error")


CHANGED = [
    ("xs.clear(); return xs", "xs = [3, 1]\nr = f(xs)\nassert r == sorted(xs)\nassert len(r) == len(xs)"),
    ("xs.clear(); return 0", "for n in range(1, 4):\n    xs = [n, n]\n    assert f(xs) == sum(xs)"),
    ("xs[:] = [7]; return [7]", "def wanted(xs): return xs\nxs = [1]\nr = f(xs)\nassert r == wanted(xs)"),
    ("xs['y'] = 0; return 0", "case = {'x': 5, 'y': 25}\nassert f(case) == case['y']"),
]


@pytest.mark.parametrize(("body", "text"), CHANGED)
def test_what_a_program_does_to_its_argument_is_not_what_is_expected_of_it(
    sandbox: Sandbox, body: str, text: str
) -> None:
    assert judge(sandbox, f"def f(xs):\n    {body}", AssertTests("f", text)).outcome == "failed"


PRYING = [
    "thing.__globals__['SECRET']",
    "thing.__init__.__globals__['SECRET']",
    "thing.gi_frame.f_globals['SECRET']",
    "thing.__code__.co_consts[1]",
    "type(thing).get.__globals__['SECRET']",
    "thing.get.__func__.__globals__['SECRET']",
    "thing.__class__.__mro__[0].get.__globals__['SECRET']",
]


@pytest.mark.parametrize("expression", PRYING)
def test_a_program_reads_nothing_of_the_tests_through_what_they_pass_it(sandbox: Sandbox, expression: str) -> None:
    text = (
        "SECRET = 31415\ndef gen():\n    yield SECRET\nclass Own:\n    def get(self): return SECRET - 1\n"
        "for thing in (gen, gen(), Own(), Own().get, lambda: SECRET):\n    assert f(thing) != SECRET\nassert f(0) == 0"
    )
    program = f"def f(thing):\n    try:\n        return {expression}\n    except Exception:\n        return 0"

    assert judge(sandbox, program, AssertTests("f", text)).outcome == "passed"


HUGE_ERROR = "x = 0\ntry:\n    f()\nexcept ValueError as e:\n    x = str(e)\nassert x == 'x'"
NESTED = "class K:\n    @property\n    def k(self): return K()\ndef f(): return K()"
ENDLESS = [
    ("def f():\n    while True: yield 1", "assert sum(f()) == 3", "timeout"),
    ("def f(g): return g(g)", "def g(h): return f(h)\nassert f(g) == 3", "runtime_error"),
    ("def f(): raise ValueError('x' * 10**7)", HUGE_ERROR, "failed"),
    (NESTED, "x = f()\nwhile x.k: x = x.k\nassert x == 1", "timeout"),
]


MEDDLING = ["m.send.assert_called_once_with = print", "m.send.called = True", "m.send.return_value = 5", "m.sent = 1"]


@pytest.mark.parametrize("statement", MEDDLING)
def test_a_program_does_not_change_what_a_mock_tells_its_test(sandbox: Sandbox, statement: str) -> None:
    text = "from unittest.mock import Mock\nm = Mock()\nf(m)\nm.send.assert_called_once_with(1)"
    cheat = f"def f(m):\n    try: {statement}\n    except AttributeError: pass"

    assert judge(sandbox, cheat, AssertTests("f", text + "\nassert f(m) is None")).outcome != "passed"
    assert judge(sandbox, "def f(m): m.send(1)", AssertTests("f", text)).outcome == "passed"


@pytest.mark.parametrize(("program", "text", "ending"), ENDLESS)
def test_no_answer_takes_more_time_than_the_tests_have(sandbox: Sandbox, program: str, text: str, ending: str) -> None:
    result = judge(sandbox, program, AssertTests("f", text), limits=SHORT)

    assert result.outcome in (ending, "failed", "memory_limit")
