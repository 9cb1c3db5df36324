"""Rubrics: the criteria of a judge, how they are read from a run file or a file of their own, and what they weigh."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import yaml
from pydantic import BeforeValidator, Field, field_validator

from reasonrl import ConfigError
from reasonrl_rewards.judge.endpoint import JudgeSettings

Level: TypeAlias = int | str
"""A score as the judge gives it."""

MAX_LEVELS: Final = 101
"""Levels of the longest scale: 0 to 100."""

USUAL_SCALE: Final = (1, 5)

OWN_PARTS: Final = ("prompt_tokens", "completion_tokens", "cost", "cached", "tied", "position_bias", "chose_first")
"""Parts of a score that are not criteria."""


class Criterion(JudgeSettings):
    """One question that a judge answers about a completion."""

    name: str
    """Its name in the verdict, and of its part of the score: letters, digits and ``_``."""
    description: str = Field(min_length=1)
    """What is asked, or what a good completion is like."""
    weight: float = Field(1.0, allow_inf_nan=False)
    """Its share of the value; of a negative one less is better, as of padding or invented facts."""
    scale: tuple[int, int] | Literal["yes_no"] | None = None
    """Least and greatest score, or ``yes_no``; null is 1 to 5. Comparisons have no scale."""

    @field_validator("name")
    @classmethod
    def _require_usable_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
            raise ConfigError(f"rubric: criterion {name!r}: a name is a letter, then letters, digits and _.")
        if name in OWN_PARTS:
            raise ConfigError(f"rubric: a criterion cannot be named {name!r}, as another part of the score is.")
        return name

    @field_validator("weight")
    @classmethod
    def _refuse_weight_of_zero(cls, weight: float) -> float:
        if weight == 0:
            raise ConfigError("rubric: a criterion has weight 0, so its answer would be ignored; leave it out.")
        return weight

    @field_validator("scale")
    @classmethod
    def _require_usable_scale(cls, scale: tuple[int, int] | Literal["yes_no"] | None) -> Any:
        """Refuse a scale without levels, or with too many. Any: the scale."""
        if isinstance(scale, tuple) and not 1 <= scale[1] - scale[0] < MAX_LEVELS:
            raise ConfigError(f"rubric: scale {list(scale)}: give the least and the greatest score, such as [1, 5].")
        return scale

    @property
    def levels(self) -> tuple[Level, ...]:
        """The scores that a judge may give, the worst one first."""
        if self.scale == "yes_no":
            return "no", "yes"
        low, high = self.scale or USUAL_SCALE
        return tuple(range(low, high + 1))

    @property
    def scale_in_words(self) -> str:
        """The scale for the judge; where less is better, without saying so, because the weight takes care of it."""
        if self.scale == "yes_no":
            return "yes or no"
        least, most = ("worst", "best") if self.weight > 0 else ("not at all", "as much as possible")
        return f"{self.levels[0]} ({least}) to {self.levels[-1]} ({most})"

    def share(self, level: Level) -> float:
        """Return where a score stands on the scale: 0 for the least one, 1 for the greatest."""
        return self.levels.index(level) / (len(self.levels) - 1)


GENERAL: Final = (
    Criterion(
        name="quality",
        description="How well the question is answered: correct, complete, clear, to the point.",
    ),
)
"""The rubric where none is given."""


def read_rubric(given: Any) -> Any:
    """Return the criteria as a run file gives them: a list, or the path of a YAML file with a list. Any: YAML.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not isinstance(given, str):
        return given
    path = Path(given).expanduser()
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"rubric {given}: cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"rubric {given}: not YAML: {error}") from None
    if not isinstance(found, list):
        raise ConfigError(f"rubric {given}: write a list of criteria, each with name and description.")
    return found


def require_rubric(rubric: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
    """Refuse a rubric without criteria, or with two of one name.

    Raises:
        ConfigError: it is one of these.
    """
    names = [criterion.name for criterion in rubric]
    if not names:
        raise ConfigError("rubric: no criteria. Give at least one, or leave the rubric out.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"rubric: two criteria are named {twice!r}; rename one of them.")
    return rubric


Rubric: TypeAlias = Annotated[tuple[Criterion, ...], BeforeValidator(read_rubric)]
"""Criteria in a run file, or the path of a YAML file of them."""


def require_comparable(rubric: Sequence[Criterion], reward: str) -> None:
    """Refuse a rubric that a reward cannot use which asks what is better, not how good it is.

    Raises:
        ConfigError: a criterion has a scale, or a negative weight.
    """
    if scaled := next((criterion.name for criterion in rubric if criterion.scale is not None), None):
        raise ConfigError(f"rubric: criterion {scaled!r} has a scale, but {reward!r} only compares; take it out.")
    if negative := next((criterion.name for criterion in rubric if criterion.weight < 0), None):
        raise ConfigError(
            f"rubric: criterion {negative!r} has a negative weight, but {reward!r} asks what is better: describe what "
            "is good, and give it a positive weight."
        )


def weighted_mean(rubric: Sequence[Criterion], shares: Mapping[str, float]) -> float:
    """Return the value of shares from 0 to 1, one a criterion: their mean by weight, from 0 to 1.

    A criterion with a negative weight counts ``1 - share`` with the weight's size.
    """
    parts = [abs(c.weight) * (shares[c.name] if c.weight > 0 else 1 - shares[c.name]) for c in rubric]
    return min(math.fsum(parts) / math.fsum(abs(c.weight) for c in rubric), 1.0)
