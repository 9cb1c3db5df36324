"""Check the letter of a multiple-choice question."""

from reasonrl import Rollout, Score
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_grading.choices import choices_of, named_choice
from reasonrl_rewards.found import ANSWERED, no_answer


def multiple_choice(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED_AND_PROSE) -> Score:
    r"""1 if the answer names the right choice and no other, else 0.

    The letter may be written ``B``, ``(b)``, ``B.``, ``\text{B}``, ``option B`` or ``B) 5 cm``. Where the problem
    has its choices in ``meta["choices"]`` (a list, or a mapping by letter), the text of a choice is as good as
    its letter, and a letter with another choice's text is wrong. Guessing one of n letters pays 1/n.

    Args:
        rollout: what is scored; its problem's answer is a letter, or the text of a choice.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    choices = choices_of(rollout.problem)
    wanted = named_choice(rollout.problem.answer, choices)
    if wanted is None or (choices and wanted not in choices):
        return Score.unscorable(f"the problem's answer {rollout.problem.answer[:80]!r} names none of its choices")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    named = named_choice(given, choices)
    if named is None:
        return Score(0.0, f"answered {given[:80]!r}, which names no single choice", parts=ANSWERED)
    return Score(float(named == wanted), f"answered {given[:80]!r}, which is {named}; wanted {wanted}", parts=ANSWERED)
