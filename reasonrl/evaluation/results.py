"""Results of a suite: one row for each completion, and the figures that follow from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reasonrl.evaluation.estimates import Estimate, mean_estimate, sampling_error
from reasonrl.types import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings that decide a figure as much as the weights do."""

    num_samples: int
    """Completions a problem."""
    max_new_tokens: int
    temperature: float
    stop: tuple[str, ...]
    top_p: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """One completion with its measurement."""

    problem_id: str
    sample_index: int
    seed: int
    prompt: str
    """The rendered prompt, as the model saw it."""
    completion: str
    parsed: str | None
    """The answer that was read from the completion, or None when there was none."""
    answer_class: int | None = None
    """Samples of a problem with one number gave the same answer, by the suite's ``equal_answers``. None without an
    answer, and where nothing was compared: equal texts are then one answer."""
    answer: str
    value: float
    finish_reason: FinishReason
    num_tokens: int
    cluster: str | None = None
    """What the problem belongs together with; None where it is independent of the others."""
    outcome: Literal["scored", "timeout", "error"] = "scored"
    """What became of the suite's metric. Without a measurement ``value`` is 0, and the completion stays in the
    denominator."""
    why: str = ""
    """Where the metric gave no measurement: why."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values of the suite's further metrics, by name."""
    reward: float | None = None
    """What the training reward gives the completion, where it was asked: the weighted sum. None without one."""
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    """Each reward's own score, by label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """All completions of one suite by one model, with everything that decides the figure."""

    name: str
    version: int
    role: Literal["valid", "test"]
    suite_sha: str
    """Hash of the problems: their ids, questions and answers."""
    prompt_sha: str
    """Hash of the rendered prompts."""
    template: str
    sampling: Sampling
    seed: int
    """Equal seeds give a problem the same random numbers, whichever model is measured."""
    seconds: float
    rows: tuple[SampleResult, ...]
    """By problem, then by sample."""
    num_problems_in_suite: int | None = None
    """Problems of the whole suite where only the first ones were measured (``--limit``); None where all were."""

    def samples_by_problem(self) -> dict[str, list[SampleResult]]:
        """Return the rows of each problem."""
        samples: dict[str, list[SampleResult]] = {}
        for row in self.rows:
            samples.setdefault(row.problem_id, []).append(row)
        return samples

    def values_by_problem(self) -> dict[str, float]:
        """Return each problem's mean over its samples."""
        return self.means_by_problem(lambda row: row.value)

    def means_by_problem(self, value_of: Callable[[SampleResult], float]) -> dict[str, float]:
        """Return the mean over each problem's samples of a value of the sample."""
        samples = self.samples_by_problem()
        return {key: sum(map(value_of, rows)) / len(rows) for key, rows in samples.items()}

    def cluster_by_problem(self) -> dict[str, str]:
        """Return what each problem belongs together with: itself alone, in a suite without clusters."""
        return {row.problem_id: row.problem_id if row.cluster is None else row.cluster for row in self.rows}

    def estimate(self) -> Estimate:
        """Return the suite's figure: the mean over problems."""
        return self.mean_of_samples(lambda row: row.value)

    def mean_of_samples(self, value_of: Callable[[SampleResult], float]) -> Estimate:
        """Return the mean over problems of the mean over samples of a value between 0 and 1."""
        error = sampling_error([value_of(row) for row in rows] for rows in self.samples_by_problem().values())
        return replace(self.mean(self.means_by_problem(value_of)), sampling_error=error)

    def mean(self, values: Mapping[str, float]) -> Estimate:
        """Return the mean of one value a problem, by problem id, over other problems of the same kind."""
        clusters = self.cluster_by_problem()
        return mean_estimate(list(values.values()), clusters_P=[clusters[problem_id] for problem_id in values])

    @property
    def all_or_nothing(self) -> bool:
        """Whether every value is 0 or 1, which pass@k needs."""
        return all(row.value in (0.0, 1.0) for row in self.rows)

    @property
    def num_problems(self) -> int:
        """Problems that were measured."""
        return len(self.samples_by_problem())

    @property
    def num_scored(self) -> int:
        """Completions that the metric measured; the others count 0."""
        return sum(row.outcome == "scored" for row in self.rows)

    @property
    def least_samples(self) -> int:
        """Samples of the problem that has the fewest."""
        return min(map(len, self.samples_by_problem().values()))

    @property
    def truncated(self) -> float:
        """Share of completions that the token limit cut."""
        return sum(row.finish_reason == "length" for row in self.rows) / len(self.rows)

    @property
    def unparsed(self) -> float:
        """Share of completions from which no answer could be read."""
        return sum(row.parsed is None for row in self.rows) / len(self.rows)

    @property
    def mean_tokens(self) -> float:
        """Mean length of a completion."""
        return sum(row.num_tokens for row in self.rows) / len(self.rows)
