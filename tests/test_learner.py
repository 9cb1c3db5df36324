"""The gradient of an update: right, and the same however the update is cut."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    letter_tokenizer,
    logprob_model,
    policy_learner,
    run_config,
    small_llama,
    training_sample,
    training_samples,
)
from gradients import Recorder, flat_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.config.settings import RunConfig
from reasonrl.errors import RunError
from reasonrl.learner import Learner
from reasonrl.learner.logprobs import output_head, token_logprobs
from reasonrl.learner.optimizer import learning_rate_at
from reasonrl.types import TrainingSample, mean_advantage

both_paths = pytest.mark.parametrize("fast", [True, False], ids=["fast", "general"])


def on_path(fast: bool) -> dict[str, Any]:
    """Settings of the model of a run that takes the fast path, or not. Any: as above."""
    return {"name": "tiny", "fast_path": fast}


def learner(config: RunConfig, *, reference_seed: int | None = None, kind: type[Learner] = Learner) -> Any:
    """A learner of the kind asked for. Any: that kind."""
    reference = None if reference_seed is None else logprob_model(small_llama(seed=reference_seed))
    return policy_learner(small_llama(), config, reference=reference, kind=kind)


def gradient(samples: list[TrainingSample], *, reference_seed: int | None = None, **changes: Any) -> Tensor:
    """The gradient that one update with these samples sees, before clipping. Any: settings of the run."""
    one = learner(run_config(**changes), reference_seed=reference_seed, kind=Recorder)
    one.update(samples)
    return one.gradient


def slow_loss(samples: list[TrainingSample], reduction: str, max_new_tokens: int = 12) -> tuple[Tensor, Any]:
    """The loss of an update, one sample and one token at a time. Any: the model it has a gradient on."""
    model = small_llama()
    total_tokens = sum(len(sample.token_ids) for sample in samples)
    loss = torch.zeros(())
    for sample in samples:
        ids = torch.tensor([*sample.prompt_ids, *sample.token_ids])
        logprobs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        for offset, token in enumerate(sample.token_ids):
            logprob = logprobs[len(sample.prompt_ids) + offset - 1, token]
            weight = {
                "token_mean": 1 / total_tokens,
                "sequence_mean": 1 / (len(samples) * len(sample.token_ids)),
                "fixed_length": 1 / (len(samples) * max_new_tokens),
            }[reduction]
            loss = loss - weight * mean_advantage(sample.advantages_T) * (logprob - logprob.detach()).exp()
    return loss, model


def close(one: Tensor, other: Tensor, tolerance: float = 2e-6) -> bool:
    return float((one - other).norm() / other.norm()) < tolerance


@both_paths
@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "fixed_length"])
def test_the_gradient_is_that_of_the_loss_written_out(reduction: str, fast: bool) -> None:
    samples = training_samples(6)
    loss, model = slow_loss(samples, reduction)
    loss.backward()
    got = gradient(samples, algorithm={"preset": "grpo", "reduction": reduction}, model=on_path(fast))
    assert close(got, flat_gradient(model))


@settings(max_examples=15, deadline=None)
@given(tokens=st.integers(1, 120), order=st.permutations(range(6)))
def test_the_gradient_does_not_depend_on_micro_batches_or_sample_order(tokens: int, order: list[int]) -> None:
    samples = training_samples(6)
    shuffled = [samples[index] for index in order]
    got = gradient(shuffled, learner={"microbatch_tokens": tokens})
    assert close(got, gradient(samples, learner={"microbatch_tokens": 10_000}))


def test_samples_without_advantage_are_not_computed_but_count_in_the_average() -> None:
    samples = training_samples(6)
    without = [sample for sample in samples if sample.teaches]
    token_mean = {"preset": "grpo", "reduction": "token_mean"}
    share = sum(len(s.token_ids) for s in without) / sum(len(s.token_ids) for s in samples)
    assert share < 1
    got, alone = (gradient(chosen, algorithm=token_mean) for chosen in (samples, without))
    assert close(got, alone * share)


def test_a_step_in_which_nothing_is_useful_leaves_the_weights_alone() -> None:
    one = learner(run_config())
    before = copy.deepcopy(one.model.state_dict())
    assert "policy/grad_norm" not in one.update([training_sample((1,), (2,), 0.0)])
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    assert one.policy_version == 0


@both_paths
def test_the_first_ratio_is_exactly_one_with_several_minibatches(fast: bool) -> None:
    config = run_config(
        model=on_path(fast),
        learner={"minibatch_sequences": 8, "microbatch_tokens": 24, "learning_rate": 0.0},
    )
    measured = learner(config).update(training_samples(16))
    assert measured["ratio/mean"] == 1.0
    assert measured["ratio/max"] == 1.0


def test_later_minibatches_see_how_far_the_policy_moved() -> None:
    config = run_config(learner={"minibatch_sequences": 8, "learning_rate": 0.05})
    one = learner(config)
    assert one.update(training_samples(16))["ratio/max"] > 1.01
    assert one.policy_version == 2


def test_epochs_repeat_the_updates() -> None:
    one = learner(run_config(learner={"epochs": 3, "learning_rate": 0.01}))
    one.update(training_samples(6))
    assert one.policy_version == 3


def test_a_kl_term_pulls_towards_the_reference_even_without_advantages() -> None:
    algorithm = {"preset": "grpo", "kl_coefficient": 1.0}
    one = learner(run_config(algorithm=algorithm, learner={"learning_rate": 0.005}), reference_seed=1)
    flat = [replace(sample, advantages_T=0.0) for sample in training_samples(8)]
    measured = [one.update(flat)["policy/kl"] for _ in range(10)]
    assert measured[-1] < measured[0]


@pytest.mark.parametrize("term", ["kl_coefficient", "entropy_coefficient"])
def test_a_masked_completion_has_neither_divergence_nor_entropy_but_counts_in_the_average(term: str) -> None:
    algorithm = {"preset": "grpo", "reduction": "sequence_mean", term: 1.0}
    samples = [replace(sample, advantages_T=0.0) for sample in training_samples(8)]
    masked = [replace(sample, masked=index < 4) for index, sample in enumerate(samples)]
    reference = 1 if term == "kl_coefficient" else None
    got, alone = (gradient(chosen, algorithm=algorithm, reference_seed=reference) for chosen in (masked, samples[4:]))
    assert close(got, alone * 0.5)


def test_without_a_kl_term_no_reference_is_kept() -> None:
    assert not learner(run_config()).objective.needs_every_row


def test_logprobs_in_chunks_equal_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_llama()
    ids = torch.randint(1, 40, (3, 11))
    expected = (model(input_ids=ids).logits[:, :-1] / 0.7).log_softmax(-1).gather(-1, ids[:, 1:, None]).flatten()
    monkeypatch.setattr("reasonrl.learner.logprobs.CHUNK_LOGITS", 48 * 4)
    hidden = model.base_model(input_ids=ids).last_hidden_state[:, :-1].flatten(0, 1)
    got = token_logprobs(hidden, ids[:, 1:].flatten(), output_head(model), 0.7).logprobs_M
    assert torch.allclose(got, expected, atol=1e-5)


def test_no_more_logits_than_a_chunk_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_llama()
    widths: list[int] = []
    head = output_head(model)

    def watched(hidden: Tensor) -> Tensor:
        widths.append(len(hidden))
        return head(hidden)

    monkeypatch.setattr("reasonrl.learner.logprobs.CHUNK_LOGITS", 48 * 5)
    hidden = torch.randn(23, 32, requires_grad=True)
    token_logprobs(hidden, torch.randint(0, 48, (23,)), watched, 1.0).logprobs_M.sum().backward()
    assert max(widths) <= 5


def test_state_goes_on_bit_for_bit_after_saving(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = run_config(learner={"learning_rate": 0.01, "schedule": "linear", "warmup_steps": 1})
    straight = learner(config)
    straight.update(training_samples(6))
    straight.save_state(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    resumed = policy_learner(loaded, config)
    resumed.restore_state(tmp_path)
    for one in (straight, resumed):
        one.update(training_samples(6, seed=1))
    pairs = zip(straight.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_without_optimizer_state_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"learner\.pt"):
        learner(run_config()).restore_state(tmp_path)


def test_learning_rates_by_hand() -> None:
    base = run_config(learner={"learning_rate": 1.0, "warmup_steps": 2, "schedule": "linear"}).learner
    assert [learning_rate_at(u, 6, base) for u in range(6)] == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])
    cosine = base.model_copy(update={"schedule": "cosine", "warmup_steps": 0})
    assert learning_rate_at(3, 6, cosine) == pytest.approx(0.5)


def test_the_tokenizer_of_the_tests_has_a_token_a_letter() -> None:
    assert len(letter_tokenizer()("1 + 1?")["input_ids"]) == 6


def grouped_samples() -> list[TrainingSample]:
    """Two groups that share their prompts, of different lengths."""
    samples = training_samples(9)
    prompts = [(3, 4, 5, 6, 7, 8), (9, 10)]
    return [replace(sample, prompt_ids=prompts[number % 2]) for number, sample in enumerate(samples)]


@both_paths
@pytest.mark.parametrize("microbatch_tokens", [1, 40, 10_000])
def test_a_prompt_computed_once_for_its_group_gives_the_same_gradient(microbatch_tokens: int, fast: bool) -> None:
    samples = grouped_samples()
    loss, model = slow_loss(samples, "fixed_length")
    loss.backward()
    changes: dict[str, Any] = {"learner": {"microbatch_tokens": microbatch_tokens}, "model": on_path(fast)}
    got = gradient(samples, algorithm="dr_grpo", **changes)
    assert close(got, flat_gradient(model))


@both_paths
def test_gradient_checkpointing_gives_the_same_gradient(fast: bool) -> None:
    samples = grouped_samples()
    checkpointed = learner(run_config(algorithm="dr_grpo", model=on_path(fast)), kind=Recorder)
    checkpointed.model.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed.update(samples)
    assert close(checkpointed.gradient, gradient(samples, algorithm="dr_grpo"))
