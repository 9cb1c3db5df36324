"""Suites of the generators of the reasoning-gym package, measured with the package's own scorers."""

from functools import partial
from typing import Any

from reasonrl import DataError, LoadHeldout, Measurement, Rollout, Suite, named_by
from reasonrl_grading.answers import MARKED, Source, read_answer
from reasonrl_grading.gym import data_set_names, gym_credit, is_earned, is_gym_problem, stated_answer


@named_by("dataset", data_set_names)
def reasoning_gym(
    *,
    load: LoadHeldout,
    dataset: str,
    num_problems: int | None = None,
    max_problems: int = 100,
    config: dict[str, Any] | None = None,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure a reasoning-gym data set, as ``reasoning_gym:NAME``, by its own scorer; ``exact`` is full credit only.

    Its problems are apart from those of the task of this name, whatever the seed of training. Several data sets give
    a part of the credit for an answer that is nearly right, and some for any answer.

    Args:
        load: gives held-out problems.
        dataset: its name, such as ``leg_counting``; ``reasoning_gym:leg_counting`` sets it.
        num_problems: how many distinct problems; null takes ``max_problems``, or fewer where there are not so many.
        max_problems: how many are looked for where ``num_problems`` is null.
        config: settings of the data set itself, as in the task. Any: each has its own.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    return Suite(
        name=f"reasoning_gym:{dataset}",
        problems=load(
            "reasoning_gym", dataset=dataset, config=config, num_problems=num_problems, max_problems=max_problems
        ),
        metric=partial(own_score, sources=sources),
        further_metrics={"exact": partial(full_credit, sources=sources)},
        template="r1_zero",
        max_new_tokens=1024,
    )


def own_score(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    """What the data set's own scorer gives for the marked answer, full credit only where it is earned.

    Raises:
        DataError: the problem does not come from the task ``reasoning_gym``.
    """
    problem = rollout.problem
    if not is_gym_problem(problem):
        raise DataError(f"metric 'own_score': problem {problem.id} does not come from the task 'reasoning_gym'.")
    found = read_answer(rollout, sources)
    if found is None:
        return Measurement(0.0)
    given = stated_answer(found, problem)
    value = gym_credit(given, problem)
    return Measurement(0.0 if value == 1.0 and not is_earned(given, problem) else value, given)


def full_credit(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    """1 if the data set's own scorer gives full credit for the marked answer, else 0."""
    measured = own_score(rollout, sources=sources)
    return Measurement(float(measured.value == 1.0), measured.parsed)
