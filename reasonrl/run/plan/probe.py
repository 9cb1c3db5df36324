"""What a step of a run takes on this machine, measured on the loaded model only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from reasonrl.config.settings import RunConfig
from reasonrl.rollout.sampler import ScoredGroups
from reasonrl.run.files.rollouts import rollout_records
from reasonrl.run.plan.estimates import on_line
from reasonrl.system import jsonl
from reasonrl.types import Group, RewardResults, StepRecord, TeacherTokens, TrainingSample

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents

PROBE_PROMPTS: Final = 4
"""Prompts of the first steps, which warm up and say how large a step can be measured."""

FULL_STEP_S: Final = 90.0
"""A step that is expected to take no longer is measured whole; of a longer one, two small ones are."""

CLEARLY_SHORTER: Final = 0.8
"""Reinforced completions of at most this share of the mean length say that completions become shorter."""

LONGER_STEPS: Final = 4
"""Steps that are taken beyond the measured one, for their memory, where together they are no longer than it may be."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of completions: as they are sampled now, and as they may become while a model learns."""

    mean: float
    longest: int
    limit: float
    """The mean limit."""
    reinforced: float | None = None
    """Mean of those that the reward puts above their groups, each weighed by how far; None without any."""

    @classmethod
    def of(cls, scored: Sequence[tuple[Group, RewardResults]], limit: int) -> "Lengths":
        """Measure completions; those of a group that says nothing have the run's limit."""
        groups = [group for group, _ in scored]
        lengths = [trajectory.num_sampled_tokens for group in groups for trajectory in group.trajectories]
        limits = [group.max_new_tokens or limit for group in groups for _ in group.trajectories]
        return cls(
            mean=sum(lengths) / len(lengths),
            longest=max(lengths),
            limit=sum(limits) / len(limits),
            reinforced=_reinforced_length(scored),
        )

    @property
    def expected(self) -> float:
        """Mean over the run.

        Most often completions are drawn towards the longer ones: the geometric mean of the mean and the longest. Where
        those that are reinforced are clearly shorter, the others become like them, and the rest follows: half of the
        way that they are ahead, once more.
        """
        if self.reinforced is None or self.reinforced > CLEARLY_SHORTER * self.mean:
            return math.sqrt(self.mean * self.longest)
        return max(1.0, self.reinforced * math.sqrt(self.reinforced / self.mean))

    @property
    def growth(self) -> float:
        """The expected mean, as a multiple of what it is now."""
        return self.expected / self.mean

    def drawn(self, length: int, way: float) -> int:
        """Return what a length becomes on its way to what is expected, of which 0 is the start and 1 the end."""
        if self.growth < 1:
            return max(1, round(length * math.pow(self.growth, way)))
        return max(length, round(math.pow(length, 1 - way / 2) * math.pow(self.longest, way / 2)))


def _reinforced_length(scored: Sequence[tuple[Group, RewardResults]]) -> float | None:
    """Return the mean length of the completions above the mean of their group, weighed by how far they are above it."""
    above = [
        (result.value - mean, trajectory.num_sampled_tokens)
        for group, results in scored
        if (values := [result.value for result in results if result.value is not None])
        for mean in (sum(values) / len(values),)
        for trajectory, result in zip(group.trajectories, results, strict=True)
        if result.value is not None and result.value > mean
    ]
    weight = sum(gain for gain, _ in above)
    return sum(gain * length for gain, length in above) / weight if weight else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Groups that were sampled and scored."""

    scored: ScoredGroups
    lengths: Lengths

    @property
    def groups(self) -> list[Group]:
        """All of them."""
        return [group for group, _ in self.scored.scored]

    @property
    def seconds(self) -> float:
        """Time of sampling alone."""
        return self.scored.seconds["sampling"]

    @property
    def sequences(self) -> int:
        """Number of completions."""
        return sum(len(group.trajectories) for group in self.groups)

    @property
    def tokens(self) -> float:
        """Number of tokens."""
        return self.sequences * self.lengths.mean

    def seen_with(self, *others: "Sampling") -> "Sampling":
        """Return it with what is reinforced measured on others too: few of a model's first completions may be."""
        scored = [pair for one in (self, *others) for pair in one.scored.scored]
        return replace(self, lengths=replace(self.lengths, reinforced=_reinforced_length(scored)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was measured of a step; times are those of a whole one."""

    lengths: Lengths
    num_measured: int
    """Completions that were sampled at once."""
    longest_prompt: int
    useful: float
    """Share of the completions that have a loss."""
    warm_up_s: float
    """What the first step takes longer than another."""
    sampling_s: float
    per_token_s: float
    """Of ``sampling_s``, what each token more takes while others are sampled beside it."""
    scoring_s: float
    learning_s: float
    """With completions of the expected length, as many as are expected to have a loss."""
    weight_sync_s: float
    recording_s: float
    """Metrics and rollouts of a step."""

    @property
    def useful_expected(self) -> float:
        """The expected share of completions with a loss: between what it is now and all of them."""
        return math.sqrt(self.useful)


def probe_step(config: RunConfig, components: "RunComponents") -> Probe:
    """Sample, score and learn from the first problems of a run; the components are of no more use for a run."""
    whole = config.rollout.prompts_per_step
    first = min(PROBE_PROMPTS, whole)
    began = perf_counter()
    cold = _sampled(config, components, 0, first)
    _learned(components, _samples(cold))
    cold_s = perf_counter() - began
    small = _sampled(config, components, first, first)
    size = whole if cold_s * whole / first <= FULL_STEP_S else min(2 * first, whole)
    is_short = cold_s * whole / first <= FULL_STEP_S / LONGER_STEPS
    if is_short:  # the first step of its size takes memory from the system, which those after it do not
        _learned(components, _samples(_sampled(config, components, 2 * first, size), 1.0))
    large = _sampled(config, components, 2 * first + size, size).seen_with(cold, small)
    if not is_short:  # the same, without sampling once more; all of them teach at some time of the run
        _learned(components, _samples(large, 1.0))
    scale, useful = whole / size, _useful_share(components, large)
    learning_s, weight_sync_s = _learned(components, _samples(large, 1.0, math.sqrt(useful)))
    if is_short:
        _take_longer_steps(config, components, 2 * first + 2 * size)
    return Probe(
        lengths=large.lengths,
        num_measured=large.sequences,
        longest_prompt=max(len(group.prompt_ids) for group in large.groups),
        useful=useful,
        warm_up_s=max(0.0, cold_s - (large.seconds + learning_s) * first / size),
        sampling_s=on_line(small.seconds, large.seconds, first, size, whole),
        per_token_s=_per_token(small, large),
        scoring_s=scale * large.scored.seconds["scoring"],
        learning_s=scale * learning_s,
        weight_sync_s=weight_sync_s,
        recording_s=scale * _recording(config, large),
    )


def _sampled(config: RunConfig, components: "RunComponents", position: int, prompts: int) -> Sampling:
    """Sample and score problems of the run's stream, each position of which is asked for once."""
    sampler = components.sampler
    scored = sampler.sample_and_score(1, sampler.order.at(position, prompts))
    sampler.order.observe(1, scored.scored)
    return Sampling(scored=scored, lengths=Lengths.of(scored.scored, config.rollout.max_new_tokens))


def _per_token(small: Sampling, large: Sampling) -> float:
    """Return the time of a token beside others, where a step also takes a time for each token of its longest one."""
    across = large.tokens * small.lengths.longest - small.tokens * large.lengths.longest
    if across <= 0:
        return 0.0
    slope = (large.seconds * small.lengths.longest - small.seconds * large.lengths.longest) / across
    return min(max(slope, 0.0), large.seconds / large.tokens)


def _useful_share(components: "RunComponents", sampling: Sampling) -> float:
    """Return the share of completions that would have a loss; never 0, which one step cannot show."""
    batch = sampling.scored.batch(1, len(sampling.scored.scored), 0)
    credit = components.step.credit
    samples = credit.samples(batch, credit.estimate(batch))
    count, size = len(components.learner.actor.objective.rows(samples)), len(samples)
    per_group = size / len(batch.groups)
    return min(1.0, (count + per_group / 2) / (size + per_group / 2)) if size else 1.0


def _samples(sampling: Sampling, way: float = 0.0, share: float = 1.0) -> list[TrainingSample]:
    """Return samples of a share of the groups, each with an advantage, on the way to the expected lengths."""
    pairs = sampling.scored.scored[: max(1, round(share * len(sampling.groups)))]
    signs, lengths = cycle((1.0, -1.0)), sampling.lengths
    samples = [
        replace(TrainingSample.of(group, member, next(signs)), teacher=result.teacher)
        for group, results in pairs
        for member, result in zip(group.trajectories, results, strict=True)
    ]
    return [_with_length(sample, lengths.drawn(len(sample.token_ids), way)) for sample in samples]


def _with_length(sample: TrainingSample, length: int) -> TrainingSample:
    """Return a sample whose tokens are cut or repeated to another length: what they are takes no time."""

    def cut(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(islice(cycle(values), length))

    teacher = sample.teacher and TeacherTokens(
        logprobs=cut(sample.teacher.logprobs),
        top_ids=cut(sample.teacher.top_ids),
        top_logprobs=cut(sample.teacher.top_logprobs),
    )
    return replace(
        sample,
        teacher=teacher,
        token_ids=cut(sample.token_ids),
        sampler_logprobs=cut(sample.sampler_logprobs),
        mask=cut(sample.mask),
    )


def _learned(components: "RunComponents", samples: Sequence[TrainingSample]) -> tuple[float, float]:
    """Learn from samples and hand the weights to the engine, as a step does; return the time of both.

    A critic, which is asked for its values first, is told that they are wrong.
    """
    engine, learner = components.engine, components.learner
    began = perf_counter()
    engine.sleep()
    if (critic := components.critic) is not None:
        values = iter(critic.predict(samples))
        critic.update([_with_returns(sample, next(values).tolist()) for sample in samples])
    learner.actor.update(samples)
    learned = perf_counter()
    engine.load_weights(learner.weights(), learner.policy_version)
    return learned - began, perf_counter() - learned


def _take_longer_steps(config: RunConfig, components: "RunComponents", position: int) -> None:
    """Take further steps, all of whose completions learn, as they become longer: memory is then what a run needs.

    What is freed after a step of one length is of little use to the next one of another.
    """
    for number in range(1, LONGER_STEPS + 1):
        sampling = _sampled(config, components, position, config.rollout.prompts_per_step)
        _learned(components, _samples(sampling, number / LONGER_STEPS))
        position += config.rollout.prompts_per_step


def _with_returns(sample: TrainingSample, chosen_values: Sequence[float]) -> TrainingSample:
    values = iter(chosen_values)
    values_T = tuple(next(values) if chosen else 0.0 for chosen in sample.mask)
    return replace(sample, values_T=values_T, returns_T=tuple(value + 1.0 for value in values_T))


def _recording(config: RunConfig, sampling: Sampling) -> float:
    """Return the time of a step's metrics and of its lines in the rollout file, which is not written."""
    from reasonrl.run.metrics import step_metrics

    batch = sampling.scored.batch(1, len(sampling.scored.scored), 0)
    nothing = tuple((0.0,) * len(group.trajectories) for group in batch.groups)
    record = StepRecord(batch=batch, advantages=nothing, policy_version=0, measured={}, seconds={})
    began = perf_counter()
    step_metrics(record, tasks=config.tasks)
    measured = perf_counter()
    jsonl.encode(line.model_dump() for line in rollout_records(record))
    return measured - began + (perf_counter() - measured) / config.run.rollouts_every
