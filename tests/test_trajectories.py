"""Conversations of several turns: the tokens that the policy chose are learned from, and nothing else is.

``test_invariance.py`` shows on trajectories of all kinds that the gradient does not depend on how it is computed.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pytest
import torch
from builders import (
    LateScorer,
    batch,
    completion,
    letter_tokenizer,
    logprob_model,
    policy_learner,
    problem,
    rollout_sampler,
    run_config,
    scorer,
    single_turn,
    small_llama,
    training_sample,
)
from gradients import METHODS, Step, even_llama, exact_logprobs, gradient, learner, random_step, relative_error
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.algorithms.advantages import group_centered, group_normalized
from reasonrl.engines import Engine, Request
from reasonrl.engines.local import LocalEngine
from reasonrl.learner.controller import KLController
from reasonrl.learner.credit import Credit
from reasonrl.learner.penalty import KLPenalty
from reasonrl.loop import StepComponents, train
from reasonrl.plugins.lookup import named_arguments
from reasonrl.rollout.environment import Generate, Prompt, SingleTurn
from reasonrl.rollout.groups import GroupRequest, GroupSampler
from reasonrl.rollout.order import DataOrder
from reasonrl.run.metrics import step_metrics
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import (
    Advantage,
    Group,
    Problem,
    RewardResult,
    RewardResults,
    Score,
    Segment,
    StepRecord,
    TrainingSample,
    Trajectory,
    mean_advantage,
)

few = settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])

WHOLE_SEQUENCES = {"gspo", "gspo with importance weights", "gmpo", "deepseek_v3_2"}
"""Methods that look at all tokens of a trajectory at once."""
TURNS = completion("a", tokens=[5, 6, 7], policy_version=4, logprobs=(-1.0, -2.0, -3.0), index=2, seed=9)
TURNS = TURNS.followed_by((8, 9), completion("b", tokens=[10], policy_version=3, logprobs=(-0.5,)))
"""Three tokens of the policy, two of an environment, one of the policy."""


# The type.


def test_a_turn_that_follows_is_appended_with_what_the_environment_said() -> None:
    assert TURNS.token_ids == (5, 6, 7, 8, 9, 10)
    assert TURNS.logprobs == (-1.0, -2.0, -3.0, 0.0, 0.0, -0.5)
    assert TURNS.mask == (True, True, True, False, False, True)
    assert TURNS.segments == (
        Segment(num_tokens=3, policy_version=4),
        Segment(num_tokens=2),
        Segment(num_tokens=1, policy_version=3),
    )
    assert (TURNS.text, TURNS.sample_index, TURNS.seed) == ("b", 2, 9)
    assert TURNS.num_sampled_tokens == 4
    assert TURNS.policy_version == 3


@given(turns=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=5))
def test_a_conversation_of_any_turns_adds_up(turns: list[tuple[int, int, int]]) -> None:
    """Each is: tokens that the environment said before it, tokens of the turn, and the policy's version."""
    conversation, mask = completion(tokens=(), policy_version=9), list[bool]()
    for observed, sampled, version in turns:
        turn = completion(tokens=[1] * sampled, policy_version=version)
        conversation = conversation.followed_by((2,) * observed, turn)
        mask += [False] * observed + [True] * sampled
    assert conversation.mask == tuple(mask)
    assert conversation.token_ids == tuple(1 if chosen else 2 for chosen in mask)
    assert conversation.num_sampled_tokens == sum(mask)
    assert conversation.policy_version == min(9, *(version for *_, version in turns))


@pytest.mark.parametrize("changed", [{"token_ids": (1,)}, {"logprobs": ()}, {"segments": TURNS.segments[:2]}])
def test_a_token_without_a_log_probability_or_a_segment_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a trajectory has \d tokens, \d log-probabilities and \d in segments"):
        replace(TURNS, **changed)


# The gradient.


def conversations() -> list[TrainingSample]:
    """Samples whose environment speaks first, between, last or not at all, with one advantage or one for each token."""
    masks = ["1101", "0110011", "111", "0001", "1000110", "00"]
    advantages: list[Advantage] = [1.0, -0.5, 0.0, (9.0, 9.0, 9.0, -1.5), (1.0, 9.0, 9.0, 9.0, -2.0, 0.5, 9.0), 2.0]
    return [
        training_sample(
            (3 + number % 2, 4),
            [1 + (7 * number + 5 * place) % 40 for place in range(len(mask))],
            advantage,
            mask=tuple(letter == "1" for letter in mask),
        )
        for number, (mask, advantage) in enumerate(zip(masks, advantages, strict=True))
    ]


def chosen_advantages(sample: TrainingSample) -> list[float]:
    """The advantage of each token that the policy chose."""
    advantages, length = sample.advantages_T, len(sample.token_ids)
    by_token = advantages if isinstance(advantages, tuple) else (advantages,) * length
    return [value for value, chosen in zip(by_token, sample.mask, strict=True) if chosen]


def written_out(samples: Sequence[TrainingSample], weight: Callable[[int], float]) -> Tensor:
    """The gradient of -sum A log pi over the chosen tokens, each weighted by how many its trajectory has."""
    model, loss = even_llama(), torch.zeros(())
    for sample in samples:
        logprobs = exact_logprobs(model, sample)
        for logprob, advantage in zip(logprobs, chosen_advantages(sample), strict=True):
            loss = loss - weight(len(logprobs)) * advantage * logprob
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([slope.flatten() for slope in slopes])


@pytest.mark.parametrize(
    ("reduction", "weight"),
    [
        # 3 + 4 + 3 + 1 + 3 + 0 = 14 chosen tokens of 28, in 6 trajectories.
        ("token_mean", lambda length: 1 / 14),
        ("sequence_mean", lambda length: 1 / (6 * length)),
        ("fixed_length", lambda length: 1 / (6 * 12)),
    ],
)
@pytest.mark.parametrize("microbatch_tokens", [1, 30, 10_000])
def test_the_gradient_is_that_of_the_chosen_tokens_written_out(
    reduction: str, weight: Callable[[int], float], microbatch_tokens: int
) -> None:
    """No token of an environment has a loss, and none counts in an average."""
    samples = conversations()
    settings = {"preset": "grpo", "reduction": reduction}
    got = gradient(Step(samples), settings, learner={"microbatch_tokens": microbatch_tokens})
    assert relative_error(got, written_out(samples, weight)) < 1e-5


def turns_of(step: Step) -> Step:
    """The turns of trajectories as samples of their own: what came before a turn is its prompt."""
    turns = Step([])
    for sample in step.samples:
        olds = iter(step.old[sample])
        for places in chosen_runs(sample):
            first, last = places[0], places[-1] + 1
            advantages = sample.advantages_T
            turn = training_sample(
                (*sample.prompt_ids, *sample.token_ids[:first]),
                sample.token_ids[first:last],
                advantages[first:last] if isinstance(advantages, tuple) else advantages,
                sampler_logprobs=sample.sampler_logprobs[first:last],
            )
            turns.samples.append(turn)
            turns.old[turn] = torch.stack([next(olds) for _ in places])
    return turns


def chosen_runs(sample: TrainingSample) -> Iterator[list[int]]:
    """The places of each run of chosen tokens."""
    for chosen, places in groupby(range(len(sample.mask)), key=lambda place: sample.mask[place]):
        if chosen:
            yield list(places)


@pytest.mark.parametrize("method", sorted(set(METHODS) - WHOLE_SEQUENCES))
@few
@given(seed=st.integers(0, 10_000))
def test_a_trajectory_is_learned_from_as_its_turns_are_one_by_one(method: str, seed: int) -> None:
    """Ratios, divergence, entropy and importance weights of the chosen tokens, where each token counts alike."""
    step, algorithm = random_step(seed), {**METHODS[method], "reduction": "token_mean"}
    assert relative_error(gradient(step, algorithm), gradient(turns_of(step), algorithm)) < 2e-6


@few
@given(seed=st.integers(0, 10_000))
def test_the_ratio_of_a_sequence_is_that_of_its_chosen_tokens(seed: int) -> None:
    """GSPO written out: the geometric mean over the tokens that the policy chose."""
    step, model, loss = random_step(seed), even_llama(), torch.zeros(())
    clip = {"clip_low": 0.2, "clip_high": 0.3}
    for sample in step.samples:
        ratio = (exact_logprobs(model, sample) - step.old[sample]).mean().exp()
        for advantage in chosen_advantages(sample):
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
            loss = loss - surrogate / (len(step.samples) * sample.num_loss_tokens)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    expected = torch.cat([slope.flatten() for slope in slopes])
    assert relative_error(gradient(step, {"preset": "gspo", "loss": {"params": clip}}), expected) < 1e-5


# Advantages of tokens.


@pytest.mark.parametrize("method", ["grpo", "gspo", "cispo", "grpo with a band", "gmpo", "dppo", "deepseek_v3_2"])
def test_an_advantage_for_each_token_is_one_for_all_where_it_is_constant(method: str) -> None:
    step = random_step(5)
    scalar = [replace(s, advantages_T=(-1.0) ** number) for number, s in enumerate(step.samples)]
    constant = [
        replace(s, advantages_T=((-1.0) ** number,) * len(s.token_ids)) for number, s in enumerate(step.samples)
    ]
    olds = list(step.old.values())
    one, other = (gradient(Step(s, dict(zip(s, olds, strict=True))), METHODS[method]) for s in (scalar, constant))
    assert torch.equal(one, other)


def test_the_loss_of_tokens_with_advantages_of_their_own_by_hand() -> None:
    # Every ratio is 1, so a token's loss is its advantage, negative: -(1 - 2 + 0.5 - 1.5) / 12 and so on, over 6.
    samples = conversations()
    measured = learner(run_config(algorithm="dr_grpo"), copy.deepcopy(even_llama())).update(samples)
    total = 3 * 1.0 + 4 * -0.5 + 3 * 0.0 + (-1.5) + (1.0 - 2.0 + 0.5)
    assert measured["policy/loss"] == pytest.approx(-total / (6 * 12))
    assert measured["learner/tokens"] == 3 + 4 + 1 + 3  # that without an advantage is not computed


def test_a_sample_teaches_when_any_of_its_tokens_has_an_advantage() -> None:
    assert training_sample((1,), (2, 3), (0.0, 0.1)).teaches
    assert not training_sample((1,), (2, 3), (0.0, 0.0)).teaches


def test_one_number_stands_for_a_trajectory_with_an_advantage_for_each_token() -> None:
    assert mean_advantage((1.0, 2.0, 6.0)) == 3.0
    assert mean_advantage(-0.5) == -0.5
    assert mean_advantage(()) == 0.0


def scored(*values: float) -> RewardResults:
    return tuple(RewardResult(total=Score(value), rewards={"r": Score(value)}) for value in values)


def decayed(rewards_PG: Tensor, lengths_PG: Tensor) -> Tensor:
    """The centered reward, halved with each token that is still to come; 7 where a trajectory has no token."""
    places_T = torch.arange(int(lengths_PG.max()))
    left_PGT = lengths_PG[:, :, None] - 1 - places_T
    return torch.where(left_PGT >= 0, group_centered(rewards_PG)[:, :, None] * 0.5 ** left_PGT.clamp(min=0), 7.0)


def test_an_estimator_may_return_an_advantage_for_each_token() -> None:
    members = (completion(tokens=[5], index=0), TURNS, replace(completion(tokens=[5, 6]), finish_reason="length"))
    groups = [Group(problem=problem(), prompt="", prompt_ids=(1, 2), trajectories=members)]
    subject = Credit(estimator=named_arguments(decayed), truncated="mask")
    step = batch(groups, [scored(3.0, 0.0, 0.0)])
    estimates = subject.estimate(step)
    ((short, long, cut),) = estimates.advantages
    assert short == (2.0,)
    assert long == (-1 / 32, -1 / 16, -1 / 8, -1 / 4, -1 / 2, -1.0)
    assert cut == 0.0
    samples = subject.samples(step, estimates)
    assert [sample.advantages_T for sample in samples] == [short, long, cut]
    assert [sample.mask for sample in samples] == [member.mask for member in members]
    assert [sample.masked for sample in samples] == [False, False, True]


# What is measured.


class Flat(LateScorer):
    """Rewards every trajectory alike."""

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        return tuple(scored(*(1.0 for _ in group.trajectories)) for group in groups)


def test_the_divergence_in_the_reward_is_that_of_the_chosen_tokens() -> None:
    reference = even_llama(7)
    group = Group(problem=problem(), prompt="", prompt_ids=(3, 4), trajectories=(TURNS,))
    settings = run_config(algorithm={"preset": "rloo", "kl_coefficient": 0.5}).algorithm
    penalty = KLPenalty(reference=logprob_model(reference), controller=KLController(settings), microbatch_tokens=100)
    ((result,),) = penalty([group], Flat().score([group], 1))
    theirs = exact_logprobs(reference, TrainingSample.of(group, TURNS), 1.0)
    assert len(theirs) == 4
    assert result.penalties["kl"] == pytest.approx(0.5 * (-6.5 - theirs.sum().item()), abs=1e-4)


def test_the_metrics_of_a_step_count_the_chosen_tokens() -> None:
    group = Group(problem=problem(), prompt="", prompt_ids=(3, 4), trajectories=(TURNS, completion(tokens=[5, 6])))
    record = StepRecord(
        batch=batch([group], [scored(1.0, 0.0)]), advantages=((0.5, -0.5),), policy_version=4, measured={}, seconds={}
    )
    metrics = step_metrics(record, async_steps=1)
    assert metrics["completion/length_mean"] == 3.0
    assert metrics["policy/entropy"] == pytest.approx((6.5 + 2.0) / 6)
    assert metrics["staleness/max"] == 4.0
    assert metrics["staleness/mean"] == 2.5


# An environment of two turns.

TOKENIZER = letter_tokenizer()


@dataclass(frozen=True)
class TwoTurns:
    """Tells the policy how many tokens it said, and lets it say something else."""

    first: SingleTurn

    def prompt(self, problem: Problem) -> Prompt:
        return self.first.prompt(problem)

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        turn = await self.first.run(prompt, generate, seed=seed, sample_index=sample_index)
        observation = tuple(TOKENIZER(f" {len(turn.token_ids)}? ")["input_ids"])
        so_far = (*prompt.token_ids, *turn.token_ids, *observation)
        request = Request(prompt_ids=so_far, seed=seed + 1, sample_index=sample_index, params=self.first.params)
        return turn.followed_by(observation, await generate(request))


class Noting(LocalEngine):
    """Notes the prompts that it is given."""

    prompts: tuple[tuple[int, ...], ...] = ()

    async def generate(self, request: Request) -> Trajectory:
        self.prompts += (request.prompt_ids,)
        return await super().generate(request)


CONFIG = run_config(
    rollout={"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 5},
    learner={"learning_rate": 0.02},
    run={"steps": 12},
)


def two_turn_groups(engine: Engine) -> tuple[Group, ...]:
    sampler = GroupSampler(environment=TwoTurns(single_turn(CONFIG)), engine=engine)
    asked = [GroupRequest(problem=problem(f"{n}?"), seeds=(10 * n, 10 * n + 2, 10 * n + 4)) for n in range(3)]
    return sampler.sample(asked)


def test_what_an_environment_answers_stands_between_the_very_tokens_that_were_sampled() -> None:
    engine = Noting(small_llama(), TOKENIZER)
    groups = two_turn_groups(engine)
    assert len(engine.prompts) == 2 * 9
    for group in groups:
        for number, member in enumerate(group.trajectories):
            first, observed, second = (segment.num_tokens for segment in member.segments)
            assert member.token_ids[first : first + observed] == tuple(TOKENIZER(f" {first}? ")["input_ids"])
            assert (*group.prompt_ids, *member.token_ids[: first + observed]) in engine.prompts
            assert member.text == TOKENIZER.decode([t for t in member.token_ids[-second:] if t])
            assert (member.sample_index, member.seed) == (number, group.trajectories[number].seed)


def test_a_trajectory_of_two_turns_is_the_same_whatever_is_sampled_beside_it() -> None:
    engine = LocalEngine(small_llama(), TOKENIZER)
    whole, sampler = two_turn_groups(engine), GroupSampler(environment=TwoTurns(single_turn(CONFIG)), engine=engine)
    member = whole[1].trajectories[1]
    (alone,) = sampler.sample([GroupRequest(problem=whole[1].problem, seeds=(member.seed,))])
    assert alone.trajectories[0].token_ids == member.token_ids


def test_the_learner_says_of_both_turns_what_the_sampler_said() -> None:
    model = small_llama()
    groups = two_turn_groups(LocalEngine(model, TOKENIZER))
    samples = [TrainingSample.of(group, member, 1.0) for group in groups for member in group.trajectories]
    for sample in samples:
        said = [value for value, chosen in zip(sample.sampler_logprobs, sample.mask, strict=True) if chosen]
        assert exact_logprobs(model, sample, 1.0).tolist() == pytest.approx(said, abs=1e-4)
    measured = policy_learner(model, CONFIG).update(samples)
    assert measured["mismatch/max"] < 1e-4
    assert measured["learner/tokens"] == sum(sample.num_loss_tokens for sample in samples)


def test_a_policy_learns_from_two_turns() -> None:
    """The reward is for the last turn; what the environment says is never learned."""
    model, records = small_llama(layers=1), list[StepRecord]()
    engine = LocalEngine(model, TOKENIZER)
    order = DataOrder([problem(f"{number}?") for number in range(10)], 0)
    sampler = rollout_sampler(
        CONFIG,
        engine,
        scorer(lambda rollout: rollout.text.count("7") / 5),
        order,
        environment=TwoTurns(single_turn(CONFIG)),
    )
    parts = StepComponents(
        credit=Credit(estimator=named_arguments(group_normalized)),
        learner=policy_learner(model, CONFIG),
        engine=engine,
        timer=PhaseTimer(),
    )
    train(sampler.batches(range(1, 13)), parts, records.append)
    rewards = [step_metrics(record)["reward/mean"] for record in records]
    assert rewards[-1] > rewards[0] + 0.3
    assert not any(math.isnan(record.measured.get("policy/grad_norm", 0.0)) for record in records)
