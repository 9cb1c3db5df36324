"""One suite while it is measured: what is still to be sampled, the rows that are there, and the result at the end."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from reasonrl.errors import DataError, PluginError
from reasonrl.evaluation.answers import with_answer_classes
from reasonrl.evaluation.clusters import cluster_of
from reasonrl.evaluation.journal import Journal, JournalRow
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.evaluation.setup import check_problems, prompt_sha, sampling_of, setup_of, suite_sha
from reasonrl.evaluation.sources import SampleSource
from reasonrl.plugins.failures import describe, explain
from reasonrl.plugins.types import AnswersEqual, Suite
from reasonrl.rollout.environment import Prompt
from reasonrl.scoring.metrics import MetricFailures, MetricResult, MetricRunner
from reasonrl.types import Group, Rollout, Scorer, Trajectory, sample_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlan:
    """A suite to be measured."""

    suite: Suite
    """With the template that it is measured with."""
    journal: Journal | None = None
    """Keeps the rows while it is measured; without one, an evaluation that is ended begins anew."""
    num_problems_in_suite: int | None = None
    """Problems of the whole suite, where ``suite`` has only the first ones."""
    begun: Callable[[], None] = lambda: None
    """Called before the first completion is sampled; not where an evaluation goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteProgress:
    """How far the measurement of a suite is."""

    suite: Suite
    done: int
    """Completions that are measured."""
    total: int
    earlier: int
    """Those of ``done`` that an earlier call had measured."""
    tokens: int
    """Tokens sampled in this call."""
    mean: float | None
    """Mean of the metric so far; None before the first completion."""
    num_problems_in_suite: int | None = None
    """Problems of the whole suite, where only the first ones are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A completion that is not there yet."""

    prompt: Prompt
    sample_index: int
    seed: int


class SuiteRun:
    """The state of one suite's measurement.

    Args:
        plan: what to measure.
        source: samples the completions.
        metrics: applies the suite's metrics.
        seed: decides the sampling.
        scorer: gives completions the training reward; None gives none.
        step: of training, for rewards whose weight depends on it.
        tell: is told of every completion that is measured.

    Raises:
        DataError: the suite has no problems, one id stands for several, or the journal has rows of other problems.
        ReasonRLError: a prompt cannot be made.
    """

    def __init__(
        self,
        plan: SuitePlan,
        source: SampleSource,
        *,
        metrics: MetricRunner,
        seed: int,
        scorer: Scorer | None,
        step: int,
        tell: Callable[[SuiteProgress], None],
    ) -> None:
        suite = self.suite = plan.suite
        check_problems(suite)
        self.environment = source.environment(suite, suite.template)
        self._prompts = [self.environment.prompt(problem) for problem in suite.problems]
        self._plan, self._seed, self._metrics = plan, seed, metrics
        self._scorer, self._step, self._tell = scorer, step, tell
        self._total = len(suite.problems) * suite.num_samples
        self._failures = MetricFailures(suite, self._total, metrics.max_failure_rate)
        self._rows: dict[tuple[str, int], SampleResult] = {}
        self._trajectories: dict[tuple[str, int], Trajectory] = {}
        self._num_tokens = self._num_earlier = 0
        self._sum = 0.0
        self._began = time.perf_counter()
        self._setup = setup_of(suite, seed=seed, engine=source.name) | {
            "prompt_sha": prompt_sha({prompt.problem.id: prompt.text for prompt in self._prompts}),
            "dtype": source.facts.get("dtype"),
        }
        self._again: list[tuple[Rollout, SampleResult]] = []
        self._open()

    def _open(self) -> None:
        """Take the rows that the journal has."""
        journal = self._plan.journal
        rows = journal.open(self._setup) if journal else []
        self._on_begin = _nothing if rows else self._plan.begun
        prompts = {prompt.problem.id: prompt for prompt in self._prompts}
        for kept in rows:
            key = kept.row.problem_id, kept.row.sample_index
            if key[0] not in prompts or kept.row.seed != self._seed_of(*key) or key[1] >= self.suite.num_samples:
                raise DataError(
                    f"{journal and journal.folder}: has sample {key[1]} of problem {key[0]}, which is none of this "
                    "evaluation: the file was changed. Give --overwrite to begin anew."
                )
            self._take(kept, prompts[key[0]])

    def _take(self, kept: JournalRow, prompt: Prompt) -> None:
        """Take a row of an earlier call; a failed measurement is tried again, on the same completion."""
        trajectory = _trajectory(kept)
        if kept.row.outcome == "scored" and not kept.row.why:
            self._num_earlier += 1
            self._add(kept.row, trajectory, MetricResult(value=kept.row.value))
        else:
            self._again.append((_rollout(prompt, trajectory), kept.row))

    def _seed_of(self, problem_id: str, sample_index: int) -> int:
        """Return a completion's seed: that of step 0, whatever the step."""
        return sample_seed(self._seed, 0, problem_id, sample_index)

    def wanted(self) -> Iterator[Wanted]:
        """Yield what is to be sampled; completions of one problem follow one another."""
        self._began = time.perf_counter()
        self.report()
        kept = {(row.problem_id, row.sample_index) for _, row in self._again} | self._rows.keys()
        for prompt in self._prompts:
            for index in range(self.suite.num_samples):
                if (prompt.problem.id, index) not in kept:
                    self._on_begin()
                    self._on_begin = _nothing
                    yield Wanted(prompt=prompt, sample_index=index, seed=self._seed_of(prompt.problem.id, index))

    @property
    def unmeasured(self) -> Sequence[Rollout]:
        """Completions of an earlier call on which a metric failed."""
        return [rollout for rollout, _ in self._again]

    async def measure(self, prompt: Prompt, trajectory: Trajectory) -> None:
        """Count what was sampled, and apply the metrics.

        Raises:
            RunError: a metric fails too often.
        """
        self._num_tokens += len(trajectory.token_ids)
        await self.measure_again(_rollout(prompt, trajectory))

    async def measure_again(self, rollout: Rollout) -> None:
        """Apply the metrics to a completion, and keep its row.

        Raises:
            RunError: a metric fails too often.
        """
        if self._scorer is not None:
            self._scorer.submit_rollout(rollout, self._step)
        result = await self._metrics.measure_one(self.suite, rollout)
        row = _row(self.suite, rollout, result)
        if self._plan.journal is not None:
            self._plan.journal.append(row, rollout.trajectory.token_ids)
        self._add(row, rollout.trajectory, result)
        self.report()

    def _add(self, row: SampleResult, trajectory: Trajectory, result: MetricResult) -> None:
        key = row.problem_id, row.sample_index
        self._rows[key] = row
        if self._scorer is not None:
            self._trajectories[key] = trajectory
        self._sum += row.value
        self._failures.count(result)

    def report(self) -> None:
        """Say how far it is."""
        done = len(self._rows)
        self._tell(
            SuiteProgress(
                suite=self.suite,
                done=done,
                total=self._total,
                earlier=self._num_earlier,
                tokens=self._num_tokens,
                mean=self._sum / done if done else None,
                num_problems_in_suite=self._plan.num_problems_in_suite,
            )
        )

    @property
    def is_complete(self) -> bool:
        """Whether every completion is measured."""
        return len(self._rows) == self._total

    def result(self) -> SuiteResult:
        """Return the result of a complete suite; with a scorer this waits for the rewards.

        Raises:
            RunError: a reward failed too often.
        """
        suite, seconds = self.suite, time.perf_counter() - self._began
        rows = [self._rows[prompt.problem.id, index] for prompt in self._prompts for index in range(suite.num_samples)]
        return SuiteResult(
            name=suite.name,
            version=suite.version,
            role=suite.role,
            suite_sha=suite_sha(suite.problems),
            prompt_sha=self._setup["prompt_sha"],
            template=suite.template,
            sampling=sampling_of(suite),
            seed=self._seed,
            seconds=seconds,
            rows=self._rewarded(with_answer_classes(rows, _equality(suite))),
            num_problems_in_suite=self._plan.num_problems_in_suite,
        )

    def _rewarded(self, rows: tuple[SampleResult, ...]) -> tuple[SampleResult, ...]:
        """Return the rows with what the training reward gives each."""
        if self._scorer is None:
            return rows
        groups = [self._group(prompt) for prompt in self._prompts]
        results = [result for group in self._scorer.score(groups, self._step) for result in group]
        return tuple(
            replace(
                row,
                reward=result.total.value,
                rewards={label: score.value for label, score in result.rewards.items()},
            )
            for row, result in zip(rows, results, strict=True)
        )

    def _group(self, prompt: Prompt) -> Group:
        indices = range(self.suite.num_samples)
        return prompt.group(tuple(self._trajectories[prompt.problem.id, index] for index in indices))


def _equality(suite: Suite) -> AnswersEqual | None:
    """Return what the suite compares answers with; what it raises is an error by its name."""
    equal = suite.equal_answers
    if equal is None:
        return None

    def checked(answer: str, other: str) -> bool:
        try:
            return bool(equal(answer, other))
        except Exception as error:  # anybody's code
            raise PluginError(
                f"suite {suite.name!r}: equal_answers {describe(equal)} failed on {answer!r} and {other!r}: "
                f"{explain(error, equal)}. It says of any two answers whether they are equal, and never raises."
            ) from error

    return checked


def _nothing() -> None:
    pass


def _rollout(prompt: Prompt, trajectory: Trajectory) -> Rollout:
    return Rollout(problem=prompt.problem, prompt=prompt.text, trajectory=trajectory)


def _trajectory(kept: JournalRow) -> Trajectory:
    """Return a completion of an earlier call; its log-probabilities are not kept."""
    return Trajectory.single_turn(
        token_ids=kept.token_ids,
        logprobs=(0.0,) * len(kept.token_ids),
        text=kept.row.completion,
        finish_reason=kept.row.finish_reason,
        policy_version=0,
        sample_index=kept.row.sample_index,
        seed=kept.row.seed,
    )


def _row(suite: Suite, rollout: Rollout, result: MetricResult) -> SampleResult:
    completion = rollout.completion
    return SampleResult(
        problem_id=rollout.problem.id,
        sample_index=completion.sample_index,
        seed=completion.seed,
        prompt=rollout.prompt,
        completion=completion.text,
        parsed=result.parsed,
        answer=rollout.problem.answer,
        value=result.value,
        finish_reason=completion.finish_reason,
        num_tokens=len(completion.token_ids),
        cluster=cluster_of(suite, rollout.problem),
        outcome=result.outcome,
        why=result.why,
        metrics=result.further,
    )
