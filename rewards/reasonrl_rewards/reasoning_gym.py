"""Score answers to reasoning-gym problems with the scorer of their own data set."""

from reasonrl import Rollout, Score
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_grading.gym import gym_credit, is_earned, is_gym_problem, stated_answer
from reasonrl_rewards.found import ANSWERED, no_answer


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
    problem = rollout.problem
    if not is_gym_problem(problem):
        return Score.unscorable("the problem does not come from the task 'reasoning_gym'")
    found = read_answer(rollout, sources)
    if found is None:
        return no_answer(rollout, sources)
    given = stated_answer(found, problem)
    value = gym_credit(given, problem)
    why = f"answered {given[:80]!r}, wanted {problem.answer[:80]!r}; its data set gives {value:g}"
    if partial or value < 1.0:
        return Score(value if partial else 0.0, why, parts=ANSWERED)
    return Score(float(is_earned(given, problem)), why, parts=ANSWERED)
