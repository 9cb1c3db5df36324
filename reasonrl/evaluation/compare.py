"""Compare two results on one suite, problem by problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from reasonrl.errors import DataError
from reasonrl.evaluation.estimates import Estimate, PairedDifference, paired_difference
from reasonrl.evaluation.figures import figure_values, is_lower_better, label
from reasonrl.evaluation.results import Sampling, SuiteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of both results and their difference."""

    id: str
    """What files call it: ``exact``."""
    name: str
    """What people call it: ``avg@8``."""
    a: Estimate
    b: Estimate
    difference: PairedDifference
    """B minus A; for a rate of what went wrong a win is a problem where B has less of it."""
    is_primary: bool = False
    """Whether it was named before the models were measured; all others are exploratory."""
    adjusted_p: float | None = None
    """Holm's p-value over the primary figures of all comparisons made together; None for exploratory ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two results on the same problems, and the differences of their figures."""

    a: SuiteResult
    b: SuiteResult
    figures: tuple[Figure, ...]
    """Those that both have: ``exact`` or ``avg@n`` first, rates last."""

    @property
    def same_prompts(self) -> bool:
        """Whether both models read the same prompts."""
        return self.a.prompt_sha == self.b.prompt_sha


def compare(
    a: SuiteResult, b: SuiteResult, *, allow_prompt_mismatch: bool = False, ks: Sequence[int] = ()
) -> Comparison:
    """Pair two results on their problems' ids; the differences are B minus A.

    Args:
        a: what to compare with, such as the model before training.
        b: what is compared, such as the trained model.
        allow_prompt_mismatch: accept different prompts, such as those of two models' chat templates.
        ks: as in :func:`reasonrl.evaluation.figures.figures`.

    Raises:
        DataError: the results differ in more than the model; the message says in what.
    """
    _refuse_other_problems(a, b)
    _refuse_other_sampling(a.sampling, b.sampling)
    if a.prompt_sha != b.prompt_sha and not allow_prompt_mismatch:
        raise _prompt_mismatch(a, b)
    values_a, values_b = figure_values(a, ks), figure_values(b, ks)
    return Comparison(
        a=a,
        b=b,
        figures=tuple(_figure(name, a, b, values_a[name], values_b[name]) for name in values_a if name in values_b),
    )


def _figure(
    name: str, a: SuiteResult, b: SuiteResult, values_a: Mapping[str, float], values_b: Mapping[str, float]
) -> Figure:
    clusters = a.cluster_by_problem()
    difference = paired_difference(
        list(values_a.values()),
        [values_b[problem_id] for problem_id in values_a],
        clusters_P=[clusters[problem_id] for problem_id in values_a],
    )
    if is_lower_better(name):
        difference = replace(difference, wins=difference.losses, losses=difference.wins)
    return Figure(
        id=name,
        name=label(name, a.sampling.num_samples),
        a=a.mean(values_a),
        b=b.mean(values_b),
        difference=difference,
    )


def _refuse_other_problems(a: SuiteResult, b: SuiteResult) -> None:
    if (a.name, a.version) != (b.name, b.version):
        raise DataError(
            f"A is suite {a.name!r} version {a.version}, B is suite {b.name!r} version {b.version}: "
            "figures of different suites cannot be compared. Measure both models on one suite."
        )
    ids_a, ids_b = set(a.values_by_problem()), set(b.values_by_problem())
    if ids_a != ids_b:
        raise DataError(
            f"suite {a.name!r}: A has {len(ids_a)} problems{_limited(a)}, B has {len(ids_b)}{_limited(b)}, and "
            f"{len(ids_a & ids_b)} of them are the same. Measure both models with the same parameters of the suite."
        )
    if a.suite_sha != b.suite_sha:
        raise DataError(
            f"suite {a.name!r}: the problems have the same ids but other questions or answers "
            f"(A {a.suite_sha}, B {b.suite_sha}). Measure both models with one version of the suite's data."
        )
    if a.cluster_by_problem() != b.cluster_by_problem():
        raise DataError(f"suite {a.name!r}: A and B have other clusters. Measure both models with the same `cluster`.")


def _limited(result: SuiteResult) -> str:
    return "" if result.num_problems_in_suite is None else f" of {result.num_problems_in_suite}"


def _refuse_other_sampling(a: Sampling, b: Sampling) -> None:
    differing = [
        f"{field.name} is {getattr(a, field.name)!r} in A and {getattr(b, field.name)!r} in B"
        for field in fields(Sampling)
        if getattr(a, field.name) != getattr(b, field.name)
    ]
    if differing:
        raise DataError(f"{'; '.join(differing)}. Measure both models with the same settings.")


def _prompt_mismatch(a: SuiteResult, b: SuiteResult) -> DataError:
    prompts_b = {row.problem_id: row.prompt for row in b.rows}
    row = next(row for row in a.rows if row.prompt != prompts_b[row.problem_id])
    return DataError(
        f"suite {a.name!r}: the models read different prompts (template {a.template!r} in A, "
        f"{b.template!r} in B). Problem {row.problem_id}:\n"
        f"  A {row.prompt!r}\n  B {prompts_b[row.problem_id]!r}\n"
        "Measure both with one template, or compare nevertheless with --allow-prompt-mismatch."
    )
