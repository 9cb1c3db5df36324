"""What happens in a run, told to every observer: the terminal, the run directory, the alarms, and plugins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import AlarmAction
from reasonrl.evaluation.results import SuiteResult
from reasonrl.preference.card import HeldoutEvaluation
from reasonrl.types import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """Everything is loaded, and training or its continuation begins."""

    config: AnyConfig
    path: Path
    """The run directory."""
    steps_done: int
    """0 for a new run."""
    num_steps: int
    """Steps that the run has in all."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What a person should know of it, by name: model, device, data."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """What is known of a step of a run that samples nothing, such as that of a reward model."""

    step: int
    """Steps done, this one included."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step was taken; its metrics are complete."""

    record: StepRecord | StepMetrics

    @property
    def step(self) -> int:
        """Steps done, this one included."""
        return self.record.step


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsMeasured:
    """Numbers that do not belong to a step's record, such as the comparison of engine and learner at the start."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEvaluated:
    """A held-out suite was measured with the weights after a step; step 0 is the model before training."""

    step: int
    result: SuiteResult
    metrics: Mapping[str, float]
    """Its figure, and how the training reward goes with it, by metric name."""
    about: Mapping[str, object] = field(default_factory=dict)
    """What else decides the figures, as JSON values: the engine, and the entry of the run file that loads the suite."""
    disagreements: str | None = None
    """Where reward and metric disagree, as Markdown; None where the rewards were not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFinished:
    """All held-out suites were measured with the weights after a step."""

    step: int
    results: tuple[SuiteResult, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Those of all suites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutMeasured:
    """A reward model was measured on its held-out prompts after a step; step 0 is the model before training."""

    step: int
    evaluation: HeldoutEvaluation | None
    """None where no two held-out completions of a prompt can be compared."""
    metrics: Mapping[str, float]
    """All that was measured, by metric name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised:
    """A metric is in trouble, once for each episode."""

    step: int
    kind: str
    """Named as the setting of ``alarms`` that says what the alarm does."""
    message: str
    """What was seen, since when, what it usually means, and which file to open."""
    action: AlarmAction
    """What the run's settings want done about it; never ``off``."""
    since: int
    """First step of the trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved:
    """The whole state of the run after a step is on disk."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something a person should know."""

    text: str
    kind: str | None = None
    """Kind of a lasting record in ``events.jsonl``; None is for the terminal only."""
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The attempt is over, however it ended; nothing follows."""

    status: Literal["finished", "interrupted", "failed", "rolled_back"]
    message: str = ""
    """What to print last: a summary, how to go on, or nothing where an error follows."""
    cause: str | None = None
    """Why it failed."""


Event: TypeAlias = (
    RunStarted
    | StepFinished
    | MetricsMeasured
    | SuiteEvaluated
    | EvaluationFinished
    | HeldoutMeasured
    | AlarmRaised
    | CheckpointSaved
    | Message
    | RunEnded
)

Observer: TypeAlias = Callable[[Event], None]
"""Is told of everything that happens, in order. What it does not care for it ignores."""
