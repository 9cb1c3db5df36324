"""MATH-500: the 500 problems of MATH (arXiv:2103.03874) held out by arXiv:2305.20050."""

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.metrics import answer_match, reading
from reasonrl_grading.answers import MARKED, Source


def math500(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    revision: str | None = None,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure ``HuggingFaceH4/MATH-500`` by a number or a text that matches.

    Computer algebra is left out: an answer that only it can show to be equal to the reference counts as wrong, so the
    figure may lie below that of other graders. Compare it with figures of this suite only.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        revision: commit of the data set, to fix it for good.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    problems = load(
        "hub",
        name="HuggingFaceH4/MATH-500",
        hub_split="test",
        question="problem",
        answer="answer",
        revision=revision,
    )
    return Suite(
        name="math500",
        role="test",
        problems=problems[:num_problems],
        metric=reading(answer_match, sources),
        template="boxed",
        max_new_tokens=1024,
    )
