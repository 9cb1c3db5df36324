"""GSM8K (arXiv:2110.14168): grade-school word problems with whole-number answers."""

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.metrics import number_in_answer, reading
from reasonrl_grading.answers import MARKED, Source


def gsm8k(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    revision: str | None = None,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure the 1,319 test problems of ``openai/gsm8k`` by a marked number.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        revision: commit of the data set, to fix it for good.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    problems = load(
        "hub",
        name="openai/gsm8k",
        config="main",
        hub_split="test",
        question="question",
        answer="answer",
        answer_pattern=r"####\s*(.+)",
        revision=revision,
    )
    return Suite(
        name="gsm8k",
        role="test",
        problems=problems[:num_problems],
        metric=reading(number_in_answer, sources),
        template="boxed",
        max_new_tokens=512,
    )
