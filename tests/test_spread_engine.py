"""The embedded engine on several ranks, as far as one process shows it; on several: ``test_ranks_runs.py``."""

import asyncio
from contextlib import nullcontext

import pytest
from builders import letter_tokenizer, small_llama
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import run_sampling, sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.engines.spread import RankSampler, SpreadEngine, share_of
from reasonrl.errors import EngineError, ModelError
from reasonrl.types import Trajectory


def requests(count: int, *, max_new_tokens: int = 12) -> list[Request]:
    params = SamplingParams(max_new_tokens=max_new_tokens)
    prompts = [(3 + index // 2, 5, 7) for index in range(count)]
    return [Request(prompt_ids=ids, seed=seed, params=params) for seed, ids in enumerate(prompts)]


@pytest.fixture(scope="module")
def own() -> LocalEngine:
    return LocalEngine(small_llama(), letter_tokenizer())


def spread(own: LocalEngine) -> SpreadEngine:
    sampler = RankSampler(own, nullcontext)
    return SpreadEngine(sampler, sampler.sample)


@given(count=st.integers(0, 50), num_ranks=st.integers(1, 9))
def test_every_request_belongs_to_one_rank_and_none_has_two_more_than_another(count: int, num_ranks: int) -> None:
    shares = [range(count)[share_of(count, rank, num_ranks)] for rank in range(num_ranks)]
    assert [index for share in shares for index in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_completions_are_those_of_the_engine_and_have_the_version_of_the_policy(own: LocalEngine) -> None:
    engine = spread(own)
    engine.load_weights((), 3)
    got = sample_all(engine, requests(6))
    own.load_weights((), 3)
    assert got == sample_all(own, requests(6))
    assert {trajectory.policy_version for trajectory in got} == {3}


def test_completions_are_passed_on_when_they_are_finished_and_not_at_the_end(own: LocalEngine) -> None:
    asked = requests(8, max_new_tokens=60)
    order: list[int] = []

    async def told(request: Request) -> Trajectory:
        trajectory = await engine.generate(request)
        order.append(len(trajectory.token_ids))
        return trajectory

    async def all_of_them() -> None:
        await asyncio.gather(*map(told, asked))

    lengths = [len(trajectory.token_ids) for trajectory in sample_all(own, asked)]
    assert lengths != sorted(lengths)
    engine = spread(own)
    run_sampling(all_of_them(), engine)
    assert order == sorted(lengths)


def test_what_does_not_fit_is_refused_before_any_rank_begins(own: LocalEngine) -> None:
    with pytest.raises(ModelError, match="positions"):
        sample_all(spread(own), requests(2, max_new_tokens=10_000))


def test_it_ends_at_its_deadline_and_can_be_asked_again(own: LocalEngine) -> None:
    engine = spread(own)
    with pytest.raises(EngineError, match="longer than"):
        sample_all(engine, requests(4, max_new_tokens=100), timeout_s=0.01)
    assert len(sample_all(engine, requests(2))) == 2
