"""The reward ``preference``: reward models on the learner's device, called between sampling and learning."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from reasonrl.errors import ConfigError
from reasonrl.plugins.types import SharedResource, in_process, keeps_open
from reasonrl.preference.aggregate import CLIP, Aggregate, Aggregation, Clip, StdCoefficient, not_unicode, too_long
from reasonrl.preference.card import RewardModelCard, find_reward_model, read_card
from reasonrl.preference.use import describe, require_worth
from reasonrl.system.shared import SharedValues
from reasonrl.types import Rollout, Score

if TYPE_CHECKING:
    from reasonrl.preference.model import RewardModel

MICROBATCH_TOKENS = 16_384
"""Most tokens that a model has in memory at once, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Which models, where and how: rewards that agree in it share the loaded models."""

    given: tuple[str, ...]
    """As the run file names them."""
    device: str
    dtype: Literal["auto", "float32", "bfloat16"]


_loaded: "SharedValues[_Place, tuple[RewardModel, ...]]" = SharedValues()


@contextmanager
def _opened(
    model: str | None,
    models: tuple[str, ...],
    aggregate: Aggregate,
    std_coefficient: float | None,
    clip: float | None,
    standardize: bool,
    device: str,
    dtype: Literal["auto", "float32", "bfloat16"],
    force: bool,
    learner_device: str,
) -> Iterator[SharedResource]:
    """Load the models for as long as a run lasts. What cannot be used is refused before anything heavy is loaded."""
    place = _Place(_given(model, models), device, dtype)
    folders = list(map(find_reward_model, place.given))
    cards = list(map(read_card, folders))
    for card, folder in zip(cards, folders, strict=True):
        require_worth(card, f"reward 'preference': reward model {folder}", force=force)
    _aggregation(cards, aggregate, std_coefficient, clip, standardize)
    with _loaded.used(place, partial(_load, place, folders, learner_device)):
        yield SharedResource(note="; ".join(map(describe, cards, map(str, folders))))


@in_process
@keeps_open(_opened)
def preference(
    batch: Sequence[Rollout],
    *,
    model: str | None = None,
    models: tuple[str, ...] = (),
    aggregate: Aggregate = "mean",
    std_coefficient: StdCoefficient = None,
    clip: Clip = CLIP,
    standardize: bool = True,
    microbatch_tokens: Annotated[int, Field(ge=1)] = MICROBATCH_TOKENS,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    force: bool = False,
) -> list[Score]:
    """What a trained reward model says, in standard deviations from the mean of its training scores.

    The model reads the problem's prompt in its own template, the completion's text, and the end-of-sequence token, also
    where a completion was cut at the token limit. A text longer than the model's limit is unscorable.

    Args:
        batch: what is scored.
        model: the folder of a reward model, or the run that trained it.
        models: several, as members of an ensemble, in place of ``model``.
        aggregate: what the members of an ensemble (several models, or the heads of one) become: ``mean``, ``min``, or
            ``mean_minus_std``.
        std_coefficient: factor of the standard deviation in ``mean_minus_std``; null is 1.
        clip: standard deviations beyond which a member's score does not count; null sets no limit.
        standardize: give frozen standard deviations; false gives the model's own scores.
        microbatch_tokens: most tokens in memory at once; changes speed and memory only.
        device: where the models are: ``auto`` is the learner's device, else ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: type of matrix products: ``float32``, ``bfloat16``, or ``auto``, which is faster on this hardware.
        force: use a model that is no better than length alone on held-out prompts, or was never evaluated.
    """
    loaded = _models(_Place(_given(model, models), device, dtype))
    aggregation = _aggregation([one.card for one in loaded], aggregate, std_coefficient, clip, standardize)
    scores = [not_unicode(rollout.text) for rollout in batch]
    items = [(one.problem, one.text) for one, score in zip(batch, scores, strict=True) if score is None]
    members = [one.scores(items, max_tokens=microbatch_tokens) for one in loaded]
    found = (_score(aggregation, raws, loaded) for raws in zip(*members, strict=True))
    return [score or next(found) for score in scores]


def _score(
    aggregation: Aggregation, raws: Sequence[tuple[float, ...] | None], models: "Sequence[RewardModel]"
) -> Score:
    """Join what the models gave one completion; one that is too long for any of them has no score."""
    for found, one in zip(raws, models, strict=True):
        if found is None:
            return too_long(one.card)
    return aggregation.score([raw for found in raws for raw in found or ()])


def _given(model: str | None, models: tuple[str, ...]) -> tuple[str, ...]:
    """Return the models that a run file names.

    Raises:
        ConfigError: it names none, or in two ways.
    """
    if (model is None) == (not models):
        raise ConfigError("reward 'preference': give model: FOLDER, or models: [FOLDER, FOLDER] for an ensemble.")
    return models if model is None else (model,)


def _aggregation(
    cards: Sequence[RewardModelCard],
    aggregate: Aggregate,
    std_coefficient: float | None,
    clip: float | None,
    standardize: bool,
) -> Aggregation:
    """Return how the scores of the models become one."""
    return Aggregation(
        scales=tuple(scale for card in cards for scale in card.scales),
        aggregate=aggregate,
        std_coefficient=std_coefficient,
        clip=clip,
        standardize=standardize,
    )


def _models(place: _Place) -> "tuple[RewardModel, ...]":
    """Return models that were loaded when the run began."""
    models = _loaded.get(place)
    if models is None:
        raise RuntimeError("the reward model is not loaded: a run, or a RewardCaller, does that before it calls this")
    return models


def _load(place: _Place, folders: Sequence[Path], learner_device: str) -> "tuple[RewardModel, ...]":
    from reasonrl.models.hardware import find_device
    from reasonrl.preference.model import RewardModel

    wanted = learner_device if place.device == "auto" else place.device
    device = find_device(wanted, setting="reward 'preference': device")
    return tuple(RewardModel.load(folder, device, dtype=place.dtype) for folder in folders)
