"""What rewards that look for an answer say where there is none.

Their scores have a part ``answered``, 1 or 0: its mean is logged as ``reward/{reward}/answered``, which the alarm
``no_answer`` watches.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from reasonrl import Rollout, Score

ANSWERED: Final[Mapping[str, float]] = {"answered": 1.0}
"""The parts of a score where there was an answer to judge."""

SHOWN: Final = 60
"""Characters of the end of a completion that a reason quotes."""


def no_answer(rollout: Rollout, sources: Sequence[str], *, value: float = 0.0, sought: str = "answer") -> Score:
    """Return the score of a completion in which nothing was found.

    Args:
        rollout: what is scored.
        sources: where was looked.
        value: the score.
        sought: what was looked for.
    """
    end = " ".join(rollout.text[-3 * SHOWN :].split())[-SHOWN:]
    says = f"it ends {end!r}" if end else "it is empty"
    return Score(value, f"no {sought} found (sources: {', '.join(sources)}); {says}", parts={"answered": 0.0})
