"""A reward model: a causal backbone with scoring heads that read the state at the end-of-sequence token."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.errors import ModelError
from reasonrl.learner.batching import Microbatch, Row, microbatches
from reasonrl.learner.forward import predicting_states
from reasonrl.models.hardware import autocast, compute_dtype
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.preference.card import RewardModelCard, read_card, write_card
from reasonrl.preference.encoding import Encoder, encoder_of
from reasonrl.types import Problem, TrainingSample


def head_scores(model: PreTrainedModel, batch: Microbatch) -> Tensor:
    """Return the scores of every row under each head [N, K], at its end-of-sequence token."""
    head = cast(nn.Linear, model.score)
    scores_NK: Tensor = head(predicting_states(model, batch)).float()
    return scores_NK


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
    def load(cls, folder: Path, device: torch.device) -> "RewardModel":
        """Load a model from its folder.

        Raises:
            ModelError: it is none, or has another number of heads than its card says.
        """
        card = read_card(folder)
        tokenizer = load_tokenizer(str(folder))
        model = load_classifier(str(folder), device, num_labels=card.num_heads)
        return cls(
            card=card,
            tokenizer=tokenizer,
            encoder=encoder_of(card, tokenizer),
            model=model,
            dtype=compute_dtype("auto", device, model.config.get_text_config().hidden_size),
        )

    def scores(
        self, items: Sequence[tuple[Problem, str]], *, max_tokens: int = 16_384
    ) -> list[tuple[float, ...] | None]:
        """Return the raw score of each completion under each head, in order; None for one that is too long.

        Args:
            items: problems with completions.
            max_tokens: most tokens in one forward pass, padding included. Never changes a score beyond rounding.
        """
        samples = [self.encoder.encode(problem, completion) for problem, completion in items]
        found = iter(self.sample_scores([one for one in samples if one is not None], max_tokens=max_tokens))
        return [None if one is None else next(found) for one in samples]

    @torch.no_grad()
    def sample_scores(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[tuple[float, ...]]:
        """Return the raw scores of encoded completions, in order; a prompt is computed once for all its completions."""
        rows, found = [Row(sample=sample, weight=1.0) for sample in samples], dict[int, tuple[float, ...]]()
        for indices, batch in microbatches(rows, max_tokens=max_tokens, device=self.model.device):
            with autocast(self.model.device, self.dtype):
                scores_NK = head_scores(self.model, batch)
            found |= zip(indices, map(tuple, scores_NK.tolist()), strict=True)
        return [found[index] for index in range(len(rows))]

    def save(self, folder: Path) -> None:
        """Write the model so that transformers and vLLM load it, with its tokenizer and card."""
        if self.card.num_heads != self.model.config.num_labels:
            raise ModelError(
                f"{folder}: the card has {self.card.num_heads} heads, {self.model.config.num_labels} there."
            )
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_card(folder, self.card)
