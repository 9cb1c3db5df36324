"""How prompt and completion become the tokens of a reward model: one way, in training, evaluation, loop and server."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasonrl.config.reward_model import TooLong
from reasonrl.errors import ModelError
from reasonrl.preference.card import RewardModelCard
from reasonrl.rollout.templates import Renderer
from reasonrl.types import Problem, TrainingSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDER: int = 0
"""Follows the end-of-sequence token, so that the state which would predict it is the one at that token. It is never
computed, whatever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Prompt tokens from the template, then the completion's, then the end-of-sequence token, always and once.

    A score is read where the end-of-sequence token stands, found by position. Comparing ids would find another
    place wherever a tokenizer pads with its end-of-sequence token, as most do.

    Raises:
        ModelError: the tokenizer has no end-of-sequence token.
    """

    tokenizer: "PreTrainedTokenizerBase"
    renderer: Renderer
    max_length: int
    too_long: TooLong

    def __post_init__(self) -> None:
        """Hold that there is a token to read the score at."""
        if self.tokenizer.eos_token_id is None:
            raise ModelError(f"the tokenizer of {self.tokenizer.name_or_path!r} has no end-of-sequence token.")

    def ids(self, problem: Problem, completion: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the tokens of the prompt and those after it, the end included; None where they are too many."""
        return self.joined(self.prompt_ids(problem), completion)

    def prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        """Return the tokens of a prompt, however many they are."""
        return self.renderer.render(problem)[1]

    def joined(self, prompt_ids: tuple[int, ...], completion: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the same as ``ids`` for a prompt whose tokens are known, as those of many completions are."""
        encoded: Any = self.tokenizer(completion, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.eos_token_id  # some data sets have written it into their texts
        after_ids = tuple(encoded) if encoded and encoded[-1] == end else (*encoded, end)
        excess = len(prompt_ids) + len(after_ids) - self.max_length
        if excess <= 0:
            return prompt_ids, after_ids
        if self.too_long == "drop" or excess >= len(prompt_ids):
            return None
        return prompt_ids[excess:], after_ids

    def encode(self, problem: Problem, completion: str) -> TrainingSample | None:
        """Return the row of a completion, whose one token with a loss stands for its score; None if it is too long."""
        ids = self.ids(problem, completion)
        return None if ids is None else scored_sample(*ids)


def scored_sample(prompt_ids: tuple[int, ...], after_ids: tuple[int, ...]) -> TrainingSample:
    """Return a row for which ``predicting_states`` gives the state at the last of its tokens."""
    return TrainingSample(
        prompt_ids=prompt_ids,
        token_ids=(*after_ids, PLACEHOLDER),
        sampler_logprobs=(0.0,) * (len(after_ids) + 1),
        mask=(*(False for _ in after_ids), True),
    )


def encoder_of(card: RewardModelCard, tokenizer: "PreTrainedTokenizerBase") -> Encoder:
    """Return the encoder that a reward model was trained with."""
    return Encoder(
        tokenizer=tokenizer,
        renderer=Renderer(tokenizer, card.template.template()),
        max_length=card.max_length,
        too_long=card.too_long,
    )
