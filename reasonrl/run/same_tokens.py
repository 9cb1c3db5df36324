"""Whether two models read and write the same tokens, so that one can judge what the other has sampled."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

from transformers import PreTrainedTokenizerBase

from reasonrl.engines.tokens import end_token_ids
from reasonrl.models.load import load_tokenizer
from reasonrl.models.skeleton import load_skeleton

PROBE: Final = "To solve 12 + 7 = ?, note that naïve\nadding  works: \\boxed{19} 你好\n\n\tx_1 = 0.5"
"""A text that tokenizers of one vocabulary and other rules cut into other tokens."""


def token_difference(theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> str:
    """Return the first difference of another tokenizer from ours in words; nothing where they are the same."""
    return next(_differences(theirs, ours), "")


def _differences(theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield how two tokenizers differ: in their tokens, special ones included, then in how they cut a text."""
    of_theirs, of_ours = _by_id(theirs), _by_id(ours)
    for token in sorted(of_theirs.keys() | of_ours.keys()):
        there, here = of_theirs.get(token), of_ours.get(token)
        if there != here:
            yield f"token {token} is {_named(there)} there and {_named(here)} here"
    if _ids(theirs) != _ids(ours):
        pairs = zip_longest(_ids(theirs), _ids(ours))
        cut = next((of_theirs.get(one), of_ours.get(other)) for one, other in pairs if one != other)
        yield f"it cuts a text into other tokens: {_named(cut[0])} there where it is {_named(cut[1])} here"


def _by_id(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {number: token for token, number in tokenizer.get_vocab().items()}


def _ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer(PROBE, add_special_tokens=False)["input_ids"])


def _named(token: str | None) -> str:
    return "none" if token is None else repr(token)


def end_difference(theirs: str, ours: str) -> str:
    """Return how the ends of completions of two models differ, in words; nothing where they have one in common.

    Args:
        theirs: name or folder of the other model.
        ours: of our model, whose tokens it has.

    Raises:
        ModelError: one of them cannot be found.
    """
    ends = [_ends(theirs), _ends(ours)]
    if not all(ends) or ends[0].keys() & ends[1].keys():
        return ""
    there, here = (" or ".join(sorted(map(repr, each.values()))) for each in ends)
    return f"a completion ends with {there} there and with {here} here"


def _ends(name: str) -> dict[int, str]:
    tokenizer = load_tokenizer(name)
    return {
        token: str(tokenizer.convert_ids_to_tokens(token)) for token in end_token_ids(load_skeleton(name), tokenizer)
    }
