"""Check an answer against a regular expression."""

from reasonrl import ConfigError, Rollout, Score
from reasonrl_grading.answers import MARKED, Source, read_answer
from reasonrl_rewards.found import ANSWERED, no_answer


def regex_answer(
    rollout: Rollout,
    *,
    pattern: str | None = None,
    sources: tuple[Source, ...] = MARKED,
    ignore_case: bool = False,
    limit_s: float = 1.0,
) -> Score:
    """1 if the whole answer matches a regular expression, else 0.

    A match that takes longer than ``limit_s`` is a timeout: the pattern backtracks without end on this text.

    Args:
        rollout: what is scored; its problem has the pattern in ``meta["pattern"]`` unless ``pattern`` is set.
        pattern: in the syntax of the ``regex`` package. ``.*`` pays for anything.
        sources: where an answer may be, in this order; ``whole`` is the whole completion.
        ignore_case: whether capital and small letters are one.
        limit_s: seconds that a match may take.

    Raises:
        ConfigError: ``pattern`` is not a regular expression.
    """
    import regex

    wanted = pattern if pattern is not None else rollout.problem.meta.get("pattern")
    if not isinstance(wanted, str):
        return Score.unscorable("neither the parameter 'pattern' nor a text in meta['pattern']")
    try:
        compiled = regex.compile(wanted, regex.IGNORECASE if ignore_case else 0)
    except regex.error as error:
        if pattern is not None:
            raise ConfigError(
                f"reward 'regex_answer': pattern {pattern!r} is not a regular expression: {error}."
            ) from None
        return Score.unscorable(f"meta['pattern'] is not a regular expression: {error}")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    try:
        is_match = compiled.fullmatch(given, timeout=limit_s) is not None
    except TimeoutError:
        return Score(None, f"{wanted[:80]!r} took longer than {limit_s:g} s on {given[:80]!r}", "timeout")
    return Score(float(is_match), f"answered {given[:80]!r}, wanted a match of {wanted[:80]!r}", parts=ANSWERED)
