"""Settings of held-out suites, and of their measurement during a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from reasonrl.config.base import PluginRef, Settings


def refuse_equal_samples(num_samples: int | None, temperature: float | None) -> None:
    """Refuse several completions of a problem under greedy decoding; None is the suite's own setting.

    Raises:
        ValueError: they would all be the same.
    """
    if temperature == 0 and num_samples is not None and num_samples > 1:
        raise ValueError(
            f"num_samples is {num_samples}, but temperature is 0, so all would be the same: use "
            "num_samples: 1, or a temperature above 0"
        )


class SuiteRef(PluginRef):
    """A held-out suite, and how its completions are sampled where that differs from the suite's own settings."""

    template: str | None = None
    """Prompt template; null is the suite's own, as for all settings below."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest completion."""
    num_samples: int | None = Field(None, ge=1)
    """Completions of each problem."""
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Draw from the fewest most probable tokens whose probabilities reach this sum; 1 draws from all."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Strings that end a completion."""
    cluster: str | None = None
    """Column whose equal values mark problems that belong together, such as variants of one problem or questions on one
    text: errors are then those of clusters."""

    @model_validator(mode="after")
    def _refuse_equal_samples(self) -> Self:
        """Refuse several samples of one problem that could not differ."""
        refuse_equal_samples(self.num_samples, self.temperature)
        return self


class PrimaryFigure(Settings):
    """A figure that a run is judged by, named before it begins."""

    suite: str
    """Name of a held-out suite of the run."""
    metric: str = "exact"
    """Which figure of the suite: ``exact`` (the mean over problems), ``pass@K``, or another that its results have."""
    direction: Literal["higher", "lower"] | None = None
    """Which way is better; null is lower for rates of what went wrong (``truncated``, ``unparsed``, ``timeout``,
    ``error``) and higher for all others."""


class EvaluationSettings(Settings):
    """Held-out measurement during a run."""

    suites: list[SuiteRef] = Field([])
    """Held-out suites, measured before the first step, every ``every`` steps and at the end."""
    every: int = Field(50, ge=1)
    """Steps between evaluations."""
    allow_overlap: str = ""
    """Why problems may stand in both training and held-out data; empty refuses such a run."""
    max_concurrent: int | None = Field(None, ge=1)
    """Completions sampled side by side; changes speed and memory only. Null is 64 with the embedded engine and 256 with
    others."""
    rewards: Literal["auto", "all", "none"] = "auto"
    """Whether the run's own rewards score the held-out completions too, beside the metric: ``auto`` does so
    unless a reward asks a service (an async one, such as a judge), which costs money; ``all`` asks those as well."""
    beside_learning: Literal["auto", "never"] = "auto"
    """``auto`` measures while the learner learns where the engine is free then: one with weights of its own that does
    not sleep, without ``rollout.async_steps``. Changes speed only."""
    primary: list[PrimaryFigure] = Field([])
    """The figures that the run is judged by, written to ``preregistration.json`` before its first step; all others are
    exploratory."""

    @field_validator("primary")
    @classmethod
    def _refuse_repeated_primaries(cls, given: list[PrimaryFigure]) -> list[PrimaryFigure]:
        """A figure that counts twice would be corrected for twice."""
        names = [(each.suite, each.metric) for each in given]
        if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(f"{' '.join(repeated[0])} is there twice: keep one of them")
        return given

    @model_validator(mode="after")
    def _refuse_settings_without_suites(self) -> Self:
        """Refuse what says how to measure where nothing is measured."""
        if self.suites:
            return self
        for name in ("rewards", "beside_learning", "primary"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is set, but there are no suites to measure: add some, or leave it out")
        return self
