"""The gradient of an update is one thing, however the update is computed: 1e-6 relative in float32.

Cut into micro-batches of any size, packed in any way, in any order, with prompts shared or computed for every row,
padded on either side with anything, with useless samples computed or skipped. The samples are trajectories of one or
of several segments, with one advantage or one for each token. Over several processes: ``test_parallel.py``. Against the
loss written out token by token: ``test_presets.py``, ``test_learner.py`` and ``test_trajectories.py``.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from builders import VOCABULARY, run_config
from gradients import METHODS, Step, even_llama, gradient, learner, random_step, relative_error
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig, PreTrainedModel

from reasonrl.learner import forward, sharing
from reasonrl.learner.batching import Budget, Microbatch, Row
from reasonrl.learner.objectives import PolicyObjective

TOLERANCE = 1e-6
# The same examples every time: rounding is no reason for a test to fail once a year. A smaller seed is no simpler.
few = settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
seeds = st.integers(0, 10_000)
every_method = pytest.mark.parametrize("method", METHODS)
both_paths = pytest.mark.parametrize("fast", [True, False], ids=["fast", "general"])


@cache
def small_gpt2() -> PreTrainedModel:
    """Learned positions: a wrong position is a wrong hidden state."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(VOCABULARY), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=0
    )
    return AutoModelForCausalLM.from_config(config).eval()


@cache
def small_mistral() -> PreTrainedModel:
    """Attention over the last 4 tokens only: a cache that keeps no more than those."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
        eos_token_id=0,
    )
    return AutoModelForCausalLM.from_config(config).eval()


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": even_llama,
    "gpt2": small_gpt2,
    "mistral, sliding window": small_mistral,
}


def patched(place: Any, name: str, value: Any, compute: Callable[[], Tensor]) -> Tensor:
    """Compute something while a function of the learner is another one. Any: a module or a class, and its part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, value)
        return compute()


@every_method
@both_paths
@few
@given(seed=seeds, tokens=st.integers(1, 150))
def test_micro_batch_size(method: str, fast: bool, seed: int, tokens: int) -> None:
    step = random_step(seed)
    cut = gradient(step, METHODS[method], fast=fast, learner={"microbatch_tokens": tokens})
    assert relative_error(cut, gradient(step, METHODS[method], fast=fast)) < TOLERANCE


@every_method
@both_paths
@few
@given(seed=seeds, random=st.randoms(use_true_random=False))
def test_packing(method: str, fast: bool, seed: int, random: Random) -> None:
    """Any rows may share a micro-batch, in any order, groups torn apart."""

    def at_random(rows: Sequence[Row], budget: Budget) -> Iterator[list[int]]:
        indices = random.sample(range(len(rows)), len(rows))
        while indices:
            size = random.randint(1, len(indices))
            yield indices[:size]
            indices = indices[size:]

    step = random_step(seed)
    packed = patched(sharing, "packed", at_random, lambda: gradient(step, METHODS[method], fast=fast))
    assert relative_error(packed, gradient(step, METHODS[method], fast=fast)) < TOLERANCE


@every_method
@both_paths
@few
@given(seed=seeds, random=st.randoms(use_true_random=False))
def test_sample_order(method: str, fast: bool, seed: int, random: Random) -> None:
    step = random_step(seed)
    shuffled = Step(random.sample(step.samples, len(step.samples)), step.old)
    got = gradient(shuffled, METHODS[method], fast=fast, learner={"microbatch_tokens": 60})
    assert relative_error(got, gradient(step, METHODS[method], fast=fast)) < TOLERANCE


@every_method
@few
@given(seed=seeds)
def test_shared_prefix(method: str, seed: int) -> None:
    step = random_step(seed)
    separate = patched(forward, "_shared", forward._separate, lambda: gradient(step, METHODS[method], fast=False))
    assert relative_error(separate, gradient(step, METHODS[method], fast=False)) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@few
@given(seed=seeds)
def test_shared_prefix_in_other_architectures(family: str, seed: int) -> None:
    step = random_step(seed, FAMILIES[family])

    def compute() -> Tensor:
        return gradient(step, "grpo", model=FAMILIES[family](), fast=False)

    assert relative_error(patched(forward, "_shared", forward._separate, compute), compute()) < TOLERANCE


@every_method
@few
@given(seed=seeds, filling=st.integers(1, len(VOCABULARY) - 1), layout=st.sampled_from(["_shared", "_separate"]))
def test_padding_content(method: str, seed: int, filling: int, layout: str) -> None:
    """What stands in padded positions does not matter (trl PR 6654): the learner's own filling is token 0."""
    original = forward.padded

    def filled(rows: Sequence[tuple[int, ...]], *, left: bool) -> tuple[Tensor, Tensor]:
        ids_NT, mask_NT = original(rows, left=left)
        return ids_NT.where(mask_NT.bool(), torch.full_like(ids_NT, filling)), mask_NT

    step = random_step(seed)
    laid_out = getattr(forward, layout)
    got = patched(
        forward,
        "_shared",
        laid_out,
        lambda: patched(forward, "padded", filled, lambda: gradient(step, METHODS[method], fast=False)),
    )
    assert relative_error(got, gradient(step, METHODS[method], fast=False)) < TOLERANCE


def left_padded(model: PreTrainedModel, batch: Microbatch) -> Tensor:
    """Hidden states of rows padded on the left, under a mask: a layout that the learner does not use."""
    rows = zip(batch.prompt_of_row, batch.continuations, strict=True)
    ids_NT, mask_NT = forward.padded([(*batch.prompts[number], *ids[:-1]) for number, ids in rows], left=True)
    positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0)
    output = model.base_model(input_ids=ids_NT, attention_mask=mask_NT, position_ids=positions_NT, use_cache=False)
    lengths = [*map(len, batch.continuations)]
    ends = [row[-length:] for row, length in zip(output.last_hidden_state, lengths, strict=True)]
    return torch.stack([torch.nn.functional.pad(end, (0, 0, 0, max(lengths) - len(end))) for end in ends])


@every_method
@few
@given(seed=seeds)
def test_padding_side(method: str, seed: int) -> None:
    """Left, right, or as the learner does it, prompts on the left and completions on the right."""
    step = random_step(seed)
    expected = gradient(step, METHODS[method], fast=False)
    for layout in (left_padded, forward._separate):
        got = patched(forward, "_shared", layout, lambda: gradient(step, METHODS[method], fast=False))
        assert relative_error(got, expected) < TOLERANCE


@every_method
@few
@given(seed=seeds)
def test_samples_that_cannot_matter_may_be_skipped(method: str, seed: int) -> None:
    step = random_step(seed)
    everything = patched(
        PolicyObjective, "needs_every_row", property(lambda self: True), lambda: gradient(step, METHODS[method])
    )
    assert relative_error(everything, gradient(step, METHODS[method])) < TOLERANCE


def parameters_after(step: Step, method: str, microbatch_tokens: int) -> Tensor:
    """The policy after two steps of two epochs of minibatches."""
    # A large epsilon: AdamW divides by the gradient's size, which makes rounding of tiny gradients a full step.
    changes = {"minibatch_sequences": 4, "epochs": 2, "learning_rate": 0.01, "adam_epsilon": 1e-2}
    config = run_config(algorithm=METHODS[method], learner={**changes, "microbatch_tokens": microbatch_tokens})
    one = learner(config, copy.deepcopy(even_llama()))
    for _ in range(2):
        one.update(step.samples)
    return torch.cat([parameter.detach().flatten() for parameter in one.model.parameters()])


@pytest.mark.parametrize("method", ["grpo", "gspo", "cispo", "grpo with a divergence"])
@few
@given(seed=seeds, tokens=st.integers(1, 150))
def test_whole_steps_of_several_updates(method: str, seed: int, tokens: int) -> None:
    """Old log-probabilities come from the same micro-batches, so cutting them changes nothing either."""
    step = random_step(seed)
    cut, whole = (parameters_after(step, method, budget) for budget in (tokens, 10_000))
    assert relative_error(cut, whole) < TOLERANCE


class WidestLogits(TorchDispatchMode):
    """Notes the most positions in any tensor that has the vocabulary as an axis; the output embedding apart."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vocabulary, self.width, self.positions = vocabulary, width, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Any: whatever the operation takes and returns.
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor) and self.vocabulary in value.shape and self.width not in value.shape:
                self.positions = max(self.positions, value.numel() // self.vocabulary)
        return result


@both_paths
@pytest.mark.parametrize("method", ["gspo", "grpo with a divergence", "dapo with entropy"])
def test_no_tensor_of_a_whole_update_holds_more_logits_than_a_group(
    method: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, backward, entropy, reference, old log-probabilities: none has all tokens' logits (trl issue 3678)."""
    vocabulary, chunk, step = len(VOCABULARY), 4, random_step(3)
    monkeypatch.setattr("reasonrl.models.fast.head.GROUP_LOGITS", vocabulary * chunk)
    rollout = {"prompts_per_step": 3, "samples_per_prompt": 4, "max_new_tokens": 12}
    changes = {"learner": {"minibatch_sequences": 3, "epochs": 2}, "model": {"name": "tiny", "fast_path": fast}}
    config = run_config(algorithm=METHODS[method], rollout=rollout, **changes)
    one = learner(config, copy.deepcopy(even_llama()))
    with WidestLogits(vocabulary, one.model.config.hidden_size) as watched:
        one.update(step.samples)
    # Fewer tokens than the hidden states are wide: no logits can be mistaken for the embedding.
    most = max(sum(s.num_loss_tokens for s in step.samples[at : at + 3]) for at in range(0, len(step.samples), 3))
    assert 3 * chunk < most < one.model.config.hidden_size
    assert 0 < watched.positions <= chunk
