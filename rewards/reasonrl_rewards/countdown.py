"""Check an expression that should reach a target with given numbers."""

from reasonrl import Rollout, Score
from reasonrl_grading.answers import MARKED, Source, countdown_numbers, read_answer, solves_countdown
from reasonrl_rewards.found import ANSWERED, no_answer


def countdown(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Score:
    """1 if the answer is an expression that uses each given number once and equals the target, else 0.

    Args:
        rollout: what is scored; its problem has the numbers in ``meta["numbers"]`` and the target as answer.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    asked = countdown_numbers(rollout.problem)
    if asked is None:
        return Score.unscorable("the problem has no whole meta['numbers'], or its answer is no whole number")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    result = solves_countdown(given, *asked)
    return Score(float(result.right), result.why, parts=ANSWERED)
