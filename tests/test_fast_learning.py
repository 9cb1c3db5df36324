"""The fast path of learning gives what the general way gives, for every family, in bounded memory."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from builders import VOCABULARY, logprob_model, small_llama, training_sample
from gradients import METHODS, gradient, random_step, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from reasonrl.config.settings import OptimizerSettings
from reasonrl.errors import ModelError
from reasonrl.learner import logprobs
from reasonrl.learner.batching import Budget, Microbatch, Row, collate, packed
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.optimizer import decayed_groups, make_optimizer
from reasonrl.models.compute import Compute
from reasonrl.models.fast import attention, functions, head, padded
from reasonrl.models.fast.attention import KernelAttention, TiledAttention
from reasonrl.models.fast.family import Projection, family_of, reason_against
from reasonrl.models.fast.forward import flat_model
from reasonrl.models.fast.layout import Layout, lay_out

SIZES: Mapping[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
CONFIGS: Mapping[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES),
    "llama, tied, heads not grouped": lambda: LlamaConfig(
        **{**SIZES, "num_key_value_heads": 4}, tie_word_embeddings=True
    ),
    "llama 3 angles, biases": lambda: LlamaConfig(
        **SIZES,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3, wide heads": lambda: Qwen3Config(**SIZES, head_dim=16),
    "gemma": lambda: GemmaConfig(**SIZES, head_dim=16),
}
"""A configuration of every family. Any: what transformers takes."""

every_family = pytest.mark.parametrize("name", CONFIGS)


@cache
def family_model(name: str) -> PreTrainedModel:
    """A random model in which every parameter matters: no bias is 0, and no norm's weight is that of its start."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0) if parameter.ndim >= 2 else parameter.add_(torch.randn_like(parameter) / 4)
    return model


def rows_of(seed: int = 0, *, prompts: int = 3, longest: int = 9) -> list[Row]:
    """Groups of uneven rows that share prompts, not in their order; single tokens and chosen ones among them."""
    random = Random(seed)

    def tokens(most: int) -> tuple[int, ...]:
        return tuple(random.randrange(len(VOCABULARY)) for _ in range(random.randint(1, most)))

    samples = []
    for prompt in [tokens(longest) for _ in range(prompts)]:
        for ids in [tokens(longest) for _ in range(random.randint(1, 4))] + [tokens(1)]:
            mask = [random.random() < 0.7 for _ in ids]
            mask[random.randrange(len(ids))] = True
            chosen = tuple(mask) if random.random() < 0.5 else (True,) * len(ids)
            samples.append(training_sample(prompt, ids, random.gauss(0, 1), mask=chosen))
    return [Row(sample=sample, weight=1.0) for sample in random.sample(samples, len(samples))]


def batch_of(rows: Sequence[Row], device: str = "cpu") -> Microbatch:
    return collate(rows, torch.device(device))


def values_and_gradients(
    model: LogprobModel, batch: Microbatch, *, with_entropy: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities, then entropies, and the gradient of a sum of them with various weights."""
    model.model.zero_grad(set_to_none=True)
    found = model.logprobs(batch, with_entropy=with_entropy)
    values = torch.cat([each for each in found if each is not None])
    torch.autograd.backward((values * torch.linspace(-1, 2, len(values))).sum())
    gradients = {name: p.grad.clone() for name, p in model.model.named_parameters() if p.grad is not None}
    model.model.zero_grad(set_to_none=True)
    return values.detach(), gradients


def largest_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Of any parameter's gradient, as a share of that."""
    assert ours.keys() == theirs.keys()
    return max(relative_error(ours[name], theirs[name]) for name in theirs)


def both_ways(
    model: PreTrainedModel, rows: Sequence[Row], temperature: float = 0.7, **asked: bool
) -> tuple[tuple[Tensor, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]:
    fast, general = (logprob_model(model, temperature, fast=fast) for fast in (True, False))
    assert fast.flat is not None
    assert general.flat is None
    batch = batch_of(rows)
    return values_and_gradients(fast, batch, **asked), values_and_gradients(general, batch, **asked)


@every_family
@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("longest_filled", [0, 256])
def test_values_and_every_gradient_equal_those_of_the_general_way(
    name: str, longest_filled: int, with_entropy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padded, "LONGEST", longest_filled)
    (ours, our_gradients), (theirs, their_gradients) = both_ways(
        family_model(name), rows_of(), with_entropy=with_entropy
    )
    assert relative_error(ours, theirs) < 1e-5
    assert largest_error(our_gradients, their_gradients) < 1e-5


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tile=st.sampled_from([16, 200, 4000, 2**19]),
    together=st.sampled_from([1, 7, 64]),
    piece=st.sampled_from([1, 300, 2**18]),
    longest_filled=st.sampled_from([0, 256]),
)
def test_the_ways_are_equal_whatever_the_rows_and_wherever_tiles_and_pieces_end(
    seed: int, tile: int, together: int, piece: int, longest_filled: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padded, "LONGEST", longest_filled)
        patch.setattr(functions, "PIECE", piece)
        patch.setattr(attention, "TILE", tile)
        patch.setattr(attention, "TOGETHER", together)
        (ours, our_gradients), (theirs, their_gradients) = both_ways(
            family_model("qwen2"), rows_of(seed, prompts=1 + seed % 3, longest=30)
        )
    assert relative_error(ours, theirs) < 1e-5
    assert largest_error(our_gradients, their_gradients) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_an_update_is_that_of_the_general_way(method: str) -> None:
    step = random_step(11)
    ours, theirs = (gradient(step, METHODS[method], fast=fast) for fast in (True, False))
    assert relative_error(ours, theirs) < 1e-6


@pytest.mark.parametrize("name", ["llama", "qwen3, wide heads", "gemma"])
def test_checkpointing_keeps_the_states_between_layers_alone_and_changes_no_bit(name: str) -> None:
    batch, plain, saving = batch_of(rows_of()), family_model(name), copy.deepcopy(family_model(name))
    saving.gradient_checkpointing_enable({"use_reentrant": False})
    kept, found = [], []
    for model in (plain, saving):
        fast = logprob_model(model)
        found.append(values_and_gradients(fast, batch))
        with SavedElements(model) as saved:
            fast.logprobs(batch)
        kept.append(saved.elements)
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(found[0][1][each], found[1][1][each]) for each in found[0][1])
    assert kept[1] < kept[0] / 2


class SavedElements:
    """Counts the elements of tensors that are kept for the backward pass, a shared one once, parameters apart."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._seen = {parameter.data_ptr() for parameter in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)
        self.elements = 0

    def _note(self, tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in self._seen:
            self._seen.add(tensor.data_ptr())
            self.elements += tensor.numel()
        return tensor

    def __enter__(self) -> "SavedElements":
        self._hooks.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._hooks.__exit__(*raised)


def test_what_is_kept_grows_with_tokens_alone() -> None:
    """Neither with the square of a length, nor with how often a prompt is shared."""
    model, kept = logprob_model(small_llama(max_position_embeddings=4096)), []
    for length in (300, 600):
        prompt, ids = tuple(range(1, 41)), tuple(1 + number % 40 for number in range(length + 1))
        rows = [Row(sample=training_sample(prompt, ids), weight=1.0) for _ in range(3)]
        with SavedElements(model.model) as saved:
            model.logprobs(batch_of(rows))
        kept.append(saved.elements / (40 + 3 * length))
    assert kept[1] == pytest.approx(kept[0], rel=0.1)


class LargestTensor(TorchDispatchMode):
    """Notes the elements of the largest tensor that is made."""

    def __init__(self, *, wide: int = 0) -> None:
        super().__init__()
        self.elements, self._wide = 0, wide

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Any: whatever the operation takes and returns.
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor) and (not self._wide or self._wide in value.shape):
                self.elements = max(self.elements, value.numel())
        return result


def layout_of(lengths: Sequence[tuple[int, Sequence[int]]]) -> Layout:
    """A layout of prompts of some lengths, each with the lengths of its continuations."""
    owner = [number for number, (_, rows) in enumerate(lengths) for _ in rows]
    continuations = [(1,) * (length + 1) for _, rows in lengths for length in rows]
    prompts = [(1,) * length for length, _ in lengths]
    return lay_out(prompts, owner, continuations, [None] * len(owner), torch.device("cpu"))


@pytest.mark.parametrize("lengths", [[(7, [900, 5])], [(900, [3] * 40)], [(2, [3] * 200), (500, [700, 1, 400])]])
def test_attention_never_holds_more_scores_than_a_tile(
    lengths: list[tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "TILE", 2**14)
    monkeypatch.setattr(attention, "TOGETHER", 16)
    family, layout = family_of(small_llama()), layout_of(lengths)
    assert family is not None
    tiled = TiledAttention(layout, family)
    heads = torch.randn(len(layout.ids_T), 8 * 8, requires_grad=True)
    with LargestTensor() as largest:
        tiled(heads).sum().backward()
    assert 0 < largest.elements <= max(2**14, heads.numel())
    for tile in tiled.tiles:
        keys = sum(place.stop - place.start for place in tile.keys)
        assert (tile.queries.stop - tile.queries.start) * keys * family.num_heads <= 2**14


def test_tiles_cover_every_pair_that_may_attend_once_and_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the time of attention goes with the pairs, and rows of uneven lengths cost no padding."""
    monkeypatch.setattr(attention, "TILE", 2**14)
    family = family_of(small_llama())
    assert family is not None
    layout = layout_of([(50, [300, 17, 200]), (3, [40] * 5), (130, [1, 0, 2])])
    seen = torch.zeros(len(layout.ids_T), len(layout.ids_T))
    computed = 0
    for tile in TiledAttention(layout, family).tiles:
        first = 0
        for place in tile.keys:
            stop = first + place.stop - place.start
            mask = 0.0 if tile.mask is None else tile.mask[: tile.queries.stop - tile.queries.start, first:stop]
            seen[tile.queries, place] += torch.exp(torch.as_tensor(mask))
            first = stop
        computed += (tile.queries.stop - tile.queries.start) * first
    wanted = torch.zeros_like(seen)
    spans = [(range(0), span) for span in layout.prompts]
    spans += [(layout.prompts[owner], span) for owner, span in zip(layout.prompt_of, layout.continuations, strict=True)]
    for before, span in spans:
        wanted[span.start : span.stop, before.start : before.stop] = 1
        wanted[span.start : span.stop, span.start : span.stop] = torch.ones(len(span), len(span)).tril()
    assert torch.equal(seen, wanted)
    assert computed <= 1.3 * wanted.sum() + attention.TOGETHER * len(layout.ids_T)


def one_row_at_a_time(
    q: Tensor, k: Tensor, v: Tensor, ends_q: Tensor, ends_k: Tensor, most_q: int, most_k: int, **settings: Any
) -> Tensor:
    """What torch says that its kernel for sequences of various lengths computes. Any: its settings."""
    assert settings == {"window_size": (-1, 0), "enable_gqa": True}
    read, queries, keys = [], ends_q.tolist(), ends_k.tolist()
    for at in range(len(queries) - 1):
        rows = [part[places[at] : places[at + 1]] for part, places in ((q, queries), (k, keys), (v, keys))]
        assert len(rows[0]) <= most_q
        assert len(rows[1]) <= most_k
        causal = torch.ones(len(rows[0]), len(rows[1]), dtype=torch.bool).tril(len(rows[1]) - len(rows[0]))
        one_q, one_k, one_v = (part.transpose(0, 1)[None] for part in rows)
        out = torch.nn.functional.scaled_dot_product_attention(one_q, one_k, one_v, causal, enable_gqa=True)
        read.append(out[0].transpose(0, 1))
    return torch.cat(read)


def test_the_kernel_of_gpus_is_given_what_the_tiles_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_row_at_a_time)
    family, layout = family_of(small_llama()), layout_of([(5, [3, 0, 8]), (2, [1]), (7, [])])
    assert family is not None
    heads = torch.randn(len(layout.ids_T), 8 * 8, requires_grad=True)
    weights = torch.randn(len(layout.ids_T), 4 * 8)
    found = []
    for attend in (KernelAttention(layout, family), TiledAttention(layout, family)):
        read = attend(heads)
        found.append((read, *torch.autograd.grad((read * weights).sum(), heads)))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("kept", [0, 48 * 7, 2**27])
def test_logits_that_are_kept_and_those_that_are_computed_again_give_the_same(
    kept: int, with_entropy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = logprob_model(small_llama(), 0.7), batch_of(rows_of())
    expected, gradients = values_and_gradients(model, batch, with_entropy=with_entropy)
    monkeypatch.setattr(head, "GROUP_LOGITS", len(VOCABULARY) * 3)
    monkeypatch.setattr(head, "KEPT_LOGITS", kept)
    with LargestTensor(wide=len(VOCABULARY)) as largest:
        got, got_gradients = values_and_gradients(model, batch, with_entropy=with_entropy)
    assert torch.allclose(got, expected, atol=1e-6)
    assert largest_error(got_gradients, gradients) < 1e-6
    assert largest.elements == len(VOCABULARY) * 32  # the head's own gradient


@pytest.mark.parametrize("kept", [0, 48 * 7, 48 * 100])
def test_no_more_logits_are_kept_for_the_backward_pass_than_a_constant(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "GROUP_LOGITS", len(VOCABULARY) * 3)
    monkeypatch.setattr(head, "KEPT_LOGITS", kept)
    hidden, weight = torch.randn(50, 4, requires_grad=True), torch.randn(len(VOCABULARY), 4)
    found = head.head_logprobs(hidden, torch.zeros(50, dtype=torch.long), weight, torch.float32, 1.0)
    node: Any = found.logprobs_M.grad_fn  # Any: torch's, with what the function noted
    assert kept / 2 <= sum(values.numel() for values in node.kept.values()) <= kept
    with torch.no_grad():
        assert head.head_logprobs(hidden, torch.zeros(50, dtype=torch.long), weight, torch.float32, 1.0)[1] is None


def test_peaked_distributions_have_finite_entropies_and_gradients() -> None:
    hidden = torch.full((3, 2), 1000.0, requires_grad=True)
    weight = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.9, 0.9]], requires_grad=True)
    found = head.head_logprobs(hidden, torch.tensor([0, 1, 2]), weight, torch.float32, 1.0, with_entropy=True)
    assert found.entropies_M is not None
    torch.autograd.backward((found.logprobs_M + found.entropies_M).sum())
    assert found.logprobs_M.tolist() == pytest.approx([0.0, -4000.0, -200.0])
    assert found.entropies_M.tolist() == pytest.approx([0.0] * 3)
    assert hidden.grad is not None
    assert bool(hidden.grad.isfinite().all())


@every_family
@pytest.mark.parametrize("longest_filled", [0, 256])
def test_bfloat16_is_no_farther_from_float32_than_autocast_is(
    name: str, longest_filled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padded, "LONGEST", longest_filled)
    model, rows = family_model(name), rows_of(3, prompts=6, longest=20)
    batch = batch_of(rows)
    exact, exact_gradients = values_and_gradients(logprob_model(model, fast=False), batch)
    errors = []
    for fast in (True, False):
        way = logprobs.logprob_model(model, Compute(dtype=torch.bfloat16, fast=fast), 1.0)
        got, gradients = values_and_gradients(way, batch)
        flat, exact_flat = (torch.cat([each.flatten() for each in of.values()]) for of in (gradients, exact_gradients))
        errors.append((float((got - exact).square().mean().sqrt()), relative_error(flat, exact_flat)))
    assert errors[0][0] <= 1.1 * errors[1][0]
    assert errors[0][1] <= 1.1 * errors[1][1]


@settings(max_examples=40, deadline=None)
@given(
    sequences=st.integers(1, 5),
    queries=st.integers(1, 6),
    before=st.integers(0, 4),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 2), (3, 1)]),
    is_shared=st.booleans(),
    scores=st.sampled_from([1, 50, 2**19]),
    seed=st.integers(0, 1000),
)
def test_the_backward_pass_of_attention_in_bfloat16_is_exact_where_it_is_not_rounded(
    sequences: int, queries: int, before: int, heads: tuple[int, int], is_shared: bool, scores: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(sequences, heads[0], queries), *[(sequences, heads[1], before + queries)] * 2]
    q, k, v = (torch.randn(*shape, 8, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes)
    grad = torch.randn(q.shape, generator=generator, dtype=torch.float64)
    is_hidden = torch.rand(1 if is_shared else sequences, 1, queries, before + queries, generator=generator) < 0.4
    is_hidden[..., 0] = False  # a query reads something
    mask = torch.zeros(is_hidden.shape).masked_fill_(is_hidden, -torch.inf)
    theirs = torch.autograd.grad(padded._attended(q, k, v, mask), (q, k, v), grad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padded, "SCORES", scores)
        operands = [each.detach().float().requires_grad_() for each in (q, k, v)]
        ours = torch.autograd.grad(padded._Attended.apply(*operands, mask), operands, grad.float())
    for one, other in zip(ours, theirs, strict=True):
        assert relative_error(one, other) < 1e-5 or float(other.abs().max()) < 1e-6


def test_the_same_bits_come_back_with_and_without_a_gradient() -> None:
    """The first ratio of several updates is exactly 1."""
    model, batch = logprob_model(small_llama()), batch_of(rows_of())
    with torch.no_grad():
        without = model.logprobs(batch).logprobs_M
    assert torch.equal(without, model.logprobs(batch).logprobs_M)


def written_to(model: PreTrainedModel) -> None:
    """Move one matrix."""
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.down_proj.weight").mul_(1.5)


def updated(model: PreTrainedModel) -> None:
    """Move all weights as a run does: torch's fused kernel does not say that it has written to them."""
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    make_optimizer(decayed_groups(parameters, 0.0), OptimizerSettings(learning_rate=0.1)).step()


moved_in_each_way = pytest.mark.parametrize("move", [written_to, updated])


@moved_in_each_way
def test_weights_that_moved_are_read_again(move: Callable[[PreTrainedModel], None]) -> None:
    model = copy.deepcopy(family_model("llama"))
    fast = logprobs.logprob_model(model, Compute(dtype=torch.bfloat16), 1.0)
    batch = batch_of(rows_of())
    before = fast.logprobs(batch).logprobs_M.detach()
    move(model)
    fresh = logprobs.logprob_model(model, Compute(dtype=torch.bfloat16), 1.0).logprobs(batch).logprobs_M
    assert torch.equal(fast.logprobs(batch).logprobs_M, fresh)
    assert not torch.equal(before, fresh)


def test_a_model_whose_layers_compute_something_else_is_refused() -> None:
    model = small_llama()
    mlp = model.model.layers[0].mlp
    mlp.forward = lambda x: 2 * type(mlp).forward(mlp, x)
    with pytest.raises(ModelError, match="fast_path: false"):
        flat_model(model, torch.float32)


def test_micro_batches_are_cut_by_tokens_that_are_computed() -> None:
    long, short = (training_sample((1, 2), (3,) * length) for length in (50, 2))
    rows = [Row(sample=sample, weight=1.0) for sample in (long, *[short] * 20)]
    assert [len(part) for part in packed(rows, Budget(tokens=92, pads=False))] == [21]
    assert len([*packed(rows, Budget(tokens=92, pads=True))]) > 1


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (MistralConfig(**SIZES, sliding_window=8), "sliding window"),
        (Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=0), "sliding window"),
        (LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), "dynamic"),
        (LlamaConfig(**SIZES, hidden_act="relu"), "activation is relu"),
        (GPT2Config(n_embd=16, n_layer=1, n_head=2), "GPT2LMHeadModel is none of"),
    ],
)
def test_a_model_that_is_computed_otherwise_says_why_and_takes_the_general_way(config: Any, why: str) -> None:
    model = AutoModelForCausalLM.from_config(config)
    assert why in (reason_against(model) or "")
    assert family_of(model) is None


def test_hooks_are_run_because_a_model_with_hooks_takes_the_general_way() -> None:
    model = small_llama()
    hook = model.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    assert "hooks" in (reason_against(model) or "")
    hook.remove()
    assert reason_against(model) is None


def test_layers_that_lie_side_by_side_in_other_storages_are_joined() -> None:
    memory = torch.arange(64.0)
    first, second = nn.Linear(4, 8, bias=False), nn.Linear(4, 8, bias=False)
    address = memory.untyped_storage().data_ptr()
    for linear, start in ((first, 0), (second, 32)):
        storage = memory.numpy()[start : start + 32]
        linear.weight.data = torch.from_numpy(storage).view(8, 4)
    assert (first.weight.data_ptr(), second.weight.data_ptr()) == (address, address + 128)
    assert torch.equal(Projection((first, second)).weight(), memory.view(16, 4))
    assert second.weight.data_ptr() != address + 128
