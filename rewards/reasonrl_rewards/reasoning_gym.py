"""Score answers to reasoning-gym problems with the scorer of their own data set."""

import json
import re
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from reasonrl import Problem, Rollout, Score
from reasonrl.system.extras import needs_extra
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, as_number, read_answer, stated_value
from reasonrl_rewards.found import ANSWERED, no_answer

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
"""Characters of an answer that is given to a scorer."""

_NAMES = "sin|cos|tan|sec|csc|cot|asin|acos|atan|sinh|cosh|tanh|exp|log|sqrt|[A-Za-z_]"
_HARMLESS = re.compile(rf"(?:[^A-Za-z_\\.]|\.(?!\s*[A-Za-z_])|(?<![A-Za-z_])(?:{_NAMES})(?![A-Za-z_0-9]))*")


def reasoning_gym(rollout: Rollout, *, partial: bool = False, sources: tuple[Source, ...] = MARKED_AND_PROSE) -> Score:
    """1 if the data set's own ``score_answer`` gives full credit, else 0; needs ``reasonrl[reasoning-gym]``.

    Many of its scorers pay 0.01 for any answer, or length of the right answer over length of the given one where
    the latter contains the former, which a model learns to exploit; so less than full credit counts as 0 unless
    ``partial`` is set. Full credit counts only where ``no answer`` would not get it too, and for a number only
    where the answer is one number: ``7 or 8`` is none, ``The total is 7.`` is one. Some scorers run the answer as
    Python; those only see formulas without names. A scorer that does not end runs into the reward's timeout.

    Args:
        rollout: what is scored; its problem comes from the task ``reasoning_gym``.
        partial: give the scorer's own value, whatever it pays for.
        sources: where an answer may be, in this order; the first source that has one counts.

    Raises:
        MissingExtraError: reasoning-gym is not installed.
    """
    meta = rollout.problem.meta
    if not isinstance(meta.get("entry"), dict) or not isinstance(meta.get("dataset"), str):
        return Score.unscorable("the problem does not come from the task 'reasoning_gym'")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    if as_number(rollout.problem.answer) is not None:
        given = stated_value(given)
    value = _credit(given, rollout.problem)
    why = f"answered {given[:80]!r}, wanted {rollout.problem.answer[:80]!r}; its data set gives {value:g}"
    if partial or value < 1.0:
        return Score(value if partial else 0.0, why, parts=ANSWERED)
    return Score(float(_is_earned(given, rollout.problem)), why, parts=ANSWERED)


def _credit(answer: str, problem: Problem) -> float:
    is_given = answer == problem.answer or problem.meta["dataset"] not in EVALUATED or is_harmless(answer)
    if len(answer) > MAX_CHARS or not is_given:
        return 0.0
    scorer = _dataset(problem.meta["dataset"], json.dumps(problem.meta.get("config", {}), sort_keys=True))
    try:
        return float(scorer.score_answer(answer=answer, entry=deepcopy(problem.meta["entry"])))
    except Exception:  # scorers raise anything on a text that they cannot read
        return 0.0


def _is_earned(answer: str, problem: Problem) -> bool:
    """Whether full credit is for this answer: not given for any answer, nor for one number of several."""
    if as_number(problem.answer) is not None and as_number(answer) is None:
        return False
    return answer == problem.answer or _credit("no answer", problem) < 1.0


def is_harmless(answer: str) -> bool:
    """Whether an answer is a formula of numbers, signs, single letters and common functions."""
    return answer.isascii() and _HARMLESS.fullmatch(answer) is not None


@cache
def _dataset(name: str, config: str) -> "ProceduralDataset":
    with needs_extra("reasoning-gym", "reward 'reasoning_gym'"):
        from reasoning_gym.factory import create_dataset

    settings: dict[str, Any] = json.loads(config)  # Any: each data set has its own
    return create_dataset(name, **settings)
