"""The embedded engine's fast path says what the general way says, whoever is sampled beside whom, in bounded memory."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from builders import VOCABULARY, come_one_by_one, letter_tokenizer, small_llama
from engine_cases import exact_logprobs
from test_fast_learning import every_family, family_model, moved_in_each_way
from transformers import AutoModelForCausalLM, PreTrainedModel

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import run_sampling, sample_all
from reasonrl.engines.local import TOKENS_PER_LOOK, LocalEngine
from reasonrl.engines.local_batch import Batch
from reasonrl.engines.running import PendingRequest
from reasonrl.errors import ConfigError, EngineError
from reasonrl.models.compute import Compute
from reasonrl.models.fast.decode import SlotDecoder
from reasonrl.models.fast.family import family_of
from reasonrl.models.fast.slots import BLOCK
from reasonrl.models.fast.weights import CastWeights
from reasonrl.types import Trajectory

PARAMS = (
    SamplingParams(max_new_tokens=30),
    SamplingParams(max_new_tokens=9, temperature=0),
    SamplingParams(max_new_tokens=20, temperature=0.6, top_p=0.8),
    SamplingParams(max_new_tokens=25, stop=("a", "7z")),
)


def engine(model: PreTrainedModel, *, rows: int | None = None, kv_cache_mib: int | None = None, **compute: Any) -> Any:
    """The embedded engine. Any: how it computes; and that it is looked into."""
    return LocalEngine(model, letter_tokenizer(), Compute(rows=rows, **compute), kv_cache_mib=kv_cache_mib)


def asked(num_requests: int, *params: SamplingParams, longest: int = 12, seed: int = 0) -> list[Request]:
    """Requests with prompts of very different lengths, some of them shared, also by requests that come later."""
    random = Random(seed)
    prompts = [
        tuple(random.randrange(1, len(VOCABULARY)) for _ in range(random.randint(1, longest)))
        for _ in range(1 + num_requests // 2)
    ]
    chosen = [random.choice(prompts) for _ in range(num_requests)]
    params = params or PARAMS
    return [
        Request(prompt_ids=prompt, seed=number, params=params[number % len(params)])
        for number, prompt in enumerate(chosen)
    ]


def assert_same(got: Sequence[Trajectory], expected: Sequence[Trajectory], *, error: float = 1e-5) -> None:
    """Whole completions are equal, and log-probabilities up to rounding."""
    for one, other in zip(got, expected, strict=True):
        assert (one.token_ids, one.text, one.finish_reason) == (other.token_ids, other.text, other.finish_reason)
        assert torch.allclose(torch.tensor(one.logprobs), torch.tensor(other.logprobs), rtol=0, atol=error)


def alone(model: PreTrainedModel, requests: Sequence[Request]) -> list[Trajectory]:
    """Sample each on the general way with nothing beside it."""
    return [sample_all(engine(model, fast=False), [request])[0] for request in requests]


@contextmanager
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, int]]]:
    """Note of each step on the fast path the rows, and of their memory the columns and the bytes."""
    seen: list[tuple[int, int, int]] = []
    step = SlotDecoder.step

    def noting(decoder: Any, tokens_N: torch.Tensor) -> torch.Tensor:
        logits_NV = step(decoder, tokens_N)
        seen.append((len(tokens_N), decoder._slots.num_columns, decoder._slots.num_bytes))
        return logits_NV

    with monkeypatch.context() as patched:
        patched.setattr(SlotDecoder, "step", noting)
        yield seen


@every_family
def test_completions_are_those_of_the_general_way_and_the_models(name: str) -> None:
    model, requests = copy.deepcopy(family_model(name)), asked(24)
    assert engine(model)._family is not None
    got = sample_all(engine(model), requests)
    assert_same(got, sample_all(engine(model, fast=False), requests))
    for request, one in zip(requests, got, strict=True):
        if request.params.top_p == 1:
            exact = exact_logprobs(model, request.prompt_ids, one, request.params.temperature)
            assert torch.allclose(exact, torch.tensor(one.logprobs), rtol=0, atol=1e-5)
    assert {one.finish_reason for one in got} == {"stop", "length"}


def test_rows_that_join_leave_and_take_the_places_of_others_change_no_completion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, requests = small_llama(), asked(30, *PARAMS, SamplingParams(max_new_tokens=150, temperature=0))
    expected = alone(model, requests)
    assert max(len(one.token_ids) for one in expected) == 150 > BLOCK
    for turns in (0, 3):
        with decoders(monkeypatch) as seen:
            assert_same(come_one_by_one(engine(model, rows=6), requests, turns), expected)
        assert max(rows for rows, *_ in seen) == 6
        assert {columns for _, columns, _ in seen} == {BLOCK, 2 * BLOCK}, "memory has grown on the way"


def test_no_rows_are_computed_for_what_is_done_and_free_places_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, requests = small_llama(), asked(80, SamplingParams(max_new_tokens=30))
    with decoders(monkeypatch) as seen:
        got = sample_all(engine(model, rows=8), requests)
    tokens = sum(len(one.token_ids) for one in got)
    assert sum(rows for rows, *_ in seen) == tokens
    assert len(seen) < 1.25 * tokens / 8, "places do not stay empty"


def test_a_prompt_is_computed_once_also_for_those_who_join_later() -> None:
    model = small_llama()
    prompt = tuple(range(1, 40))
    params = SamplingParams(max_new_tokens=8)
    requests = [Request(prompt_ids=prompt, seed=seed, params=params) for seed in range(12)]
    computed: list[int] = []
    hook = model.model.embed_tokens.register_forward_pre_hook(lambda _, ids: computed.append(ids[0].numel()))
    got = sample_all(engine(model, rows=4), requests)
    hook.remove()
    assert sum(computed) == len(prompt) - 1 + sum(len(one.token_ids) for one in got)
    assert_same(got, alone(model, requests))


def test_what_a_gpu_draws_beyond_an_end_is_cut_off_also_at_the_models_last_position() -> None:
    model = small_llama(max_position_embeddings=BLOCK)
    prompt = tuple(1 + 5 * place % 46 for place in range(100))
    requests = [
        *asked(8, SamplingParams(max_new_tokens=21), SamplingParams(max_new_tokens=3), PARAMS[3]),
        *(
            Request(
                prompt_ids=prompt[:length], seed=0, params=SamplingParams(max_new_tokens=BLOCK - length, temperature=0)
            )
            for length in (100, 40)
        ),
    ]
    seldom = engine(model, rows=5)
    seldom._tokens_per_look = TOKENS_PER_LOOK
    got = sample_all(seldom, requests)
    assert_same(got, alone(model, requests))
    assert [len(one.token_ids) for one in got[-2:]] == [BLOCK - 100, BLOCK - 40]


def test_a_cancelled_request_gives_its_place_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_llama()
    long, *others = asked(5, SamplingParams(max_new_tokens=60))
    sampler = engine(model, rows=1)

    async def work() -> list[Trajectory]:
        tasks = [asyncio.create_task(sampler.generate(request)) for request in (long, *others)]
        for _ in range(10):
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        return await asyncio.gather(tasks[1], tasks[3], tasks[4])

    with decoders(monkeypatch) as seen:
        got = run_sampling(work(), sampler)
    assert_same(got, alone(model, [others[0], *others[2:]]))
    assert len(seen) < 10 + sum(len(one.token_ids) for one in got)


def test_sampling_ends_at_its_deadline_and_the_engine_can_be_asked_again() -> None:
    model, requests = small_llama(), asked(4, SamplingParams(max_new_tokens=200))
    sampler = engine(model)
    with pytest.raises(EngineError, match=r"took longer than 0\.001 s"):
        sample_all(sampler, requests, timeout_s=0.001)
    assert_same(sample_all(sampler, requests), alone(model, requests))


def test_keys_and_values_stay_within_the_memory_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_llama()
    long = SamplingParams(max_new_tokens=200)
    requests = [*asked(60, SamplingParams(max_new_tokens=30)), *asked(20, long, seed=1), *asked(20, seed=2)]
    with decoders(monkeypatch) as seen:
        got = sample_all(engine(model, kv_cache_mib=1), requests)
    assert max(size for *_, size in seen) <= 2**20
    assert max(rows for rows, *_ in seen) == 32, "as many as have memory at their longest"
    assert max(rows for rows, columns, _ in seen if columns > BLOCK) <= 16
    assert_same(got[::7], alone(model, requests[::7]))


def test_a_completion_that_memory_cannot_hold_is_refused_with_what_to_change() -> None:
    model = small_llama(hidden_size=256, num_attention_heads=2, num_key_value_heads=2, layers=4)
    request = Request(prompt_ids=(1, 2), seed=0, params=SamplingParams(max_new_tokens=150))
    for fast in (True, False):
        with pytest.raises(ConfigError, match=r"need 2 MiB.*may use 1 MiB.*Raise kv_cache_mib"):
            sample_all(engine(model, kv_cache_mib=1, fast=fast), [request])
    assert sample_all(engine(model, kv_cache_mib=2), [request])
    with pytest.raises(ConfigError, match="kv_cache_mib is 0"):
        engine(model, kv_cache_mib=0)


@pytest.mark.parametrize("rows", [None, 5])
def test_the_same_order_gives_the_same_bits_whatever_time_passes(rows: int | None) -> None:
    """What comes later comes when something is finished, as in an environment of several turns."""
    model, requests = small_llama(), asked(20)

    async def conversation(sampler: LocalEngine, request: Request, delay_s: float) -> list[Trajectory]:
        first = await sampler.generate(request)
        if delay_s:
            torch.randn(int(1e6 * delay_s)).sum()
        prompt_ids = (*request.prompt_ids, *first.token_ids)
        return [first, await sampler.generate(replace(request, prompt_ids=prompt_ids, seed=request.seed + 100))]

    async def work(sampler: LocalEngine, delay_s: float) -> list[list[Trajectory]]:
        return await asyncio.gather(*(conversation(sampler, request, delay_s) for request in requests))

    quick, slow = engine(model, rows=rows), engine(model, rows=rows)
    assert run_sampling(work(quick, 0), quick) == run_sampling(work(slow, 0.2), slow)


@moved_in_each_way
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_have_moved_are_sampled_from(
    dtype: torch.dtype, packed: bool, move: Callable[[PreTrainedModel], None]
) -> None:
    if packed and dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no product with packed bfloat16")
    model = small_llama()
    sampler, requests = engine(model, dtype=dtype, packed=packed), asked(6)
    assert sample_all(sampler, requests) == (before := sample_all(sampler, requests))
    move(model)
    after = sample_all(sampler, requests)
    assert [one.logprobs for one in before] != [one.logprobs for one in after]
    assert after == sample_all(engine(copy.deepcopy(model), dtype=dtype, packed=packed), requests)


def test_packed_weights_say_what_plain_ones_say() -> None:
    model, requests = small_llama(), asked(12)
    assert_same(sample_all(engine(model, packed=True), requests), sample_all(engine(model), requests))


@every_family
def test_bfloat16_is_as_near_to_float32_as_autocast_is(name: str) -> None:
    model, requests = copy.deepcopy(family_model(name)), asked(24, SamplingParams(max_new_tokens=20))
    errors = []
    for way in ({"packed": torch.ops.mkldnn._is_mkldnn_bf16_supported()}, {"packed": False}, {"fast": False}):
        got = sample_all(engine(model, **way, dtype=torch.bfloat16), requests)
        differences = [
            exact_logprobs(model, request.prompt_ids, one, 1.0) - torch.tensor(one.logprobs)
            for request, one in zip(requests, got, strict=True)
        ]
        errors.append(float(torch.cat(differences).abs().mean()))
    *fast_errors, autocast_error = errors
    assert 0 < max(fast_errors) < 1.1 * autocast_error


@torch.no_grad()
def test_a_step_and_its_draws_never_wait_for_the_device() -> None:
    """On the meta device there are no values: whatever asks for one raises."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(small_llama().config)
    family = family_of(model)
    assert family is not None
    weights = CastWeights(family, torch.bfloat16)
    weights.refresh()
    batch = Batch(SlotDecoder(family, weights), torch.device("meta"))
    loop = asyncio.new_event_loop()
    pending = [PendingRequest(request, loop.create_future()) for request in asked(9)]
    batch.add(pending[:6])
    batch.sample(20)
    pending[0].future.cancel()
    batch.drop_done(below=1.0)
    batch.add(pending[6:])
    tokens_NK, logprobs_NK, _ = batch.sample(2)
    loop.close()
    assert (tokens_NK.shape, tokens_NK.dtype, tokens_NK.device.type) == ((8, 2), torch.long, "meta")
    assert (logprobs_NK.shape, logprobs_NK.dtype) == ((8, 2), torch.float32)
