"""Credit of single tokens by hand: where rewards stand, what steps earn, and what a critic leaves to learn."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from builders import batch, completion, group, logprob_model, problem, reward, run_config, scorer, small_llama
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from reasonrl import Group, PluginError, Score, Span, Trajectory
from reasonrl.algorithms.advantages import gae, group_normalized, process_normalized
from reasonrl.config.settings import PluginRef, RewardRef
from reasonrl.learner.controller import KLController
from reasonrl.learner.credit import Credit, estimator_arguments
from reasonrl.learner.penalty import KLPenalty
from reasonrl.learner.token_rewards import end_tokens, outcome_reward, step_rewards, token_rewards
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins, named_arguments
from reasonrl.scoring.combine import combine
from reasonrl.types import Batch, RewardResult, Segment, TrainingSample

NAN = math.nan


def tensor(rows: Any) -> Tensor:
    """Any: nested lists of numbers."""
    return torch.tensor(rows, dtype=torch.float64)


def equal(got: Tensor, expected: Any) -> bool:
    """Any: nested lists of numbers."""
    return torch.allclose(got.double(), tensor(expected), atol=1e-9, equal_nan=True)


# Generalized advantage estimation.


def slow_gae(
    rewards: Sequence[float], values: Sequence[float], mask: Sequence[bool], gamma: float, lam: float
) -> list[float]:
    """The definition: a sum over all later tokens of discounted one-step errors, for the tokens that were chosen."""
    chosen = [t for t, is_chosen in enumerate(mask) if is_chosen]
    after = [*[values[t] for t in chosen[1:]], 0.0]
    errors = [rewards[t] + gamma * after[k] - values[t] for k, t in enumerate(chosen)]
    advantages = [0.0] * len(rewards)
    for k, t in enumerate(chosen):
        advantages[t] = sum((gamma * lam) ** (j - k) * errors[j] for j in range(k, len(chosen)))
    return advantages


numbers = st.floats(-5, 5, width=32)


@settings(deadline=None)
@given(
    tokens=st.lists(st.tuples(numbers, numbers, st.booleans()), min_size=1, max_size=12),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    value_lam=st.none() | st.floats(0, 1),
)
def test_gae_is_its_definition(
    tokens: list[tuple[float, float, bool]], gamma: float, lam: float, value_lam: float | None
) -> None:
    rewards, values, mask = map(list, zip(*tokens, strict=True))
    advantages, returns = gae(
        tensor([[0.0]]), tensor([[rewards]]), tensor([[values]]), torch.tensor([[mask]]),
        gamma=gamma, lam=lam, value_lam=value_lam, whiten=False,
    )  # fmt: skip
    assert advantages[0, 0].tolist() == pytest.approx(slow_gae(rewards, values, mask, gamma, lam), abs=1e-9)
    errors = slow_gae(rewards, values, mask, gamma, lam if value_lam is None else value_lam)
    expected = [value + error if chosen else 0.0 for value, error, chosen in zip(values, errors, mask, strict=True)]
    assert returns[0, 0].tolist() == pytest.approx(expected, abs=1e-9)


def one_row(rewards: Sequence[float], values: Sequence[float], **params: Any) -> tuple[list[float], list[float]]:
    """Advantages and returns of one completion whose tokens were all chosen. Any: parameters."""
    mask = torch.ones(1, 1, len(rewards), dtype=torch.bool)
    found = gae(tensor([[0.0]]), tensor([[rewards]]), tensor([[values]]), mask, whiten=False, **params)
    return found[0][0, 0].tolist(), found[1][0, 0].tolist()


def test_gae_by_hand() -> None:
    # Errors: 0 + 0.5 * 0.4 - 0.2 = 0, 0 + 0.5 * 0.8 - 0.4 = 0, 1 - 0.8 = 0.2; discounted by 0.5 * 0.5.
    advantages, returns = one_row([0, 0, 1], [0.2, 0.4, 0.8], gamma=0.5, lam=0.5)
    assert advantages == pytest.approx([0.0125, 0.05, 0.2])
    assert returns == pytest.approx([0.2125, 0.45, 1.0])


def test_with_lambda_1_an_advantage_is_the_reward_to_come_less_the_value() -> None:
    advantages, returns = one_row([0.5, 0, 1], [0.2, 0.4, 0.8], lam=1.0)
    assert advantages == pytest.approx([1.3, 0.6, 0.2])
    assert returns == pytest.approx([1.5, 1.0, 1.0])


def test_the_critic_may_learn_the_reward_to_come_while_advantages_trust_it() -> None:
    advantages, returns = one_row([0, 0, 1], [0.2, 0.4, 0.8], lam=0.0, value_lam=1.0)
    assert advantages == pytest.approx([0.2, 0.4, 0.2])
    assert returns == pytest.approx([1.0, 1.0, 1.0])


def test_whitening_is_over_the_scored_tokens_of_the_step_and_the_rest_gets_exactly_0() -> None:
    rewards = tensor([[1.0, NAN], [0.0, 0.5]])
    placed = tensor([[[0, 1], [NAN, NAN]], [[0, 0], [0.5, 0]]])
    values = tensor([[[0.5, 0.5], [9, 9]], [[0.5, 0.5], [0.25, 7.0]]])
    mask = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [1, 0]]]).bool()
    advantages, returns = gae(rewards, placed, values, mask, lam=1.0)
    # Unwhitened: 0.5, 0.5, then -0.5, -0.5, then 0.25; the mean is 0.05.
    spread = math.sqrt((2 * 0.45**2 + 2 * 0.55**2 + 0.2**2) / 5)
    expected = [[[0.45, 0.45], [0, 0]], [[-0.55, -0.55], [0.2, 0]]]
    assert torch.allclose(advantages, tensor(expected) / spread, atol=1e-4)
    assert advantages[0, 1].tolist() == [0.0, 0.0]
    assert advantages[1, 1, 1].item() == 0.0
    assert equal(returns, [[[1, 1], [0, 0]], [[0, 0], [0.5, 0]]])


def test_a_step_without_a_score_has_no_advantage_and_nothing_to_expect() -> None:
    advantages, returns = gae(tensor([[NAN]]), tensor([[[NAN]]]), tensor([[[1.0]]]), torch.ones(1, 1, 1).bool())
    assert advantages.tolist() == returns.tolist() == [[[0.0]]]


# Process supervision without a critic.


def test_process_normalized_sums_the_normalized_rewards_of_the_steps_to_come() -> None:
    steps = tensor([[[NAN, 1.0, NAN, 0.0], [0.0, NAN, 1.0, NAN]]])
    got = process_normalized(tensor([[1.0, 1.0]]), steps, tensor([[0.0, 0.0]]), epsilon=1e-12)
    # Mean 1/2 and spread 1/2 over the group's four steps: +1 and -1.
    assert equal(got, [[[0, 0, -1, -1], [0, 1, 1, 0]]])


def slow_process(rewards: Sequence[float | None], steps: Sequence[Sequence[float]]) -> list[list[float]]:
    """For one group whose outcome rewards are 0; a step a token, NaN where none ends."""
    everybody = [
        step for value, row in zip(rewards, steps, strict=True) if value is not None for step in row if step == step
    ]
    scored = [value for value in rewards if value is not None]
    if len(scored) < 2 or len(set(everybody)) < 2:
        return [[0.0] * len(row) for row in steps]
    mean = sum(everybody) / len(everybody)
    spread = math.sqrt(sum((step - mean) ** 2 for step in everybody) / len(everybody)) + 1e-6
    return [
        [
            sum((step - mean) / spread for step in row[t:] if step == step) if value is not None else 0.0
            for t in range(4)
        ]
        for value, row in zip(rewards, steps, strict=True)
    ]


@given(
    rewards=st.lists(st.none() | st.just(1.0), min_size=2, max_size=4),
    steps=st.lists(st.lists(st.just(NAN) | st.floats(-2, 2, width=32), min_size=4, max_size=4), min_size=4, max_size=4),
)
def test_process_normalized_matches_a_slow_reference(rewards: list[float | None], steps: list[list[float]]) -> None:
    rewards_PG = tensor([[NAN if value is None else value for value in rewards]])
    got = process_normalized(rewards_PG, tensor([steps[: len(rewards)]]), torch.where(rewards_PG.isnan(), NAN, 0.0))
    expected = slow_process(rewards, steps[: len(rewards)])
    for got_T, expected_T in zip(got[0].tolist(), expected, strict=True):
        assert got_T == pytest.approx(expected_T, abs=1e-6)


def test_without_steps_process_normalized_is_group_normalized() -> None:
    rewards = tensor([[1.0, 0.0, NAN, 0.5]])
    got = process_normalized(rewards, torch.full((1, 4, 3), NAN), rewards)
    assert torch.equal(got, group_normalized(rewards)[:, :, None].expand(1, 4, 3))


# Steps in texts.


@cache
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level: a character may take several tokens."""
    return load_tokenizer("tiny")


def said(
    text: str, *, ended: bool = True, before: Sequence[Segment] = (), before_ids: Sequence[int] = ()
) -> Trajectory:
    """A completion of this text, after segments of earlier turns."""
    tokenizer = tiny_tokenizer()
    ids = (*tokenizer(text, add_special_tokens=False)["input_ids"], *([tokenizer.eos_token_id] if ended else []))
    whole = (*before_ids, *ids)
    turn = completion(text, tokens=whole)
    return replace(turn, segments=(*before, Segment(num_tokens=len(ids), policy_version=0)))


def decode(token_ids: list[int]) -> str:
    return str(tiny_tokenizer().decode(token_ids))


def first_complete(trajectory: Trajectory, end: int) -> int:
    """The first token with which the text up to ``end`` is there, by trying all of them."""
    ids = list(trajectory.token_ids)
    tried = (index for index in range(len(ids)) if decode(ids[: index + 1])[:end] == trajectory.text[:end])
    return next(tried)


texts = st.text(st.characters(codec="utf-8", exclude_characters="<>|\x00\ufffd"), min_size=1, max_size=24)


@settings(deadline=None, max_examples=60)
@given(text=texts, ended=st.booleans(), cuts=st.sets(st.integers(1, 24), max_size=4))
def test_the_end_of_a_span_is_the_token_that_completes_its_last_character(
    text: str, ended: bool, cuts: set[int]
) -> None:
    trajectory = said(text, ended=ended)
    edges = sorted({0, *(cut for cut in cuts if cut <= len(text))})
    spans = [Span(start, end, 1.0) for start, end in pairwise(edges)]
    assert end_tokens(spans, trajectory, decode) == [first_complete(trajectory, span.end) for span in spans]


def test_a_character_of_several_tokens_ends_with_the_last_of_them() -> None:
    trajectory = said("a 😀 b")
    (place,) = end_tokens([Span(0, 3, 1.0)], trajectory, decode)
    assert decode(list(trajectory.token_ids[: place + 1])) == "a 😀"
    assert "😀" not in decode(list(trajectory.token_ids[:place]))


def test_spans_are_of_the_last_turn() -> None:
    turns = (Segment(num_tokens=2, policy_version=0), Segment(num_tokens=3))
    trajectory = said("3 + 4", before=turns, before_ids=(20, 21, 22, 23, 24))
    assert trajectory.last_turn == range(5, len(trajectory.token_ids))
    assert end_tokens([Span(0, 5, 1.0)], trajectory, decode) == [len(trajectory.token_ids) - 2]


def test_a_step_is_paid_by_weight_at_its_end_and_the_rest_at_the_last_token() -> None:
    trajectory = said("ab cd")
    spans = (Span(0, 2, 0.5), Span(3, 5, -1.0))
    given = RewardResult(
        total=Score(2 * 3.0 + 1.0), rewards={"steps": Score(3.0, spans=spans), "answer": Score(1.0)},
        weights={"steps": 2.0, "answer": 1.0},
    ).less("overlong", 0.25)  # fmt: skip
    first, last = end_tokens(spans, trajectory, decode)
    expected = [0.0] * len(trajectory.token_ids)
    expected[first], expected[last] = 1.0, -2.0
    expected[-1] = 7.0 - 0.25 + 1.0  # the end-of-sequence token: what steps and penalty leave of the total
    assert token_rewards(given, trajectory, decode) == pytest.approx(expected)
    assert outcome_reward(given) == pytest.approx(7.75)
    ends = [step == step for step in step_rewards(given, trajectory, decode)]
    assert [index for index, is_end in enumerate(ends) if is_end] == [first, last]


def test_what_an_environment_said_last_is_not_paid() -> None:
    turns = (Segment(num_tokens=2, policy_version=0), Segment(num_tokens=1))
    trajectory = replace(completion("ab", tokens=(5, 6, 7)), segments=turns)
    assert trajectory.last_turn == range(2)
    assert token_rewards(RewardResult(total=Score(1.0), rewards={"r": Score(1.0)}), trajectory, None) == [0.0, 1.0, 0.0]


def test_steps_behind_a_shut_gate_are_worth_nothing() -> None:
    trajectory = said("ab cd")
    refs = [RewardRef(name="right"), RewardRef(name="steps", gate="right")]
    steps = Score.of_spans([Span(0, 2, 0.5)])
    (shut,), (open_,) = (combine({"right": [Score(right)], "steps": [steps]}, refs, 1) for right in (0.0, 1.0))
    assert sum(token_rewards(shut, trajectory, decode)) == 0.0
    assert all(step != step for step in step_rewards(shut, trajectory, decode))
    assert sum(token_rewards(open_, trajectory, decode)) == pytest.approx(1.5)


@given(
    values=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    weight=st.floats(-2, 2),
    total=st.none() | st.floats(-3, 3),
    penalties=st.lists(st.floats(-1, 1), min_size=6, max_size=6),
)
def test_the_rewards_of_tokens_sum_to_the_total_less_the_penalties(
    values: list[float], weight: float, total: float | None, penalties: list[float]
) -> None:
    trajectory = replace(completion("abcde", tokens=(1, 2, 3, 4, 5, 0)))
    spans = tuple(Span(at, at + 1, value) for at, value in enumerate(values))
    own = Score.of_spans(spans) if total is None else Score(total, spans=spans)
    assert own.value is not None
    given = RewardResult(total=Score(weight * own.value), rewards={"r": own}, weights={"r": weight})
    given = given.less("overlong", 0.5).less("kl", math.fsum(penalties), tuple(penalties))
    tokens = token_rewards(given, trajectory, lambda ids: "abcde"[: len(ids)])
    assert math.fsum(tokens) == pytest.approx(given.value, abs=1e-9)
    assert tokens[3:5] == pytest.approx([-penalties[3], -penalties[4]])


def test_a_member_without_a_score_has_no_number_on_any_token() -> None:
    lost = RewardResult(total=Score.unscorable("-"), rewards={"r": Score.of_spans([Span(0, 1, 1.0)])})
    trajectory = said("ab")
    for found in (token_rewards, step_rewards):
        assert all(value != value for value in found(lost, trajectory, decode))
    assert outcome_reward(lost) is None


def test_a_divergence_in_the_reward_is_paid_token_by_token_and_costs_what_it_did() -> None:
    reference = small_llama(seed=7)
    members = tuple(completion(tokens=(5, 6 + index, 7, 0), index=index) for index in range(2))
    asked = Group(problem=problem(), prompt="", prompt_ids=(3, 4), trajectories=members)
    config = run_config(algorithm={"preset": "ppo", "kl_coefficient": 0.5})
    penalty = KLPenalty(
        reference=logprob_model(reference), controller=KLController(config.algorithm), microbatch_tokens=100
    )
    scored = RewardResult(total=Score(1.0), rewards={"r": Score(1.0)})
    ((first, _),) = penalty([asked], ((scored, scored),))
    (theirs,) = logprob_model(reference).of_samples([TrainingSample.of(asked, members[0])], max_tokens=100)
    expected = [0.5 * (-1.0 - logprob) for logprob in theirs.tolist()]
    assert first.token_penalties["kl"] == pytest.approx(expected, abs=1e-6)
    assert first.penalties["kl"] == pytest.approx(sum(expected), abs=1e-6)
    paid = token_rewards(first, members[0], None)
    assert paid == pytest.approx([-expected[0], -expected[1], -expected[2], 1.0 - expected[3]], abs=1e-6)


# Spans that are none.

WORDS: Any = ("0:1",)


def scores_of(function: Any, text: str) -> Score:
    """What a run makes of a reward's value. Any: a reward."""
    with closing(scorer(reward(function), max_failure_rate=1.0)) as applied:
        ((result,),) = applied.score([group([text])], 1)
    return result.rewards["r"]


def test_a_score_of_spans_is_worth_their_sum_or_what_it_says() -> None:
    spans = (Span(0, 1, 0.25, "good"), Span(2, 3, -1.0))
    assert scores_of(lambda text: Score.of_spans(spans, "two steps"), "abc") == Score(-0.75, "two steps", spans=spans)
    listed: Any = list(spans)
    assert scores_of(lambda text: Score(1.0, spans=listed), "abc").spans == spans


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Score.of_spans([Span(0, 4, 1.0)]), "ends after character 4, but the completion has 3 characters"),
        (lambda: Score.of_spans([Span(1, 1, 1.0)]), "no piece of a text"),
        (lambda: Score.of_spans([Span(-1, 1, 1.0)]), "no piece of a text"),
        (lambda: Score.of_spans([Span(0, 1, NAN)]), "not a number"),
        (lambda: Score.of_spans([Span(1, 2, 1.0), Span(0, 1, 1.0)]), "begins before"),
        (lambda: Score.of_spans([Span(0, 2, 1.0), Span(1, 3, 1.0)]), "begins before"),
        (lambda: Score(None, "", "unscorable", spans=(Span(0, 1, 1.0),)), "no value"),
        (lambda: Score(1.0, spans=WORDS), "among its spans"),
    ],
)  # fmt: skip
def test_spans_that_are_none_cost_their_sample_its_score_with_the_reason(make: Any, why: str) -> None:
    found = scores_of(lambda text: make(), "abc")
    assert found.outcome == "error"
    assert why in found.why


# From a batch to samples.


def batch_of(rewards: Sequence[float | None], lengths: Sequence[int]) -> Batch:
    """One group of completions of these lengths; the last token of each ends it."""
    members = tuple(
        completion("a" * (length - 1), tokens=[*range(3, 2 + length), 0], index=index)
        for index, length in enumerate(lengths)
    )
    scores = [Score.unscorable("-") if value is None else Score(value) for value in rewards]
    results = tuple(RewardResult(total=score, rewards={"r": score}) for score in scores)
    return batch([Group(problem=problem(), prompt="", prompt_ids=(1, 2), trajectories=members)], [results])


def expecting(samples: Sequence[TrainingSample]) -> list[Tensor]:
    """A critic that expects a tenth for each token that is still to come."""
    return [torch.arange(sample.num_loss_tokens, 0, -1) / 10 for sample in samples]


def test_values_and_what_they_should_have_been_reach_the_samples_of_the_scored() -> None:
    step = batch_of([1.0, None, 0.0], [3, 2, 1])
    credit = Credit(estimator=named_arguments(lambda rewards_PG, token_rewards_PGT, values_PGT, mask_PGT: gae(
        rewards_PG, token_rewards_PGT, values_PGT, mask_PGT, lam=1.0, whiten=False)), predict=expecting)  # fmt: skip
    first, lost, last = credit.samples(step, credit.estimate(step))
    assert first.values_T == pytest.approx((0.3, 0.2, 0.1))
    assert first.returns_T == pytest.approx((1.0, 1.0, 1.0))
    assert first.advantages_T == pytest.approx((0.7, 0.8, 0.9))
    assert (lost.returns_T, lost.advantages_T) == ((), (0.0, 0.0))
    assert last.advantages_T == pytest.approx((-0.1,))


def test_a_cut_completion_that_is_masked_teaches_the_critic_nothing_and_a_dropped_one_is_gone() -> None:
    step = batch_of([1.0, 0.0], [3, 3])
    (asked,) = step.groups
    cut = replace(asked, trajectories=(asked.trajectories[0], replace(asked.trajectories[1], finish_reason="length")))
    step = replace(step, groups=(cut,))
    estimator = named_arguments(gae)
    masking = Credit(estimator=estimator, predict=expecting, truncated="mask")
    assert masking.samples(step, masking.estimate(step))[1].masked
    dropping = Credit(estimator=estimator, predict=expecting, truncated="drop")
    assert len(dropping.samples(step, dropping.estimate(step))) == 1


def test_an_estimator_is_given_what_it_names_and_nothing_is_computed_for_others() -> None:
    def refuse(samples: Sequence[TrainingSample]) -> list[Tensor]:
        raise AssertionError("nobody asked")

    step = batch_of([1.0, 0.0], [3, 1])
    plain = Credit(estimator=named_arguments(group_normalized), predict=refuse)
    assert plain.estimate(step).values is None
    seen: dict[str, Tensor] = {}

    def look(rewards_PG: Tensor, mask_PGT: Tensor, step_rewards_PGT: Tensor, outcome_rewards_PG: Tensor) -> Tensor:
        seen.update(mask=mask_PGT, steps=step_rewards_PGT, outcome=outcome_rewards_PG)
        return rewards_PG

    Credit(estimator=named_arguments(look)).estimate(step)
    assert seen["mask"].tolist() == [[[True, True, True], [True, False, False]]]
    assert seen["steps"].isnan().all()
    assert equal(seen["outcome"], [[1.0, 0.0]])
    assert set(estimator_arguments(step)) == {"rewards_PG", "rewards_RPG", "weights_R", "lengths_PG"}


ESTIMATOR = """
import torch
def alone(rewards_PG, values_PGT):
    return torch.zeros_like(rewards_PG)
def short(rewards_PG, values_PGT):
    return torch.zeros_like(rewards_PG), values_PGT[:, :, :1]
def infinite(rewards_PG, values_PGT):
    return torch.zeros_like(rewards_PG), values_PGT / 0
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("alone", "returns two tensors"), ("short", "returned shape [1, 2, 1]"), ("infinite", "is not finite")],
)
def test_an_estimator_with_values_must_say_what_they_should_have_been(
    name: str, said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"with_{name}.py").write_text(ESTIMATOR)
    estimator = Plugins().function("advantages", PluginRef(name=f"./with_{name}.py:{name}"))
    with pytest.raises(PluginError, match=said.replace("[", r"\[")):
        Credit(estimator=estimator, predict=expecting).estimate(batch_of([1.0, 0.0], [3, 1]))


def test_a_rollout_is_scored_step_by_step_in_a_worker_process(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.py").write_text(
        "import re\nfrom reasonrl import Score, Span\n"
        "def lines(text):\n"
        "    return Score.of_spans(Span(m.start(), m.end(), float('=' in m[0]), 'line') "
        "for m in re.finditer(r'[^\\n]+', text))\n"
    )
    from reasonrl.scoring.contract import load_reward

    with closing(scorer(load_reward(RewardRef(name="./lines.py:lines"), Plugins()), workers=1)) as applied:
        ((result,),) = applied.score([group(["1 + 2 = 3\nso 3"])], 1)
    assert result.rewards["./lines.py:lines"].spans == (Span(0, 9, 1.0, "line"), Span(10, 14, 0.0, "line"))
    assert result.total.value == 1.0
