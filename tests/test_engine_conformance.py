"""What every engine promises, asked of each with a model whose output head is tied and one whose head is not."""

import asyncio
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engine_cases import END_IDS, KINDS, LONG_PROMPT, PROMPTS, Asked, Subject, exact_logprobs, greedy, requests

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import run_sampling, sample_all
from reasonrl.errors import EngineError, ModelError
from reasonrl.types import Trajectory

MARKS = {"local_on_gpu": pytest.mark.gpu, "vllm": pytest.mark.vllm, "vllm_server": pytest.mark.vllm}

CASES = [
    pytest.param((kind, tied), id=f"{kind}-{head}", marks=[MARKS[kind]] if kind in MARKS else [])
    for kind in KINDS
    for head, tied in {"tied": True, "untied": False}.items()
]


@pytest.fixture(scope="module", params=CASES)
def started(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """One engine for all tests: starting takes seconds, and a process can hold one vLLM only."""
    kind, tied = request.param
    subject = Subject(kind, tied=tied)
    yield subject
    subject.engine.close()


@pytest.fixture
def subject(started: Subject) -> Subject:
    """The engine with the weights that it began with."""
    started.reset()
    return started


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampler_logprobs_are_transformers_under_the_temperature(subject: Subject, temperature: float) -> None:
    asked = requests(prompts=(*PROMPTS, LONG_PROMPT))
    got = subject.sample(asked, max_new_tokens=12, temperature=temperature)
    assert subject.logprob_error(asked, got, temperature) < 1e-3
    assert all(len(one.logprobs) == len(one.token_ids) for completions in got for one in completions)


def test_greedy_decoding_is_transformers_greedy_decoding(subject: Subject) -> None:
    asked = requests(1, prompts=(*PROMPTS, LONG_PROMPT))
    got = subject.sample(asked, max_new_tokens=24, temperature=0)
    for request, (completion,) in zip(asked, got, strict=True):
        assert completion.token_ids == greedy(subject.model, request.prompt_ids, 24)
    assert subject.logprob_error(asked, got, 0) < 1e-3


def test_a_completion_depends_on_its_own_seed_and_prompt_alone(subject: Subject) -> None:
    # More tokens than vLLM computes at once: the last prompts must wait, and none may be cut in two.
    crowd = tuple((number, *LONG_PROMPT, *LONG_PROMPT[number:]) for number in range(1, 31))
    asked = requests(2, prompts=(*PROMPTS, *crowd))
    together = subject.sample(asked, max_new_tokens=16)
    for request, completions in list(zip(asked, together, strict=True))[::8]:
        for seed, completion in zip(request.seeds, completions, strict=True):
            (alone,) = subject.sample([Asked(request.prompt_ids, (seed,))], max_new_tokens=16)[0]
            assert alone.token_ids == completion.token_ids


def test_other_seeds_give_other_completions(subject: Subject) -> None:
    (completions,) = subject.sample([Asked((5, 6), tuple(range(8)))], max_new_tokens=16)
    assert len({completion.token_ids for completion in completions}) > 4


def test_completions_come_in_the_order_of_requests_and_seeds(subject: Subject) -> None:
    asked = [Asked((1, 2), (1,)), Asked((3,), (2**63 - 1, 3, 4))]
    got = subject.sample(asked, max_new_tokens=4)
    assert [[one.seed for one in completions] for completions in got] == [[1], [2**63 - 1, 3, 4]]
    assert [one.sample_index for one in got[1]] == [0, 1, 2]
    alone = subject.sample([Asked((3,), (4,))], max_new_tokens=4)
    assert alone[0][0].token_ids == got[1][2].token_ids


def test_the_prompt_of_a_group_is_computed_once(subject: Subject) -> None:
    computed = subject.computed_prompt_tokens(Asked(LONG_PROMPT, tuple(range(8))))
    assert len(LONG_PROMPT) <= computed < 2 * len(LONG_PROMPT)


def test_every_end_token_ends_a_completion_is_kept_and_leaves_the_text(subject: Subject) -> None:
    got = [one for completions in subject.sample(requests(20), max_new_tokens=40) for one in completions]
    seen = {one.token_ids[-1] for one in got if one.finish_reason == "stop"}
    assert seen == set(END_IDS)
    for completion in got:
        ends = [token in END_IDS for token in completion.token_ids]
        assert not any(ends[:-1])
        assert ends[-1] == (completion.finish_reason == "stop")
        said = completion.token_ids[:-1] if ends[-1] else completion.token_ids
        assert completion.text == subject.tokenizer.decode(list(said))


def test_a_completion_that_is_cut_says_so(subject: Subject) -> None:
    got = [one for completions in subject.sample(requests(8), max_new_tokens=3) for one in completions]
    cut = [one for one in got if one.finish_reason == "length"]
    assert cut
    assert all(len(one.token_ids) == 3 and one.token_ids[-1] not in END_IDS for one in cut)


def test_a_stop_string_ends_a_completion_and_is_kept(subject: Subject) -> None:
    asked = requests(8)
    free = [one for completions in subject.sample(asked, max_new_tokens=30) for one in completions]
    place = next(place for place, one in enumerate(free) if len(one.token_ids) > 8)
    string = str(subject.tokenizer.decode(list(free[place].token_ids[4:6])))
    stopped = [one for completions in subject.sample(asked, max_new_tokens=30, stop=(string,)) for one in completions]
    assert string in stopped[place].text
    assert stopped[place].finish_reason == "stop"
    assert len(stopped[place].token_ids) <= 6
    for one, whole in zip(stopped, free, strict=True):
        assert one.token_ids == whole.token_ids[: len(one.token_ids)]
        assert string not in str(subject.tokenizer.decode(list(one.token_ids[:-1])))


def test_every_completion_carries_the_version_of_its_weights(subject: Subject) -> None:
    subject.push(7)
    (completions,) = subject.sample(requests(2)[:1], max_new_tokens=2)
    assert [one.policy_version for one in completions] == [7, 7]
    assert subject.engine.policy_version == 7


def test_a_prompt_that_does_not_fit_the_model_is_refused_with_both_lengths(subject: Subject) -> None:
    with pytest.raises(ModelError, match=r"250 .*10.*256"):
        subject.sample([Asked((1,) * 250, (0,))], max_new_tokens=10)
    assert subject.sample([Asked((1,) * 246, (0,))], max_new_tokens=10)


def test_new_weights_replace_the_old_ones_and_what_was_computed_with_them(subject: Subject) -> None:
    asked = requests(2, prompts=(LONG_PROMPT, PROMPTS[0]))
    before = subject.sample(asked, max_new_tokens=8)
    subject.perturb(seed=0, size=0.3)
    subject.push(1)
    after = subject.sample(asked, max_new_tokens=8)
    assert subject.logprob_error(asked, after, 1.0) < 1e-3
    assert subject.logprob_error(asked, before, 1.0) > 0.1


def test_after_twenty_pushes_an_engine_still_says_what_transformers_says(subject: Subject) -> None:
    asked = requests(1, prompts=(*PROMPTS, LONG_PROMPT))
    first = subject.sample(asked, max_new_tokens=24, temperature=0)
    for version in range(1, 21):
        subject.perturb(seed=version)
        subject.push(version)
    last = subject.sample(asked, max_new_tokens=24, temperature=0)
    assert [one.token_ids for (one,) in last] == [greedy(subject.model, request.prompt_ids, 24) for request in asked]
    assert [one.token_ids for (one,) in last] != [one.token_ids for (one,) in first]
    sampled = subject.sample(asked, max_new_tokens=24)
    assert max(subject.logprob_error(asked, last, 0), subject.logprob_error(asked, sampled, 1.0)) < 1e-3


def test_weights_that_are_not_all_there_are_refused_by_name(subject: Subject) -> None:
    if subject.engine.shares_weights:
        return  # there is no weight sync
    named = list(subject.model.named_parameters())
    with pytest.raises(EngineError, match=r"missing.*layers\.1\.self_attn\.k_proj\.weight"):
        subject.engine.load_weights(
            [(name, weight) for name, weight in named if "layers.1.self_attn.k_proj" not in name], 1
        )
    with pytest.raises(EngineError, match=r"not the model's.*extra"):
        subject.engine.load_weights([*named, ("extra", named[0][1])], 1)
    assert subject.engine.policy_version == 0


def test_sampling_that_takes_too_long_is_ended_and_the_engine_can_be_asked_again(subject: Subject) -> None:
    before = subject.sample(requests(), max_new_tokens=8)
    with pytest.raises(EngineError, match=r"0\.02 s.*rollout\.timeout_s"):
        subject.sample(requests(20), max_new_tokens=200, temperature=2.0, timeout_s=0.02)
    assert subject.sample(requests(), max_new_tokens=8, timeout_s=60) == before


def test_another_thread_can_abort_and_the_engine_can_be_asked_again(subject: Subject) -> None:
    before = subject.sample(requests(), max_new_tokens=8)
    raised: list[Exception] = []

    def sample() -> None:
        try:
            subject.sample(requests(20), max_new_tokens=200, temperature=2.0)
        except EngineError as error:
            raised.append(error)

    thread = threading.Thread(target=sample)
    thread.start()
    while thread.is_alive():
        subject.engine.abort()
        thread.join(0.005)
    assert "aborted" in str(raised[0])
    subject.engine.abort()  # nothing runs
    assert subject.sample(requests(), max_new_tokens=8) == before


# Completions as they are finished.


def test_every_completion_is_told_of_once_and_is_the_one_that_is_returned(subject: Subject) -> None:
    asked, told = requests(8), list[tuple[int, Trajectory]]()
    got = subject.sample(asked, finished=lambda index, one: told.append((index, one)), max_new_tokens=40)
    returned = [(index, one) for index, completions in enumerate(got) for one in completions]
    assert sorted(told, key=lambda pair: (pair[0], pair[1].sample_index)) == returned
    assert {one.finish_reason for _, one in told} == {"stop", "length"}
    assert got == subject.sample(asked, max_new_tokens=40)


def test_a_completion_is_finished_while_others_are_sampled(subject: Subject) -> None:
    """Were it told of at the end, there would be nothing left to abort."""
    asked = requests(1, prompts=((19,), (13,), (18,)))
    lengths = [len(one.token_ids) for (one,) in subject.sample(asked, max_new_tokens=240, temperature=0)]
    assert lengths[0] == 240, "the case needs one that does not end by itself"
    told: list[int] = []

    def abort(index: int, one: Trajectory) -> None:
        told.append(index)
        subject.engine.abort()

    with pytest.raises(EngineError, match="aborted"):
        subject.sample(asked, finished=abort, max_new_tokens=240, temperature=0)
    assert told
    assert 0 not in told


def test_what_is_raised_over_a_completion_ends_the_sampling_and_nothing_else(subject: Subject) -> None:
    before = subject.sample(requests(8), max_new_tokens=40)
    refused: list[Trajectory] = []

    def refuse(index: int, one: Trajectory) -> None:
        refused.append(one)
        if len(refused) == 3:
            raise ZeroDivisionError("not this one")

    with pytest.raises(ZeroDivisionError, match="not this one"):
        subject.sample(requests(8), finished=refuse, max_new_tokens=40)
    assert subject.sample(requests(8), max_new_tokens=40) == before


# Requests that are made while others are sampled.


def ask(prompt_ids: tuple[int, ...], seed: int, **params: Any) -> Request:
    """One request. Any: what ``SamplingParams`` takes."""
    return Request(prompt_ids=prompt_ids, seed=seed, params=SamplingParams(**params))


def test_a_conversation_goes_on_while_others_are_sampled(subject: Subject) -> None:
    generate, finished = subject.engine.generate, list[str]()

    async def converse() -> tuple[int, ...]:
        first = await generate(ask((13,), 0, max_new_tokens=4))
        second = await generate(ask((13, *first.token_ids, 5), 1, max_new_tokens=4))
        finished.append("conversation")
        return (*first.token_ids, *second.token_ids)

    async def answer_at_length() -> tuple[int, ...]:
        answer = await generate(ask((19,), 0, max_new_tokens=240, temperature=0))
        finished.append("answer")
        return answer.token_ids

    async def both() -> tuple[tuple[int, ...], tuple[int, ...]]:
        answer, conversation = await asyncio.gather(answer_at_length(), converse())
        return answer, conversation

    together = run_sampling(both(), subject.engine)
    assert together == tuple(run_sampling(work(), subject.engine) for work in (answer_at_length, converse))
    assert finished[0] == "conversation", "requests with other parameters join too"


def test_requests_join_those_that_are_sampled_and_end_before_them(subject: Subject) -> None:
    long = ask((19,), 0, max_new_tokens=140, temperature=0)
    later = [ask(prompt, 0, max_new_tokens=140, temperature=0) for prompt in ((13,), LONG_PROMPT, (18,))]
    ended: list[Request] = []

    async def generate(request: Request) -> tuple[int, ...]:
        completion = await subject.engine.generate(request)
        ended.append(request)
        return completion.token_ids

    async def one_after_another() -> list[tuple[int, ...]]:
        tasks = []
        for request in (long, *later):
            tasks.append(asyncio.create_task(generate(request)))
            for _ in range(20):
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    got = run_sampling(one_after_another(), subject.engine)
    assert got == [greedy(subject.model, request.prompt_ids, 140) for request in (long, *later)]
    assert ended.index(later[0]) < ended.index(long)


def test_what_comes_one_by_one_gets_the_completions_that_it_would_get_together(subject: Subject) -> None:
    prompts = [(number, *LONG_PROMPT[: 7 * number % 40]) for number in range(1, 25)]
    asked = [ask(prompt, seed, max_new_tokens=40) for seed, prompt in enumerate(prompts)]

    async def one_by_one() -> list[Trajectory]:
        tasks = []
        for request in asked:
            tasks.append(asyncio.create_task(subject.engine.generate(request)))
            for _ in range(3):
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    together = sample_all(subject.engine, asked)
    got = run_sampling(one_by_one(), subject.engine)
    assert [one.token_ids for one in got] == [one.token_ids for one in together]
    errors = [
        (exact_logprobs(subject.model, request.prompt_ids, one, 1.0) - torch.tensor(one.logprobs)).abs().max()
        for request, one in zip(asked, got, strict=True)
    ]
    assert max(errors) < 1e-3


def test_top_p_draws_from_the_fewest_likeliest_tokens_and_says_how_likely_each_was_among_them(
    subject: Subject,
) -> None:
    (drawn,) = subject.sample([Asked((5, 6), tuple(range(200)))], max_new_tokens=1, temperature=1.5, top_p=0.6)
    with torch.no_grad():
        ids = torch.tensor([[5, 6]], device=subject.model.device)
        likely = (subject.model(input_ids=ids).logits[0, -1].cpu() / 1.5).softmax(-1).sort(descending=True)
    num_kept = int((likely.values.cumsum(0) < 0.6).sum()) + 1
    kept = {int(token): float(value) for token, value in zip(likely.indices, likely.values, strict=True)}
    kept = {token: kept[token] for token in list(kept)[:num_kept]}
    assert 1 < num_kept < 20
    seen = {one.token_ids[0] for one in drawn}
    assert seen == set(kept), "200 draws"
    for one in drawn:
        assert one.logprobs[0] == pytest.approx(math.log(kept[one.token_ids[0]] / sum(kept.values())), abs=1e-3)
    certain = subject.sample([Asked((5, 6), (1,))], max_new_tokens=8, temperature=0, top_p=0.1)
    assert certain == subject.sample([Asked((5, 6), (1,))], max_new_tokens=8, temperature=0)


def test_requests_side_by_side_may_differ_in_how_they_are_sampled(subject: Subject) -> None:
    different: list[dict[str, Any]] = [
        {"max_new_tokens": 12},
        {"max_new_tokens": 5},
        {"max_new_tokens": 12, "temperature": 0.5},
    ]
    asked = [ask(prompt, 7, **params) for params in different for prompt in PROMPTS]
    together = sample_all(subject.engine, asked)
    for request, completion in zip(asked, together, strict=True):
        (alone,) = sample_all(subject.engine, [request])
        assert alone.token_ids == completion.token_ids


def test_a_request_can_be_cancelled_and_the_others_are_not(subject: Subject) -> None:
    (expected,) = sample_all(subject.engine, [ask((13,), 3, max_new_tokens=60)])

    async def cancel_one() -> Trajectory:
        endless = asyncio.create_task(subject.engine.generate(ask((19,), 0, max_new_tokens=240, temperature=0)))
        other = asyncio.create_task(subject.engine.generate(ask((13,), 3, max_new_tokens=60)))
        await asyncio.sleep(0.01)
        endless.cancel()
        await asyncio.wait([endless])
        assert endless.cancelled()
        return await other

    assert run_sampling(cancel_one(), subject.engine).token_ids == expected.token_ids


# The end.


def test_closing_twice_is_closing_once(started: Subject) -> None:
    started.engine.close()
    started.engine.close()
