"""Keep completions from growing without need."""

import math

from reasonrl import ConfigError, Rollout, Score
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_rewards.found import ANSWERED, no_answer


def length(rollout: Rollout, *, soft_limit_tokens: int, hard_limit_tokens: int) -> Score:
    """0 up to the soft limit, from there in a line down to -1 at the hard limit and beyond.

    This is the soft overlong punishment of DAPO (arXiv:2503.14476, equation 13).

    Args:
        rollout: what is scored.
        soft_limit_tokens: longest completion that costs nothing.
        hard_limit_tokens: shortest completion that costs 1; usually ``rollout.max_new_tokens``.

    Raises:
        ConfigError: the limits are not in order.
    """
    if not 0 <= soft_limit_tokens < hard_limit_tokens:
        raise ConfigError(
            "reward 'length': needs 0 <= soft_limit_tokens < hard_limit_tokens, "
            f"got {soft_limit_tokens} and {hard_limit_tokens}."
        )
    num_tokens = len(rollout.completion.token_ids)
    excess = (num_tokens - soft_limit_tokens) / (hard_limit_tokens - soft_limit_tokens)
    return Score(0.0 - min(max(excess, 0.0), 1.0), f"{num_tokens} tokens, {soft_limit_tokens} are free")


def cosine_length(
    rollout: Rollout,
    *,
    max_tokens: int,
    right_short: float = 1.0,
    right_long: float = 0.5,
    wrong_short: float = -1.0,
    wrong_long: float = -0.5,
    too_long: float = -1.0,
    sources: tuple[Source, ...] = MARKED_AND_PROSE,
) -> Score:
    """Pay a right answer more the shorter it is, and a wrong one less the shorter it is.

    Between nothing and ``max_tokens`` the value follows half a cosine wave ("Demystifying Long
    Chain-of-Thought", arXiv:2502.03373, section 4.2; the defaults are open-r1's). It compares the answer itself,
    so use it in place of ``math`` and not beside it. A wrong answer gains by filler, up to ``wrong_long``.

    Args:
        rollout: what is scored.
        max_tokens: where the wave ends; usually ``rollout.max_new_tokens``.
        right_short: value of a right answer of no length.
        right_long: value of a right answer just below ``max_tokens``.
        wrong_short: value of a wrong answer of no length.
        wrong_long: value of a wrong answer just below ``max_tokens``.
        too_long: value of any completion of ``max_tokens`` or more.
        sources: where an answer may be, in this order; the first source that has one counts.

    Raises:
        ConfigError: ``max_tokens`` is less than 1.
    """
    from reasonrl_grading import compare_answers

    if max_tokens < 1:
        raise ConfigError(f"reward 'cosine_length': max_tokens is {max_tokens}; use 1 or more.")
    num_tokens = len(rollout.completion.token_ids)
    given = read_answer(rollout, sources)
    problem = rollout.problem
    comparison = compare_answers(given or "", problem.answer, question=problem.prompt, symbolic=True)
    if comparison.right is None:
        return Score.unscorable(comparison.why)
    if num_tokens >= max_tokens:
        why = f"{num_tokens} tokens, the limit is {max_tokens}"
        return Score(too_long, why, parts={"answered": float(given is not None)})
    is_right = given is not None and comparison.right
    short, long = (right_short, right_long) if is_right else (wrong_short, wrong_long)
    value = _half_wave(num_tokens / max_tokens, short, long)
    if given is None:
        return no_answer(rollout, sources, value=value)
    return Score(value, f"{comparison.why}; {num_tokens} of {max_tokens} tokens", parts=ANSWERED)


def _half_wave(share: float, start: float, end: float) -> float:
    """Return the value of half a cosine wave that goes from ``start`` at 0 to ``end`` at 1."""
    return end + (start - end) * (1 + math.cos(share * math.pi)) / 2
