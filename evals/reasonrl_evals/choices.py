"""Multiple-choice questions, measured by the letter or the text of the right choice."""

from functools import partial

from reasonrl import DataError, LoadHeldout, Measurement, MetricFn, Rollout, Suite
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_grading.choices import choices_of, named_choice
from reasonrl_grading.squad import squad_normalized


def right_choice(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED_AND_PROSE) -> Measurement:
    """1 if the answer names the right choice and no other, by its letter or its text; what was read is the letter.

    Args:
        rollout: what is measured; ``meta["choices"]`` has the choices, and the problem's answer names one of them.
        sources: where an answer may be, in this order; the first source that has one counts.

    Raises:
        DataError: the problem's answer names none of its choices.
    """
    choices = choices_of(rollout.problem)
    wanted = named_choice(rollout.problem.answer, choices)
    if wanted is None or (choices and wanted not in choices):
        raise DataError(
            f"metric 'right_choice': problem {rollout.problem.id}: the answer {rollout.problem.answer[:40]!r} names "
            "none of its choices."
        )
    given = read_answer(rollout, sources)
    named = None if given is None else named_choice(given, choices)
    return Measurement(float(named == wanted), named or given)


def same_choice(given: str, other: str) -> bool:
    """Whether two answers are one letter, or one text where they are none."""
    return given == other or squad_normalized(given) == squad_normalized(other) != ""


def _metric(sources: tuple[Source, ...]) -> MetricFn:
    return right_choice if sources == MARKED_AND_PROSE else partial(right_choice, sources=sources)


def gpqa_diamond(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    domain: tuple[str, ...] = (),
    sources: tuple[Source, ...] = MARKED_AND_PROSE,
) -> Suite:
    """Measure the 198 questions of GPQA Diamond (arXiv:2311.12022), eight samples a question.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it, such as ``gpqa_diamond.csv``; null reads the hub, where it is gated.
        revision: commit of the data set there, to fix it for good.
        domain: only these domains (``Biology``, ``Chemistry``, ``Physics``); none takes all.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    return Suite(
        name="gpqa_diamond",
        role="test",
        problems=load("gpqa_diamond", data=data, revision=revision, domain=domain)[:num_problems],
        metric=_metric(sources),
        template="boxed",
        max_new_tokens=32_768,
        num_samples=8,
        temperature=0.6,
        top_p=0.95,
        equal_answers=same_choice,
    )


def mmlu_pro(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    category: tuple[str, ...] = (),
    sources: tuple[Source, ...] = MARKED_AND_PROSE,
) -> Suite:
    """Measure the 12,032 test questions of MMLU-Pro (arXiv:2406.01574), without examples in the prompt.

    Its paper shows five examples with their reasoning; figures of models that reason by themselves show none.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all. They stand by category: the first are no fair sample.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        category: only these categories, such as ``physics``; none takes all.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    return Suite(
        name="mmlu_pro",
        role="test",
        problems=load("mmlu_pro", data=data, revision=revision, category=category)[:num_problems],
        metric=_metric(sources),
        template="boxed",
        max_new_tokens=2048,
        equal_answers=same_choice,
    )
