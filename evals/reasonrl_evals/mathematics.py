"""Suites over published sets of mathematical problems, each with the sampling that papers report it with.

Computer algebra is left out of all metrics: an answer that only it can show to be equal to the reference counts as
wrong, so a figure may lie below that of other graders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from reasonrl import LoadHeldout, Problem, Suite, SuiteFn
from reasonrl_evals.math_metrics import MINERVA_TOLERANCE, answer_within, equal_answers, olympiad_match
from reasonrl_evals.metrics import ReadingMetric, answer_match, number_in_answer, reading
from reasonrl_grading.answers import MARKED, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class MathSuite:
    """How a published set is measured."""

    about: str
    """What it measures, in a sentence."""
    metric: ReadingMetric
    max_new_tokens: int
    num_samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0


def _long_reasoning(about: str, *, num_samples: int) -> MathSuite:
    """Return the settings of DeepSeek-R1 (arXiv:2501.12948), with fewer than its 64 completions."""
    return MathSuite(
        about=about,
        metric=answer_match,
        max_new_tokens=32_768,
        num_samples=num_samples,
        temperature=0.6,
        top_p=0.95,
    )


SPECIFIED: Final[Mapping[str, MathSuite]] = {
    "gsm8k": MathSuite(
        about="the 1,319 test problems of GSM8K (arXiv:2110.14168) by a marked number",
        metric=number_in_answer,
        max_new_tokens=512,
    ),
    "math": MathSuite(
        about="the 5,000 test problems of MATH (arXiv:2103.03874) by a number or a text that matches",
        metric=answer_match,
        max_new_tokens=1024,
    ),
    "math500": MathSuite(
        about="the 500 problems of MATH that arXiv:2305.20050 held out by a number or a text that matches",
        metric=answer_match,
        max_new_tokens=1024,
    ),
    "aime24": _long_reasoning("the 30 problems of AIME I and II of 2024", num_samples=32),
    "aime25": _long_reasoning("the 30 problems of AIME I and II of 2025", num_samples=32),
    "aime26": _long_reasoning("the 30 problems of AIME I and II of 2026", num_samples=32),
    "amc": _long_reasoning("the 83 problems of AMC 12 of 2022 and 2023", num_samples=16),
    "hmmt": _long_reasoning("the problems of an HMMT, that of February 2025 by default", num_samples=16),
    "olympiadbench": MathSuite(
        about="the 674 English text-only problems of OlympiadBench (arXiv:2402.14008) that have final answers",
        metric=olympiad_match,
        max_new_tokens=4096,
    ),
    "minerva": MathSuite(
        about="the 272 problems of university courses of Minerva (arXiv:2206.14858), numbers within a tolerance",
        metric=answer_within,
        max_new_tokens=4096,
    ),
}
"""By the name of the suite and its task."""


def _suite(name: str, specified: MathSuite) -> SuiteFn:
    """Return the suite of a set."""

    def suite(
        *,
        load: LoadHeldout,
        num_problems: int | None = None,
        data: str | None = None,
        revision: str | None = None,
        hub_name: str | None = None,
        sources: tuple[Source, ...] = MARKED,
    ) -> Suite:
        places = {"data": data, "revision": revision, "hub_name": hub_name}
        return _made(name, specified, load(name, **places)[:num_problems], sources)

    suite.__name__ = suite.__qualname__ = name
    suite.__doc__ = f"""Measure {specified.about}.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder with the data, in place of the hub.
        revision: commit of the data set on the hub, to fix it for good.
        hub_name: another of the known copies on the hub.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    return suite


def _made(name: str, specified: MathSuite, problems: Sequence[Problem], sources: tuple[Source, ...]) -> Suite:
    return Suite(
        name=name,
        role="test",
        problems=problems,
        metric=reading(specified.metric, sources),
        template="boxed",
        max_new_tokens=specified.max_new_tokens,
        num_samples=specified.num_samples,
        temperature=specified.temperature,
        top_p=specified.top_p,
        equal_answers=equal_answers,
    )


def minerva(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    hub_name: str | None = None,
    tolerance: float = MINERVA_TOLERANCE,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure the 272 problems of university courses of Minerva (arXiv:2206.14858), numbers within a tolerance.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder with the data, in place of the hub.
        revision: commit of the data set on the hub, to fix it for good.
        hub_name: another of the known copies on the hub.
        tolerance: greatest relative difference of a decimal; later papers (Qwen2.5-Math) use 0.0001.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    problems = load("minerva", data=data, revision=revision, hub_name=hub_name)[:num_problems]
    specified = replace(SPECIFIED["minerva"], metric=partial(answer_within, tolerance=tolerance))
    return _made("minerva", specified, problems, sources)


SUITES: Final[Mapping[str, SuiteFn]] = {
    **{name: _suite(name, specified) for name, specified in SPECIFIED.items()},
    "minerva": minerva,
}
"""The suites by name."""
