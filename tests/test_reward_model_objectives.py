"""The losses of a reward model against numbers worked by hand and one plain forward pass a completion."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Sequence
from functools import cache
from random import Random
from statistics import fmean
from typing import Any

import pytest
import torch
from builders import VOCABULARY, run_config, small_llama
from gradients import Recorder, relative_error
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel

from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Budget
from reasonrl.learner.sharing import passes
from reasonrl.models.load import load_classifier
from reasonrl.preference.encoding import scored_sample
from reasonrl.preference.objectives import (
    BradleyTerryObjective,
    LabelSample,
    OutcomeObjective,
    PairSample,
    bootstrap_counts,
)
from reasonrl.preference.order import BatchOrder
from reasonrl.types import TrainingSample

few = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a language model whose padding token is its end token."""
    folder = tmp_path_factory.mktemp("backbone")
    model = small_llama()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(0.25)  # wide weights cost a digit of precision
    model.save_pretrained(folder)
    return str(folder)


def classifier(backbone: str, num_heads: int = 1) -> PreTrainedModel:
    torch.manual_seed(3)
    return load_classifier(backbone, torch.device("cpu"), num_labels=num_heads)


def bradley_terry(model: PreTrainedModel, **changes: Any) -> BradleyTerryObjective:
    """Any: arguments of the objective."""
    fields: dict[str, Any] = {"model": model, "dtype": torch.float32, "head_weights": {}}
    return BradleyTerryObjective(**{**fields, **changes})


def outcome(model: PreTrainedModel, **changes: Any) -> OutcomeObjective:
    """Any: arguments of the objective."""
    fields: dict[str, Any] = {"model": model, "dtype": torch.float32, "head_weights": {}}
    return OutcomeObjective(**{**fields, **changes})


@cache
def samples(seed: int = 0) -> tuple[PairSample, ...]:
    """Pairs of three prompts, some with a completion that another pair has too, with and without a margin."""
    random = Random(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        return tuple(random.randrange(len(VOCABULARY)) for _ in range(random.randint(1, longest)))

    pairs = []
    for name, count in (("a", 1), ("b", 3), ("c", 2)):
        prompt, best = tokens(6), (*tokens(9), 0)
        for number in range(count):
            margin = random.uniform(0, 2) if number else 0.0
            chosen, rejected = scored_sample(prompt, best), scored_sample(prompt, (*tokens(9), 0))
            pairs.append(PairSample(prompt=name, chosen=chosen, rejected=rejected, margin=margin))
    return tuple(pairs)


def plain_score(model: PreTrainedModel, sample: TrainingSample) -> Tensor:
    """The scores [K] of a completion by one forward pass over it alone, read at its last position."""
    ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids[:-1]]])
    return model.get_submodule("score")(model.base_model(input_ids=ids).last_hidden_state[0, -1])


def recorded(objective: Any, given_samples: Sequence[Any], tokens: int = 10_000) -> tuple[Tensor, dict[str, float]]:
    """The gradient of one update and what was measured. Any: an objective with its samples."""
    config = run_config(learner={"microbatch_tokens": tokens}).learner
    one = Recorder(objective.model, objective, config, num_steps=10)
    measured = one.update(given_samples)
    return one.gradient, measured


def plain_gradient(loss: Tensor, model: PreTrainedModel) -> Tensor:
    parts = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


# Formulas.


def losses_of(objective: Any, given_samples: Sequence[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[float, Any]:
    """The loss of an update in which a completion's scores are its tokens but the last. Any: as above."""

    def scores(model: object, batch: Any, dtype: object) -> Tensor:
        return torch.tensor([continuation[:-2] for continuation in batch.continuations], dtype=torch.float32)

    monkeypatch.setattr("reasonrl.preference.objectives.head_scores", scores)
    measured, total = MetricAccumulator(), 0.0
    rows = objective.rows(given_samples)
    for one in passes(objective.model, rows, Budget(tokens=1, rows_per_unit=objective.rows_per_unit)):
        total += float(objective.losses(one.batch, measured).sum())
    return total, measured.metrics()


def scored(*scores: int) -> TrainingSample:
    """A completion that has these scores under the heads."""
    return scored_sample((1,), (*scores, 0))


def pair(prompt: str, chosen: int, rejected: int, margin: float = 0.0) -> PairSample:
    return PairSample(prompt=prompt, chosen=scored(chosen), rejected=scored(rejected), margin=margin)


def test_the_loss_of_a_pair_is_that_of_bradley_and_terry(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # -log sigmoid(3 - 1) = log(1 + e^-2) = 0.126928, the other way round 2.126928; a tie log 2
    given_samples = [pair("a", 3, 1), pair("b", 1, 3), pair("c", 2, 2)]
    loss, measured = losses_of(bradley_terry(classifier(backbone)), given_samples, monkeypatch)
    assert loss == pytest.approx((0.126928 + 2.126928 + math.log(2)) / 3, abs=1e-5)
    assert measured["rm/accuracy"] == pytest.approx(0.5)
    assert measured["rm/margin"] == pytest.approx(0.0)
    assert measured["rm/score_mean"] == pytest.approx(2.0)


def test_a_margin_is_taken_off_the_difference(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(backbone)
    loss, _ = losses_of(bradley_terry(model), [pair("a", 3, 1, margin=2.0)], monkeypatch)
    assert loss == pytest.approx(math.log(2))
    loss, _ = losses_of(bradley_terry(model, margin=False), [pair("a", 3, 1, margin=2.0)], monkeypatch)
    assert loss == pytest.approx(0.126928, abs=1e-5)


def test_centering_is_the_square_of_the_sum(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_samples = [pair("a", 3, 1), pair("b", 2, 2)]
    plain, _ = losses_of(bradley_terry(classifier(backbone)), given_samples, monkeypatch)
    centered, _ = losses_of(bradley_terry(classifier(backbone), centering=0.01), given_samples, monkeypatch)
    assert centered - plain == pytest.approx(0.01 * 16)


def test_prompts_count_alike_whatever_their_number_of_pairs(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_samples = [pair("a", 3, 1), pair("a", 3, 1), pair("a", 3, 1), pair("b", 1, 3)]
    loss, _ = losses_of(bradley_terry(classifier(backbone)), given_samples, monkeypatch)
    assert loss == pytest.approx((0.126928 + 2.126928) / 2, abs=1e-5)
    loss, _ = losses_of(bradley_terry(classifier(backbone), by_prompt=False), given_samples, monkeypatch)
    assert loss == pytest.approx((3 * 0.126928 + 2.126928) / 4, abs=1e-5)


@pytest.mark.parametrize(
    ("label", "score", "expected"), [(1.0, 2, 0.126928), (0.0, 2, 2.126928), (0.5, 0, 0.693147), (0.25, 2, 1.626928)]
)
def test_the_loss_of_a_label_is_its_cross_entropy(
    backbone: str, monkeypatch: pytest.MonkeyPatch, label: float, score: int, expected: float
) -> None:
    # 0.25 * log(1 + e^-2) + 0.75 * log(1 + e^2) = 1.626928
    sample = LabelSample(prompt="a", completion=scored(score), label=label)
    loss, measured = losses_of(outcome(classifier(backbone)), [sample, sample], monkeypatch)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert measured["rm/accuracy"] == {1.0: 1.0, 0.0: 0.0, 0.5: 0.5, 0.25: 0.0}[label]


def test_each_head_counts_its_own_sample_of_the_prompts(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_samples = [PairSample(prompt=prompt, chosen=scored(3, 1), rejected=scored(1, 3)) for prompt in ("a", "b")]
    weights = {"a": (2.0, 0.0), "b": (0.0, 1.0)}
    loss, measured = losses_of(bradley_terry(classifier(backbone, 2), head_weights=weights), given_samples, monkeypatch)
    # the first head is right everywhere and counts a twice, the second is wrong everywhere and counts b once
    assert loss == pytest.approx(((2 * 0.126928) / 2 + 2.126928 / 2) / 2, abs=1e-5)
    assert measured["rm/margin"] == pytest.approx(0.0)
    assert measured["rm/head_std"] == pytest.approx(1.0)


# Gradients, against one plain forward pass a completion.


@few
@given(tokens=st.integers(1, 400), seed=st.integers(0, 50))
def test_the_gradient_of_pairs_does_not_depend_on_micro_batches(backbone: str, tokens: int, seed: int) -> None:
    model, pairs = classifier(backbone, 2), samples(seed)
    weights = bootstrap_counts([one.prompt for one in pairs], 2, seed)
    objective = bradley_terry(model, centering=0.02, head_weights=weights)
    gradient, measured = recorded(objective, pairs, tokens)
    sizes = {name: sum(one.prompt == name for one in pairs) for name in "abc"}
    loss = torch.zeros(())
    for one in pairs:
        chosen_K, rejected_K = plain_score(model, one.chosen), plain_score(model, one.rejected)
        losses_K = -logsigmoid(chosen_K - rejected_K - one.margin) + 0.02 * (chosen_K + rejected_K) ** 2
        loss = loss + (losses_K * torch.tensor(weights[one.prompt])).mean() / (3 * sizes[one.prompt])
    assert measured["rm/loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert relative_error(gradient, plain_gradient(loss, model)) < 1e-5


@few
@given(tokens=st.integers(1, 400), seed=st.integers(0, 50))
def test_the_gradient_of_labels_does_not_depend_on_micro_batches(backbone: str, tokens: int, seed: int) -> None:
    model = classifier(backbone)
    labeled = [
        LabelSample(prompt=one.prompt, completion=one.rejected, label=number / 5)
        for number, one in enumerate(samples(seed))
    ]
    gradient, measured = recorded(outcome(model), labeled, tokens)
    scores_N1 = torch.stack([plain_score(model, one.completion) for one in labeled])
    labels_N1 = torch.tensor([[one.label] for one in labeled])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores_N1, labels_N1)
    assert measured["rm/loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert relative_error(gradient, plain_gradient(loss, model)) < 1e-5


def test_a_completion_of_several_pairs_is_computed_once(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs, seen = classifier(backbone), [one for one in samples() if one.prompt == "b"], list[int]()
    plain = model.base_model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        """Any: transformers' own."""
        seen.append(kwargs["input_ids"].shape[0])
        return plain(*args, **kwargs)

    monkeypatch.setattr(model.base_model, "forward", forward)
    recorded(bradley_terry(model), pairs)
    # one prompt for all, then the one chosen completion with the three rejected ones
    assert seen == [1, 4]


# The heads' own learning rate and their samples of the prompts.


def test_the_heads_learn_at_a_rate_of_their_own(backbone: str) -> None:
    from reasonrl.learner import Learner

    model = classifier(backbone)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    config = run_config(learner={"learning_rate": 1e-3, "adam_epsilon": 1e-15}).learner
    Learner(model, bradley_terry(model, head_rate_factor=10.0), config, num_steps=10).update(samples())
    # The first step of AdamW is the learning rate times the sign of the gradient, where epsilon is small.
    moved = {name: (after - before[name]).abs().max().item() for name, after in model.named_parameters()}
    assert moved.pop("score.weight") == pytest.approx(1e-2, rel=1e-3)
    assert max(moved.values()) == pytest.approx(1e-3, rel=1e-2)


def test_bootstrap_samples_draw_as_many_prompts_as_there_are() -> None:
    prompts = [f"p{number}" for number in range(300)]
    counts = bootstrap_counts([*prompts, *prompts[:7]], 3, seed=1)
    totals = [sum(row) for row in zip(*counts.values(), strict=True)]
    assert totals == [300.0] * 3
    never = fmean(value == 0 for row in counts.values() for value in row)
    assert never == pytest.approx(math.exp(-1), abs=0.05)
    assert bootstrap_counts(prompts[::-1], 3, seed=1) == counts
    assert {prompt: row[:2] for prompt, row in counts.items()} == bootstrap_counts(prompts, 2, seed=1)
    assert bootstrap_counts(prompts, 3, seed=2) != counts


# The order of the data.


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    prompts=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40),
    per_step=st.integers(1, 8),
    by_prompt=st.booleans(),
    seed=st.integers(0, 3),
)
def test_an_epoch_has_every_example_once_and_prompts_whole(
    prompts: list[str], per_step: int, by_prompt: bool, seed: int
) -> None:
    order = BatchOrder(prompts, per_step=per_step, by_prompt=by_prompt, seed=seed)
    steps = [order.at(step) for step in range(1, order.num_steps(1) + 1)]
    assert sorted(index for step in steps for index in step) == list(range(len(prompts)))
    if by_prompt:
        homes = [number for number, step in enumerate(steps) for _ in {prompts[index] for index in step}]
        assert len(homes) == len(set(prompts))
        assert all(len(step) <= per_step or len({prompts[index] for index in step}) == 1 for step in steps)
    else:
        assert [len(step) for step in steps[:-1]] == [per_step] * (len(steps) - 1)
    again = BatchOrder(prompts, per_step=per_step, by_prompt=by_prompt, seed=seed)
    last = order.num_steps(3)
    assert again.at(last) == [order.at(step) for step in range(1, last + 1)][-1]
    second = [index for step in range(len(steps) + 1, order.num_steps(2) + 1) for index in order.at(step)]
    assert sorted(second) == list(range(len(prompts)))


def test_part_of_an_epoch_is_whole_steps() -> None:
    order = BatchOrder([str(number) for number in range(100)], per_step=10, by_prompt=True, seed=0)
    assert [order.num_steps(epochs) for epochs in (0.01, 0.1, 0.25, 1, 1.2, 2)] == [1, 1, 3, 10, 12, 20]


def test_another_seed_or_epoch_is_another_order() -> None:
    def first(seed: int, step: int) -> list[int]:
        return BatchOrder([str(n) for n in range(100)], per_step=50, by_prompt=True, seed=seed).at(step)

    assert first(0, 1) != first(1, 1)
    assert first(0, 1) != first(0, 3)
