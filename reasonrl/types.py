"""The data that flows through a step: frozen, picklable, free of torch.

Axis letters in names, here and everywhere: P problems, G completions of one problem, N = P * G,
T tokens, V vocabulary.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from reasonrl.errors import DataError

Split: TypeAlias = Literal["train", "heldout"]
FinishReason: TypeAlias = Literal["stop", "length"]
Outcome: TypeAlias = Literal["scored", "unscorable", "timeout", "error"]


def digest(*parts: object) -> str:
    """Return 16 hex digits that stand for the parts; equal parts give equal digits on any machine."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sample_seed(run_seed: int, step: int, problem_id: str, sample_index: int) -> int:
    """Derive the seed of one completion, so that any completion of a run can be sampled again."""
    return int(digest(run_seed, step, problem_id, sample_index), 16) >> 1


def split_of(problem_id: str, *, heldout_share: float = 0.1) -> Split:
    """Assign a problem to a split by its id alone, so that no seed can put one problem in both."""
    return "heldout" if int(problem_id[:8], 16) < heldout_share * 0x100000000 else "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question whose answer can be checked."""

    id: str
    """Equal for two statements of one problem, whatever their surface; see :func:`digest`."""
    task: str
    """Name of the task it comes from."""
    prompt: str
    """The question as text; a template makes the model's prompt of it."""
    answer: str
    """What a reward or a metric compares with."""
    messages: tuple[Mapping[str, str], ...] | None = None
    """A conversation to use in place of ``prompt`` where the template is a chat."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the source, kept for rewards. Any: they are whatever the data set holds."""

    def __post_init__(self) -> None:
        """Refuse a problem without a question: no reward could make sense of it."""
        if not self.prompt.strip() and not self.messages:
            raise DataError(f"task {self.task!r}: problem {self.id} has neither prompt nor messages.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine sampled for one request."""

    token_ids: tuple[int, ...]
    """The sampled tokens, the end-of-sequence token included when there was one."""
    text: str
    """The tokens as text, without the end-of-sequence token."""
    logprobs: tuple[float, ...]
    """The sampler's log-probability of each token, in nats, under the sampling temperature."""
    finish_reason: FinishReason
    """``stop`` for an end-of-sequence token or a stop string, ``length`` for the token limit."""
    policy_version: int
    """Number of weight updates the sampling model had seen."""
    sample_index: int
    """Position among the completions of its problem."""
    seed: int
    """Seed of this request alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All completions of one problem in one step."""

    problem: Problem
    prompt: str
    """The rendered prompt, as the model saw it."""
    prompt_ids: tuple[int, ...]
    completions: tuple[Completion, ...]

    def rollouts(self) -> "tuple[Rollout, ...]":
        """Return the members one by one, as rewards see them."""
        return tuple(map(self.rollout, self.completions))

    def rollout(self, completion: Completion) -> "Rollout":
        """Return one member as rewards see it."""
        return Rollout(problem=self.problem, prompt=self.prompt, completion=completion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One completion with its problem: what a reward or a metric looks at."""

    problem: Problem
    prompt: str
    """The rendered prompt, as the model saw it."""
    completion: Completion

    @property
    def id(self) -> str:
        """What scores are keyed by: no two completions of a step share it, and a resumed run has the same ones."""
        return f"{self.problem.id}-{self.completion.seed:x}"

    @property
    def text(self) -> str:
        """The completion as text."""
        return self.completion.text


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's verdict on one rollout, with its reason."""

    value: float | None
    """The reward, or None when there is none; see ``outcome``."""
    why: str = ""
    """One line for a person who reads rollouts."""
    outcome: Outcome = "scored"
    """What became of the reward. Without a value the rollout leaves the group's baseline and gets advantage 0."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Named components, logged apart."""
    run_s: float = field(default=0.0, compare=False)
    """Time that the reward ran; that of the whole call where it scores several rollouts at once."""
    queue_s: float = field(default=0.0, compare=False)
    """Time that it waited for something to run on."""

    def __post_init__(self) -> None:
        """Hold that ``scored`` has a value, a timeout may (``timeout_value`` in the run file), others have none."""
        if (self.value is not None) != (self.outcome == "scored") and self.outcome != "timeout":
            raise ValueError(f"outcome {self.outcome!r} does not go with value {self.value!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"the value is {self.value}, which is not a finite number")

    @classmethod
    def unscorable(cls, why: str) -> "Score":
        """Say that this rollout cannot be judged: it is neither right nor wrong."""
        return cls(None, why, "unscorable")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's verdict on one held-out rollout."""

    value: float
    """1 for right and 0 for wrong, or anything between."""
    parsed: str | None = None
    """The answer that was read from the completion, or None when there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What all rewards of a run say of one rollout."""

    total: Score
    """The weighted sum; without a value when some reward gave none, see ``reasonrl.scoring``."""
    rewards: Mapping[str, Score]
    """Each reward's own score, by label."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight that each reward had in this step; 1 where none is given."""
    shut: tuple[str, ...] = ()
    """Rewards whose gate is shut here: they count 0, whatever their score."""
    penalties: Mapping[str, float] = field(default_factory=dict)
    """What the method itself takes off, by name: ``kl``, ``overlong``."""

    @property
    def value(self) -> float | None:
        """The total less the penalties: what advantages are made of. None where there is no total."""
        return None if self.total.value is None else self.total.value - math.fsum(self.penalties.values())

    def counted(self, name: str) -> float | None:
        """Return what a reward counts before its weight: its value, or 0 behind a shut gate. None where it has none."""
        return 0.0 if name in self.shut else self.rewards[name].value

    def weight(self, name: str) -> float:
        """Return the weight of a reward in this step."""
        return self.weights.get(name, 1.0)

    def less(self, name: str, penalty: float) -> "Verdict":
        """Return the verdict with one more penalty."""
        return replace(self, penalties={**self.penalties, name: penalty})


Verdicts: TypeAlias = tuple[Verdict, ...]
"""Verdicts on the members of a group, in their order."""


def teaches(verdicts: Sequence[Verdict]) -> bool:
    """Say whether at least two members of a group are scored and their scores differ."""
    return len({verdict.total.value for verdict in verdicts if verdict.total.value is not None}) > 1


class Grader(Protocol):
    """Scores groups. What is told early is begun early; when it was told, or whether, changes no verdict."""

    def start(self, rollout: Rollout, step: int) -> None:
        """Begin with a completion that has arrived, and return at once; others are still being sampled."""
        ...

    def start_group(self, group: Group, step: int) -> None:
        """Begin with what needs all completions of a problem, and return at once."""
        ...

    def score(self, groups: Sequence[Group], step: int) -> tuple[Verdicts, ...]:
        """Return one verdict a completion, in the order of the groups."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The groups of one step, scored."""

    step: int
    """The first step of a run is 1."""
    groups: tuple[Group, ...]
    verdicts: tuple[Verdicts, ...]
    """One verdict a completion, in the order of ``groups``."""
    discarded: tuple[tuple[Group, Verdicts], ...] = ()
    """Groups that were sampled too, taught nothing and made room for others."""
    too_old: tuple[tuple[Group, Verdicts], ...] = ()
    """Groups that were sampled too, with weights from before ``rollout.max_staleness`` updates."""
    position: int
    """Problems of the endless stream that were used so far: the next step begins there."""
    seconds: Mapping[str, float]
    """Time that sampling took, and scoring beyond it; ``waiting`` is what the loop waited for both, where they run
    ahead."""
    learner_version: int | None = None
    """Number of weight updates the learner had seen when it was given the batch, where sampling runs ahead."""

    def sampled(self) -> Iterator[tuple[Group, Verdicts]]:
        """Yield all groups, those that are not learnt from after the others."""
        yield from zip(self.groups, self.verdicts, strict=True)
        yield from self.left_out

    @property
    def left_out(self) -> tuple[tuple[Group, Verdicts], ...]:
        """The groups that are not learnt from."""
        return (*self.discarded, *self.too_old)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """All that happened in one step."""

    batch: Batch
    advantages: tuple[tuple[float, ...], ...]
    """One advantage a completion, in the order of the batch's groups."""
    metrics: Mapping[str, float]
    """Everything measured, by name; names with a slash belong to a phase."""

    @property
    def step(self) -> int:
        """Steps done, this one included."""
        return self.batch.step


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSample:
    """One completion as the learner sees it."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    advantage: float
    masked: bool = False
    """Counts where the loss is averaged and has no loss itself, nor a divergence nor an entropy."""

    @classmethod
    def of(
        cls, group: Group, completion: Completion, advantage: float = 0.0, *, masked: bool = False
    ) -> "TrainingSample":
        """Join a group's completion with its advantage."""
        return cls(
            prompt_ids=group.prompt_ids,
            completion_ids=completion.token_ids,
            sampler_logprobs=completion.logprobs,
            advantage=advantage,
            masked=masked,
        )


RewardFn: TypeAlias = Callable[..., Any]
"""An ordinary or async function that names what it scores: one rollout, a group or a batch.

:mod:`reasonrl.scoring.contract` lists the arguments it may name; its other parameters are set from the run file. It
returns a number, None (unscorable), a :class:`Score` or a mapping of named parts; for a group or a batch, one of
these a rollout. Any: its results are checked where they are used.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an async reward keeps open for as long as a run uses it, such as a sandbox or connections."""

    slots: int | None = None
    """Calls that it serves at once, unless the run file sets ``concurrency``."""
    timeout_s: float | None = None
    """Longest time of a call, unless the reward's own ``timeout_s`` is set: for what has deadlines of its own."""
    note: str = ""
    """One line about it for the head of the run and its manifest."""


Opening: TypeAlias = Callable[..., AbstractContextManager[Opened]]
"""Opens what a reward keeps open; given those of the reward's parameters that it names."""

SomeReward = TypeVar("SomeReward", bound=RewardFn)


def keeps_open(opening: Opening) -> Callable[[SomeReward], SomeReward]:
    """Have a run enter ``opening`` before it trains, and leave it when the reward is not called any more.

    What it raises refuses the run. For async rewards: others run in processes that come and go.
    """

    def mark(function: SomeReward) -> SomeReward:
        function.__dict__["opening"] = opening
        return function

    return mark


TaskFn: TypeAlias = Callable[..., Sequence[Problem]]
"""A function ``(*, split, seed, **parameters)`` that returns the problems of one split, always the same."""

MetricFn: TypeAlias = Callable[[Rollout], Measurement]
"""What a held-out suite measures with. Deliberately another type than a reward."""


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
    stop: tuple[str, ...] = ()
    """Strings that end a completion."""


class LoadHeldout(Protocol):
    """What a suite function gets its problems from: tasks by name, so that it need not know their owner."""

    def __call__(self, task: str, /, **params: object) -> Sequence[Problem]:
        """Return the held-out split of a task under seed 0; the parameters are the task's own."""
        ...


SuiteFn: TypeAlias = Callable[..., Suite]
"""A function ``(*, load, **parameters)`` that returns a suite; ``load`` is a :class:`LoadHeldout`."""
