"""What a reward model must be worth to be used as a reward, and how it is introduced in a run."""

from reasonrl.errors import ModelError
from reasonrl.preference.card import Interval, RewardModelCard


def require_worth(card: RewardModelCard, name: str, *, force: bool) -> None:
    """Refuse a reward model that is not known to be better than preferring the longer, or the shorter, completion.

    Args:
        card: the model's.
        name: begins the message.
        force: use it all the same.

    Raises:
        ModelError: it is not better, or was never evaluated.
    """
    found = card.evaluation
    if force or (found is not None and found.beats_length_only):
        return
    if found is None:
        raise ModelError(
            f"{name} was never evaluated on held-out prompts, so nothing says that it is better than length alone. "
            "Evaluate it with: reasonrl rm eval MODEL --pairs FILE. Or set force: true to use it all the same."
        )
    raise ModelError(
        f"{name} is no better than length alone: on {found.num_pairs} held-out pairs of {found.num_prompts} prompts "
        f'its accuracy is {found.accuracy.value:.1%}, that of "prefer the {found.length_rule}" '
        f"{found.length_only.value:.1%}. A policy would learn little else. Train it on more or better pairs, or set "
        "force: true to use it all the same."
    )


def describe(card: RewardModelCard, name: str) -> str:
    """Return a line for the head of a run: what the model is, and its accuracy beside that of length alone."""
    heads = "" if card.num_heads == 1 else f", {card.num_heads} heads"
    return f"{name} ({card.kind.replace('_', '-')}{heads}; {_accuracy(card)})"


def _accuracy(card: RewardModelCard) -> str:
    if card.evaluation is None:
        return "never evaluated"
    mine, length = card.evaluation.accuracy, card.evaluation.length_only
    doubt = "" if card.evaluation.difference.lower > 0 else ", a difference that may be noise"
    return f"held-out accuracy {_percent(mine)}, length alone {_percent(length)}{doubt}"


def _percent(share: Interval) -> str:
    return f"{share.value:.1%} [{share.lower:.1%}, {share.upper:.1%}]"
