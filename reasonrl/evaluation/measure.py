"""Measure a model on a held-out suite."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from reasonrl.engines import Engine, Request, SamplingParams
from reasonrl.errors import DataError, PluginError
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult
from reasonrl.types import Measurement, Problem, Rollout, Suite, digest, sample_seed

if TYPE_CHECKING:
    from reasonrl.prompts import Renderer


def measure(
    suite: Suite,
    engine: Engine,
    renderer: "Renderer",
    *,
    seed: int,
    batch_problems: int,
    progress: Callable[[int, int], None] | None = None,
) -> SuiteResult:
    """Sample every problem of a suite and apply its metric.

    A completion's seed depends on the problem and on ``seed``, not on the step of training: two checkpoints
    get the same random numbers, which takes noise out of their difference.

    Args:
        suite: what to measure.
        engine: who answers.
        renderer: makes the prompts.
        seed: decides the sampling.
        batch_problems: problems sampled at once; changes speed and memory only.
        progress: called with the numbers of problems done and in all.

    Raises:
        DataError: the suite has no problems, or one id stands for several.
        PluginError: the metric returns something other than a measurement between 0 and 1.
    """
    _check_problems(suite)
    started = time.perf_counter()
    rows: list[SampleResult] = []
    for start in range(0, len(suite.problems), batch_problems):
        batch = suite.problems[start : start + batch_problems]
        rows += _measure_batch(suite, batch, engine, renderer, seed)
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
    suite: Suite, problems: Sequence[Problem], engine: Engine, renderer: "Renderer", seed: int
) -> Iterator[SampleResult]:
    """Sample some problems at once and measure their completions."""
    rendered = [renderer.render(problem) for problem in problems]
    requests = [
        Request(prompt_ids=ids, seeds=_seeds(problem, seed, suite.num_samples))
        for problem, (_, ids) in zip(problems, rendered, strict=True)
    ]
    params = SamplingParams(max_new_tokens=suite.max_new_tokens, temperature=suite.temperature, stop=suite.stop)
    answered = engine.sample(requests, params)
    for problem, (prompt, _), completions in zip(problems, rendered, answered, strict=True):
        for completion in completions:
            yield _row(suite, Rollout(problem=problem, prompt=prompt, completion=completion))


def _seeds(problem: Problem, seed: int, num_samples: int) -> tuple[int, ...]:
    """Return the seeds of a problem's completions: those of step 0, whatever the step."""
    return tuple(sample_seed(seed, 0, problem.id, index) for index in range(num_samples))


def _row(suite: Suite, rollout: Rollout) -> SampleResult:
    """Apply the metric to one completion."""
    measured, completion = _apply_metric(suite, rollout), rollout.completion
    return SampleResult(
        problem_id=rollout.problem.id,
        sample_index=completion.sample_index,
        seed=completion.seed,
        prompt=rollout.prompt,
        completion=completion.text,
        parsed=measured.parsed,
        answer=rollout.problem.answer,
        value=float(measured.value),
        finish_reason=completion.finish_reason,
        num_tokens=len(completion.token_ids),
    )


def _apply_metric(suite: Suite, rollout: Rollout) -> Measurement:
    """Call the metric; what it returns must be usable as a figure."""
    measured: object = suite.metric(rollout)
    if not isinstance(measured, Measurement):
        raise PluginError(f"suite {suite.name!r}: its metric returned {measured!r}; return a Measurement.")
    if not (math.isfinite(measured.value) and 0 <= measured.value <= 1):
        raise PluginError(
            f"suite {suite.name!r}: its metric gave problem {rollout.problem.id} the value {measured.value}; "
            "a value is 1 for right, 0 for wrong, or between."
        )
    return measured


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
    """Return what makes a problem the same one in another file."""
    messages = [sorted(message.items()) for message in problem.messages or ()]
    return problem.id, problem.prompt, messages, problem.answer
