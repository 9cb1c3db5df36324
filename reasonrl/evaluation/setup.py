"""What the figures of a suite depend on, as results and journals record it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reasonrl.errors import DataError
from reasonrl.evaluation.clusters import cluster_of
from reasonrl.evaluation.results import Sampling
from reasonrl.plugins.failures import innermost
from reasonrl.plugins.types import MetricFn, Suite
from reasonrl.types import Problem, digest


def check_problems(suite: Suite) -> None:
    """Refuse a suite on which no figure can rest.

    Raises:
        DataError: it has no problems, one id stands for several, or the data lacks the column of its clusters.
    """
    if not suite.problems:
        raise DataError(f"suite {suite.name!r} has no problems; check its parameters and its data.")
    (problem_id, count), *_ = Counter(problem.id for problem in suite.problems).most_common(1)
    if count > 1:
        raise DataError(
            f"suite {suite.name!r}: {count} problems have the id {problem_id}. An id stands for one problem; "
            "drop the repeated ones."
        )
    for problem in suite.problems:
        cluster_of(suite, problem)


def setup_of(suite: Suite, *, seed: int, engine: str) -> dict[str, Any]:
    """Return what the rows of a suite depend on, as far as it is known before a model is loaded. Any: JSON values."""
    metrics = {"": suite.metric, **suite.further_metrics}
    return {
        "suite": {"name": suite.name, "version": suite.version, "sha": suite_sha(suite.problems)},
        "num_problems": len(suite.problems),
        "metrics": {name or "exact": _identity_of(metric) for name, metric in metrics.items()},
        "template": suite.template,
        "cluster": suite.cluster,
        "sampling": asdict(sampling_of(suite)),
        "seed": seed,
        "engine": engine,
    }


def _identity_of(metric: MetricFn) -> str:
    """Return a metric's name with the parameters that are bound to it."""
    function, bound = innermost(metric), getattr(metric, "keywords", {})
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    given = ", ".join(f"{name}={value!r}" for name, value in sorted(bound.items()))
    return f"{name}({given})" if given else name


def sampling_of(suite: Suite) -> Sampling:
    """Return the settings of sampling that a result records."""
    return Sampling(
        num_samples=suite.num_samples,
        max_new_tokens=suite.max_new_tokens,
        temperature=suite.temperature,
        stop=suite.stop,
        top_p=suite.top_p,
    )


def suite_sha(problems: Sequence[Problem]) -> str:
    """Return a hash that stands for the problems in any order: ids, questions and answers."""
    ordered = sorted(problems, key=lambda problem: problem.id)
    return digest(*(part for problem in ordered for part in _identity(problem)))


def _identity(problem: Problem) -> tuple[object, ...]:
    messages = [sorted(message.items()) for message in problem.messages or ()]
    return problem.id, problem.prompt, messages, problem.answer


def prompt_sha(prompts: Mapping[str, str]) -> str:
    """Return a hash that stands for the rendered prompts, by problem id."""
    return digest(*(part for item in sorted(prompts.items()) for part in item))
