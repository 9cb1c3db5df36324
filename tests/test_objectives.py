"""The learner serves any objective: one for supervised tokens and one for pairs, against plain torch."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from builders import VOCABULARY, logprob_model, run_config, training_sample
from gradients import Recorder, even_llama, exact_logprobs, random_step, relative_error
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from objectives import BradleyTerry, Supervised, scoring_head
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from reasonrl.learner import Learner
from reasonrl.learner.objectives import Objective
from reasonrl.types import TrainingSample

Pair = tuple[TrainingSample, TrainingSample]
few = settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])


def learner(objective: Objective, model: PreTrainedModel, kind: type[Learner] = Learner, **changes: Any) -> Any:
    """A learner of the kind asked for. Any: that kind, and settings of the learner."""
    return kind(model, objective, run_config(learner=changes).learner, num_steps=10)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


# Supervised tokens.


@few
@given(tokens=st.integers(1, 150))
def test_the_gradient_of_supervised_tokens_is_that_of_plain_torch(tokens: int) -> None:
    samples, model = random_step(2).samples, even_llama()
    one = learner(Supervised(logprob_model(model)), model, Recorder, microbatch_tokens=tokens)
    measured = one.update(samples)
    loss = -torch.cat([exact_logprobs(model, sample, 1.0) for sample in samples]).mean()
    assert relative_error(one.gradient, flat(torch.autograd.grad(loss, list(model.parameters())))) < 1e-5
    for name in ("sft/loss", "sft/negative_logprob"):
        assert measured[name] == pytest.approx(loss.item(), rel=1e-5)


def test_supervised_tokens_become_likely() -> None:
    model, samples = copy.deepcopy(even_llama()), [training_sample((3, 4), (5, 6, 7, 0))]
    one = learner(Supervised(logprob_model(model)), model, learning_rate=0.01)
    losses = [one.update(samples)["sft/loss"] for _ in range(20)]
    assert losses[-1] < 0.1 < 1.0 < losses[0]
    assert one.policy_version == 20


# Pairs.


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Pairs of completions of various lengths; some prompts come several times, and only the last token counts."""
    random = Random(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        return tuple(random.randrange(1, len(VOCABULARY)) for _ in range(random.randint(1, longest)))

    prompts = [tokens(6) for _ in range(3)]

    def sample(prompt: tuple[int, ...]) -> TrainingSample:
        said = (*tokens(9), 0)
        return training_sample(prompt, said, mask=(*(False for _ in said[1:]), True))

    return [(sample(prompt), sample(prompt)) for prompt in random.choices(prompts, k=count)]


def plain_loss(model: PreTrainedModel, head: nn.Linear, given: Sequence[Pair]) -> Tensor:
    """The loss by one forward pass a completion."""

    def score(sample: TrainingSample) -> Tensor:
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids[:-1]]])
        return head(model.base_model(input_ids=ids).last_hidden_state[0, -1])[0]

    margins = torch.stack([score(preferred) - score(other) for preferred, other in given])
    return -nn.functional.logsigmoid(margins).mean()


@few
@given(tokens=st.integers(1, 300), seed=st.integers(0, 100))
def test_the_gradient_of_pairs_is_that_of_plain_torch_with_the_head_included(tokens: int, seed: int) -> None:
    model, given = even_llama(), pairs(7, seed)
    head = scoring_head(model)
    one = learner(BradleyTerry(model, head), model, Recorder, microbatch_tokens=tokens)
    measured = one.update(given)
    loss = plain_loss(model, head, given)
    expected = flat(torch.autograd.grad(loss, [*model.parameters(), *head.parameters()], materialize_grads=True))
    assert relative_error(one.gradient, expected) < 1e-5
    assert measured["preference/loss"] == pytest.approx(loss.item(), rel=1e-5)


@settings(deadline=None)
@given(tokens=st.integers(1, 300), seed=st.integers(0, 100))
def test_pairs_are_never_separated(tokens: int, seed: int) -> None:
    model, given = even_llama(), pairs(6, seed)
    objective = BradleyTerry(model, scoring_head(model))
    one = learner(objective, model, microbatch_tokens=tokens)
    batches = [each.batch for each in one.passes(objective.rows(given))]
    met = [
        tokens for batch in batches for tokens in zip(batch.continuations[0::2], batch.continuations[1::2], strict=True)
    ]
    assert sorted(met) == sorted((preferred.token_ids, other.token_ids) for preferred, other in given)
    if tokens == 1:
        assert len(batches) == len(given)


def test_preferences_are_learned_in_minibatches_of_pairs() -> None:
    model, given = copy.deepcopy(even_llama()), pairs(8)
    objective = BradleyTerry(model, scoring_head(model))
    one = learner(objective, model, minibatch_sequences=4, epochs=2, learning_rate=0.003)
    measured = [one.update(given) for _ in range(10)]
    assert one.policy_version == 10 * 2 * 2
    assert measured[-1]["preference/accuracy"] == 1.0
    assert measured[-1]["preference/loss"] < 0.5 * measured[0]["preference/loss"]
    expected = ("accuracy", "loss", "grad_norm", "update", "learning_rate")
    assert measured[0].keys() == {f"preference/{name}" for name in expected}


def test_a_head_has_a_learning_rate_of_its_own() -> None:
    # The first step of AdamW is the learning rate times the sign of the gradient, where epsilon is small.
    model = copy.deepcopy(even_llama())
    head = scoring_head(model)
    before, weights = head.weight.detach().clone(), copy.deepcopy(dict(model.named_parameters()))
    learner(BradleyTerry(model, head), model, learning_rate=1e-3, adam_epsilon=1e-15).update(pairs(8))
    assert (head.weight - before).abs().max().item() == pytest.approx(1e-2, rel=1e-3)
    moved = [(weight - weights[name]).abs().max().item() for name, weight in model.named_parameters()]
    assert max(moved) == pytest.approx(1e-3, rel=1e-2)


def test_the_head_counts_in_the_norm_that_is_clipped() -> None:
    model = copy.deepcopy(even_llama())
    head = scoring_head(model)
    parts = torch.autograd.grad(
        plain_loss(model, head, pairs(5)), [*model.parameters(), *head.parameters()], materialize_grads=True
    )
    measured = learner(BradleyTerry(model, head), model).update(pairs(5))
    assert measured["preference/grad_norm"] == pytest.approx(flat(parts).norm().item(), rel=1e-5)


def test_a_checkpoint_goes_on_bit_for_bit_with_the_head(tmp_path: Path) -> None:
    model = copy.deepcopy(even_llama())
    straight = learner(BradleyTerry(model, scoring_head(model)), model, learning_rate=0.01)
    straight.update(pairs(5))
    straight.save_state(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    resumed = learner(BradleyTerry(loaded, scoring_head(loaded, seed=1)), loaded, learning_rate=0.01)
    resumed.restore_state(tmp_path)
    for one in (straight, resumed):
        one.update(pairs(5, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(straight._parameters, resumed._parameters, strict=True))
