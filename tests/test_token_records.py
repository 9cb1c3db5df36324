"""What is recorded of each token: where it ends in the text, how likely it was, how open the choice was."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import batch, completion, letter_tokenizer, problem, run_config, small_llama
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.engines.sampling import DrawParams, entropies
from reasonrl.learner.token_rewards import common_length
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_tokenizer
from reasonrl.run.changes import is_changeable
from reasonrl.run.files.rollouts import RolloutRecord, read_rollouts, rollout_records
from reasonrl.run.token_ends import TokenEnds
from reasonrl.types import Group, RewardResult, Score, StepRecord, Trajectory

KINDS: list[dict[str, float]] = [{}, {"temperature": 0.7}, {"temperature": 0.0}, {"temperature": 1.3, "top_p": 0.8}]
REQUESTS = [
    Request(
        prompt_ids=(1, 2, 3),
        seed=seed,
        sample_index=seed,
        params=SamplingParams(max_new_tokens=9, temperature=kind.get("temperature", 1.0), top_p=kind.get("top_p", 1.0)),
    )
    for seed, kind in enumerate(KINDS)
]


# Entropies.


@pytest.mark.parametrize("fast", [True, False])
def test_measuring_entropies_changes_no_token_and_no_log_probability(fast: bool) -> None:
    model, compute = small_llama(), Compute(fast=fast)
    plain = sample_all(LocalEngine(model, letter_tokenizer(), compute), REQUESTS)
    measured = sample_all(LocalEngine(model, letter_tokenizer(), compute, token_entropy=True), REQUESTS)
    assert [replace(one, entropies=()) for one in measured] == plain
    assert all(len(one.entropies) == len(one.token_ids) for one in measured)
    assert all(one.entropies == () for one in plain)


@pytest.mark.parametrize("fast", [True, False])
def test_entropies_are_those_of_what_the_tokens_were_drawn_from(fast: bool) -> None:
    """Computed once more from the whole sequence, under the request's temperature and before ``top_p``."""
    model = small_llama()
    engine = LocalEngine(model, letter_tokenizer(), Compute(fast=fast), token_entropy=True)
    for request, one in zip(REQUESTS, sample_all(engine, REQUESTS), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *one.token_ids]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1].double()
        probs = (logits / (request.params.temperature or 1.0)).softmax(-1)
        expected = -(probs * probs.log()).sum(-1)
        torch.testing.assert_close(torch.tensor(one.entropies).double(), expected, rtol=1e-4, atol=1e-4)


def test_an_entropy_is_in_nats_and_knows_tokens_that_cannot_come() -> None:
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25), -math.inf], [0.0, -math.inf] * 2])
    found = entropies(logits, DrawParams())
    assert found.tolist() == pytest.approx([1.5 * math.log(2), math.log(2)])


@pytest.mark.parametrize("engine", ["vllm", "vllm_server"])
def test_entropies_are_refused_where_the_engine_gives_none(engine: str) -> None:
    with pytest.raises(ValidationError, match=rf"token_entropy is true, but engine {engine} .* rollout.engine: local"):
        run_config(rollout={"engine": engine, "token_entropy": True})


def test_a_run_may_begin_to_record_entropies_when_it_is_resumed() -> None:
    assert is_changeable("rollout.token_entropy")


def test_entropies_of_several_turns_are_joined_with_none_for_what_the_environment_said() -> None:
    one = completion("a", tokens=(1, 2), entropies=(0.5, 0.25))
    both = one.followed_by((8, 9, 9), completion("b", tokens=(3,), entropies=(0.75,)))
    assert both.entropies == (0.5, 0.25, 0.0, 0.0, 0.0, 0.75)
    assert one.followed_by((8,), completion("b", tokens=(3,))).entropies == ()


def test_a_trajectory_has_an_entropy_for_every_token_or_for_none() -> None:
    with pytest.raises(ValueError, match="2 tokens and 1 entropies"):
        completion("a", tokens=(1, 2), entropies=(0.5,))


# Where tokens end.


def ends_by_definition(decode: object, trajectory: Trajectory) -> tuple[int, ...]:
    assert callable(decode)
    ids = list(trajectory.token_ids)
    return tuple(common_length(decode(ids[: count + 1]), trajectory.text) for count in range(len(ids)))


def bytes_of(ids: Sequence[int]) -> str:
    """A tokenizer of bytes: what decodes of half a character is no part of any."""
    return bytes(ids).decode("utf-8", "replace")


WORDS = ["the", "a", ".", "cat", "1"]


def words_of(ids: Sequence[int]) -> str:
    """A tokenizer with a space before every word but the first."""
    return " ".join(WORDS[index] for index in ids)


def cleaned_words_of(ids: Sequence[int]) -> str:
    """One that takes out spaces before full stops, so that tokens do not add up to the text."""
    return words_of(ids).replace(" .", ".")


@given(text=st.text(max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_character_ends_with_the_token_that_completes_it(text: str) -> None:
    said = completion(text, tokens=tuple(text.encode()))
    assert TokenEnds(bytes_of)(said) == ends_by_definition(bytes_of, said)


@pytest.mark.parametrize("decode", [words_of, cleaned_words_of])
@given(ids=st.lists(st.integers(0, len(WORDS) - 1), max_size=9))
@settings(max_examples=25, deadline=None)
def test_tokenizers_that_add_or_take_spaces_are_followed(decode: object, ids: list[int]) -> None:
    assert callable(decode)
    said = completion(decode(ids), tokens=ids)
    assert TokenEnds(decode)(said) == ends_by_definition(decode, said)


def test_the_packaged_tokenizer_is_followed_and_what_ended_the_completion_adds_nothing() -> None:
    tokenizer = load_tokenizer("tiny")
    text = " 4 + 6 = 10. <answer> 10 </answer>"
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ends = TokenEnds(lambda tokens: str(tokenizer.decode(tokens)))(completion(text, tokens=ids))
    assert ends[-2:] == (len(text), len(text))
    assert list(ends) == sorted(ends)
    assert len(set(ends)) == len(ends) - 1


def test_of_several_turns_the_last_one_has_ends() -> None:
    turns = completion("hi", tokens=b"hi").followed_by((1, 2), completion("you", tokens=b"you"))
    assert TokenEnds(bytes_of)(turns) == (1, 2, 3)


# Records.


def step_of(one: Trajectory) -> StepRecord:
    right = RewardResult(total=Score(1.0), rewards={"exact": Score(1.0, "right")})
    asked = Group(problem=problem(), prompt="?", prompt_ids=(1,), trajectories=(one,))
    return StepRecord(batch=batch([asked], [(right,)]), advantages=((0.5,),), policy_version=0, measured={}, seconds={})


def test_a_record_has_what_is_known_of_each_token() -> None:
    said = completion(
        "abc", tokens=b"abc\0", logprobs=(-0.123456, -1e-9, -math.inf, 0.0), entropies=(1.23456, 0.0, 0.5, math.log(4))
    )
    (record,) = rollout_records(step_of(said), TokenEnds(bytes_of))
    assert record.tokens is not None
    assert record.tokens.ends == (1, 2, 3, 3)
    assert record.tokens.logprobs == (-0.1235, 0.0, None, 0.0)
    assert record.tokens.entropies == (1.2346, 0.0, 0.5, 1.3863)


def test_a_record_of_before_there_were_tokens_is_read(tmp_path: Path) -> None:
    (record,) = rollout_records(step_of(completion("abc", tokens=b"abc")))
    line = {name: value for name, value in record.model_dump().items() if name != "tokens"}
    (tmp_path / "step_000001.jsonl").write_text(json.dumps(line) + "\n")
    assert list(read_rollouts(tmp_path / "step_000001.jsonl")) == [record]
    assert RolloutRecord.model_validate(line).tokens is None
