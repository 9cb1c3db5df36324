"""Keep completions from growing without need."""

from reasonrl import ConfigError, Rollout, Score


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
