"""The embedded engine on several families of models, and its parts; what all engines promise: the conformance suite."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import WeightlessEngine, letter_tokenizer, small_llama
from engine_cases import exact_logprobs, requests, sample
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, DynamicCache, GPT2Config, LlamaForCausalLM, Qwen2Config

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.cache import with_capacity
from reasonrl.engines.local import LocalEngine
from reasonrl.engines.sampling import DrawParams, draw, nucleus, pick, request_uniforms
from reasonrl.engines.tokens import end_token_ids
from reasonrl.errors import EngineError
from reasonrl.models.attention import NAME, use_grouped_attention
from reasonrl.types import Trajectory


def grouped(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A model as the loader hands it out: query heads share keys and values."""
    use_grouped_attention(model, model.device)
    return model


FAMILIES = {
    "llama, tied": lambda: small_llama(),
    "llama, untied": lambda: small_llama(tied=False),
    "gpt2": lambda: AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=48, n_positions=128, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=0)
    ).eval(),
    "llama, grouped": lambda: grouped(small_llama()),
    "qwen2": lambda: AutoModelForCausalLM.from_config(
        Qwen2Config(
            vocab_size=48,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            eos_token_id=0,
        )
    ).eval(),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampler_logprobs_are_the_models_under_the_temperature(family: str, temperature: float) -> None:
    model = FAMILIES[family]()
    engine = LocalEngine(model, letter_tokenizer())
    got = sample(engine, requests(), max_new_tokens=12, temperature=temperature)
    for request, completions in zip(requests(), got, strict=True):
        for completion in completions:
            exact = exact_logprobs(model, request.prompt_ids, completion, temperature)
            assert torch.allclose(exact, torch.tensor(completion.logprobs), atol=1e-4)


def test_end_tokens_come_from_tokenizer_generation_config_and_chat_template() -> None:
    model, tokenizer = small_llama(), letter_tokenizer()
    model.generation_config.eos_token_id = [0, 5]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<turn>\n{% endfor %}"
    assert end_token_ids(model, tokenizer) == {0, 5, tokenizer.convert_tokens_to_ids("<turn>")}


def draw_params(num_rows: int = 1, **params: Any) -> DrawParams:
    """Equal parameters for some rows. Any: those of :class:`SamplingParams`."""
    return DrawParams.of([SamplingParams(max_new_tokens=1, **params)] * num_rows, torch.device("cpu"))


def test_sampling_draws_from_the_distribution() -> None:
    logits, uniforms = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(40_000, -1), request_uniforms([0], 40_000)[0]
    tokens, logprobs = draw(logits, uniforms, draw_params(40_000, temperature=0.8))
    expected = (logits[0] / 0.8).softmax(0)
    seen = torch.bincount(tokens, minlength=4) / 40_000
    assert torch.allclose(seen, expected, atol=0.01)
    assert torch.allclose(logprobs, expected.log()[tokens])


@given(uniform=st.floats(0, 1, exclude_max=True), temperature=st.floats(0.1, 3))
@settings(max_examples=50)
def test_a_token_without_probability_is_never_drawn(uniform: float, temperature: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 3.0, -torch.inf]])
    token, logprob = draw(logits, torch.tensor([uniform], dtype=torch.float64), draw_params(temperature=temperature))
    assert token.item() in (1, 3)
    assert logprob.isfinite().all()


@given(peak=st.integers(0, 49_999), start=st.integers(0, 49_000), vocabulary=st.sampled_from([50_000, 49_999]))
@settings(max_examples=10, deadline=None)
def test_no_token_is_lost_beside_one_that_has_almost_all_probability(peak: int, start: int, vocabulary: int) -> None:
    """0.17 % are shared by 50,000 tokens: a sum of probabilities in float32 cannot tell one of them from nothing."""
    assume(abs(peak - start) > 64)  # so that all numbers point to tokens beside it
    logits = 0.2 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(start))
    logits[min(peak, vocabulary - 1)] = 17.2
    exact = logits.double().softmax(-1)
    ends = exact.cumsum(-1)
    uniforms = ends[start] + torch.arange(96, dtype=torch.float64) * 1e-8
    tokens, _ = pick(logits.softmax(-1).expand(len(uniforms), -1), uniforms)
    assert (ends[tokens] - exact[tokens] - 4e-7 < uniforms).all()
    assert (uniforms < ends[tokens] + 4e-7).all()
    drawn = torch.bincount(tokens, minlength=vocabulary)
    inner = [token for token in range(int(tokens.min()) + 1, int(tokens.max())) if token != peak]
    assert len(inner) > 15
    assert all(abs(float(drawn[token]) - float(exact[token]) / 1e-8) < 2 for token in inner)


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    uniform=st.floats(0, 1, exclude_max=True),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 0.05]),
)
@settings(max_examples=200, deadline=None)
def test_a_draw_is_the_exact_inverse_of_the_exact_distribution(
    logits: list[float], uniform: float, temperature: float, top_p: float
) -> None:
    exact = (torch.tensor(logits).double() / temperature).softmax(-1)
    order = exact.argsort(descending=True)
    before = exact[order].cumsum(-1) - exact[order]
    seen = (torch.tensor(logits) / temperature).softmax(-1)
    if ((before[1:] - top_p).abs() < 1e-5).any() or (top_p < 1 and len(seen.unique()) < len(logits)):
        return  # rounding, or the order of equals, decides
    exact[order[before >= top_p]] = 0.0
    exact /= exact.sum()
    params = draw_params(temperature=temperature, top_p=top_p)
    (token,), (logprob,) = draw(torch.tensor([logits]), torch.tensor([uniform], dtype=torch.float64), params)
    end = exact.cumsum(-1)[token]
    assert end - exact[token] - 1e-6 <= uniform <= end + 1e-6
    assert logprob.item() == pytest.approx(exact[token].log().item(), abs=1e-4)


def test_rows_of_other_parameters_are_drawn_side_by_side_as_alone() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"temperature": 0},
        {"top_p": 0.3},
        {"temperature": 0.5},
        {"temperature": 0.5, "top_p": 0.7},
    ]
    logits, uniforms = 3 * torch.randn(len(kinds), 300), request_uniforms(range(len(kinds)), 1)[:, 0]
    params = [SamplingParams(max_new_tokens=1, **kind) for kind in kinds]
    tokens, logprobs = draw(logits, uniforms, DrawParams.of(params, torch.device("cpu")))
    for row, kind in enumerate(kinds):
        token, logprob = draw(logits[row : row + 1], uniforms[row : row + 1], draw_params(**kind))
        assert (token.item(), logprob.item()) == (tokens[row].item(), logprobs[row].item())


def test_a_nucleus_by_hand() -> None:
    probs = torch.tensor([[0.0625, 0.5, 0.1875, 0.25]])
    for top_p, kept in {0.2: [1], 0.5: [1], 0.51: [1, 3], 0.75: [1, 3], 0.8: [1, 2, 3], 0.95: [0, 1, 2, 3]}.items():
        found = nucleus(probs, torch.tensor([[top_p]], dtype=torch.float64))[0]
        assert found.nonzero()[:, 0].tolist() == kept
        assert torch.equal(found[kept], probs[0, kept])
    tied = nucleus(torch.full((1, 4), 0.25), torch.full((1, 1), 1e-9, dtype=torch.float64))[0]
    assert sorted(tied.tolist()) == [0.0, 0.0, 0.0, 0.25], "one is left"


def test_a_requests_random_numbers_are_its_own() -> None:
    uniforms = request_uniforms([5, 6], 8)
    assert torch.equal(uniforms[1], request_uniforms([6], 8)[0])
    coarse = torch.rand(8, generator=torch.Generator().manual_seed(5))
    assert torch.equal((uniforms[0] * 2**24).floor() / 2**24, coarse.double()), "those of float32, with finer places"


def test_shared_keys_and_values_change_no_number_and_leave_no_trace_in_a_checkpoint(tmp_path: Path) -> None:
    plain, shared = small_llama(), grouped(small_llama())
    assert shared.config._attn_implementation == NAME
    ids, mask = torch.tensor([[0, 3, 4], [5, 6, 7]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    outputs = [model(input_ids=ids, attention_mask=mask).logits for model in (plain, shared)]
    gradients = [
        torch.autograd.grad(logits.sum(), model.lm_head.weight)[0]
        for logits, model in zip(outputs, (plain, shared), strict=True)
    ]
    assert torch.allclose(outputs[0][mask.bool()], outputs[1][mask.bool()], atol=1e-5)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)
    shared.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()


def test_a_preallocated_cache_holds_what_a_growing_one_holds() -> None:
    grown, preallocated = (DynamicCache(config=small_llama().config) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor([1, 1, 0])
    for cache in (grown, preallocated):
        states = torch.randn(2, 2, 3, 8, generator=torch.Generator().manual_seed(1))
        cache.update(states, -states, 0)
    grown.reorder_cache(rows)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
    with_capacity(preallocated, rows, 4)
    for _ in range(4):
        new = torch.randn(3, 2, 1, 8, generator=generator)
        held = [cache.update(new, -new, 0) for cache in (grown, preallocated)]
        assert all(torch.equal(one, other) for one, other in zip(*held, strict=True))
        assert grown.get_seq_length() == preallocated.get_seq_length()


class ThreadedEngine(WeightlessEngine):
    """Samples in a thread that only :meth:`abort` ends, as an engine with a blocking interface does."""

    def __init__(self) -> None:
        self._aborted = threading.Event()

    async def generate(self, request: Request) -> Trajectory:
        await asyncio.to_thread(self._aborted.wait, 60)
        raise EngineError("aborted")

    def abort(self) -> None:
        self._aborted.set()


def test_the_deadline_aborts_an_engine_whose_threads_know_of_no_event_loop() -> None:
    request = Request(prompt_ids=(1,), seed=0, params=SamplingParams(max_new_tokens=1))
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"took longer than 0\.05 s"):
        sample_all(ThreadedEngine(), [request], timeout_s=0.05)
    assert time.monotonic() - began < 10


def test_engines_are_offered_without_torch() -> None:
    program = "import sys, reasonrl.engines.builtin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
