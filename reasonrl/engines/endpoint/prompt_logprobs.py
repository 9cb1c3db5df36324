"""What a vLLM server's model says of tokens that another model has sampled: the log-probabilities of prompts."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from reasonrl.engines.endpoint.client import EndpointClient, EndpointError
from reasonrl.errors import EngineError, ModelError
from reasonrl.types import TeacherTokens, TrainingSample


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLogprobs:
    """Asks a server for the log-probability of each sampled token; prompt and completion are a prompt to it.

    They are those of the model's own distribution: a server takes no temperature into account there.
    """

    client: EndpointClient
    model: str
    """The name by which it serves the model."""
    max_model_len: int | None
    """Most tokens that it takes, one that it samples itself included; None where it does not say."""
    top_k: int | None
    """How many of its most probable tokens are asked for."""
    vocabulary: int
    """Tokens of the policy; ids from this one on stand for none of them."""

    async def of_samples(self, samples: Sequence[TrainingSample]) -> list[TeacherTokens]:
        """Return what the model says of each sample's tokens that have a loss; requests run side by side.

        Raises:
            ModelError: a sample is too long for it.
            EngineError: the server refuses, does not answer, or answers something else.
        """
        tasks = [asyncio.create_task(self._of_sample(sample)) for sample in samples]
        try:
            return await asyncio.gather(*tasks)
        finally:  # of several that fail, which have one cause, the first is told
            for task in tasks:
                task.cancel()

    async def _of_sample(self, sample: TrainingSample) -> TeacherTokens:
        ids = [*sample.prompt_ids, *sample.token_ids]
        if self.max_model_len is not None and len(ids) >= self.max_model_len:
            raise ModelError(
                f"a prompt with its completion has {len(ids)} tokens, but the teacher at {self.client.url} takes fewer "
                f"than {self.max_model_len}: lower rollout.max_new_tokens, or serve it with a greater --max-model-len."
            )
        try:
            answer = await self.client.post(self.client.url / "completions", self._body(ids))
        except EndpointError as error:
            raise self._explained(error) from None
        try:
            places = answer["choices"][0]["prompt_logprobs"][len(sample.prompt_ids) :]
            found = list(zip(sample.token_ids, places, sample.mask, strict=True))
            chosen = [(token, _logprobs(place)) for token, place, is_chosen in found if is_chosen]
            return self._said(chosen)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise EngineError(
                f"{self.client.url}: its answer has no log-probabilities of the prompt: {error!r}."
            ) from None

    def _body(self, ids: list[int]) -> dict[str, object]:
        return {
            "model": self.model,
            "prompt": ids,
            "add_special_tokens": False,
            "max_tokens": 1,  # the least that it samples
            "temperature": 0.0,
            "prompt_logprobs": self.top_k or 0,
        }

    def _explained(self, error: EndpointError) -> EngineError:
        """Add what a server must be started with."""
        if error.status == 400 and self.top_k and "logprobs" in str(error):
            return EngineError(f"{error} Start it with --max-logprobs {self.top_k}, or lower distillation.top_k.")
        return error

    def _said(self, chosen: Sequence[tuple[int, Mapping[int, float]]]) -> TeacherTokens:
        logprobs = tuple(of_place[token] for token, of_place in chosen)
        if self.top_k is None:
            return TeacherTokens(logprobs=logprobs)
        best = [self._best(of_place, self.top_k) for _, of_place in chosen]
        return TeacherTokens(
            logprobs=logprobs,
            top_ids=tuple(tuple(token for token, _ in row) for row in best),
            top_logprobs=tuple(tuple(logprob for _, logprob in row) for row in best),
        )

    def _best(self, of_place: Mapping[int, float], top_k: int) -> list[tuple[int, float]]:
        """Return the most probable tokens of a place, the best first; one that the policy lacks counts for nothing."""
        ranked = sorted(of_place.items(), key=lambda item: (-item[1], item[0]))[:top_k]
        best = [(token, logprob) if token < self.vocabulary else (0, -inf) for token, logprob in ranked]
        return [*best, *[(0, -inf)] * (top_k - len(best))]


def _logprobs(place: Mapping[str, Mapping[str, Any]]) -> dict[int, float]:
    """Read the tokens of a place. Any: JSON values."""
    return {int(token): float(said["logprob"]) for token, said in place.items()}
