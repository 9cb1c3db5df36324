"""The embedded engine on several families of models, and its parts; what all engines promise: the conformance suite."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from builders import WeightlessEngine, letter_tokenizer, small_llama
from engine_cases import exact_logprobs, requests, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, DynamicCache, GPT2Config, LlamaForCausalLM, Qwen2Config

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.cache import with_capacity
from reasonrl.engines.local import LocalEngine
from reasonrl.engines.sampling import draw, request_uniforms
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


def test_sampling_draws_from_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(40_000, -1)
    tokens, logprobs = draw(logits, torch.rand(40_000, generator=torch.Generator().manual_seed(0)), 0.8)
    expected = (logits[0] / 0.8).softmax(0)
    seen = torch.bincount(tokens, minlength=4) / 40_000
    assert torch.allclose(seen, expected, atol=0.01)
    assert torch.allclose(logprobs, expected.log()[tokens])


@given(uniform=st.floats(0, 1, exclude_max=True), temperature=st.floats(0.1, 3))
@settings(max_examples=50)
def test_a_token_without_probability_is_never_drawn(uniform: float, temperature: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 3.0, -torch.inf]])
    token, logprob = draw(logits, torch.tensor([uniform]), temperature)
    assert token.item() in (1, 3)
    assert logprob.isfinite().all()


def test_a_requests_random_numbers_are_its_own() -> None:
    assert torch.equal(request_uniforms([5, 6], 8)[1], request_uniforms([6], 8)[0])


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
