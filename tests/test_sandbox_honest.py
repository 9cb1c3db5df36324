"""Honest programs with objects of their own pass, in every form that can test them, and a wrong variant of each fails.

A file of `honest_programs` has lines `# key: value`, the program, and the tests. `entry` is the function or class that
asserts are about, and `names` what a file of tests imports. `wrong` says what the wrong variant has in place of what.
Tests that are asserts alone are also run as a file, in the body of a test for unittest.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from reasonrl_sandbox import AssertTests, FileTests, ProgramLimits, ProgramResult, Sandbox, judge

FOLDER = Path(__file__).parent / "honest_programs"

QUICK = [
    "account_property",
    "async_function",
    "callbacks",
    "captured_output",
    "context_manager",
    "counter_and_deque",
    "decorators",
    "enum_color",
    "generator_next",
    "graph_shared_lists",
    "inherited_in_test",
    "lru_cache",
    "matrix_in_place",
    "ordering",
    "pytest_style",
    "unittest_style",
    "vector_operators",
]

LIMITS = ProgramLimits(cpu_s=10.0)


@dataclass(frozen=True)
class Honest:
    """A program, a wrong variant, and the tests in every form."""

    name: str
    right: str
    wrong: str
    forms: dict[str, AssertTests | FileTests]


@cache
def read(name: str) -> Honest:
    header, program, tests = re.fullmatch(
        r"((?:# \w+: [^\n]*\n)+)(.*)# ---- tests(?:-file)?\n(.*)", (FOLDER / f"{name}.py").read_text(), re.DOTALL
    ).groups()  # type: ignore[union-attr]  # a file without these parts fails the test
    keys = dict(re.findall(r"# (\w+): (.*)", header))
    old, new = (part.replace("\\n", "\n") for part in keys["wrong"].split(" => "))
    assert old in program, f"{name}: {old!r} is not in the program"
    names = keys.get("names", keys.get("entry"))
    forms: dict[str, AssertTests | FileTests] = {}
    if "entry" in keys:
        asserts = f"from solution import {names}\ndef test_it():\n{textwrap.indent(tests, '    ')}"
        forms["file"] = FileTests(asserts.replace("    global ", "    nonlocal "))
        if "# ---- tests\n" in (FOLDER / f"{name}.py").read_text():
            forms["asserts"] = AssertTests(keys["entry"], tests)
    else:
        forms["pytest" if "pytest" in keys else "file"] = FileTests(tests)
    return Honest(name, program, program.replace(old, new, 1), forms)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(slots=1) as running:
        yield running


@pytest.fixture(scope="module")
def with_pytest() -> Iterator[Sandbox]:
    with Sandbox(slots=1, preimport=("pytest",)) as running:
        yield running


def judged(sandbox: Sandbox, with_pytest: Sandbox, honest: Honest, source: str) -> dict[str, ProgramResult]:
    return {
        form: judge(with_pytest if form == "pytest" else sandbox, source, tests, limits=LIMITS)
        for form, tests in honest.forms.items()
    }


NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_there_are_programs_of_many_kinds() -> None:
    assert len(NAMES) >= 60
    assert set(QUICK) <= set(NAMES)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_an_honest_program_passes_and_a_wrong_one_fails(sandbox: Sandbox, with_pytest: Sandbox, name: str) -> None:
    honest = read(name)

    for form, result in judged(sandbox, with_pytest, honest, honest.right).items():
        assert result.outcome == "passed", f"{form}: {result.outcome}: {result.detail}"
    for form, result in judged(sandbox, with_pytest, honest, honest.wrong).items():
        assert result.outcome not in ("passed", "sandbox_error"), f"{form}: {result.outcome}: {result.detail}"
        assert not result.unscorable, f"{form}: {result.detail}"
