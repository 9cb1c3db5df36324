"""What ends a completion: every end-of-sequence token a model may use, and stop strings."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return all end-of-sequence tokens: the tokenizer's, the generation config's and the chat template's.

    Models name different ones in different places; missing one makes finished answers look truncated
    (trl PR 7039).
    """
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    found = {tokenizer.eos_token_id, *listed, _turn_terminator(tokenizer)}
    return frozenset(int(token) for token in found if token is not None)


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
