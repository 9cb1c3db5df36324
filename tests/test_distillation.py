"""On-policy distillation: its advantages and divergences by hand, its gradients by a slow reference, its refusals."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from builders import (
    batch,
    completion,
    group,
    letter_tokenizer,
    logprob_model,
    run_config,
    training_sample,
)
from gradients import TEMPERATURE, Recorder, even_llama, flat_gradient, random_step, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import OpenAIServer, serving
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel
from yarl import URL

from reasonrl.algorithms.distillation import LEAST_OTHERS, top_k_reverse_kl
from reasonrl.engines.endpoint.client import EndpointClient
from reasonrl.engines.endpoint.prompt_logprobs import PromptLogprobs
from reasonrl.errors import EngineError
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.credit import Credit
from reasonrl.learner.distillation import TeacherCredit, TeacherModel, TeacherScoring, TopKObjective
from reasonrl.learner.logprobs import token_logprobs, token_top_logprobs
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.models.fast.head import head_logprobs, head_top_logprobs
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.distillation_metrics import distillation_metrics
from reasonrl.run.method import require_fitting_estimator
from reasonrl.run.same_tokens import token_difference
from reasonrl.types import RewardResult, Score, Segment, TeacherTokens, TrainingSample, teaches

UNSCORED = RewardResult(total=Score.unscorable("no rewards"), rewards={})


def judged(*logprobs: float) -> RewardResult:
    """What a run without rewards says of a completion whose tokens a teacher gives these log-probabilities."""
    return replace(UNSCORED, teacher=TeacherTokens(logprobs=logprobs))


# Advantages.


def test_the_advantage_of_a_token_is_the_teachers_log_probability_less_the_samplers() -> None:
    said = replace(completion(tokens=(3, 4, 0)), logprobs=(-1.0, -0.5, -2.0))
    credit = TeacherCredit(weight=2.0, reward_weight=0.0)
    assert credit.advantage(0.0, said, judged(-1.5, -0.5, -1.0)) == (-1.0, 0.0, 2.0)


def test_the_advantages_of_rewards_are_added_by_weight_whether_a_token_or_a_completion_has_them() -> None:
    said = replace(completion(tokens=(3, 0)), logprobs=(-1.0, -1.0))
    credit = TeacherCredit(weight=1.0, reward_weight=0.5)
    assert credit.advantage(4.0, said, judged(-2.0, -1.0)) == (1.0, 2.0)
    assert credit.advantage((4.0, -4.0), said, judged(-2.0, -1.0)) == (1.0, -2.0)


def test_a_token_of_the_environment_has_no_advantage_and_none_from_the_teacher() -> None:
    turns = (Segment(num_tokens=1, policy_version=0), Segment(num_tokens=1), Segment(num_tokens=1, policy_version=0))
    said = replace(completion(tokens=(3, 4, 0)), logprobs=(-1.0, 0.0, -1.0), segments=turns)
    credit = TeacherCredit(weight=1.0, reward_weight=1.0)
    assert credit.advantage(1.0, said, judged(-3.0, -1.0)) == (-1.0, 0.0, 1.0)


def test_where_the_divergence_is_in_the_loss_only_rewards_have_advantages() -> None:
    credit = TeacherCredit(weight=0.0, reward_weight=0.5)
    assert credit.advantage(4.0, completion(), judged(-9.0, -9.0)) == 2.0


def credit(teacher: TeacherCredit, *, truncated: Any = "penalize") -> Credit:
    """What a run of this teacher compares with. Any: a value of ``algorithm.truncated``."""
    estimator = installed_plugins().function("advantages", run_config().algorithm.advantage)
    return Credit(estimator=estimator, truncated=truncated, teacher=teacher)


def test_without_rewards_a_group_without_spread_still_teaches() -> None:
    one = batch([group(["a", "a"])], [(judged(-2.0, -1.0), judged(-1.0, -1.5))])
    assert teaches(one.results[0])
    of = credit(TeacherCredit(weight=1.0, reward_weight=0.0))
    found = of.estimate(one)
    assert found.advantages == (((-1.0, 0.0), (0.0, -0.5)),)
    assert [sample.teacher for sample in of.samples(one, found)] == [result.teacher for result in one.results[0]]


def test_a_completion_without_a_score_learns_from_the_teacher_alone() -> None:
    first, second, lost = Score(1.0), Score(0.0), Score.unscorable("nothing to compare")
    results = [replace(judged(-1.0, -1.0), total=score, rewards={"r": score}) for score in (first, second)]
    last = replace(judged(-2.0, -1.0), total=lost, rewards={"r": lost})
    one = batch([group(["a", "b", "c"])], [(*results, last)])
    found = credit(TeacherCredit(weight=1.0, reward_weight=1.0)).estimate(one)
    assert found.advantages[0][2] == (-1.0, 0.0)
    assert found.advantages[0][0] == pytest.approx((1.0, 1.0), abs=1e-3)


def test_a_masked_completion_has_no_advantage() -> None:
    cut = group(["a"])
    cut = replace(cut, trajectories=(replace(cut.trajectories[0], finish_reason="length"),))
    found = credit(TeacherCredit(weight=1.0, reward_weight=0.0), truncated="mask").estimate(
        batch([cut], [(judged(-5.0, -5.0),)])
    )
    assert found.advantages == ((0.0,),)


def test_metrics_estimate_the_divergence_of_what_was_sampled() -> None:
    members = replace(group(["a", "b"]), trajectories=(completion(tokens=(3, 0)), completion(tokens=(4,), index=1)))
    got = distillation_metrics([(members, (judged(-3.0, -1.0), judged(-2.0)))])
    assert got == {"distillation/kl": 1.0, "distillation/kl_sequence": 1.5, "distillation/logprob": -2.0}
    assert distillation_metrics([(members, (UNSCORED, UNSCORED))]) == {}


# The divergence over the most probable tokens.


def slow_coarse_kl(policy: Sequence[float], teacher: Sequence[float], kept: Sequence[int]) -> float:
    """The divergence of two categorical distributions over some outcomes and one that stands for the rest."""
    p, q = ([values[index] for index in kept] for values in (policy, teacher))
    p, q = ([*values, max(1 - sum(values), LEAST_OTHERS)] for values in (p, q))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_the_top_k_divergence_by_hand() -> None:
    policy, teacher = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.25]]).log()
    expected = 0.5 * math.log(2) + 0.25 * math.log(0.25 / 0.5)
    assert top_k_reverse_kl(policy, teacher).item() == pytest.approx(expected, abs=1e-6)


numbers = st.floats(-4, 4, width=32)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=7), k=st.integers(1, 7))
def test_the_top_k_divergence_is_that_of_coarser_distributions_and_at_most_the_whole_one(
    rows: list[tuple[float, float]], k: int
) -> None:
    policy_V, teacher_V = (
        torch.tensor(column, dtype=torch.float64).log_softmax(0) for column in zip(*rows, strict=True)
    )
    kept = teacher_V.topk(min(k, len(rows))).indices
    got = top_k_reverse_kl(policy_V[kept][None], teacher_V[kept][None]).item()
    expected = slow_coarse_kl(policy_V.exp().tolist(), teacher_V.exp().tolist(), kept.tolist())
    assert got == pytest.approx(expected, abs=1e-9)
    assert -1e-6 <= got <= float((policy_V.exp() * (policy_V - teacher_V)).sum()) + 1e-6


def test_a_token_that_the_policy_lacks_is_one_of_the_others_and_has_no_gradient() -> None:
    policy = torch.tensor([[0.5, 0.25, 0.25]]).log().requires_grad_()
    teacher = torch.tensor([[0.25, -math.inf, 0.25]])
    teacher[0, [0, 2]] = torch.tensor([0.25, 0.25]).log()
    found = top_k_reverse_kl(policy, teacher)
    (gradient,) = torch.autograd.grad(found.sum(), policy)
    alone = top_k_reverse_kl(policy[:, [0, 2]], teacher[:, [0, 2]])
    assert found.item() == pytest.approx(alone.item(), abs=1e-6)
    assert gradient.isfinite().all()
    assert gradient[0, 1] == 0


# Gradients.


@cache
def teacher_llama() -> PreTrainedModel:
    return even_llama(seed=5)


def whole_logits(model: PreTrainedModel, sample: TrainingSample) -> Tensor:
    """The log-distribution [M, V] that each token of a sample which the policy chose is drawn from."""
    ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
    logits_TV = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1] / TEMPERATURE
    return logits_TV.log_softmax(-1)[torch.tensor(sample.mask)]


def slow_gradient(samples: Sequence[TrainingSample], divergence: Any) -> Tensor:
    """The gradient of the mean over all tokens of one loss a token. Any: a function of sample and distributions."""
    model = even_llama()
    model.zero_grad()
    num_tokens = sum(sample.num_loss_tokens for sample in samples)
    for sample in samples:
        with torch.no_grad():
            teacher_MV = whole_logits(teacher_llama(), sample)
        (divergence(sample, whole_logits(model, sample), teacher_MV).sum() / num_tokens).backward()
    gradient = flat_gradient(model)
    model.zero_grad()
    return gradient


def chosen_tokens(sample: TrainingSample) -> Tensor:
    return torch.tensor([token for token, chosen in zip(sample.token_ids, sample.mask, strict=True) if chosen])


def log_ratio_loss(sample: TrainingSample, policy_MV: Tensor, teacher_MV: Tensor) -> Tensor:
    """Minus the log-probability of each token, times the teacher's less the sampler's."""
    tokens_M1 = chosen_tokens(sample)[:, None]
    said = [logprob for logprob, chosen in zip(sample.sampler_logprobs, sample.mask, strict=True) if chosen]
    advantages_M = teacher_MV.gather(1, tokens_M1)[:, 0] - torch.tensor(said)
    return -advantages_M * policy_MV.gather(1, tokens_M1)[:, 0]


def sampled(seed: int = 0) -> list[TrainingSample]:
    """Samples without advantages, some with tokens of an environment in them."""
    return [replace(sample, advantages_T=0.0) for sample in random_step(seed).samples]


def taught(samples: Sequence[TrainingSample], top_k: int | None, *, fast: bool) -> list[TrainingSample]:
    """The samples with what a teacher says of them and, without ``top_k``, its advantages."""
    model = logprob_model(teacher_llama(), TEMPERATURE, fast=fast)
    teacher = TeacherModel(model=model, top_k=top_k, vocabulary=teacher_llama().config.vocab_size)
    weight = 1.0 if top_k is None else 0.0
    of = TeacherCredit(weight=weight, reward_weight=0.0)

    def advantage(sample: TrainingSample, said: TeacherTokens) -> Any:
        segments = tuple(Segment(num_tokens=1, policy_version=0 if chosen else None) for chosen in sample.mask)
        trajectory = replace(completion(tokens=sample.token_ids), logprobs=sample.sampler_logprobs, segments=segments)
        return of.advantage(0.0, trajectory, replace(UNSCORED, teacher=said))

    found = teacher.of_samples(samples, max_tokens=64)
    return [
        replace(sample, teacher=said, advantages_T=advantage(sample, said))
        for sample, said in zip(samples, found, strict=True)
    ]


def our_gradient(samples: Sequence[TrainingSample], top_k: int | None, *, fast: bool, **learner: Any) -> Tensor:
    """The gradient of one update of a run's learner, before clipping. Any: settings of the learner."""
    config = run_config(
        algorithm={"preset": "dr_grpo", "reduction": "token_mean"},
        rollout={"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12, "temperature": TEMPERATURE},
        learner=learner,
    )
    parts: dict[str, Any] = {
        "algorithm": config.method,
        "loss": installed_plugins().function("losses", config.method.loss),
        "policy": logprob_model(even_llama(), TEMPERATURE, fast=fast),
        "max_new_tokens": 12,
        "controller": KLController(config.method),
        "entropy": EntropyController(config.method),
    }
    objective = PolicyObjective(**parts) if top_k is None else TopKObjective(**parts, weight=1.0)
    one = Recorder(even_llama(), objective, config.learner, num_steps=1)
    one.update(taught(samples, top_k, fast=fast))
    return one.gradient


@pytest.mark.parametrize("fast", [True, False])
def test_the_gradient_of_the_log_ratio_is_that_of_a_slow_reference(fast: bool) -> None:
    expected = slow_gradient(sampled(), log_ratio_loss)
    assert relative_error(our_gradient(sampled(), None, fast=fast), expected) < 1e-6


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("top_k", [1, 5, 100])
def test_the_gradient_of_the_top_k_divergence_is_that_of_a_slow_reference(top_k: int, fast: bool) -> None:
    def coarse(_: TrainingSample, policy_MV: Tensor, teacher_MV: Tensor) -> Tensor:
        top = teacher_MV.topk(min(top_k, teacher_MV.shape[1]), dim=1)
        return top_k_reverse_kl(policy_MV.double().gather(1, top.indices), top.values.double())

    def whole(_: TrainingSample, policy_MV: Tensor, teacher_MV: Tensor) -> Tensor:
        return (policy_MV.exp() * (policy_MV - teacher_MV)).sum(dim=1)

    expected = slow_gradient(sampled(), whole if top_k == 100 else coarse)
    assert relative_error(our_gradient(sampled(), top_k, fast=fast), expected) < 1e-6


@pytest.mark.parametrize("top_k", [None, 3])
def test_gradients_depend_on_neither_micro_batches_nor_order(top_k: int | None) -> None:
    whole = our_gradient(sampled(), top_k, fast=True)
    cut = our_gradient(sampled()[::-1], top_k, fast=True, microbatch_tokens=16)
    assert relative_error(cut, whole) < 1e-6


def test_the_mean_gradient_of_sampled_log_ratios_is_that_of_the_divergence() -> None:
    """Summed over all tokens by the sampler's probabilities, the score function's gradient is the exact one."""
    prompt = (3, 4, 5)

    def exact(_: TrainingSample, policy_MV: Tensor, teacher_MV: Tensor) -> Tensor:
        return (policy_MV.exp() * (policy_MV - teacher_MV)).sum(dim=1)

    with torch.no_grad():
        policy_V = whole_logits(even_llama(), training_sample(prompt, (0,)))[0]

    def expected_log_ratio(sample: TrainingSample, policy_MV: Tensor, teacher_MV: Tensor) -> Tensor:
        advantages_MV = teacher_MV - policy_V
        return -(policy_V.exp() * advantages_MV * policy_MV).sum(dim=1)

    one = [training_sample(prompt, (0,))]
    assert relative_error(slow_gradient(one, expected_log_ratio), slow_gradient(one, exact)) < 1e-6


@pytest.mark.parametrize("with_entropy", [True, False])
def test_a_head_as_a_module_says_of_further_tokens_what_its_weight_says(with_entropy: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(size, 4, generator=generator, requires_grad=True) for size in (6, 9))
    targets, further = (torch.randint(9, size, generator=generator) for size in ((6,), (6, 3)))
    by_module = token_logprobs(
        hidden, targets, lambda states: states @ weight.t(), 0.7, with_entropy=with_entropy, further_MK=further
    )
    by_weight = head_logprobs(
        hidden, targets, weight, torch.float32, 0.7, with_entropy=with_entropy, further_MK=further
    )
    gradients = []
    for found in (by_module, by_weight):
        assert found.further_MK is not None
        parts = [found.logprobs_M.sum(), found.further_MK.square().sum()]
        parts += [] if found.entropies_M is None else [found.entropies_M.sum()]
        gradients.append(torch.autograd.grad(sum(parts[1:], parts[0]), (hidden, weight)))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    top_of_module = token_top_logprobs(hidden, targets, lambda states: states @ weight.t(), 0.7, top_k=2, vocabulary=8)
    top_of_weight = head_top_logprobs(hidden, targets, weight, torch.float32, 0.7, top_k=2, vocabulary=8)
    for ours, theirs in zip(top_of_module, top_of_weight, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert int(top_of_module.top_ids_MK.max()) < 8


@pytest.mark.parametrize("fast", [True, False])
def test_a_teacher_says_the_log_probabilities_of_its_own_distribution(fast: bool) -> None:
    for sample in taught(sampled(2), 4, fast=fast):
        expected_MV = whole_logits(teacher_llama(), sample)
        assert sample.teacher is not None
        assert torch.allclose(
            torch.tensor(sample.teacher.logprobs),
            expected_MV.gather(1, chosen_tokens(sample)[:, None])[:, 0],
            atol=1e-5,
        )
        top = expected_MV.topk(4, dim=1)
        assert torch.tensor(sample.teacher.top_ids).tolist() == top.indices.tolist()
        assert torch.allclose(torch.tensor(sample.teacher.top_logprobs), top.values, atol=1e-5)


def test_tokens_that_only_the_teacher_has_are_never_among_the_most_probable() -> None:
    model = logprob_model(teacher_llama(), TEMPERATURE)
    few = TeacherModel(model=model, top_k=3, vocabulary=5)
    for said in few.of_samples(sampled(), max_tokens=64):
        assert all(token < 5 for row in said.top_ids for token in row)


def test_scoring_changes_no_result_but_for_what_the_teacher_says() -> None:
    class Even:
        def of_samples(self, samples: Sequence[TrainingSample]) -> list[TeacherTokens]:
            return [TeacherTokens(logprobs=(-1.0,) * sample.num_loss_tokens) for sample in samples]

    groups, results = [group(["a", "b"])], ((UNSCORED, UNSCORED),)
    (found,) = TeacherScoring(teacher=Even())(groups, results)
    assert [result.teacher for result in found] == [TeacherTokens(logprobs=(-1.0, -1.0))] * 2
    assert [replace(result, teacher=None) for result in found] == [*results[0]]


# Other tokenizers.


def test_another_tokenizer_is_told_by_its_first_difference() -> None:
    ours, theirs = letter_tokenizer(), letter_tokenizer()
    assert token_difference(theirs, ours) == ""
    theirs.add_tokens(["<more>"])
    assert token_difference(theirs, ours) == "token 49 is '<more>' there and none here"
    assert token_difference(ours, theirs) == "token 49 is none there and '<more>' here"


# Run files.

TEACHER = {"teacher": "initial"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distillation": {"weight": 1}}, "teacher"),
        (
            {"distillation": {**TEACHER, "vllm": {"dtype": "float32"}}},
            "vllm.dtype would be ignored: set engine: vllm_server",
        ),
        (
            {"distillation": {**TEACHER, "engine": "vllm_server", "vllm": {"urls": ["http://h:1"]}}},
            "vllm.urls would be ignored (of a server that runs already, teacher is the address): leave it out",
        ),
        ({"distillation": {"teacher": "http://h:1", "engine": "vllm_server"}}, "leave engine out"),
        ({"distillation": {**TEACHER, "timeout_s": 3}}, "timeout_s is about requests to a server"),
        ({"distillation": TEACHER, "algorithm": "dapo"}, "set algorithm.refill_attempts: 0"),
        ({"distillation": {**TEACHER, "reward_weight": 1}, "rewards": []}, "task has no rewards"),
        (
            {"distillation": TEACHER, "algorithm": {"preset": "dr_grpo", "overlong_window": 0.5}},
            "algorithm.overlong_window is set, which changes rewards",
        ),
        ({"distillation": TEACHER, "rewards": [], "curriculum": {}}, "the run has none: leave it out"),
        (
            {"distillation": {"teacher": "http://h:1"}, "rollout": {"temperature": 0.5}},
            "gives a teacher's log-probabilities at temperature 1 only",
        ),
        ({"rewards": []}, "rewards: this setting is required"),
    ],
)
def test_what_a_teacher_contradicts_is_refused_by_key(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        run_config(**changes)
    assert message in str(refused.value)


def test_a_teacher_alone_needs_neither_rewards_nor_siblings() -> None:
    config = run_config(distillation=TEACHER, rewards=[], algorithm="dr_grpo", rollout={"samples_per_prompt": 1})
    assert not config.learns_from_rewards
    require_fitting_estimator(config, installed_plugins())
    again = type(config).model_validate(config.model_dump(mode="json"))
    assert again == config


# A server.


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with serving() as running:
        yield running


def asked(
    server: OpenAIServer, *steps: Mapping[str, Any], top_k: int | None = None
) -> tuple[list[TeacherTokens], list[dict[str, Any]]]:
    """What an endpoint that answers so says of two samples, and what it was asked. Any: JSON."""
    samples = [training_sample((1, 2), (3, 0)), training_sample((1, 2), (4,))]
    server.script(*steps)
    client = EndpointClient(URL(server.url), None, max_concurrent=1, tries=2, outage_s=0.0)
    teacher = PromptLogprobs(client=client, model="teacher", max_model_len=6, top_k=top_k, vocabulary=50)
    return asyncio.run(teacher.of_samples(samples)), server.bodies


def answer(*places: Mapping[str, float] | None) -> dict[str, Any]:
    """An answer with these log-probabilities of a prompt. Any: JSON."""
    listed = [
        None if place is None else {token: {"logprob": logprob} for token, logprob in place.items()} for place in places
    ]
    return {"status": 200, "reply": {"choices": [{"prompt_logprobs": listed}]}}


FIRST = answer(None, {"2": -0.5}, {"3": -1.0, "7": -0.5, "9": -0.75}, {"0": -2.0, "60": -0.25, "8": -0.5})
SECOND = answer(None, {"2": -0.5}, {"4": -3.0, "5": -1.0, "6": -1.5})


def test_a_server_is_asked_for_the_log_probabilities_of_prompt_and_completion_in_token_ids(
    server: OpenAIServer,
) -> None:
    said, bodies = asked(server, FIRST, SECOND)
    assert [one.logprobs for one in said] == [(-1.0, -2.0), (-3.0,)]
    assert [body["prompt"] for body in bodies] == [[1, 2, 3, 0], [1, 2, 4]]
    assert all(body["prompt_logprobs"] == 0 and body["max_tokens"] == 1 for body in bodies)


def test_the_best_tokens_of_a_server_are_ordered_and_those_that_the_policy_lacks_count_for_nothing(
    server: OpenAIServer,
) -> None:
    said, bodies = asked(server, FIRST, SECOND, top_k=2)
    assert said[0].top_ids == ((7, 9), (0, 8))
    assert said[0].top_logprobs == ((-0.5, -0.75), (-math.inf, -0.5))
    assert said[1].top_ids == ((5, 6),)
    assert all(body["prompt_logprobs"] == 2 for body in bodies)


def test_a_request_that_fails_is_sent_again(server: OpenAIServer) -> None:
    said, bodies = asked(server, {"status": 503, "reply": {}}, FIRST, {"drop": True}, SECOND)
    assert [one.logprobs for one in said] == [(-1.0, -2.0), (-3.0,)]
    assert len(bodies) == 4


def test_an_answer_without_log_probabilities_is_an_error_that_names_the_server(server: OpenAIServer) -> None:
    with pytest.raises(
        EngineError, match=r"http://127.0.0.1:\d+/v1: its answer has no log-probabilities of the prompt"
    ):
        asked(server, {"status": 200, "reply": {"choices": [{"text": "4"}]}}, SECOND)


def test_a_server_that_tells_too_few_log_probabilities_is_named_with_what_it_must_be_started_with(
    server: OpenAIServer,
) -> None:
    refusal = {"error": {"message": "Requested prompt logprobs of 30, which is greater than max allowed: 20"}}
    with pytest.raises(EngineError, match=r"Start it with --max-logprobs 30, or lower distillation.top_k"):
        asked(server, {"status": 400, "reply": refusal}, {"status": 400, "reply": refusal}, top_k=30)
