"""What plugins are: the functions that each kind of plugin offers, and what they return."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from reasonrl.types import Problem, Rollout


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's result on one held-out rollout."""

    value: float
    """1 for right and 0 for wrong, or anything between."""
    parsed: str | None = None
    """The answer that was read from the completion, or None when there was none."""


RewardFn: TypeAlias = Callable[..., Any]
"""An ordinary or async function that names what it scores: one rollout, a group or a batch.

:mod:`reasonrl.scoring.contract` lists the arguments it may name; its other parameters are set from the run file. It
returns a number, None (unscorable), a :class:`Score` or a mapping of named parts; for a group or a batch, one of
these a rollout. Any: its results are checked where they are used.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResource:
    """What a reward or metric keeps open for as long as a run uses it, such as a sandbox, connections or a model."""

    slots: int | None = None
    """Calls that it serves at once, unless the run file sets ``concurrency``. For async ones."""
    timeout_s: float | None = None
    """Longest time of a call, unless the reward's own ``timeout_s`` is set: for what has deadlines of its own. For
    async ones."""
    note: str = ""
    """One line about it for the head of the run and its manifest."""


Opening: TypeAlias = Callable[..., AbstractContextManager[SharedResource]]
"""Opens what a reward keeps open; given those of the reward's parameters that it names, and ``learner_device`` where
it names that: the device of the model that learns, ``auto`` outside a run."""


SomeFunction = TypeVar("SomeFunction", bound=Callable[..., Any])


def keeps_open(opening: Opening) -> Callable[[SomeFunction], SomeFunction]:
    """Have a run enter ``opening`` before it trains, and leave it when the reward is not called any more.

    What it raises refuses the run. For async rewards and metrics, and for rewards marked by :func:`in_process`: others
    run in processes that come and go.
    """

    def mark(function: SomeFunction) -> SomeFunction:
        function.__dict__["opening"] = opening
        return function

    return mark


def in_process(function: SomeFunction) -> SomeFunction:
    """Have a run call an ordinary reward in its own process, when all that it scores at once is there.

    For what cannot leave the process, such as a model on the learner's device. A call has no time limit. With
    ``rollout.async_steps`` it is made in the thread that samples, beside the learner.
    """
    function.__dict__["in_process"] = True
    return function


@dataclass(frozen=True, slots=True)
class Family:
    """What one function offers by name: ``NAME:VALUE``."""

    parameter: str
    """The parameter that VALUE sets."""
    values: Callable[[], Sequence[str]]
    """Returns all values; may raise a :class:`ReasonRLError` where a package is missing."""


def named_by(parameter: str, values: Callable[[], Sequence[str]]) -> Callable[[SomeFunction], SomeFunction]:
    """Have ``NAME:VALUE`` in a run file stand for the plugin NAME with this parameter set to VALUE.

    For one function that offers many things by name, such as ``reasoning_gym:chain_sum``. Such a name goes before a
    module of the same name.
    """

    def mark(function: SomeFunction) -> SomeFunction:
        function.__dict__["family"] = Family(parameter, values)
        return function

    return mark


TaskFn: TypeAlias = Callable[..., Sequence[Problem]]
"""A function ``(*, split, seed, **parameters)`` that returns the problems of one split, always the same."""


MetricFn: TypeAlias = Callable[[Rollout], Measurement | Awaitable[Measurement]]
"""What a held-out suite measures with, ordinary or async. Deliberately another type than a reward."""


AnswersEqual: TypeAlias = Callable[[str, str], bool]
"""Whether two answers that were read from completions of one problem are the same answer: what maj@k counts by. Never
raises, and ends in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Held-out problems with everything that decides a figure measured on them."""

    name: str
    version: int = 1
    role: Literal["valid", "test"] = "valid"
    """``valid`` may choose a checkpoint; ``test`` may not."""
    problems: Sequence[Problem]
    metric: MetricFn
    template: str
    max_new_tokens: int
    num_samples: int = 1
    """Completions a problem; the score of a problem is their mean (avg@n)."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Tokens are drawn from the fewest most probable ones whose probabilities reach this sum; 1 draws from all."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion."""
    further_metrics: Mapping[str, MetricFn] = field(default_factory=dict)
    """Metrics applied beside ``metric``, by the names that their figures have; ``metric`` alone decides the suite's
    figure."""
    metric_timeout_s: float | None = None
    """Longest time that a metric may run on one completion; None leaves it to ``scoring.metric_timeout_s``."""
    equal_answers: AnswersEqual | None = None
    """What maj@k counts equal answers by; None compares them as texts."""
    variants: tuple[str, ...] = ()
    """Further prompt templates, measured beside ``template``, which alone decides the suite's figure."""
    cluster: str | None = None
    """Column of the problems (``Problem.meta``) whose equal values mark those that belong together, such as variants of
    one problem; None where each is independent of the others."""


class LoadHeldout(Protocol):
    """What a suite function gets its problems from: tasks by name, so that it need not know their owner."""

    def __call__(self, task: str, /, **params: object) -> Sequence[Problem]:
        """Return the held-out split of a task under seed 0; the parameters are the task's own."""
        ...


class FindMetric(Protocol):
    """What a suite function may get its metric from, so that a file or a run may name one of any package."""

    def __call__(self, name: str, /, **params: object) -> MetricFn:
        """Return an installed metric, or one by ``./file.py:function``; the parameters are the metric's own."""
        ...


SuiteFn: TypeAlias = Callable[..., Suite]
"""A function ``(*, load, find_metric, **parameters)`` that returns a suite and names what it needs of the first two:
a :class:`LoadHeldout` and a :class:`FindMetric`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A Jinja text over ``prompt`` and ``problem`` that makes a model's prompt of a problem."""

    text: str
    chat: bool = False
    """Whether the text is the user's turn, to be wrapped in the tokenizer's chat template."""
    name: str = ""
    """The name it is used under; filled in where it is looked up."""
    system: str = ""
    """System message of a chat, word for word: put before the conversation. Empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """The run that a tracker is opened for."""

    id: str
    """Always the same for a run that is resumed; another one after a roll-back, which begins a curve of its own."""
    name: str
    """The run's name; after a roll-back with its number."""
    path: Path
    """The run directory."""
    config: Mapping[str, Any]
    """All settings, nested as in the run file. Any: JSON values."""
    facts: Mapping[str, str]
    """Model, device, data and versions, by name."""


TrackedRow: TypeAlias = Mapping[str, str | float | int | None]
"""One rollout of a step, by column."""


class Tracker(Protocol):
    """An experiment tracker, opened for one run. Its methods are called one at a time, in a process of its own.

    What one of them raises detaches the tracker from the run, as does a call that takes longer than ``timeout_s``.
    """

    where: str
    """Where to look at the run: a command or an address; empty if there is nothing to say."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take finite numbers of a step, by name. Steps never fall, and a step may come several times, each time with
        other names."""
        ...

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Take rollouts of a step; a tracker that has no tables passes over them."""
        ...

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Take an alarm."""
        ...

    def close(self, status: str, cause: str | None) -> None:
        """End; nothing follows.

        Args:
            status: ``finished``, ``interrupted``, ``failed`` or ``rolled_back``.
            cause: why it failed.
        """
        ...


TrackerFn: TypeAlias = Callable[..., Tracker]
"""A function ``(run, **parameters)`` that opens the tracker for a :class:`TrackedRun`."""
