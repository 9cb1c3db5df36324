"""A completion in parts: where weights are replaced while it is sampled, it goes on under the new ones.

A part is a request of its own, for what was sampled so far as its prompt, so keys and values are computed anew, and
every token has the log-probability that the weights gave it which chose it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from transformers import PreTrainedTokenizerBase

from reasonrl.engines import Request
from reasonrl.engines.tokens import SampledTokens, completion
from reasonrl.types import FinishReason, Segment, Trajectory, digest

TOKENS_PER_CHARACTER: Final = 4
"""Most tokens of one character: its bytes."""


@dataclass(slots=True, eq=False)
class PartialCompletion:
    """What was sampled so far for a request, and what is to be sampled next.

    The seed of a part is a function of the request's seed and the tokens before it, so the completion is one of the
    request, the weights, and the places where they were replaced.
    """

    request: Request
    tokenizer: PreTrainedTokenizerBase
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    """None while there is more to sample."""
    num_cached_tokens: int = 0
    """Tokens of the parts' prompts that were not computed again."""

    def next_request(self) -> Request:
        """Return the request for what is left."""
        if not self.token_ids:
            return self.request
        params = replace(self.request.params, max_new_tokens=self._num_next_tokens())
        prompt_ids = (*self.request.prompt_ids, *self.token_ids)
        return replace(self.request, prompt_ids=prompt_ids, seed=self._next_seed(), params=params)

    def _next_seed(self) -> int:
        return int(digest(self.request.seed, *self.token_ids), 16) >> 1

    def _num_next_tokens(self) -> int:
        """Return how many tokens to ask for: all that are left, or so many that a stop string which has begun ends.

        Whoever samples looks for stop strings in what is new alone.
        """
        left, stop = self.request.params.max_new_tokens - len(self.token_ids), self.request.params.stop
        if stop and may_have_begun(self._text(self.token_ids[-TOKENS_PER_CHARACTER * longest(stop) :]), stop):
            return min(left, TOKENS_PER_CHARACTER * longest(stop))
        return left

    def add(self, sampled: SampledTokens, policy_version: int, *, is_interrupted: bool) -> None:
        """Add a part that was sampled for :meth:`next_request`.

        Args:
            sampled: may be empty where it was interrupted.
            policy_version: the weights that chose all of its tokens.
            is_interrupted: whether weights were replaced before it was finished.
        """
        asked, kept = self._num_next_tokens(), self._stops_after(sampled.token_ids)
        token_ids = sampled.token_ids[:kept]
        self.token_ids += token_ids
        self.logprobs += sampled.logprobs[:kept]
        self.num_cached_tokens += sampled.num_cached_tokens
        self._add_segment(len(token_ids), policy_version)
        is_full = len(self.token_ids) == self.request.params.max_new_tokens
        is_short = len(sampled.token_ids) < asked and not is_interrupted
        if kept is not None or (sampled.finish_reason == "stop" and not is_interrupted):
            self.finish_reason = "stop"
        elif is_full or is_short:
            self.finish_reason = "length"

    def _stops_after(self, token_ids: Sequence[int]) -> int | None:
        """Return after how many new tokens a stop string is complete that began in earlier ones; None if none is."""
        stop = self.request.params.stop
        if not stop or not self.token_ids:
            return None
        tail = self.token_ids[-TOKENS_PER_CHARACTER * longest(stop) :]
        for count in range(1, len(token_ids) + 1):
            new = list(token_ids[:count])
            if any(string in self._text(tail + new) for string in stop):
                return count
            if len(self._text(new)) >= longest(stop):
                break
        return None

    def _add_segment(self, num_tokens: int, policy_version: int) -> None:
        """Note the origin of new tokens; a version has one segment, however many parts it sampled."""
        if self.segments and self.segments[-1].policy_version == policy_version:
            num_tokens += self.segments.pop().num_tokens
        if num_tokens:
            self.segments.append(Segment(num_tokens=num_tokens, policy_version=policy_version))

    def _text(self, token_ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(token_ids)))

    def trajectory(self, end_ids: Collection[int]) -> Trajectory:
        """Return the finished completion."""
        assert self.finish_reason is not None, "it is finished"
        sampled = SampledTokens(
            token_ids=tuple(self.token_ids), logprobs=tuple(self.logprobs), finish_reason=self.finish_reason
        )
        whole = completion(self.request, sampled, self.tokenizer, end_ids, policy_version=0)
        return replace(whole, segments=tuple(self.segments))


def longest(stop: Sequence[str]) -> int:
    """Return the length of the longest stop string, in characters."""
    return max(map(len, stop))


def may_have_begun(text: str, stop: Sequence[str]) -> bool:
    """Say whether a text ends in the middle of a stop string, or in the middle of a character."""
    begins = (text.endswith(string[:length]) for string in stop for length in range(1, len(string)))
    return text.endswith("\N{REPLACEMENT CHARACTER}") or any(begins)
