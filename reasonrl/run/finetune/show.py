"""One row as the model learns it: its tokens, and which of them have a loss."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.check import check_finetune, check_model
from reasonrl.run.finetune.data import load_finetune_data
from reasonrl.run.lineage import resolve_model


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
    """A sequence of tokens that is learned from."""

    name: str
    """``row``, ``chosen``, ``rejected``, ``good`` or ``bad``."""
    tokens: tuple[str, ...]
    """Each token as text."""
    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    """True for tokens with a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row for people: what has no loss is set apart from what has."""

    index: int
    num_rows: int
    source: str
    texts: tuple[ShownText, ...]
    """None where the row is too long to be learned from."""

    def record(self) -> dict[str, Any]:
        """Return it as JSON values. Any: JSON."""
        texts = [
            {"name": one.name, "ids": list(one.ids), "tokens": list(one.tokens), "mask": [int(bit) for bit in one.mask]}
            for one in self.texts
        ]
        return {"row": self.index, "rows": self.num_rows, "source": self.source, "texts": texts}

    def text(self) -> str:
        """Return it as lines."""
        return "\n".join([f"row {self.index} of {self.num_rows}, {self.source}", *self._lines()])

    def _lines(self) -> Iterator[str]:
        if not self.texts:
            yield "It is longer than data.max_length, and left out."
        for one in self.texts:
            yield f"{one.name}: {len(one.ids)} tokens, {sum(one.mask)} of them learned"
            for is_taught, part in groupby(zip(one.tokens, one.mask, strict=True), key=lambda pair: pair[1]):
                text = "".join(token for token, _ in part)
                yield f"  {'learned' if is_taught else 'given  '}  {text!r}"


def shown_row(config: FinetuneConfig, plugins: Plugins, index: int) -> ShownRow:
    """Return one row of a run, encoded as the run encodes it.

    Args:
        config: the run.
        plugins: where tasks and templates come from.
        index: of the row, from 0.

    Raises:
        ConfigError: there is no such row.
        ReasonRLError: whatever would stop the run at its data.
    """
    config = resolve_model(config, plugins)
    check_model(config)
    check_finetune(config, plugins)
    data = load_finetune_data(config, plugins)
    if index >= len(data.rows):
        raise ConfigError(f"--show-row {index}: {data.source} has {len(data.rows)} rows, the first is 0.")
    from reasonrl.finetune.training import encoded, encoder_of
    from reasonrl.models.load import load_tokenizer

    tokenizer = load_tokenizer(config.model.name)
    tokens = encoded(data.rows[index], encoder_of(config, plugins, tokenizer))
    decode: Any = tokenizer.decode  # Any: transformers' signature is wider
    texts = tuple(
        ShownText(name=name, ids=ids, mask=mask, tokens=tuple(str(decode([token])) for token in ids))
        for name, (ids, mask) in _sequences(tokens).items()
    )
    return ShownRow(index=index, num_rows=len(data.rows), source=data.source, texts=texts)


def _sequences(tokens: object) -> Mapping[str, tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Return the sequences of a row with their masks; a completion is learned after its prompt."""
    from reasonrl.finetune.encoding import JudgedTokens, PairTokens, TaughtTokens

    def after(prompt: tuple[int, ...], completion: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        return prompt + completion, (False,) * len(prompt) + (True,) * len(completion)

    match tokens:
        case TaughtTokens(ids, mask):
            return {"row": (ids, mask)}
        case PairTokens(prompt, chosen, rejected):
            return {"chosen": after(prompt, chosen), "rejected": after(prompt, rejected)}
        case JudgedTokens(prompt, completion, is_good):
            return {"good" if is_good else "bad": after(prompt, completion)}
    return {}
