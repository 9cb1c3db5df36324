"""Check instructions that a rule can verify (IFEval, arXiv:2311.07911)."""

from reasonrl import Rollout, Score
from reasonrl_grading.answers import shown_text
from reasonrl_grading.instructions import MAX_CHARS, Mode, asked_of, followed


def instructions(rollout: Rollout, *, mode: Mode = "strict", partial: bool = False) -> Score:
    """1 if the response follows all instructions of its problem, else 0.

    The ids and arguments are IFEval's: ``meta["instruction_id_list"]`` and ``meta["kwargs"]``, one mapping an
    instruction. Words and sentences are counted by rules of our own rather than NLTK's, keywords are texts and not
    patterns, and the language is detected by py3langid. Thinking is not part of the response. Nothing here asks
    whether the response is about its question: a list of keywords follows ``keywords:existence``.

    Args:
        rollout: what is scored.
        mode: ``loose`` also accepts what follows when the first line, the last line or asterisks are left out.
        partial: give the share of the instructions that are followed.
    """
    asked = asked_of(rollout.problem)
    if isinstance(asked, str):
        return Score.unscorable(asked)
    response = shown_text(rollout).strip()
    if not response or len(response) > MAX_CHARS:
        return Score(0.0, f"a response of {len(response)} characters")
    kept = followed(response, asked, mode)
    broken = [name for (name, _), is_kept in zip(asked, kept, strict=True) if not is_kept]
    value = 1 - len(broken) / len(asked) if partial else float(not broken)
    return Score(value, f"not followed: {', '.join(broken)}" if broken else f"all {len(asked)} followed")
