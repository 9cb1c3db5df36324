"""HumanEval+ and MBPP+ (EvalPlus, arXiv:2305.01210), measured by whether all of their tests pass."""

from typing import Final, Literal

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.programs import USUAL, SandboxSettings
from reasonrl_grading.answers import FENCED, ProgramSource

CPU_S: Final = 20.0
"""CPU seconds for the tests of a program, hundreds of calls; four times the reference's time where that is more."""

OUTPUT_KIB: Final = 16 * 1024
"""Size of all answers of a program together."""

MAX_NEW_TOKENS: Final = 768
"""As EvalPlus itself samples."""


def humaneval_plus(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    ask: Literal["function", "body"] = "function",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the 164 problems of HumanEval+ by whether all of their tests pass, those of HumanEval included.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it, such as ``HumanEvalPlus.jsonl.gz``; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        ask: in words (``function``), or by the beginning of the program alone (``body``); see the suite ``humaneval``.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    return Suite(
        name="humaneval_plus",
        role="test",
        problems=load("humaneval_plus", data=data, revision=revision, ask=ask)[:num_problems],
        metric=sandbox.metric(sources, cpu_s=CPU_S, output_kib=OUTPUT_KIB),
        template="program",
        max_new_tokens=MAX_NEW_TOKENS,
    )


def mbpp_plus(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    shown_tests: int = 3,
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the 378 problems of MBPP+ by whether all of their tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it, such as ``MbppPlus.jsonl.gz``; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        shown_tests: tests of MBPP that the prompt shows.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    return Suite(
        name="mbpp_plus",
        role="test",
        problems=load("mbpp_plus", data=data, revision=revision, shown_tests=shown_tests)[:num_problems],
        metric=sandbox.metric(sources, cpu_s=CPU_S, output_kib=OUTPUT_KIB),
        template="program",
        max_new_tokens=MAX_NEW_TOKENS,
    )
