"""Compare the answer of a completion with the right one."""

from reasonrl import Rollout, Score
from reasonrl_grading.answers import MARKED, Source, as_number, read_answer, same_number, stated_value
from reasonrl_grading.squad import squad_normalized
from reasonrl_rewards.found import ANSWERED, no_answer


def numeric_answer(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Score:
    """1 if the answer is the right number, however it is written, else 0.

    A sentence around the number, ``The product is 42.``, and a remark after it, ``42 (since 6 * 7 = 42)``, are left
    out; a number with a unit is no number.

    Args:
        rollout: what is scored.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    wanted = rollout.problem.answer
    if as_number(wanted) is None:
        return Score.unscorable(f"the problem's answer {wanted[:80]!r} is not a number")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    given = stated_value(given)
    if as_number(given) is None:
        return Score(0.0, f"answered {given[:80]!r}, which is not a number", parts=ANSWERED)
    return _compared(given, wanted, same_number(given, wanted))


def exact_answer(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED, ignore_case: bool = False) -> Score:
    """1 if the answer is the right text, apart from white space at its ends and its amount inside, else 0.

    Args:
        rollout: what is scored.
        sources: where an answer may be, in this order; the first source that has one counts.
        ignore_case: whether capital and small letters are one.
    """
    given, wanted = read_answer(rollout, sources), rollout.problem.answer
    if given is None:
        return no_answer(rollout, sources)
    return _compared(given, wanted, _plain(given, ignore_case) == _plain(wanted, ignore_case))


def normalized_answer(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Score:
    """1 if the answer is the right text apart from case, punctuation, articles and white space, else 0.

    The signs inside a number count: 1.5 is not 15. Two numbers that are written differently, such as 1,000 and
    1000, are two answers here; ``numeric_answer`` compares their values.

    Args:
        rollout: what is scored.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    wanted = rollout.problem.answer
    if not squad_normalized(wanted):
        return Score.unscorable(f"nothing is left of the problem's answer {wanted[:80]!r} when it is normalized")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    return _compared(given, wanted, squad_normalized(given) == squad_normalized(wanted))


def _compared(given: str, wanted: str, is_right: bool) -> Score:
    return Score(float(is_right), f"answered {given[:80]!r}, wanted {wanted[:80]!r}", parts=ANSWERED)


def _plain(answer: str, ignore_case: bool) -> str:
    spaced = " ".join(answer.split())
    return spaced.casefold() if ignore_case else spaced
