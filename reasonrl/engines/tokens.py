"""What ends a completion: every end-of-sequence token a model may use, and stop strings."""

from collections.abc import Collection, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        "chat template": [_turn_terminator(tokenizer)],
    }
    found: dict[int, tuple[str, ...]] = {}
    for place, tokens in places.items():
        for token in tokens:
            if token is not None:
                found[int(token)] = (*found.get(int(token), ()), place)
    return found


def _turn_terminator(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the special token that the chat template puts after an assistant's turn, if it does."""
    if not tokenizer.chat_template:
        return None
    marker = "reasonrl-probe"
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": marker}]
    tail = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(marker)[2]
    ids = tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else None


def ends_with_stop(text: str, stop: tuple[str, ...]) -> bool:
    """Say whether one of the strings occurs in the text."""
    return any(string in text for string in stop)


def completion_text(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]) -> str:
    """Return a completion as text: special tokens included, as a grader sees them, but not the token that ended it."""
    shown = tokens[:-1] if tokens and tokens[-1] in end_ids else tokens
    return str(tokenizer.decode(list(shown)))
