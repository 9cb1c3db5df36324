"""Examples as tokens, in little memory."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from reasonrl.errors import DataError
from reasonrl.preference.data import Example, LabeledCompletion, Pair
from reasonrl.preference.encoding import Encoder, scored_sample
from reasonrl.preference.objectives import LabelSample, PairSample
from reasonrl.types import Problem, TrainingSample


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt with a completion, four bytes a token."""

    prompt: "array[int]"
    after: "array[int]"
    """The completion and the end-of-sequence token."""

    @property
    def key(self) -> bytes:
        """Equal for equal tokens."""
        return b"".join((len(self.prompt).to_bytes(4), self.prompt.tobytes(), self.after.tobytes()))

    def sample(self) -> TrainingSample:
        """Return the row that is scored."""
        return scored_sample(tuple(self.prompt), tuple(self.after))


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair with its tokens."""

    example: Pair
    texts: tuple[Tokens, Tokens]
    """The chosen completion and the rejected one."""

    def sample(self) -> PairSample:
        """Return what the objective learns from."""
        chosen, rejected = self.texts
        return PairSample(
            prompt=self.example.problem.id,
            chosen=chosen.sample(),
            rejected=rejected.sample(),
            margin=self.example.margin or 0.0,
        )


@dataclass(frozen=True, slots=True)
class EncodedCompletion:
    """A labeled completion with its tokens."""

    example: LabeledCompletion
    texts: tuple[Tokens]

    def sample(self) -> LabelSample:
        """Return what the objective learns from."""
        one = self.example
        return LabelSample(prompt=one.problem.id, completion=self.texts[0].sample(), label=one.label)


Encoded: TypeAlias = EncodedPair | EncodedCompletion


def encode(examples: Sequence[Example], encoder: Encoder) -> list[Encoded]:
    """Return the examples all of whose texts fit, in their order.

    Raises:
        DataError: the template would leave out turns of a conversation.
    """
    template = encoder.renderer.template
    if not template.chat and (lost := next((one.problem for one in examples if one.problem.messages), None)):
        raise DataError(
            f"template {template.name!r} renders the last message alone, and prompts are conversations, such as the "
            f"one that ends with {lost.prompt[:60]!r}. Use template: chat, or render them yourself and use bare."
        )
    return list(_encoded(examples, encoder))


def _encoded(examples: Sequence[Example], encoder: Encoder) -> Iterator[Encoded]:
    """Yield examples that fit; a prompt is rendered once for all that stand together."""
    last: tuple[object, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    for example in examples:
        if (asked := _asked(example.problem)) != last:
            prompt_ids, last = encoder.prompt_ids(example.problem), asked
        if isinstance(example, LabeledCompletion):
            if text := _tokens(prompt_ids, example.completion, encoder):
                yield EncodedCompletion(example, (text,))
            continue
        chosen, rejected = (_tokens(prompt_ids, one, encoder) for one in (example.chosen, example.rejected))
        if chosen and rejected:
            yield EncodedPair(example, (chosen, rejected))


def _asked(problem: Problem) -> tuple[object, ...]:
    return problem.prompt, problem.messages


def _tokens(prompt_ids: tuple[int, ...], completion: str, encoder: Encoder) -> Tokens | None:
    ids = encoder.joined(prompt_ids, completion)
    return None if ids is None else Tokens(*(array("I", part) for part in ids))
