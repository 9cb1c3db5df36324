"""What `reasonrl sandbox` does: run a program by hand, run a folder of attacks, say what holds programs here."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Final

from reasonrl.errors import ConfigError, DataError, SandboxError
from reasonrl.printable import block, visible
from reasonrl.sandbox import Execution, IsolationReport, Place, Program, Result, judge, read_tests
from reasonrl.sandbox.attack import Trial, read_attacks, run_attacks
from reasonrl.sandbox.canary import planted_canary

NOT_PASSED: Final = 1
"""Exit code when a program did not do what it should."""

SHOWN: Final = 4000
"""Characters of an output that are shown."""


def run_program(place: Place, program: Path, tests: Path | None, *, partial: bool, as_json: bool) -> tuple[str, int]:
    """Run a program on its tests, or show what it prints.

    Args:
        place: where it runs.
        program: its file.
        tests: their file, as `read_tests` has it; None to run it alone.
        partial: go on after the first test that is not passed.
        as_json: for machines.

    Returns:
        What to print, and the exit code: 0 where it passed (or, without tests, ran to its end), `NOT_PASSED` where
        not, that of `SandboxError` where the sandbox failed.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
        SandboxError: the sandbox cannot be opened.
    """
    source = _read(program)
    try:
        read = None if tests is None else read_tests(tests)
        with closing(place.open()) as runner:
            outcome = runner.run(Program(source)) if read is None else judge(runner, source, read, partial=partial)
            report = runner.report()
    except DataError as error:
        raise ConfigError(str(error)) from None
    if as_json:
        said = json.dumps({**_plain(outcome), "isolation": asdict(report)}, indent=2)
    else:
        said = "\n".join([*_described(outcome), "", describe_isolation(report)])
    return said, _exit_code(outcome)


def _read(program: Path) -> str:
    """Return a program's text; what is no UTF-8 stays, and does not compile."""
    try:
        return program.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{program}: cannot be read: {error.strerror}.") from None


def _exit_code(outcome: Result | Execution) -> int:
    ended = outcome.outcome if isinstance(outcome, Result) else outcome.ending
    if ended == "sandbox_error":
        return SandboxError.exit_code
    return 0 if ended in ("passed", "finished") else NOT_PASSED


def _plain(outcome: Result | Execution) -> dict[str, object]:
    """Return an outcome as JSON has it. Answers are for tests; a program that runs alone gives none."""
    return {name: value for name, value in asdict(outcome).items() if name != "answers"}


def _described(outcome: Result | Execution) -> Iterator[str]:
    """Say what became of a program, for people."""
    used = f"{outcome.cpu_s:.3f} s of CPU, {outcome.wall_s:.3f} s by the clock, {outcome.max_rss_mib:.0f} MiB"
    if isinstance(outcome, Result):
        yield f"{outcome.outcome}: {outcome.passed} of {outcome.total} tests passed; {used}"
        if outcome.detail:
            yield f"    {visible(outcome.detail)}"
        yield from (f"test {number}: {each}" for number, each in enumerate(outcome.per_test, start=1))
        if len(outcome.per_test) < outcome.total:
            yield f"{outcome.total - len(outcome.per_test)} tests were not run"
        if outcome.forgeable:
            yield "forgeable: these tests let objects of the program take part in the verdict"
    else:
        yield f"{outcome.ending}; {used}" + (f"\n    {visible(outcome.detail)}" if outcome.detail else "")
    for name, text in (("output", outcome.stdout), ("errors", outcome.stderr)):
        if text:
            yield f"{name}:\n" + block(text.rstrip("\n"), SHOWN)


def describe_isolation(report: IsolationReport) -> str:
    """Say what holds programs, layer by layer, what was tried, and what each missing layer would need."""
    counts = [list(report.verified.values()).count(verdict) for verdict in ("ok", "FAILED", "skipped")]
    lines = [f"isolation {report.level}: {report.kernel}, Python {report.python}, uid {report.uid}"]
    lines += [f"    {name}: {state}" for name, state in sorted(report.layers.items(), key=lambda layer: layer[1])]
    lines += ["witness programs: {} could do no harm, {} could, {} skipped".format(*counts)]
    lines += [f"    {name}: {verdict}" for name, verdict in report.verified.items() if verdict != "ok"]
    lines += [f"{name} would need {need}" for name, need in report.needs.items()]
    return "\n".join(lines)


def attack(place: Place, folder: Path, *, as_json: bool, say: Callable[[str], None]) -> int:
    """Run the programs of a folder, and say which did not end as they must.

    Args:
        place: what holds them.
        folder: the programs.
        as_json: for machines.
        say: called with each line.

    Returns:
        The exit code: `NOT_PASSED` if any was not as expected, or did harm.

    Raises:
        ConfigError: the folder, or a program in it, is not what it should be.
        SandboxError: the sandbox cannot be opened.
    """
    try:
        with closing(place.open()) as runner, planted_canary(runner.report().uid) as canary:
            attacks = read_attacks(folder, canary.words)
            trials = run_attacks(runner, attacks, seen=lambda trial: None if as_json else _say_if_wrong(trial, say))
            report, harm = runner.report(), canary.harm()
    except DataError as error:
        raise ConfigError(str(error)) from None
    wrong = [trial for trial in trials if not trial.as_expected]
    if as_json:
        say(json.dumps({"trials": list(map(_trial, trials)), "harm": harm, "isolation": asdict(report)}, indent=2))
    else:
        harms = [f"HARM: {visible(each)}" for each in harm]
        say("\n".join([*harms, _sum(trials, wrong, len(attacks)), "", describe_isolation(report)]))
    return NOT_PASSED if wrong or harm else 0


def _say_if_wrong(trial: Trial, say: Callable[[str], None]) -> None:
    if not trial.as_expected:
        say(f"{trial.attack.name}: {trial.result.outcome}, expected {' or '.join(sorted(trial.attack.expect))}")
        say(f"    {visible(trial.result.detail)}")


def _trial(trial: Trial) -> dict[str, object]:
    """Return a trial as JSON has it."""
    return {
        "name": trial.attack.name,
        "expect": sorted(trial.attack.expect),
        "as_expected": trial.as_expected,
        **_plain(trial.result),
    }


def _sum(trials: list[Trial], wrong: list[Trial], num_attacks: int) -> str:
    elsewhere = num_attacks - len(trials)
    left_out = f"; {elsewhere} are for other levels" if elsewhere else ""
    return f"{len(trials) - len(wrong)} of {len(trials)} programs ended as expected{left_out}"
