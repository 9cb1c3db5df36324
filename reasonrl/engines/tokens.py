"""From sampled tokens to a completion, and what ends one: every end-of-sequence token a model may use, stop strings."""

from collections.abc import Collection
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import Request
from reasonrl.types import FinishReason, Trajectory


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return all end-of-sequence tokens: the tokenizer's, the generation config's and the chat template's.

    Models name different ones in different places; missing one makes finished answers look truncated
    (trl PR 7039).
    """
    return frozenset(end_token_sources(model, tokenizer))


def end_token_sources(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[int, tuple[str, ...]]:
    """Return every end-of-sequence token with the places that name it."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    places = {
        "tokenizer": [tokenizer.eos_token_id],
        "generation config": configured if isinstance(configured, list) else [configured],
        "chat template": [turn_terminator(tokenizer)],
    }
    found: dict[int, tuple[str, ...]] = {}
    for place, tokens in places.items():
        for token in tokens:
            if token is not None:
                found[int(token)] = (*found.get(int(token), ()), place)
    return found


def turn_terminator(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template puts after an assistant's turn, if it does."""
    if not tokenizer.chat_template:
        return None
    marker = "reasonrl-probe"
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": marker}]
    try:
        tail = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(marker)[2]
    except TemplateError:  # a template for single questions, as of a model that was trained on no chat
        return None
    ids = tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """One completion as an engine samples it."""

    token_ids: tuple[int, ...]
    """The token that ended it included."""
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    entropies: tuple[float, ...] = ()
    """As in :class:`reasonrl.types.Trajectory`; empty where they are not measured."""
    num_cached_tokens: int = 0
    """Tokens of the prompt that were computed for another completion before."""


def completion(
    request: Request,
    sampled: SampledTokens,
    tokenizer: PreTrainedTokenizerBase,
    end_ids: Collection[int],
    policy_version: int,
) -> Trajectory:
    """Return what was sampled for a request. Its text has special tokens, but not the one that ended it."""
    tokens = sampled.token_ids
    shown = tokens[:-1] if tokens and tokens[-1] in end_ids else tokens
    return Trajectory.single_turn(
        token_ids=tokens,
        text=str(tokenizer.decode(list(shown))),
        logprobs=sampled.logprobs,
        entropies=sampled.entropies,
        finish_reason=sampled.finish_reason,
        policy_version=policy_version,
        sample_index=request.sample_index,
        seed=request.seed,
    )
