"""Completions whose weights are replaced while they are sampled: any cuts give the completion of the uncut request."""

# Parts of transformers are untyped.
# mypy: disallow-untyped-calls=False

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.tokens import SampledTokens
from reasonrl.engines.vllm.partial import PartialCompletion
from reasonrl.types import Trajectory

PROMPT = (1, 2, 3)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


BYTES = byte_tokenizer()


def partial_for(text: str, *stop: str, max_new_tokens: int = 0) -> PartialCompletion:
    params = SamplingParams(max_new_tokens=max_new_tokens or len(ids(text)), stop=stop)
    return PartialCompletion(Request(prompt_ids=PROMPT, seed=5, params=params), BYTES)


def ids(text: str) -> list[int]:
    return list(BYTES(text)["input_ids"])


def answer(partial: PartialCompletion, said: Sequence[int], cut: int | None = None) -> tuple[SampledTokens, bool]:
    """What a server whose policy says ``said`` gives back: it looks for stop strings in what is new, and may be cut."""
    request = partial.next_request()
    assert request.prompt_ids == (*PROMPT, *said[: len(partial.token_ids)])
    left = said[len(partial.token_ids) :][: request.params.max_new_tokens]
    for count in range(1, len(left) + 1):
        text = str(partial.tokenizer.decode(list(left[:count])))
        if any(string in text for string in request.params.stop):
            left, reason = left[:count], "stop"
            break
    else:
        reason = "length"
    is_cut = cut is not None and cut < len(left)
    given_back = left[:cut] if is_cut else left
    places = range(len(partial.token_ids), len(partial.token_ids) + len(given_back))
    logprobs = tuple(-float(place) for place in places)
    return SampledTokens(
        token_ids=tuple(given_back),
        logprobs=logprobs,
        finish_reason="stop" if reason == "stop" and not is_cut else "length",
    ), is_cut


def sampled(partial: PartialCompletion, said: Sequence[int], cuts: Sequence[int]) -> Trajectory:
    """Sample to the end; each cut is the number of tokens after which the weights are replaced once more."""
    left, version = list(cuts), 0
    while partial.finish_reason is None:
        tokens, is_cut = answer(partial, said, left.pop(0) if left else None)
        partial.add(tokens, version, is_interrupted=is_cut)
        version += is_cut
    return partial.trajectory(end_ids=())


@given(
    said=st.text("ab", min_size=1, max_size=40),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=2),
    cuts=st.lists(st.integers(0, 8), max_size=8),
)
def test_a_completion_that_is_interrupted_anywhere_ends_where_it_would_have_ended(
    said: str, stop: list[str], cuts: list[int]
) -> None:
    tokens = ids(said)
    whole = sampled(partial_for(said, *stop), tokens, [])
    got = sampled(partial_for(said, *stop), tokens, cuts)
    assert (got.token_ids, got.text, got.finish_reason) == (whole.token_ids, whole.text, whole.finish_reason)
    assert got.logprobs == whole.logprobs
    versions = [int(segment.policy_version or 0) for segment in got.segments]
    assert versions == sorted(set(versions)), "one segment for each version"
    assert all(segment.num_tokens for segment in got.segments)


def test_each_token_has_the_version_that_it_was_sampled_with() -> None:
    got = sampled(partial_for("abababab"), ids("abababab"), [2, 0, 3])
    assert [(one.num_tokens, one.policy_version) for one in got.segments] == [(2, 0), (3, 2), (3, 3)]
    assert got.policy_version == 0


def test_a_stop_string_in_two_parts_within_a_character_ends_the_completion() -> None:
    said = "so: é! and more"
    tokens = ids(said)
    for cut in range(1, len(tokens)):
        got = sampled(partial_for(said, "é!"), tokens, [cut])
        assert got.text == "so: é!"
        assert got.finish_reason == "stop"


def test_where_no_stop_string_has_begun_all_that_is_left_is_asked_for_at_once() -> None:
    partial = partial_for("abcabc", "ca", max_new_tokens=60)
    partial.add(SampledTokens(token_ids=(1, 2), logprobs=(0.0, 0.0), finish_reason="length"), 0, is_interrupted=True)
    assert partial.next_request().params.max_new_tokens == 58


def test_the_seed_of_a_part_follows_from_the_request_and_what_was_said() -> None:
    def seed_after(*said: int, seed: int = 5) -> int:
        params = SamplingParams(max_new_tokens=60)
        partial = PartialCompletion(Request(prompt_ids=PROMPT, seed=seed, params=params), BYTES)
        tokens = SampledTokens(token_ids=said, logprobs=(0.0,) * len(said), finish_reason="length")
        partial.add(tokens, 0, is_interrupted=True)
        return partial.next_request().seed

    assert seed_after() == 5, "nothing was sampled, so it is the request itself"
    assert len({seed_after(), seed_after(1), seed_after(2), seed_after(1, 2), seed_after(1, seed=6)}) == 5
    assert seed_after(1, 2) == seed_after(1, 2)
    assert 0 <= seed_after(1, 2) < 2**63


def test_a_completion_that_is_full_when_it_is_interrupted_is_finished() -> None:
    partial = partial_for("ab")
    partial.add(SampledTokens(token_ids=(1, 2), logprobs=(0.0, 0.0), finish_reason="length"), 0, is_interrupted=True)
    assert partial.finish_reason == "length"
