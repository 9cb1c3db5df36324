"""The data that flows through a step: frozen, picklable, free of torch.

Axis letters in names, here and everywhere: P problems, G completions of one problem, N = P * G,
T tokens, V vocabulary.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, Self, TypeAlias

from reasonrl.errors import DataError

Split: TypeAlias = Literal["train", "heldout"]
FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]
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
class Segment:
    """Consecutive tokens of a trajectory with one origin."""

    num_tokens: int
    policy_version: int | None = None
    """Number of weight updates that the sampling model had seen; None for tokens that the policy did not choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """Everything that followed a prompt in one sampled conversation; with one turn, the completion.

    Raises:
        ValueError: tokens, log-probabilities and segments do not have the same length.
    """

    token_ids: tuple[int, ...]
    """All tokens after the prompt, an end-of-sequence token included where there was one."""
    logprobs: tuple[float, ...]
    """The sampler's log-probability of each token, in nats, under the sampling temperature; 0 where the policy did
    not choose the token."""
    segments: tuple[Segment, ...]
    """In order; their lengths add up to that of ``token_ids``. One for a single turn."""
    text: str
    """What the policy said, without the end-of-sequence token; of several turns, the last one."""
    finish_reason: FinishReason
    """``stop`` for an end-of-sequence token or a stop string, ``length`` for the token limit, ``content_filter`` where
    an endpoint held something back."""
    sample_index: int
    """Position among the trajectories of its problem."""
    seed: int
    """Seed of this trajectory alone."""
    entropies: tuple[float, ...] = ()
    """Entropy in nats of the distribution that each token was drawn from, under the sampling temperature and before
    any ``top_p``; 0 where the policy did not choose the token, empty where the engine measures none."""

    def __post_init__(self) -> None:
        """Hold that every token has a log-probability and a segment, and an entropy where any has one."""
        lengths = len(self.token_ids), len(self.logprobs), sum(segment.num_tokens for segment in self.segments)
        if len(set(lengths)) > 1:
            raise ValueError("a trajectory has {} tokens, {} log-probabilities and {} in segments".format(*lengths))
        if self.entropies and len(self.entropies) != len(self.token_ids):
            raise ValueError(f"a trajectory has {len(self.token_ids)} tokens and {len(self.entropies)} entropies")

    @classmethod
    def single_turn(cls, *, token_ids: tuple[int, ...], policy_version: int, **fields: Any) -> Self:
        """Return a trajectory of one segment. Any: the other fields."""
        segments = (Segment(num_tokens=len(token_ids), policy_version=policy_version),)
        return cls(token_ids=token_ids, segments=segments, **fields)

    def followed_by(self, observation_ids: tuple[int, ...], turn: "Trajectory") -> "Trajectory":
        """Return this conversation with what an environment answered and the policy's next turn after it."""
        observation = Segment(num_tokens=len(observation_ids))
        measured = self.has_entropies and turn.has_entropies
        return replace(
            turn,
            token_ids=(*self.token_ids, *observation_ids, *turn.token_ids),
            logprobs=(*self.logprobs, *(0.0,) * len(observation_ids), *turn.logprobs),
            segments=(*self.segments, observation, *turn.segments),
            sample_index=self.sample_index,
            seed=self.seed,
            entropies=(*self.entropies, *(0.0,) * len(observation_ids), *turn.entropies) if measured else (),
        )

    @property
    def has_entropies(self) -> bool:
        """Whether the entropy of every token was measured."""
        return len(self.entropies) == len(self.token_ids)

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each token, whether the policy chose it."""
        return tuple(segment.policy_version is not None for segment in self.segments for _ in range(segment.num_tokens))

    @property
    def last_turn(self) -> range:
        """The tokens of the policy's last turn, an end-of-sequence token included: those that ``text`` was made of."""
        mask = self.mask
        stop = max((index + 1 for index, chosen in enumerate(mask) if chosen), default=0)
        return range(max((index + 1 for index in range(stop) if not mask[index]), default=0), stop)

    @property
    def num_sampled_tokens(self) -> int:
        """Number of tokens that the policy chose."""
        return sum(segment.num_tokens for segment in self.segments if segment.policy_version is not None)

    @property
    def policy_version(self) -> int:
        """The oldest weights that any of its tokens was sampled with."""
        return min(segment.policy_version for segment in self.segments if segment.policy_version is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All trajectories of one problem in one step."""

    problem: Problem
    prompt: str
    """The rendered prompt, as the model saw it."""
    prompt_ids: tuple[int, ...]
    trajectories: tuple[Trajectory, ...]
    max_new_tokens: int | None = None
    """The limit of each trajectory, in tokens that the policy chooses; None is the run's."""

    def rollouts(self) -> "tuple[Rollout, ...]":
        """Return the members one by one, as rewards see them."""
        return tuple(map(self.rollout, self.trajectories))

    def rollout(self, trajectory: Trajectory) -> "Rollout":
        """Return one member as rewards see it."""
        return Rollout(problem=self.problem, prompt=self.prompt, trajectory=trajectory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One trajectory with its problem: what a reward or a metric looks at."""

    problem: Problem
    prompt: str
    """The rendered prompt, as the model saw it."""
    trajectory: Trajectory

    @property
    def id(self) -> str:
        """What scores are keyed by: no two rollouts of a step share it, and a resumed run has the same ones."""
        return f"{self.problem.id}-{self.trajectory.seed:x}"

    @property
    def completion(self) -> Trajectory:
        """The trajectory, by the name that it has where there is one turn."""
        return self.trajectory

    @property
    def text(self) -> str:
        """The completion as text."""
        return self.trajectory.text


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a completion with a reward of its own (process supervision).

    Raises:
        ValueError: it has no character, or its value is not a finite number.
    """

    start: int
    """Its first character, counted from 0 in the rollout's ``text``."""
    end: int
    """The character after its last one."""
    value: float
    """What the step is worth."""
    why: str = ""
    """One line for a person who reads rollouts."""

    def __post_init__(self) -> None:
        """Hold that there is something to be worth something."""
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span goes from character {self.start} to {self.end}, which is no piece of a text")
        if not math.isfinite(self.value):
            raise ValueError(f"the value of the span from {self.start} to {self.end} is {self.value}, not a number")


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's result on one rollout, with its reason."""

    value: float | None
    """The reward, or None when there is none; see ``outcome``."""
    why: str = ""
    """One line for a person who reads rollouts."""
    outcome: Outcome = "scored"
    """What became of the reward. Without a value the rollout leaves the group's baseline and gets advantage 0."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Named components, logged apart."""
    spans: tuple[Span, ...] = ()
    """Steps of the completion with rewards of their own, in the order of the text and apart from each other. What they
    do not add up to of ``value`` is the reward of the outcome."""
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
        if self.spans and self.value is None:
            raise ValueError("there are spans, but no value; their sum is one: Score.of_spans(spans)")
        for span, following in itertools.pairwise(self.spans):
            if following.start < span.end:
                raise ValueError(f"the span from {following.start} begins before the one until {span.end} has ended")

    @classmethod
    def of_spans(cls, spans: Iterable[Span], why: str = "") -> "Score":
        """Score the steps of a completion; the value is the sum of theirs."""
        steps = tuple(spans)
        return cls(math.fsum(step.value for step in steps), why, spans=steps)

    @classmethod
    def unscorable(cls, why: str) -> "Score":
        """Say that this rollout cannot be judged: it is neither right nor wrong."""
        return cls(None, why, "unscorable")


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far the policy is from the initial one on the tokens of one completion that the policy chose.

    Both are estimates of KL(policy || initial policy) for the whole completion, in nats; see
    :mod:`reasonrl.algorithms.divergence`.
    """

    k1: float
    """The sum of ``log(policy / initial policy)``: may be negative."""
    k3: float
    """The sum of k3: never negative; small where the policies are close, with rare large values where they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTokens:
    """What a teacher says of the tokens of one trajectory that the policy chose, one entry for each."""

    logprobs: tuple[float, ...]
    """Its log-probability of the token, in nats, under the sampling temperature."""
    top_ids: tuple[tuple[int, ...], ...] = ()
    """The tokens that were most probable for it there; empty where they were not asked for."""
    top_logprobs: tuple[tuple[float, ...], ...] = ()
    """Their log-probabilities; minus infinity for one that is none of the policy's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardResult:
    """What all rewards of a run gave one rollout."""

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
    token_penalties: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of penalties that tokens answer for one by one, what each token that the policy chose pays; it sums to the
    penalty."""
    divergence: Divergence | None = None
    """Distance from the initial policy, where it is measured when rollouts are scored. It counts nothing by itself."""
    teacher: TeacherTokens | None = None
    """What a teacher says of the tokens, where there is one. It is no part of any reward."""

    @property
    def value(self) -> float | None:
        """The total less the penalties: what advantages are made of. None where there is no total."""
        return None if self.total.value is None else self.total.value - math.fsum(self.penalties.values())

    def counted(self, name: str) -> float | None:
        """Return what a reward counts before its weight: its value, or 0 behind a shut gate.

        None where it has none, also because it is not one of the problem's task.
        """
        if name in self.shut:
            return 0.0
        return self.rewards[name].value if name in self.rewards else None

    def weight(self, name: str) -> float:
        """Return the weight of a reward in this step."""
        return self.weights.get(name, 1.0)

    def less(self, name: str, penalty: float, by_token: tuple[float, ...] | None = None) -> "RewardResult":
        """Return the result with one more penalty, and what each token that the policy chose pays of it."""
        paid = self.token_penalties if by_token is None else {**self.token_penalties, name: by_token}
        return replace(self, penalties={**self.penalties, name: penalty}, token_penalties=paid)


RewardResults: TypeAlias = tuple[RewardResult, ...]
"""RewardResults on the members of a group, in their order."""


def teaches(results: Sequence[RewardResult]) -> bool:
    """Say whether at least two members of a group are scored and their scores differ, or a teacher judged them."""
    if any(result.teacher is not None for result in results):
        return True
    return len({result.total.value for result in results if result.total.value is not None}) > 1


class Scorer(Protocol):
    """Scores groups. Submitting early only saves time: when something was submitted, or whether, changes no result."""

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Begin with a rollout that is complete, and return at once; others are still being sampled."""
        ...

    def submit_group(self, group: Group, step: int) -> None:
        """Begin with what needs all trajectories of a problem, and return at once."""
        ...

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return one result for each trajectory, in the order of the groups."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedGroup:
    """A group that was sampled and scored but is not learned from."""

    group: Group
    results: RewardResults
    reason: Literal["no_signal", "stale"]
    """``no_signal``: all its rewards are equal, and another group took its place. ``stale``: sampled more than
    ``rollout.max_staleness`` weight updates ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The groups of one step, scored."""

    step: int
    """The first step of a run is 1."""
    groups: tuple[Group, ...]
    results: tuple[RewardResults, ...]
    """One result for each trajectory, in the order of ``groups``."""
    unused: tuple[UnusedGroup, ...] = ()
    """Groups that were sampled too, and why they are not learned from."""
    position: int
    """Problems of the endless stream that were used so far: the next step begins there."""
    seconds: Mapping[str, float]
    """Time that sampling took, and scoring beyond it."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What the order of the problems measured, and a buffer of groups in front of the loop, by metric name."""

    def sampled(self) -> Iterator[tuple[Group, RewardResults]]:
        """Yield all groups, those that are not learned from after the others."""
        yield from zip(self.groups, self.results, strict=True)
        yield from ((one.group, one.results) for one in self.unused)

    def num_unused(self, reason: str) -> int:
        """Count the groups that are not learned from for this reason."""
        return sum(one.reason == reason for one in self.unused)


Advantage: TypeAlias = float | tuple[float, ...]
"""Of one trajectory: one number that stands for all of its tokens, or one number for each token after the prompt."""


def mean_advantage(advantage: Advantage) -> float:
    """Return one number for a trajectory: its advantage, or the mean over its tokens."""
    return math.fsum(advantage) / max(len(advantage), 1) if isinstance(advantage, tuple) else advantage


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """All that happened in one step."""

    batch: Batch
    advantages: tuple[tuple[Advantage, ...], ...]
    """One advantage for each trajectory, in the order of the batch's groups."""
    policy_version: int
    """Weight updates that the learner had seen before this step's."""
    measured: Mapping[str, float]
    """What the learner measured, by metric name."""
    seconds: Mapping[str, float]
    """Time by phase: ``waiting`` for the batch, ``learning``, ``weight_sync``; they add up to the step."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Everything measured, by name; names with a slash belong to a phase. Filled in by the run."""

    @property
    def step(self) -> int:
        """Steps done, this one included."""
        return self.batch.step


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSample:
    """One trajectory as the learner sees it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """All tokens after the prompt."""
    sampler_logprobs: tuple[float, ...]
    """One for each token after the prompt; of no meaning where the policy did not choose it."""
    mask: tuple[bool, ...]
    """For each token after the prompt, whether the policy chose it: only these have a loss."""
    advantages_T: Advantage = 0.0
    masked: bool = False
    """Counts where the loss is averaged and has no loss itself, nor a divergence nor an entropy."""
    max_new_tokens: int | None = None
    """The most tokens that the policy could choose; None is the run's limit."""
    values_T: tuple[float, ...] = ()
    """The reward to come that a critic expected before each token after the prompt; empty without one."""
    returns_T: tuple[float, ...] = ()
    """What it should have expected; empty without a critic, and for a trajectory without a score."""
    teacher: TeacherTokens | None = None
    """What a teacher says of the tokens that the policy chose; None without one."""

    @classmethod
    def of(
        cls, group: Group, trajectory: Trajectory, advantages_T: Advantage = 0.0, *, masked: bool = False
    ) -> "TrainingSample":
        """Join a group's trajectory with its advantage."""
        return cls(
            prompt_ids=group.prompt_ids,
            token_ids=trajectory.token_ids,
            sampler_logprobs=trajectory.logprobs,
            mask=trajectory.mask,
            advantages_T=advantages_T,
            masked=masked,
            max_new_tokens=group.max_new_tokens,
        )

    @property
    def num_loss_tokens(self) -> int:
        """Number of tokens that the policy chose."""
        return sum(self.mask)

    @property
    def teaches(self) -> bool:
        """Whether any advantage differs from 0."""
        return any(self.advantages_T) if isinstance(self.advantages_T, tuple) else bool(self.advantages_T)
