"""A reward that knows nothing of the completion: a control for what training does by itself."""

from random import Random

from reasonrl import ConfigError, Rollout, Score


def random(rollout: Rollout, *, rate: float = 0.5) -> Score:
    """1 with probability ``rate``, else 0, whatever the completion says (Spurious Rewards, arXiv:2506.10947).

    It is drawn from the completion's seed, so a resumed run draws the same, and a held-out completion has the same
    value in every evaluation.

    Args:
        rollout: what is scored.
        rate: share of completions that get 1.

    Raises:
        ConfigError: ``rate`` is not a share.
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"reward 'random': rate is {rate}, which is no share between 0 and 1.")
    drawn = Random(rollout.trajectory.seed).random() < rate
    return Score(float(drawn), "drawn from the completion's seed")
