"""The verdict on a program: made here, from what came out of the sandbox, never from how the program says it did.

What a program can forge: its own answers and its own output, byte for byte, since it may write wherever its process
may. What it cannot: the verdict on them. For calls and for standard input it never holds an expected value; for test
text the verdict is written by another process than its own, through a descriptor that it has not. How it exits is no
success, and neither is a word that it prints.

What stays open: answers are all that is judged, so a program that knows the expected values by heart passes. And it
takes a sandbox to keep a program from the memory of others: at level `basic`, under the host's own user, one that
means to can write into this very process.

Another language needs a `Runner` for it: something that runs a program on standard input, or calls its function with
values in the codec's text. Nothing in here looks at the source.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from reasonrl.errors import DataError
from reasonrl.sandbox.asserts import as_calls, open_names, read_script
from reasonrl.sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, encode, parse
from reasonrl.sandbox.child.records import Record, read
from reasonrl.sandbox.compare import agrees, same_lines, same_tokens
from reasonrl.sandbox.forms import AssertTests, CallTests, Case, FileTests, StdioCase, StdioTests, Tests
from reasonrl.sandbox.report import IsolationReport
from reasonrl.sandbox.types import Execution, Level, Limits, Outcome, Program

MAX_DETAIL = 500
"""Characters of an explanation."""


class Runner(Protocol):
    """Runs programs somewhere: a `Sandbox`, or a client of one elsewhere."""

    @property
    def slots(self) -> int:
        """How many programs run at once."""
        ...

    def run(self, program: Program) -> Execution:
        """Run one program to its end."""
        ...

    def report(self) -> IsolationReport:
        """Say what holds the programs."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one program."""

    outcome: Outcome
    """`passed` if every test was, else the outcome of the first that was not."""
    passed: int
    """How many tests passed."""
    total: int
    """How many tests there are."""
    per_test: tuple[Outcome, ...]
    """The outcome of each test, up to the last that was run."""
    cpu_s: float
    """CPU seconds that the program used, in all its processes."""
    wall_s: float
    """Seconds by the clock, waiting for a slot left out."""
    max_rss_mib: float
    """Most resident memory."""
    stdout: str
    """Standard output of the last process."""
    stderr: str
    """Standard error of the last process."""
    detail: str
    """Why it did not pass: of the first test that did not."""
    isolation: Level
    """The level it ran at."""
    forgeable: bool = False
    """Whether the tests let objects of the program take part in the verdict."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The outcome of one test, and why."""

    outcome: Outcome
    detail: str = ""


_PASSED = _Verdict("passed")


def judge(runner: Runner, source: str, tests: Tests, *, limits: Limits | None = None, partial: bool = False) -> Result:
    """Run a program and say which tests it passes.

    Args:
        runner: What runs it.
        source: The program.
        tests: What it is tested by, in any form.
        limits: What each process may use.
        partial: Go on after the first failure where each test costs a process, to know the share of tests passed.

    Raises:
        DataError: The tests cannot be used.
    """
    program = Program(source, limits=limits or Limits())
    match tests:
        case StdioTests():
            return _judge_stdio(runner, program, tests, partial)
        case CallTests():
            return _judge_calls(runner, program, tests)
        case AssertTests():
            calls = as_calls(tests)
            return _judge_calls(runner, program, calls) if calls else _judge_asserts(runner, program, tests)
        case FileTests():
            return _judge_file(runner, program, tests)


def judge_many(
    runner: Runner, jobs: Iterable[tuple[str, Tests]], *, limits: Limits | None = None, partial: bool = False
) -> list[Result]:
    """Judge programs, as many at once as the runner has slots; results are in the order of the jobs."""

    def one(job: tuple[str, Tests]) -> Result:
        return judge(runner, *job, limits=limits, partial=partial)

    with ThreadPoolExecutor(runner.slots, thread_name_prefix="judge") as pool:
        return list(pool.map(one, jobs))


def _judge_calls(runner: Runner, program: Program, tests: CallTests) -> Result:
    """Run all calls in one process, and compare what comes back."""
    if not tests.cases:
        raise DataError(f"calls: no cases for {tests.entry!r}.")
    calls = "\n".join(_arguments(index, case) for index, case in enumerate(tests.cases))
    execution = runner.run(replace(program, mode="values", entry=tests.entry, calls=calls))
    records = _records(execution.answers, len(tests.cases))
    verdicts = [
        _verdict_on_answer(records[index], case, tests) if index in records else _unanswered(execution)
        for index, case in enumerate(tests.cases)
    ]
    return _result(runner, verdicts, len(tests.cases), [execution])


def _arguments(index: int, case: Case) -> str:
    """Write the arguments of one call."""
    try:
        return encode((tuple(case.args), dict(case.kwargs)))
    except (NotPlainError, TooLargeError) as error:
        raise DataError(f"calls: cases[{index}]: an argument is {error}; only plain data can be sent.") from None


def _records(answers: bytes, most: int) -> dict[int, Record]:
    """Return the first record of every call, from as many lines as there should be. What is no record is no answer."""
    records: dict[int, Record] = {}
    for line in answers.split(b"\n", most)[:most]:
        try:
            record = read(line)
        except MalformedError:
            continue
        records.setdefault(record.number, record)
    return records


def _verdict_on_answer(record: Record, case: Case, tests: CallTests) -> _Verdict:
    if record.outcome is not None:
        return _failed(record)
    if agrees(record.value, case.expected, case.comparison or tests.comparison):
        return _PASSED
    return _Verdict("failed", f"{_call(tests.entry, case)} answered {_shown(record.value)}, not {_wanted(case)}")


def _failed(record: Record) -> _Verdict:
    """Return the outcome of a test that has no answer; a record says which, and never that it passed."""
    outcomes: dict[str | None, Outcome] = {
        "runtime_error": "runtime_error",
        "memory_limit": "memory_limit",
        "output_limit": "output_limit",
    }
    return _Verdict(outcomes.get(record.outcome, "failed"), record.detail)


def _unanswered(execution: Execution) -> _Verdict:
    """Return the outcome of a test that the process did not come to, or did not live through."""
    if execution.ending == "finished":
        return _Verdict("runtime_error", "the program ended before it answered")
    return _Verdict(execution.ending, execution.detail)


def _call(entry: str, case: Case) -> str:
    args = [_shown(arg) for arg in case.args] + [f"{name}={_shown(value)}" for name, value in case.kwargs.items()]
    return f"{entry}({', '.join(args)})"


def _wanted(case: Case) -> str:
    relation = case.comparison.relation if case.comparison else "equal"
    return _shown(case.expected) if relation == "equal" else f"something {relation}"


def _shown(value: object) -> str:
    """Return a plain value as Python writes it, shortened. A huge integer has no short way of writing."""
    try:
        text = repr(value)
    except ValueError:
        return "a huge number"
    return text if len(text) <= 100 else text[:97] + "..."


def _judge_stdio(runner: Runner, program: Program, tests: StdioTests, partial: bool) -> Result:
    """Run a process for each case, up to the first that does not pass unless all are wanted."""
    if not tests.cases:
        raise DataError("stdio: no cases.")
    verdicts, executions = list[_Verdict](), list[Execution]()
    for case in tests.cases:
        executions.append(runner.run(replace(program, stdin=case.stdin.encode())))
        verdicts.append(_verdict_on_output(executions[-1], case, tests))
        if verdicts[-1] is not _PASSED and not (partial and verdicts[-1].outcome != "sandbox_error"):
            break
    return _result(runner, verdicts, len(tests.cases), executions)


def _verdict_on_output(execution: Execution, case: StdioCase, tests: StdioTests) -> _Verdict:
    if execution.ending != "finished":
        return _Verdict(execution.ending, execution.detail)
    if _is_right(execution.stdout, case, tests):
        return _PASSED
    return _Verdict("failed", f"printed {_shown(execution.stdout)}, not {_shown(case.stdout)}")


def _is_right(stdout: str, case: StdioCase, tests: StdioTests) -> bool:
    if tests.checker:
        return tests.checker(case.stdin, stdout, case.stdout)
    if tests.compare == "lines":
        return same_lines(stdout, case.stdout)
    return same_tokens(stdout, case.stdout, abs_tol=tests.abs_tol, rel_tol=tests.rel_tol)


def _judge_asserts(runner: Runner, program: Program, tests: AssertTests) -> Result:
    """Run test text beside the program."""
    script = read_script(tests)
    driver = {
        "form": "asserts",
        "allow_forgeable": tests.allow_forgeable,
        "entry": tests.entry,
        "setup": tests.setup,
        "statements": [(statement.source, statement.is_test) for statement in script.statements],
        "aliases": script.aliases,
        "modules": script.modules,
        "names": script.names,
    }
    execution = runner.run(replace(program, mode="split", entry=tests.entry, driver=json.dumps(driver)))
    verdicts = _driven(execution, script.num_tests)
    return replace(_result(runner, verdicts, script.num_tests, [execution]), forgeable=tests.allow_forgeable)


def _judge_file(runner: Runner, program: Program, tests: FileTests) -> Result:
    """Run a file of tests beside the program."""
    driver = {
        "form": "file",
        "allow_forgeable": tests.allow_forgeable,
        "source": tests.source,
        "module": tests.module,
        "names": open_names(tests.source),
    }
    execution = runner.run(replace(program, mode="split", driver=json.dumps(driver)))
    total = _announced(execution)
    return replace(_result(runner, _driven(execution, total), total, [execution]), forgeable=tests.allow_forgeable)


# Any: the first line of a driver's answers, which is ours.
def _announced(execution: Execution) -> int:
    """Return how many tests the driver found in a file.

    Raises:
        DataError: The file has none, or cannot run in this sandbox.
    """
    first: Any = parse(execution.answers.partition(b"\n")[0] or b"null")
    match first:
        case {"tests": int(total)} if total > 0:
            return total
        case {"unusable": str(name)}:
            raise DataError(
                f"file tests: they import {name!r}, which is not there. A package has to be among the sandbox's "
                "`preimport`; if it is the program that they mean, say so: `module`."
            )
        case {"tests": _}:
            raise DataError("file tests: no test in the file. Name functions test_..., or use unittest.TestCase.")
    return 1


def _driven(execution: Execution, total: int) -> list[_Verdict]:
    """Return the outcomes that the driver wrote; it alone can write them."""
    lines = execution.answers.count(b"\n")
    records = _records(execution.answers, lines)
    return [_verdict_of_driver(records.get(index), execution) for index in range(max(total, len(records)))]


def _verdict_of_driver(record: Record | None, execution: Execution) -> _Verdict:
    if record is None:
        return _unanswered(execution)
    return _PASSED if record.value is True else _failed(record)


def _result(runner: Runner, verdicts: list[_Verdict], total: int, executions: list[Execution]) -> Result:
    """Sum up the tests of one program."""
    lost = next((execution for execution in executions if execution.ending == "sandbox_error"), None)
    if lost is not None:
        verdicts = [_Verdict("sandbox_error", lost.detail)]
    worst = next((verdict for verdict in verdicts if verdict is not _PASSED), _PASSED)
    return Result(
        outcome=worst.outcome,
        passed=sum(verdict is _PASSED for verdict in verdicts),
        total=total,
        per_test=tuple(verdict.outcome for verdict in verdicts),
        cpu_s=sum(execution.cpu_s for execution in executions),
        wall_s=sum(execution.wall_s for execution in executions),
        max_rss_mib=max(execution.max_rss_mib for execution in executions),
        stdout=executions[-1].stdout,
        stderr=executions[-1].stderr,
        detail=worst.detail[:MAX_DETAIL],
        isolation=runner.report().level,
    )
