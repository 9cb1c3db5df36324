"""Measure a model on a held-out suite."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reasonrl.engines import Engine, SamplingParams
from reasonrl.errors import DataError
from reasonrl.evaluation.clusters import cluster_of
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult
from reasonrl.plugins.types import Measurement, Suite
from reasonrl.rollout.environment import SingleTurn
from reasonrl.rollout.groups import GroupRequest, GroupSampler
from reasonrl.scoring.metrics import MetricRunner
from reasonrl.types import Problem, Rollout, digest, sample_seed

if TYPE_CHECKING:
    from reasonrl.rollout.templates import Renderer


def measure(
    suite: Suite,
    engine: Engine,
    renderer: "Renderer",
    *,
    metrics: MetricRunner,
    seed: int,
    batch_problems: int,
    progress: Callable[[int, int], None] | None = None,
) -> SuiteResult:
    """Sample every problem of a suite and apply its metric.

    A completion's seed depends on the problem and on ``seed``, not on the step of training: two checkpoints
    get the same random numbers, which takes noise out of their difference.

    Args:
        suite: what to measure.
        engine: samples the answers.
        renderer: makes the prompts.
        metrics: applies the suite's metric.
        seed: decides the sampling.
        batch_problems: problems sampled at once; changes speed and memory only.
        progress: called with the numbers of problems done and in all.

    Raises:
        DataError: the suite has no problems, or one id stands for several.
        PluginError: the metric failed, or returned something other than a measurement between 0 and 1.
    """
    _check_problems(suite)
    for problem in suite.problems:
        cluster_of(suite, problem)  # refused before anything is sampled
    started = time.perf_counter()
    params = SamplingParams(max_new_tokens=suite.max_new_tokens, temperature=suite.temperature, stop=suite.stop)
    groups = GroupSampler(environment=SingleTurn(renderer=renderer, params=params), engine=engine)
    rows: list[SampleResult] = []
    for start in range(0, len(suite.problems), batch_problems):
        batch = suite.problems[start : start + batch_problems]
        rows += _measure_batch(suite, batch, groups, metrics, seed)
        if progress is not None:
            progress(start + len(batch), len(suite.problems))
    return _result(suite, renderer.template.name, seed, time.perf_counter() - started, rows)


def _check_problems(suite: Suite) -> None:
    """Refuse a suite on which no figure can rest."""
    if not suite.problems:
        raise DataError(f"suite {suite.name!r} has no problems; check its parameters and its data.")
    (problem_id, count), *_ = Counter(problem.id for problem in suite.problems).most_common(1)
    if count > 1:
        raise DataError(
            f"suite {suite.name!r}: {count} problems have the id {problem_id}. An id stands for one problem; "
            "drop the repeated ones."
        )


def _measure_batch(
    suite: Suite, problems: Sequence[Problem], groups: GroupSampler, metrics: MetricRunner, seed: int
) -> list[SampleResult]:
    requests = [GroupRequest(problem=problem, seeds=_seeds(problem, seed, suite.num_samples)) for problem in problems]
    rollouts = [rollout for group in groups.sample(requests) for rollout in group.rollouts()]
    return [_row(suite, *measured) for measured in zip(rollouts, metrics.measure(suite, rollouts), strict=True)]


def _seeds(problem: Problem, seed: int, num_samples: int) -> tuple[int, ...]:
    """Return the seeds of a problem's completions: those of step 0, whatever the step."""
    return tuple(sample_seed(seed, 0, problem.id, index) for index in range(num_samples))


def _row(suite: Suite, rollout: Rollout, measured: Measurement) -> SampleResult:
    completion = rollout.completion
    return SampleResult(
        problem_id=rollout.problem.id,
        sample_index=completion.sample_index,
        seed=completion.seed,
        prompt=rollout.prompt,
        completion=completion.text,
        parsed=measured.parsed,
        answer=rollout.problem.answer,
        value=measured.value,
        finish_reason=completion.finish_reason,
        num_tokens=len(completion.token_ids),
        cluster=cluster_of(suite, rollout.problem),
    )


def _result(suite: Suite, template: str, seed: int, seconds: float, rows: Sequence[SampleResult]) -> SuiteResult:
    """Put the rows together with everything that decides the figure."""
    prompts = {row.problem_id: row.prompt for row in rows}
    return SuiteResult(
        name=suite.name,
        version=suite.version,
        role=suite.role,
        suite_sha=_suite_sha(suite.problems),
        prompt_sha=digest(*(part for item in sorted(prompts.items()) for part in item)),
        template=template,
        sampling=Sampling(
            num_samples=suite.num_samples,
            max_new_tokens=suite.max_new_tokens,
            temperature=suite.temperature,
            stop=suite.stop,
        ),
        seed=seed,
        seconds=seconds,
        rows=tuple(rows),
    )


def _suite_sha(problems: Sequence[Problem]) -> str:
    """Stand for the problems in any order: ids, questions and answers."""
    ordered = sorted(problems, key=lambda problem: problem.id)
    return digest(*(part for problem in ordered for part in _identity(problem)))


def _identity(problem: Problem) -> tuple[object, ...]:
    messages = [sorted(message.items()) for message in problem.messages or ()]
    return problem.id, problem.prompt, messages, problem.answer
