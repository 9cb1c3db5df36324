"""Run a program against the tests of its problem."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Literal

from reasonrl import ConfigError, DataError, Rollout, Score, SharedResource, keeps_open
from reasonrl_grading.answers import FENCED, ProgramSource, read_program
from reasonrl_rewards.found import ANSWERED, no_answer
from reasonrl_sandbox import (
    Isolation,
    ProgramLimits,
    ProgramResult,
    SandboxSpec,
    ServerProtocol,
    close_shared,
    judge,
    problem_limits,
    problem_tests,
    shared_sandbox,
    summarize_isolation,
)

CALLS_PER_SLOT: Final = 2
"""Calls under way for each slot: one is sent, or judged, while another runs."""

TIMEOUT_S: Final = 600.0
"""Longest time of a call. The sandbox stops each of its programs long before."""

EXPLAINED: Final = ("compile_error", "runtime_error", "no_entry")
"""Outcomes whose details are about the program alone; those of a wrong answer contain the right one."""


@contextmanager
def _sandbox(
    sources: tuple[ProgramSource, ...],
    isolation: Isolation | Literal["auto"],
    slots: int | None,
    preimport: tuple[str, ...],
    urls: tuple[str, ...],
    protocol: ServerProtocol,
    cpu_s: float | None,
    wall_s: float | None,
    memory_mib: int | None,
    output_kib: int,
) -> Iterator[SharedResource]:
    """Keep the sandbox open, and report its isolation. Unusable settings are refused here, before the run."""
    if not sources:
        raise ConfigError("reward 'unit_tests': sources is empty, so no program would be found; [fence] is usual.")
    _limits(cpu_s, wall_s, memory_mib, output_kib)
    spec = SandboxSpec(isolation, slots, preimport, urls, protocol)
    sandbox = shared_sandbox(spec)
    try:
        yield SharedResource(
            slots=CALLS_PER_SLOT * sandbox.slots, timeout_s=TIMEOUT_S, note=summarize_isolation(sandbox)
        )
    finally:
        close_shared(spec)


def _limits(cpu_s: float | None, wall_s: float | None, memory_mib: int | None, output_kib: int) -> ProgramLimits:
    """Return the limits where a problem has none of its own."""
    usual = ProgramLimits(wall_s=wall_s, output_kib=output_kib)
    return replace(
        usual,
        cpu_s=usual.cpu_s if cpu_s is None else cpu_s,
        memory_mib=usual.memory_mib if memory_mib is None else memory_mib,
    )


@keeps_open(_sandbox)
async def unit_tests(
    rollout: Rollout,
    *,
    sources: tuple[ProgramSource, ...] = FENCED,
    partial: bool = False,
    cpu_s: float | None = None,
    wall_s: float | None = None,
    memory_mib: int | None = None,
    output_kib: int = 1024,
    isolation: Isolation | Literal["auto"] = "auto",
    slots: int | None = None,
    preimport: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
) -> Score:
    """1 for a program that passes all tests of its problem in a sandbox, else 0.

    The tests stand in ``meta["tests"]``, as the code tasks put them there or in the form of a file of tests. The
    program never sees them, nor what is expected: only its answers leave the sandbox, and they are judged outside.
    Where the problem has ``meta["stub"]``, that stands before the program.

    Args:
        rollout: what is scored.
        sources: where the program may stand, in this order: ``fence`` (the last block of Python), ``answer_tag``,
            ``whole`` (all of the text, thinking left out).
        partial: give the share of tests passed.
        cpu_s: CPU seconds that a process may use: all calls of a function together, or one input of a program; null is
            the problem's own limit (``meta["limits"]``), or else 2.
        wall_s: seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it.
        memory_mib: memory that a process may use; null is the problem's own limit, or else 512.
        output_kib: most that a process may print.
        isolation: ``full``, ``container`` or ``basic``: a run does not start where that cannot be formed, or where
            a server has less; ``auto`` takes the strongest that the machine can form.
        slots: programs that run at once; null is the usable cores.
        preimport: packages beyond the standard library that programs may import, such as ``numpy``.
        urls: servers (``reasonrl sandbox serve``) that run the programs in place of this machine.
        protocol: what the servers speak: ``reasonrl``, or ``sandboxfusion``, which does not report its isolation.
    """
    try:
        tests = problem_tests(rollout.problem)
        program = read_program(rollout, sources)
        if program is None:
            return no_answer(rollout, sources, sought="program")
        sandbox = shared_sandbox(SandboxSpec(isolation, slots, preimport, urls, protocol))
        given = {"cpu_s": cpu_s, "memory_mib": memory_mib}
        fixed = [name for name, value in given.items() if value is not None]
        limits = problem_limits(rollout.problem, _limits(cpu_s, wall_s, memory_mib, output_kib), fixed=fixed)
        return _score(await asyncio.to_thread(judge, sandbox, program, tests, limits=limits, partial=partial), partial)
    except DataError as error:
        return Score.unscorable(str(error))


def _score(result: ProgramResult, partial: bool) -> Score:
    """Turn a result into a score; a sandbox that failed gives none."""
    if result.outcome == "sandbox_error":
        return Score(None, f"sandbox_error: {result.detail}", "error")
    if result.unscorable:
        return Score.unscorable(result.unscorable)
    share = result.passed / result.total
    value = share if partial else float(result.outcome == "passed")
    return Score(value, _why(result), parts={"passed": share, **ANSWERED})


def _why(result: ProgramResult) -> str:
    """Return how it ended and at which test, never what that one expects."""
    if result.outcome == "passed":
        return f"passed all {result.total} tests"
    first = next(number for number, outcome in enumerate(result.per_test, start=1) if outcome != "passed")
    detail = f": {result.detail}" if result.outcome in EXPLAINED and result.detail else ""
    return f"{result.outcome} at test {first} of {result.total}{detail}"
