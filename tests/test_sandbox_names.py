"""Which names of test text a program may provide: everything else is the tests' own, or the tests are refused."""

import pytest

from reasonrl.errors import DataError
from reasonrl_sandbox import AssertTests, FileTests
from reasonrl_sandbox.asserts import open_names, read_script

ASSERTS = {
    # text after `assert f(1) == 1`: classes that the program provides, and modules and imports of the tests
    "root = Node(1)\nassert f(root) == 2": (("Node",), (), ()),
    "bst = BST()\nassert f(bst) == 2": (("BST",), (), ()),
    "try:\n    f(0)\nexcept StackError:\n    pass": (("StackError",), (), ()),
    "assert isinstance(f(1), Shape)": (("Shape",), (), ()),
    "assert f(Color.RED) == Color.BLUE": (("Color",), (), ()),
    "assert f(2) == math.pi": ((), ("math",), ()),
    "assert f(2) == sqrt(4)": ((), (), ("from math import sqrt",)),
    "assert f([x for x in range(3)]) == sum(x for x in range(3))": ((), (), ()),
    "def same(a, b):\n    return a == b\nassert same(f(1), 1)": ((), (), ()),
    "for n, want in [(1, 1)]:\n    assert f(n) == want": ((), (), ()),
    "if (n := f(2)):\n    assert n == 2": ((), (), ()),
    "match f(3):\n    case [first, *rest]:\n        assert first == rest": ((), (), ()),
    "def add():\n    global total\n    total = f(1)\nadd()\nassert total == 1": ((), (), ()),
    "from math import *\nassert f(4) == sqrt(16)": ((), (), ()),
    "from numpy import *\nassert f(4) == array(16)": ((), (), ()),
    "assert f(1) == 1, f'{__name__}'": ((), (), ()),
}


@pytest.mark.parametrize("text", ASSERTS)
def test_a_program_provides_classes_that_asserts_use_and_no_other_name(text: str) -> None:
    script = read_script(AssertTests("f", f"assert f(1) == 1\n{text}"))
    added = [each.source for each in script.statements if each.source.startswith("from math import sqrt")]
    assert (script.names, script.modules, tuple(added)) == ASSERTS[text]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("assert f(1) == EXPECTED", "EXPECTED"),
        ("assert f(1) == expected", "expected"),
        ("assert f(1) == TABLE[1]", "TABLE"),
        ("assert f(1) == ANSWERS.get(1)", "ANSWERS"),
        ("for x, y in CASES:\n    assert f(x) == y", "CASES"),
        ("assert close(f(1), 1)", "close"),
        ("assert f(1) == 1, message", "message"),
        ("def check_all(want):\n    return want == 1\nassert check_all(f(wanted))", "wanted"),
        ("def check_all(wanted):\n    return wanted == 1\nassert check_all(f(1) - wanted)", "wanted"),
        ("def check(candidate):\n    assert candidate(1) == expected", "expected"),
    ],
)
def test_asserts_that_would_take_a_value_or_a_helper_from_the_program_are_refused(text: str, name: str) -> None:
    with pytest.raises(DataError, match=f"the tests use '{name}', which only the program defines.* 'setup'"):
        read_script(AssertTests("f", text))
    assert name in read_script(AssertTests("f", text, allow_forgeable=True)).names
    given = f"{name} = 1\ndef {name}(*args): return 1" if name == "close" else f"{name} = {{1: 1}}"
    assert read_script(AssertTests("f", text, setup=given)).names == ()


@pytest.mark.parametrize(
    "text",
    [
        "assert Close(f(1), 1)",
        "assert not Close(f(1), 2)",
        "assert f(1) == 1 and Close(f(2), 2)",
        "assert Judge().agrees(f(1), 1)",
        "assert Judge.agrees(answer=f(1))",
        "def check(candidate):\n    assert Close(candidate(1), 1)",
    ],
)
def test_asserts_whose_truth_a_class_beside_the_one_under_test_says_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"leave it to '(Close|Judge)' of the program whether they pass"):
        read_script(AssertTests("f", text))
    read_script(AssertTests("f", text, allow_forgeable=True))
    for own in ("assert Stack().empty()", "stack = Stack(f(1))\nassert stack.has(f(2))", "assert f(Stack([1]))"):
        assert read_script(AssertTests("f", f"assert f(1) == 1\n{own}")).names == ("Stack",)


OWNERS = [
    "def same(a, b): return a == b",
    "try:\n    from nowhere import same\nexcept ImportError:\n    def same(a, b): return a == b",
    "if True:\n    from operator import eq as same",
    "with open('x') as same: pass",
    "for same in (max,): pass",
    "(same := max)",
    "match [max]:\n    case [same]: pass",
    "def define():\n    global same\n    same = max",
    "class same: pass",
    "import operator as same",
    "try:\n    pass\nexcept ValueError as same:\n    pass",
    "from operator import *\nsame = eq",
]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("form", ["{owner}\nfrom solution import *\n", "from solution import *\n{owner}\n"])
def test_a_star_import_replaces_no_name_that_the_file_defines_anywhere(owner: str, form: str) -> None:
    text = form.format(owner=owner) + "def test_f():\n    assert same(f(1), 1)\n"
    assert open_names(FileTests(text)) == ["f"]


FILES = {
    "def test_f():\n    result = f(1)\n    assert sorted(result) == [1]": ["f"],
    "def test_f():\n    f = 3\ndef test_g():\n    assert f(1) == 1": ["f"],
    "def test_f():\n    assert isinstance(f(1), Shape) and Shape.sides == 4": ["Shape", "f"],
    "def test_f():\n    assert list(map(f, [1])) == [1]": ["f"],
    "class TestF(unittest.TestCase):\n    def test_f(self):\n        self.assertRaises(ValueError, f, 1)": ["f"],
    "class TestF(unittest.TestCase):\n    def test_f(self):\n        with self.assertRaises(TooSmall): f(1)": [
        "TooSmall",
        "f",
    ],
    "from math import *\ndef test_f():\n    assert f(4) == sqrt(16)": ["f"],
    "@helper\ndef add(): pass\ndef test_f():\n    assert add() == 1": ["helper"],
    "def test_f():\n    assert __name__ != f(1)": ["f"],
}


@pytest.mark.parametrize("text", FILES)
def test_a_star_import_brings_functions_and_classes_that_the_file_uses(text: str) -> None:
    assert open_names(FileTests(f"import unittest\nfrom solution import *\n{text}")) == FILES[text]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def test_f():\n    assert f(1) == EXPECTED", "the tests use 'EXPECTED'"),
        ("def test_f():\n    assert f(1) == expected", "the tests use 'expected'"),
        ("def test_f():\n    for x, y in cases: assert f(x) == y", "the tests use 'cases'"),
        ("def test_f():\n    for x, y in cases.items(): assert f(x) == y", "the tests use 'cases'"),
        ("def test_f():\n    assert math.isclose(f(1), 1)", "the tests use 'math'"),
        ("def test_f():\n    assert_equal(f(1), 1)", "the tests use 'assert_equal'"),
        ("from numpy import *\ndef test_f():\n    assert f(1) == array(1)", "'from numpy import \\*' cannot be told"),
        ("from math import *\ndef test_gcd():\n    assert gcd(4, 6) == 2", "'from math import \\*' cannot be told"),
        ("@timed\ndef test_f():\n    assert f(1) == 1", "line 2 lets 'timed' of the program decide"),
    ],
)
def test_a_star_import_that_would_bring_a_value_or_a_verdict_is_refused(text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        open_names(FileTests(f"from solution import *\n{text}"))
    open_names(FileTests(f"from solution import *\n{text}", allow_forgeable=True))


@pytest.mark.parametrize(
    "text",
    [
        "from main import f, timed\n@timed\ndef test_f():\n    assert f(1) == 1",
        "from main import f, timed\n@timed(3)\ndef test_f():\n    assert f(1) == 1",
        "import main\n@main.timed\ndef test_f():\n    assert main.f(1) == 1",
        "from main import timed as t, f\nclass TestF:\n    @t\n    def test_f(self):\n        assert f(1) == 1",
        "from main import Base, f\nclass TestF(Base):\n    def test_f(self):\n        assert f(1) == 1",
        "from main import whole, f\n@whole\nclass TestF:\n    def test_f(self):\n        assert f(1) == 1",
        "from main import timed, f\ndef check():\n    assert f(1) == 1\ntest_f = timed(check)",
    ],
)
def test_no_function_of_the_program_may_stand_around_a_test(text: str) -> None:
    with pytest.raises(DataError, match="of the program decide which tests run and fail"):
        open_names(FileTests(text, module="main"))


@pytest.mark.parametrize(
    "text",
    [
        "from solution import f, EXPECTED\ndef test_f():\n    assert f(1) == EXPECTED",
        "import pytest\nfrom solution import f\n@pytest.mark.parametrize('h', [f])\ndef test_f(h): assert h(1)",
        "from solution import timed\ndef test_timed():\n    @timed\n    def add(): return 1\n    assert add() == 1",
        "from solution import Base\nclass Loud(Base): pass\ndef test_loud():\n    assert Loud().say() == 'A'",
        "import unittest, solution\n@unittest.skipIf(not hasattr(solution, 'f'), '')\ndef test_f(): pass",
    ],
)
def test_what_a_file_imports_by_name_is_the_programs(text: str) -> None:
    assert open_names(FileTests(text)) == []
