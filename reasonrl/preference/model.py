"""A reward model: a causal backbone with scoring heads that read the state at the end-of-sequence token."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.errors import ModelError
from reasonrl.learner.batching import Microbatch
from reasonrl.learner.forward import predicting_states
from reasonrl.models.hardware import autocast
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.models.quiet import without_bars
from reasonrl.models.sharded import forward_pass
from reasonrl.preference.card import RewardModelCard, read_card, write_card
from reasonrl.preference.encoding import Encoder, encoder_of, scored_sample
from reasonrl.preference.inference import end_scores, hold_products_in, scoring_dtype
from reasonrl.types import Problem, TrainingSample


def head_scores(model: PreTrainedModel, batch: Microbatch, dtype: torch.dtype) -> Tensor:
    """Return the scores of every row under each head [N, K], at its end-of-sequence token; gradients flow through.

    Rows of the same tokens, such as a completion that was compared with several, are computed once. The heads always
    compute in float32: eight bits are too few to tell good completions apart.

    Args:
        model: backbone with heads.
        batch: rows of :func:`reasonrl.preference.encoding.scored_sample`.
        dtype: type of the backbone's matrix products.
    """
    distinct, row_N = _distinct(batch)

    def compute() -> Tensor:
        with autocast(model.device, dtype):
            states_ND = predicting_states(model, distinct)
        scores_NK: Tensor = cast(nn.Linear, model.score)(states_ND.float())
        return scores_NK

    return forward_pass(model, compute)[row_N]


def _distinct(batch: Microbatch) -> tuple[Microbatch, list[int]]:
    """Return the different rows of a micro-batch, of which only the tokens may be used, and where each row is there."""
    rows = list(zip(batch.prompt_of_row, batch.continuations, batch.chosen, batch.lengths, strict=True))
    place = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    prompt_of_row, continuations, chosen, lengths = zip(*place, strict=True)
    distinct = replace(batch, prompt_of_row=prompt_of_row, continuations=continuations, chosen=chosen, lengths=lengths)
    return distinct, [place[row] for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModel:
    """A trained reward model, ready to score."""

    card: RewardModelCard
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    model: PreTrainedModel
    dtype: torch.dtype
    """Type of matrix products."""

    @classmethod
    def load(
        cls, folder: Path, device: torch.device, *, dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    ) -> "RewardModel":
        """Load a model from its folder, to score with and not to train or to save.

        Args:
            folder: with weights, tokenizer and card.
            device: where to put it.
            dtype: type of matrix products; ``auto`` is what is faster on this hardware.

        Raises:
            ModelError: it is none, or has another number of heads than its card says.
        """
        card = read_card(folder)
        tokenizer = load_tokenizer(str(folder))
        model = load_classifier(str(folder), device, num_labels=card.num_heads)
        products = scoring_dtype(model, dtype)
        hold_products_in(model, products)
        encoder = encoder_of(card, tokenizer)
        return cls(card=card, tokenizer=tokenizer, encoder=encoder, model=model, dtype=products)

    def scores(
        self, items: Sequence[tuple[Problem, str]], *, max_tokens: int = 16_384
    ) -> list[tuple[float, ...] | None]:
        """Return the raw score of each completion under each head, in order; None for one that is too long.

        Args:
            items: problems with completions.
            max_tokens: most tokens in one forward pass, padding included. Never changes a score beyond rounding.
        """
        samples = self._encoded(items)
        found = iter(self.sample_scores([one for one in samples if one is not None], max_tokens=max_tokens))
        return [None if one is None else next(found) for one in samples]

    def sample_scores(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[tuple[float, ...]]:
        """Return the raw scores of encoded completions, in order; a prompt is computed once for all its completions."""
        return end_scores(self.model, samples, max_tokens=max_tokens, dtype=self.dtype)

    def _encoded(self, items: Sequence[tuple[Problem, str]]) -> list[TrainingSample | None]:
        """Return the rows of completions; a prompt is rendered once for those that stand together."""
        samples, last = list[TrainingSample | None](), None
        prompt_ids: tuple[int, ...] = ()
        for problem, completion in items:
            if problem is not last:
                prompt_ids, last = self.encoder.prompt_ids(problem), problem
            ids = self.encoder.joined(prompt_ids, completion)
            samples.append(None if ids is None else scored_sample(*ids))
        return samples

    def save(self, folder: Path) -> None:
        """Write the model so that transformers and vLLM load it, with its tokenizer and card.

        transformers reads the score at the last token that is not padding, so the padding token is made one that is
        not the end-of-sequence token, where the vocabulary has another special token. Where it has none, no padding
        token is set, and transformers refuses batches in place of scoring another token.
        """
        if self.card.num_heads != self.model.config.num_labels:
            raise ModelError(
                f"{folder}: the card has {self.card.num_heads} heads, the model {self.model.config.num_labels}."
            )
        config, pad = self.model.config, padding_token(self.tokenizer)
        config.get_text_config().pad_token_id = None if pad is None else self.tokenizer.convert_tokens_to_ids(pad)
        config.problem_type = "regression"  # vLLM gives scores as they are, with no sigmoid or softmax over them
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.pad_token = pad
        with without_bars():
            self.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_card(folder, self.card)


def padding_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return a special token that can stand for padding, so that the end-of-sequence token is the last that does not.

    Any token but that would do, but making an ordinary one special would change how texts are cut into tokens.
    """
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    special = [tokenizer.pad_token, tokenizer.unk_token, *tokenizer.all_special_tokens, *added]
    usable = [token for token in special if token and token != tokenizer.eos_token]
    return next((token for token in usable if token != tokenizer.bos_token), next(iter(usable), None))
