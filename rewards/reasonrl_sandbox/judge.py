"""Judges programs on the host, from their answers and output.

A program can forge its own answers and output, since it may write wherever its process may. It cannot forge how they
are judged: for calls and standard input, expected values never enter its process; for test text, another process writes
the outcomes, to a descriptor that the program does not have. Neither an exit status of 0 nor printed text is a pass.

Not prevented: only answers are judged, so a program that contains the expected values passes. At level `basic` under
the host's own user, a hostile program can write into the memory of this process.

Another language needs a `ProgramRunner`: something that runs a program on standard input, or calls its function with
values in the text of `child/codec.py`. Nothing here reads the source.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from reasonrl.errors import DataError
from reasonrl_sandbox.assert_calls import as_calls
from reasonrl_sandbox.asserts import open_names, read_script
from reasonrl_sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, encode, parse
from reasonrl_sandbox.child.records import Record, read
from reasonrl_sandbox.compare import matches, same_lines, same_tokens
from reasonrl_sandbox.forms import (
    AssertTests,
    CallTests,
    Case,
    FileTests,
    ReferenceTests,
    StdioCase,
    StdioTests,
    Tests,
)
from reasonrl_sandbox.reference import (
    Expected,
    ExpectedCache,
    agreement_calls,
    expected_of,
    expecting,
    key_of,
    observed,
    reference_program,
    unjudged_calls,
    with_agreement,
    with_time,
)
from reasonrl_sandbox.report import IsolationReport
from reasonrl_sandbox.types import Execution, Outcome, Program, ProgramLimits, ReportedIsolation

MAX_DETAIL = 500
"""Characters of an explanation."""


class ProgramRunner(Protocol):
    """Runs programs: a `Sandbox`, or a client of one on another machine."""

    @property
    def slots(self) -> int:
        """How many programs run at once."""
        ...

    def run(self, program: Program) -> Execution:
        """Run one program to its end."""
        ...

    def report(self) -> IsolationReport:
        """Return the isolation in use."""
        ...


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How one program did on its tests."""

    outcome: Outcome
    """`passed` if every test was, else the outcome of the first that was not."""
    passed: int
    """How many tests passed."""
    total: int
    """How many tests there are."""
    per_test: tuple[Outcome, ...]
    """The outcome of each test, up to the last that was run."""
    cpu_s: float
    """CPU seconds of the program, in all its processes."""
    wall_s: float
    """Seconds by the clock, waiting for a slot left out."""
    max_rss_mib: float
    """Peak resident memory."""
    stdout: str
    """Standard output of the last process."""
    stderr: str
    """Standard error of the last process."""
    detail: str
    """Why the first test that did not pass did not."""
    isolation: ReportedIsolation
    """The level it ran at."""
    forgeable: bool = False
    """Whether the tests let objects of the program decide outcomes."""
    unscorable: str = ""
    """Why its tests cannot judge this program, where no test failed but those that would take the program's word."""


@dataclass(frozen=True, slots=True)
class _TestResult:
    """The outcome of one test, and why."""

    outcome: Outcome
    detail: str = ""
    is_unscorable: bool = False
    """Whether the test would take the program's word for its own result."""


_PASSED = _TestResult("passed")


def judge(
    runner: ProgramRunner, source: str, tests: Tests, *, limits: ProgramLimits | None = None, partial: bool = False
) -> ProgramResult:
    """Run a program and return which tests it passes.

    Args:
        runner: What runs it.
        source: The program.
        tests: What it is tested by, in any form.
        limits: What each process may use.
        partial: Go on after the first failure where each test costs a process, to know the share of tests passed.

    Raises:
        DataError: The tests cannot be used.
    """
    program = Program(source, limits=limits or ProgramLimits())
    match tests:
        case StdioTests():
            return _judge_stdio(runner, program, tests, partial)
        case CallTests():
            return _judge_calls(runner, program, tests)
        case AssertTests():
            return _judge_asserts(runner, program, tests)
        case FileTests():
            return _judge_file(runner, program, tests)
        case ReferenceTests():
            return _judge_reference(runner, program, tests)


def judge_many(
    runner: ProgramRunner,
    jobs: Iterable[tuple[str, Tests]],
    *,
    limits: ProgramLimits | None = None,
    partial: bool = False,
) -> list[ProgramResult]:
    """Judge programs, as many at once as the runner has slots; results are in the order of the jobs."""

    def judge_one(job: tuple[str, Tests]) -> ProgramResult:
        return judge(runner, *job, limits=limits, partial=partial)

    with ThreadPoolExecutor(runner.slots, thread_name_prefix="judge") as pool:
        return list(pool.map(judge_one, jobs))


def _judge_calls(runner: ProgramRunner, program: Program, tests: CallTests) -> ProgramResult:
    """Run all calls in one process, and compare what comes back."""
    if not tests.cases:
        raise DataError(f"calls: no cases for {tests.entry!r}.")
    execution, records = _called(runner, program, tests)
    return _calls_result(runner, execution, records, tests)


def _called(runner: ProgramRunner, program: Program, tests: CallTests) -> tuple[Execution, dict[int, Record]]:
    """Run all calls in one process, and return their records."""
    calls = "\n".join(_arguments(index, case) for index, case in enumerate(tests.cases))
    execution = runner.run(replace(program, mode="values", entry=tests.entry, calls=calls))
    return execution, _read_records(execution.answers, len(tests.cases))


def _calls_result(
    runner: ProgramRunner, execution: Execution, records: dict[int, Record], tests: CallTests
) -> ProgramResult:
    """Compare the answers of all calls."""
    results = [
        _check_answer(records[index], case, tests) if index in records else _unanswered(execution)
        for index, case in enumerate(tests.cases)
    ]
    return _program_result(runner, results, len(tests.cases), [execution])


def _judge_reference(runner: ProgramRunner, program: Program, tests: ReferenceTests) -> ProgramResult:
    """Compare the answers of a program to those of the reference, which has run before."""
    expected = _expected(runner, tests, program.limits)
    if isinstance(expected, Execution):
        return _program_result(runner, [_unanswered(expected)], len(tests.inputs), [expected])
    calls = expecting(tests, expected)
    timed = replace(program, source=observed(program.source, tests), limits=with_time(program.limits, tests, expected))
    execution, records = _called(runner, timed, calls)
    asked = agreement_calls(tests, expected, records) if tests.agrees else None
    if asked is None or not asked.cases:
        return _calls_result(runner, execution, records, calls)
    checking, agreed = _called(runner, Program(tests.agrees, limits=timed.limits), asked)
    if checking.ending == "sandbox_error":
        return _program_result(runner, [_unanswered(checking)], len(tests.inputs), [checking])
    judged = with_agreement(records, agreed, len(tests.inputs))
    yes = CallTests(tests.entry, tuple(replace(case, expected=True, comparison=None) for case in calls.cases))
    return _calls_result(runner, execution, judged, yes)


_EXPECTED = ExpectedCache()


def _expected(runner: ProgramRunner, tests: ReferenceTests, limits: ProgramLimits) -> Expected | Execution:
    """Return what the reference answers, or how its run ended where the sandbox failed.

    Raises:
        DataError: It has no answer to one of the inputs. It is not asked again.
    """
    calls = "\n".join(_arguments(index, case) for index, case in enumerate(unjudged_calls(tests).cases))
    reference = reference_program(tests, calls, limits)
    key = key_of(reference)
    known = _EXPECTED.get(key)
    if known is None:
        execution = runner.run(reference)
        if execution.ending == "sandbox_error":
            return execution
        records = _read_records(execution.answers, len(tests.inputs))
        known = expected_of(records, tests, execution.cpu_s, f"{execution.ending}: {execution.detail}")
        _EXPECTED.put(key, known)
    if isinstance(known, DataError):
        raise DataError(str(known))
    return known


def _arguments(index: int, case: Case) -> str:
    """Encode the arguments of one call."""
    try:
        return encode((tuple(case.args), dict(case.kwargs)))
    except (NotPlainError, TooLargeError) as error:
        raise DataError(f"calls: cases[{index}]: an argument is {error}; only plain data can be sent.") from None


def _read_records(answers: bytes, max_records: int) -> dict[int, Record]:
    """Return the first record of every call, from at most `max_records` lines. Other lines are no answers."""
    records: dict[int, Record] = {}
    for line in answers.split(b"\n", max_records)[:max_records]:
        try:
            record = read(line)
        except MalformedError:
            continue
        records.setdefault(record.number, record)
    return records


def _check_answer(record: Record, case: Case, tests: CallTests) -> _TestResult:
    if record.outcome is not None:
        return _failed(record)
    if matches(record.value, case.expected, case.comparison or tests.comparison):
        return _PASSED
    return _TestResult(
        "failed", f"{_call(tests.entry, case)} answered {_short_repr(record.value)}, not {_expectation(case)}"
    )


def _failed(record: Record) -> _TestResult:
    """Return the result of a call without an answer. A program could have written the record, so it never passes."""
    outcomes: dict[str | None, Outcome] = {
        "runtime_error": "runtime_error",
        "memory_limit": "memory_limit",
        "output_limit": "output_limit",
    }
    return _TestResult(outcomes.get(record.outcome, "failed"), record.detail, record.outcome == "unscorable")


def _unanswered(execution: Execution) -> _TestResult:
    """Return the result of a test that the process ended before or during."""
    if execution.ending == "finished":
        return _TestResult("runtime_error", "the program ended before it answered")
    return _TestResult(execution.ending, execution.detail)


def _call(entry: str, case: Case) -> str:
    args = [_short_repr(arg) for arg in case.args] + [
        f"{name}={_short_repr(value)}" for name, value in case.kwargs.items()
    ]
    return f"{entry}({', '.join(args)})"


def _expectation(case: Case) -> str:
    relation = case.comparison.relation if case.comparison else "equal"
    return _short_repr(case.expected) if relation == "equal" else f"something {relation}"


def _short_repr(value: object) -> str:
    """Return the shortened repr of a plain value; Python refuses to print very long integers."""
    try:
        text = repr(value)
    except ValueError:
        return "a huge number"
    return text if len(text) <= 100 else text[:97] + "..."


def _judge_stdio(runner: ProgramRunner, program: Program, tests: StdioTests, partial: bool) -> ProgramResult:
    """Run a process for each case, up to the first that does not pass unless `partial`."""
    if not tests.cases:
        raise DataError("stdio: no cases.")
    results, executions = list[_TestResult](), list[Execution]()
    for case in tests.cases:
        executions.append(runner.run(replace(program, stdin=case.stdin.encode())))
        results.append(_check_output(executions[-1], case, tests))
        if results[-1] is not _PASSED and not (partial and results[-1].outcome != "sandbox_error"):
            break
    return _program_result(runner, results, len(tests.cases), executions)


def _check_output(execution: Execution, case: StdioCase, tests: StdioTests) -> _TestResult:
    if execution.ending != "finished":
        return _TestResult(execution.ending, execution.detail)
    if _is_right(execution.stdout, case, tests):
        return _PASSED
    return _TestResult("failed", f"printed {_short_repr(execution.stdout)}, not {_short_repr(case.stdout)}")


def _is_right(stdout: str, case: StdioCase, tests: StdioTests) -> bool:
    if tests.checker:
        return tests.checker(case.stdin, stdout, case.stdout)
    if tests.compare == "lines":
        return same_lines(stdout, case.stdout)
    return same_tokens(stdout, case.stdout, abs_tol=tests.abs_tol, rel_tol=tests.rel_tol)


def _judge_asserts(runner: ProgramRunner, program: Program, tests: AssertTests) -> ProgramResult:
    """Judge asserts as calls where all compare plain values to constants, else by running them."""
    calls = as_calls(tests)
    if calls is not None:
        execution, records = _called(runner, program, calls)
        if not any(record.outcome == "not_plain" for record in records.values()):
            return _calls_result(runner, execution, records, calls)
    return _judge_text(runner, program, tests)


def _judge_text(runner: ProgramRunner, program: Program, tests: AssertTests) -> ProgramResult:
    """Run test text in a second process beside the program."""
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
    results = _driver_results(execution, script.num_tests)
    return replace(_program_result(runner, results, script.num_tests, [execution]), forgeable=tests.allow_forgeable)


def _judge_file(runner: ProgramRunner, program: Program, tests: FileTests) -> ProgramResult:
    """Run a file of tests in a second process beside the program."""
    driver = {
        "form": "file",
        "allow_forgeable": tests.allow_forgeable,
        "source": tests.source,
        "module": tests.module,
        "names": open_names(tests),
    }
    execution = runner.run(replace(program, mode="split", driver=json.dumps(driver)))
    total = _num_tests_found(execution)
    return replace(
        _program_result(runner, _driver_results(execution, total), total, [execution]), forgeable=tests.allow_forgeable
    )


# Any: JSON that `child/driver.py` wrote.
def _num_tests_found(execution: Execution) -> int:
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


def _driver_results(execution: Execution, total: int) -> list[_TestResult]:
    """Return the results that the driver wrote, and the program cannot write."""
    lines = execution.answers.count(b"\n")
    records = _read_records(execution.answers, lines)
    return [_driver_result(records.get(index), execution) for index in range(max(total, len(records)))]


def _driver_result(record: Record | None, execution: Execution) -> _TestResult:
    if record is None:
        return _unanswered(execution)
    return _PASSED if record.value is True else _failed(record)


def _program_result(
    runner: ProgramRunner, results: list[_TestResult], total: int, executions: list[Execution]
) -> ProgramResult:
    """Return the result of a program from those of its tests."""
    lost = next((execution for execution in executions if execution.ending == "sandbox_error"), None)
    if lost is not None:
        results = [_TestResult("sandbox_error", lost.detail)]
    not_passed = [result for result in results if result is not _PASSED]
    worst = next(iter(not_passed), _PASSED)
    return ProgramResult(
        outcome=worst.outcome,
        passed=sum(result is _PASSED for result in results),
        total=total,
        per_test=tuple(result.outcome for result in results),
        cpu_s=sum(execution.cpu_s for execution in executions),
        wall_s=sum(execution.wall_s for execution in executions),
        max_rss_mib=max(execution.max_rss_mib for execution in executions),
        stdout=executions[-1].stdout,
        stderr=executions[-1].stderr,
        detail=worst.detail[:MAX_DETAIL],
        isolation=runner.report().level,
        unscorable=worst.detail[:MAX_DETAIL] if all(result.is_unscorable for result in not_passed) else "",
    )
