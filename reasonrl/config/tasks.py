"""Settings of tasks: one, or a mixture in which each may have its own rewards, template and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from reasonrl.config.base import PluginRef, Settings
from reasonrl.config.rewards import RewardRef


class DifficultySettings(Settings):
    """Which problems are trained on, and how often, by a pass rate that ``reasonrl difficulty`` measured before."""

    file: str
    """What ``reasonrl difficulty`` wrote: one JSON object a problem."""
    min_pass_rate: float = Field(0.0, ge=0, le=1)
    """Problems that were passed less often are left out."""
    max_pass_rate: float = Field(1.0, ge=0, le=1)
    """Problems that were passed more often are left out."""
    weigh: Literal["none", "variance"] = "none"
    """How often a problem comes in an epoch: ``none`` is once; ``variance`` is in proportion to the expected variance
    p (1 - p) of passing, which is greatest for problems that are passed half of the time."""
    missing: Literal["refuse", "keep", "drop"] = "refuse"
    """What becomes of problems that the file does not have: the run is refused, they are trained on, or left out."""

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        """Refuse limits that no problem can meet, and a file that would decide nothing."""
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate is {self.min_pass_rate}, more than max_pass_rate, which is {self.max_pass_rate}"
            )
        decides_nothing = (self.min_pass_rate, self.max_pass_rate, self.weigh) == (0, 1, "none")
        if decides_nothing and self.missing != "drop":
            raise ValueError("the file decides nothing: set min_pass_rate, max_pass_rate or weigh")
        return self


class TaskRef(PluginRef):
    """A task, and which of its problems are trained on."""

    difficulty: DifficultySettings | None = None
    """Choose problems by a measured pass rate; null takes all."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_settings_of_a_mixture(cls, given: object) -> object:
        """Say where the settings of one task of several belong."""
        of_several = MixtureTask.model_fields.keys() - TaskRef.model_fields.keys()
        found = [name for name in given if name in of_several] if isinstance(given, Mapping) and cls is TaskRef else []
        if found:
            raise ValueError(
                f"{found[0]} is for one task of several. Write a list of tasks, or leave it out"
                + ("" if found[0] in ("label", "weight") else ": for a single task the run's own settings say it")
            )
        return given


class MixtureTask(TaskRef):
    """One task of several, and what differs for its problems from the rest of the run."""

    label: str | None = None
    """Its name in metrics, rollouts and messages, where it is not ``name``; needed where one task is used twice."""
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Its share of the problems is its weight over the sum of all weights."""
    rewards: list[RewardRef] | None = Field(None, min_length=1)
    """What scores completions of its problems; null is the run's ``rewards``. Equal entries of several tasks are one
    reward; entries that differ need labels that differ."""
    template: str | None = None
    """Prompt template of its problems; null is the run's."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest completion of its problems; null is ``rollout.max_new_tokens``."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Strings that end a completion of its problems; null is ``rollout.stop``."""

    @property
    def key(self) -> str:
        """Return the name in metrics, rollouts and messages."""
        return self.label or self.name


def _kind_of_task(given: object) -> str:
    """Tell a mixture from a task; the names have a space, so that no key can be confused with them."""
    return "a mixture" if isinstance(given, list | tuple) else "a task"


TaskOrMixture: TypeAlias = Annotated[
    Annotated[TaskRef, Tag("a task")] | Annotated[Annotated[list[MixtureTask], Field(min_length=1)], Tag("a mixture")],
    Discriminator(_kind_of_task),
]
"""A task, or a list of tasks with weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTask:
    """A task of a run, with everything that it leaves to the run filled in."""

    key: str
    """Where it stands in the run file: ``task``, or ``task.N`` in a mixture."""
    ref: TaskRef
    label: str
    weight: float
    rewards: tuple[RewardRef, ...]
    template: str
    max_new_tokens: int
    stop: tuple[str, ...]


def refuse_repeated_tasks(tasks: Sequence[RunTask]) -> None:
    """Refuse tasks that share a label.

    Raises:
        ValueError: two do; the message has the key of the second.
    """
    labels = [task.label for task in tasks]
    for index, task in enumerate(tasks):
        if task.label in labels[:index]:
            raise ValueError(f"{task.key}: {task.label!r} is there already; give one of them a label of its own")


def distinct_rewards(lists: Mapping[str, Sequence[RewardRef]]) -> tuple[RewardRef, ...]:
    """Return the rewards of several lists, each once.

    Args:
        lists: by their key in the run file.

    Raises:
        ValueError: two that differ have one label, so that nobody could tell their figures apart.
    """
    found: dict[str, tuple[str, RewardRef]] = {}
    for key, rewards in lists.items():
        for index, reward in enumerate(rewards):
            where, known = found.setdefault(reward.key, (f"{key}.{index}", reward))
            if known != reward:
                raise ValueError(
                    f"{key}.{index}: {reward.key!r} is at {where} with other settings; give one of them a label of its "
                    "own"
                )
    return tuple(reward for _, reward in found.values())
