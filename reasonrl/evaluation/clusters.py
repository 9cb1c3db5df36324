"""Problems of a suite that belong together, such as the variants of one problem or the questions on one text.

Their outcomes are not independent, so an interval that counts each of them as if they were is too short.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from reasonrl.errors import DataError, and_known
from reasonrl.plugins.types import Suite
from reasonrl.types import Problem

CLUSTER_COLUMN: Final = re.compile(
    r"(?:(?:cluster|group|template|passage|story|context|article|document|paragraph|family|variant|original|parent|seed)"
    r"(?:_?(?:id|idx|index|key|hash|name))?|variant_?of|(?:base|source)_?(?:problem|question)(?:_?id)?)",
    re.IGNORECASE,
)
"""Names of columns that mark problems which belong together."""


def cluster_of(suite: Suite, problem: Problem) -> str | None:
    """Return which cluster a problem is in; None for a suite without clusters.

    Raises:
        DataError: the data lacks the column that the suite names.
    """
    if suite.cluster is None:
        return None
    if suite.cluster not in problem.meta:
        raise DataError(
            f"suite {suite.name!r}: cluster is {suite.cluster!r}, but problem {problem.id} has no such column."
            f"{and_known(suite.cluster, list(problem.meta))}"
        )
    return str(problem.meta[suite.cluster])


def cluster_warnings(suite: Suite) -> Iterator[str]:
    """Say where the data has a column that marks problems which belong together, and the suite uses none."""
    names = {name for problem in suite.problems for name in problem.meta if CLUSTER_COLUMN.fullmatch(name)}
    marking = [name for name in sorted(names) if _marks_clusters(suite.problems, name)]
    if marking and suite.cluster is None:
        yield (
            f"suite {suite.name!r}: problems share values of {marking[0]!r}; if those belong together, its intervals "
            f"are too short without `cluster: {marking[0]}` beside the suite's name"
        )


def _marks_clusters(problems: Sequence[Problem], column: str) -> bool:
    """Whether each problem has a value there, and some but not all share one."""
    values = [problem.meta.get(column) for problem in problems]
    if not all(isinstance(value, Hashable) and value is not None for value in values):
        return False
    return 1 < len(set(values)) < len(values)
