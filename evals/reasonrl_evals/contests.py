"""Problems of programming contests, measured by whether a program passes all tests within the time that it has."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from reasonrl import LoadHeldout, Problem, Suite
from reasonrl_evals.programs import USUAL, SandboxSettings
from reasonrl_grading.answers import FENCED, ProgramSource

METRIC_TIMEOUT_S: Final = 3600.0
"""Longest time for one program: it may have hundreds of tests, each with seconds of its own."""

OUTPUT_KIB: Final = 16 * 1024
"""Size of what a program prints on one test: published tests have outputs of megabytes."""

Unusable = Literal["refuse", "skip"]


def apps(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    difficulty: tuple[Literal["introductory", "interview", "competition"], ...] = (),
    unusable: Unusable = "refuse",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the 5,000 test problems of APPS (arXiv:2105.09938) by strict accuracy: all tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        difficulty: only problems of these; none takes all.
        unusable: what becomes of a row whose tests cannot be used: some have none.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load("apps", data=data, revision=revision, difficulty=difficulty, unusable=unusable)
    return _contest("apps", problems[:num_problems], sandbox, sources)


def taco(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    difficulty: tuple[Literal["EASY", "MEDIUM", "MEDIUM_HARD", "HARD", "VERY_HARD", "UNKNOWN_DIFFICULTY"], ...] = (),
    unusable: Unusable = "refuse",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the 1,000 test problems of TACO (arXiv:2312.14852) by whether all tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        difficulty: only problems of these; none takes all.
        unusable: what becomes of a row whose tests cannot be used.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load("taco", data=data, revision=revision, difficulty=difficulty, unusable=unusable)
    return _contest("taco", problems[:num_problems], sandbox, sources)


def codecontests(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    heldout: Literal["valid", "test"] = "test",
    tests: tuple[Literal["public", "private", "generated"], ...] = ("public", "private", "generated"),
    min_rating: int | None = None,
    max_rating: int | None = None,
    unusable: Unusable = "refuse",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the test problems of CodeContests (arXiv:2203.07814) by whether all tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        heldout: which of its splits: ``valid``, whose figures may choose a checkpoint, or ``test``.
        tests: which of its tests are run.
        min_rating: only problems with at least this rating on Codeforces.
        max_rating: only problems with at most this rating there.
        unusable: what becomes of a row whose tests cannot be used: some programs read and write files.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load(
        "codecontests",
        data=data,
        revision=revision,
        heldout=heldout,
        tests=tests,
        min_rating=min_rating,
        max_rating=max_rating,
        unusable=unusable,
    )
    return replace(_contest("codecontests", problems[:num_problems], sandbox, sources), role=heldout)


def livecodebench(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    start: str | None = None,
    end: str | None = None,
    difficulty: tuple[Literal["easy", "medium", "hard"], ...] = (),
    platform: tuple[Literal["leetcode", "codeforces", "atcoder"], ...] = (),
    unusable: Unusable = "refuse",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure LiveCodeBench's code generation (arXiv:2403.07974) by whether all tests pass, ten samples a problem.

    A figure means something beside the window of contests that it is of: papers name it, such as ``start: 2024-08-01``
    and ``end: 2025-02-01``.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        start: only problems of contests on this day or later.
        end: only problems of contests on this day or before.
        difficulty: only problems of these; none takes all.
        platform: only problems from these; none takes all.
        unusable: what becomes of a row whose tests cannot be used.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load(
        "livecodebench",
        data=data,
        revision=revision,
        start=start,
        end=end,
        difficulty=difficulty,
        platform=platform,
        unusable=unusable,
    )
    suite = _contest("livecodebench", problems[:num_problems], sandbox, sources)
    return replace(suite, max_new_tokens=2000, num_samples=10, temperature=0.2, top_p=0.95)


def _contest(
    name: str, problems: Sequence[Problem], sandbox: SandboxSettings, sources: tuple[ProgramSource, ...]
) -> Suite:
    """Return a test suite of programs that may take long and print much."""
    return Suite(
        name=name,
        role="test",
        problems=problems,
        metric=sandbox.metric(sources, output_kib=OUTPUT_KIB),
        metric_timeout_s=METRIC_TIMEOUT_S,
        template="program",
        max_new_tokens=2048,
    )
