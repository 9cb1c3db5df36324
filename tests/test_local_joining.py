"""Continuous batching on the embedded engine's general way: who joins when, and how wide a batch gets."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from builders import come_one_by_one, letter_tokenizer, small_llama
from engine_cases import exact_logprobs
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, PreTrainedModel

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import run_sampling, sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.models.compute import Compute

PARAMS = SamplingParams(max_new_tokens=30)
GENERAL = Compute(fast=False)


def asked(num_requests: int, params: SamplingParams = PARAMS) -> list[Request]:
    """Requests with prompts of one to twelve tokens."""
    prompts = [
        tuple(1 + (7 * number + place) % 46 for place in range(1 + number % 12)) for number in range(num_requests)
    ]
    return [Request(prompt_ids=prompt, seed=seed, params=params) for seed, prompt in enumerate(prompts)]


@contextmanager
def shapes(model: PreTrainedModel) -> Iterator[list[tuple[int, int, int]]]:
    """Note of each call of a model the rows, the new tokens of each, and all columns."""
    seen: list[tuple[int, int, int]] = []

    def note(_: object, __: object, given: dict[str, Any]) -> None:
        seen.append((*given["input_ids"].shape, given["attention_mask"].shape[1]))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def test_what_comes_in_one_turn_is_one_batch_that_nothing_joins() -> None:
    model = small_llama()
    engine = LocalEngine(model, letter_tokenizer(), GENERAL)
    requests = [request for one in asked(8) for request in (one, one)]
    with shapes(model) as seen:
        got = sample_all(engine, requests)
    longest = max(len(one.token_ids) for one in got)
    prompts = [rows for rows, *_ in seen[: len(seen) - (longest - 1)]]
    assert prompts == [2, 2, 2, 2], "each prompt once, beside those of similar length"
    assert [(new, columns) for _, new, columns in seen[len(prompts) :]] == [(1, 8 + n) for n in range(1, longest)]
    assert seen[len(prompts)][0] == 16


def test_no_more_rows_are_sampled_than_asked_for_and_free_places_are_filled() -> None:
    model = small_llama()
    requests = asked(60)
    together = sample_all(LocalEngine(model, letter_tokenizer(), GENERAL), requests)
    with shapes(model) as seen:
        got = sample_all(LocalEngine(model, letter_tokenizer(), Compute(fast=False, rows=8)), requests)
    assert [one.token_ids for one in got] == [one.token_ids for one in together]
    assert max(rows for rows, *_ in seen) == 8
    decoded = [rows for rows, new, _ in seen if new == 1]
    tokens = sum(len(one.token_ids) - 1 for one in got)
    assert len(decoded) < 1.25 * tokens / 8, "batches do not wait for their longest"


def test_a_batch_is_no_wider_than_what_is_in_it() -> None:
    model = small_llama()
    requests = asked(80, SamplingParams(max_new_tokens=20))
    with shapes(model) as seen:
        sample_all(LocalEngine(model, letter_tokenizer(), Compute(fast=False, rows=4)), requests)
    assert max(columns for *_, columns in seen) <= 12 + 2 * 20, "columns that no row uses are dropped"


def test_requests_with_other_parameters_are_not_kept_waiting_by_those_that_could_join() -> None:
    engine = LocalEngine(small_llama(), letter_tokenizer(), Compute(fast=False, rows=2))
    endless, other = SamplingParams(max_new_tokens=60, temperature=0), SamplingParams(max_new_tokens=2)
    finished: list[int] = []

    async def generate(number: int, request: Request) -> None:
        await engine.generate(request)
        finished.append(number)

    async def work() -> None:
        requests = [*asked(4, endless), *asked(1, other), *asked(12, endless)]
        tasks = []
        for number, request in enumerate(requests):
            tasks.append(asyncio.create_task(generate(number, request)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run_sampling(work(), engine)
    assert finished.index(4) <= 8


FAMILIES = {
    "sliding window": lambda: AutoModelForCausalLM.from_config(
        Gemma3TextConfig(
            vocab_size=48,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    ).eval(),
    "learned positions": lambda: AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=48, n_positions=42, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=0)
    ).eval(),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_other_kinds_say_the_same_whoever_joins(family: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]()
    requests = asked(20)
    got = come_one_by_one(LocalEngine(model, letter_tokenizer(), Compute(fast=False, rows=6)), requests, turns=2)
    alone = [sample_all(LocalEngine(model, letter_tokenizer(), GENERAL), [request])[0] for request in requests]
    assert [one.token_ids for one in got] == [one.token_ids for one in alone]
    for request, one in zip(requests, got, strict=True):
        assert torch.allclose(
            torch.tensor(one.logprobs), exact_logprobs(model, request.prompt_ids, one, 1.0), atol=1e-4
        )
