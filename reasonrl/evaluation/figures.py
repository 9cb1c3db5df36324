"""Every figure of a suite's result: the mean over problems of one value a problem.

``exact`` is the mean of the suite's metric (avg@n, which papers call pass@1 too), then come ``pass@k``, ``pass^k``,
``maj@k`` and ``best@k``, the suite's further metrics, and the rates of samples that went wrong.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from reasonrl.errors import DataError, and_known
from reasonrl.evaluation.answers import classes_of
from reasonrl.evaluation.at_k import best_at_k, maj_at_k, pass_at_k, pass_hat_k
from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.results import SampleResult, SuiteResult

OfSample: TypeAlias = Callable[[SampleResult], float]
OfProblem: TypeAlias = Callable[[Sequence[SampleResult]], float]
"""The value of a problem, from its samples."""
Values: TypeAlias = dict[str, float]
"""One value a problem, by the problem's id."""

MAIN: Final = "exact"
"""The mean of the suite's own metric, in files; a person reads ``avg@n`` where n samples are averaged."""
RATES: Final[Mapping[str, OfSample]] = {
    "truncated": lambda row: float(row.finish_reason == "length"),
    "unparsed": lambda row: float(row.parsed is None),
    "timeout": lambda row: float(row.outcome == "timeout"),
    "error": lambda row: float(row.outcome == "error"),
}
"""Shares of completions cut by the token limit, without an answer, whose metric ran out of time, or failed."""


def figures(result: SuiteResult, ks: Sequence[int] = ()) -> dict[str, Estimate]:
    """Return every figure by name, with its interval over problems.

    Args:
        result: what was measured.
        ks: the k of pass@k and its like; if none are given, powers of two up to the number of samples, and that.

    Raises:
        DataError: some problem has fewer samples than a k that was given.
    """
    of_samples = {name: result.mean_of_samples(of) for name, of in _of_samples(result).items()}
    at_k = {name: result.mean(_by_problem(result, of)) for name, of in _at_k(result, ks).items()}
    return {MAIN: of_samples.pop(MAIN), **at_k, **of_samples}


def figure_values(result: SuiteResult, ks: Sequence[int] = ()) -> dict[str, Values]:
    """Return the values that every figure is the mean of; arguments and errors are those of :func:`figures`."""
    of_samples = {name: result.means_by_problem(of) for name, of in _of_samples(result).items()}
    at_k = {name: _by_problem(result, of) for name, of in _at_k(result, ks).items()}
    return {MAIN: of_samples.pop(MAIN), **at_k, **of_samples}


def label(name: str, num_samples: int) -> str:
    """Return what people call a figure: ``avg@8`` for the mean of the suite's metric over eight samples."""
    return f"avg@{num_samples}" if name == MAIN and num_samples > 1 else name


def find_figure(name: str, known: Mapping[str, object], num_samples: int, where: str) -> str:
    """Return the name that files have for a figure which a person named.

    Raises:
        DataError: there is no such figure.
    """
    names = {label(one, num_samples): one for one in known} | {one: one for one in known}
    if name not in names:
        raise DataError(f"{where}: there is no figure {name!r}.{and_known(name, list(names))}")
    return names[name]


def is_lower_better(name: str) -> bool:
    """Whether a figure counts what went wrong."""
    return name in RATES


def further_metrics(result: SuiteResult) -> tuple[str, ...]:
    """Return the names of the suite's further metrics, in order of appearance."""
    return tuple(dict.fromkeys(name for row in result.rows for name in row.metrics))


def missing_figures(result: SuiteResult) -> Iterator[str]:
    """Say which figures the result lacks although there are several samples a problem, and why."""
    numbers = {len(rows) for rows in result.samples_by_problem().values()}
    if len(numbers) > 1:
        yield f"problems have from {min(numbers)} to {max(numbers)} samples: each counts alike, and k ends at the least"
    if min(numbers) == 1:
        return
    if not result.all_or_nothing:
        yield "no pass@k and pass^k: the metric gives values between 0 and 1"
    if not _has_votes(result):
        yield "no maj@k: no two samples of a problem give the same answer"


def _of_samples(result: SuiteResult) -> dict[str, OfSample]:
    """Return what each figure that is a mean over samples is the mean of."""
    further = {name: _further(name) for name in further_metrics(result)}
    return {MAIN: lambda row: row.value, **further, **RATES}


def _further(name: str) -> OfSample:
    return lambda row: row.metrics.get(name, 0.0)


def _at_k(result: SuiteResult, ks: Sequence[int]) -> dict[str, OfProblem]:
    found: dict[str, OfProblem] = {}
    for k in _checked(result, ks) or _powers(result.least_samples):
        found |= _figures_at(result, k)
    return found


def _checked(result: SuiteResult, ks: Sequence[int]) -> Sequence[int]:
    for k in ks:
        if not 1 <= k <= result.least_samples:
            raise DataError(
                f"suite {result.name!r}: there is no pass@{k} of problems with {result.least_samples} samples. "
                f"k goes from 1 to {result.least_samples}; measure with more samples for a larger one."
            )
    return sorted(set(ks))


def _powers(num_samples: int) -> Sequence[int]:
    """Return 2, 4, 8 and so on up to the number of samples, and that number; none for a single sample."""
    powers = [1 << exponent for exponent in range(1, num_samples.bit_length())]
    return sorted({*powers, num_samples} - {1})


def _figures_at(result: SuiteResult, k: int) -> dict[str, OfProblem]:
    found: dict[str, OfProblem] = {}
    if result.all_or_nothing:
        found[f"pass@{k}"] = lambda rows: pass_at_k(len(rows), _num_right(rows), k)
        found[f"pass^{k}"] = lambda rows: pass_hat_k(len(rows), _num_right(rows), k)
    if _has_votes(result):
        found[f"maj@{k}"] = lambda rows: maj_at_k(classes_of(rows), [row.value for row in rows], k)
    if any(row.reward is not None for row in result.rows):
        found[f"best@{k}"] = lambda rows: best_at_k([row.reward for row in rows], [row.value for row in rows], k)
    return found


def _has_votes(result: SuiteResult) -> bool:
    """Whether two samples of some problem give the same answer; else a majority is a sample drawn at random."""
    for rows in result.samples_by_problem().values():
        classes = [one for one in classes_of(rows) if one is not None]
        if len(set(classes)) < len(classes):
            return True
    return False


def _num_right(rows: Sequence[SampleResult]) -> int:
    return sum(row.value == 1 for row in rows)


def _by_problem(result: SuiteResult, of: OfProblem) -> Values:
    return {problem_id: of(rows) for problem_id, rows in result.samples_by_problem().items()}
