"""Credit of answers to problems of the reasoning-gym package, by the scorer of their own data set."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from reasonrl import Problem
from reasonrl.system.extras import needs_extra
from reasonrl_grading.answers import as_number, stated_value

if TYPE_CHECKING:
    from reasoning_gym.dataset import ProceduralDataset

EVALUATED: Final = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
"""Data sets whose scorer evaluates what it is given as Python code."""

MAX_CHARS: Final = 2_000
"""Characters of an answer that is given to a scorer, unless the data set's own answer is longer."""

MAX_RELATIVE_ERROR: Final = 0.01
"""Of a probability of coin_flip."""

_NAMES = "sin|cos|tan|sec|csc|cot|asin|acos|atan|sinh|cosh|tanh|exp|log|sqrt|[A-Za-z_]"
_HARMLESS = re.compile(rf"(?:[^A-Za-z_\\.]|\.(?!\s*[A-Za-z_])|(?<![A-Za-z_])(?:{_NAMES})(?![A-Za-z_0-9]))*")


def data_set_names() -> Sequence[str]:
    """Return the names of all data sets of the package.

    Raises:
        MissingExtraError: reasoning-gym is not installed.
    """
    with needs_extra("reasoning-gym", "reasoning_gym"):
        from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


def is_gym_problem(problem: Problem) -> bool:
    """Whether a problem holds what :func:`gym_credit` needs, as those of the task ``reasoning_gym`` do."""
    return isinstance(problem.meta.get("entry"), Mapping) and isinstance(problem.meta.get("dataset"), str)


def stated_answer(answer: str, problem: Problem) -> str:
    """Return an answer as scorers read it: where a number is asked for, the one that a sentence states."""
    return stated_value(answer) if as_number(problem.answer) is not None else answer


def gym_credit(answer: str, problem: Problem) -> float:
    """Return what the data set's own ``score_answer`` gives, from 0 to 1; 0 where it raises on the answer.

    Some scorers run the answer as Python; those only see formulas without names. A scorer may not end.

    Raises:
        MissingExtraError: reasoning-gym is not installed.
    """
    is_given = answer == problem.answer or problem.meta["dataset"] not in EVALUATED or is_harmless(answer)
    if len(answer) > max(MAX_CHARS, len(problem.answer)) or not is_given:
        return 0.0
    scorer = _dataset(problem.meta["dataset"], json.dumps(problem.meta.get("config", {}), sort_keys=True))
    try:
        return min(1.0, max(0.0, float(scorer.score_answer(answer=answer, entry=deepcopy(problem.meta["entry"])))))
    except Exception:  # scorers raise anything on a text that they cannot read
        return 0.0


def is_earned(answer: str, problem: Problem) -> bool:
    """Whether full credit is for this answer: not given for any answer, nor for one number of several."""
    if as_number(problem.answer) is not None and as_number(answer) is None:
        return False
    return answer == problem.answer or (_is_of_problem(answer, problem) and gym_credit("no answer", problem) < 1.0)


def _is_of_problem(answer: str, problem: Problem) -> bool:
    """Look at what two scorers leave out: the numbers given (puzzle24), and how small a probability is (coin_flip).

    That of puzzle24 takes any four numbers that make 24, that of coin_flip anything within 0.0001.
    """
    if problem.meta["dataset"] == "puzzle24":
        given = problem.meta["entry"]["metadata"]["numbers"]
        return sorted(map(int, re.findall(r"\d+", answer))) == sorted(given)
    if problem.meta["dataset"] == "coin_flip":
        value, wanted = as_number(answer), as_number(problem.answer)
        return value is not None and wanted is not None and abs(value - wanted) <= abs(wanted) * MAX_RELATIVE_ERROR
    return True


def is_harmless(answer: str) -> bool:
    """Whether an answer is a formula of numbers, signs, single letters and common functions."""
    return answer.isascii() and _HARMLESS.fullmatch(answer) is not None


@cache
def _dataset(name: str, config: str) -> "ProceduralDataset":
    with needs_extra("reasoning-gym", "scoring an answer to a reasoning-gym problem"):
        from reasoning_gym.factory import create_dataset

    settings: dict[str, Any] = json.loads(config)  # Any: each data set has its own
    return create_dataset(name, **settings)
