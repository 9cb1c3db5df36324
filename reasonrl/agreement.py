"""Does an engine compute what the learner computes? Both are asked how likely the same tokens were.

An engine with weights of its own may hold old ones, or some that arrived wrongly; it may sample at another temperature
than it was asked for, or compute another function of the same weights. None of that raises an error: the run would
learn from completions of another policy. In all of it the log-probabilities differ by more than rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from reasonrl.engines import Engine, Request, SamplingParams
from reasonrl.errors import EngineError
from reasonrl.learner import Learner
from reasonrl.types import Batch, TrainingSample

PROMPTS, SEEDS, TOKENS = 4, (0, 1), 16
"""What is sampled for a comparison: prompts, the seeds of each, most tokens. The same prompts each time, so that keys
and values kept from old weights show."""

FARTHEST = 4.0
"""Temperatures up to so many times higher or lower than the one asked for are tried."""

WARMER = 0.03
"""Largest relative error of a temperature. The limits on differences alone would let a temperature of 0.8 pass in
bfloat16, on a model that is sure of itself."""

SENSITIVE, FEWEST, AGREEING = 0.05, 24, 0.85
"""A temperature is judged by the tokens whose log-probability it moves by so many nats, as it grows by its own size;
there must be so many of them, and such a share off to the same side: rounding has none."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two log-probabilities of a token are apart, over some tokens, in nats."""

    mean: float
    largest: float
    engine_version: int
    """What the engine called its weights."""
    warmer: float
    """Share by which the engine's temperature seems too high, to first order; 0 where the tokens do not say so."""

    def __str__(self) -> str:
        """Return the figures as a person reads them."""
        shown = f"{self.mean:.2g} nats in the mean, {self.largest:.2g} at most"
        return shown + (f", as at a temperature {self.warmer:+.0%}" if abs(self.warmer) > WARMER else "")

    def metrics(self) -> dict[str, float]:
        """Return the figures by name."""
        return {"push/mismatch_mean": self.mean, "push/mismatch_max": self.largest}


@dataclass(frozen=True, slots=True)
class Limits:
    """Differences that are rounding, in nats."""

    mean: float
    largest: float

    def hold(self, seen: Difference) -> bool:
        """Say whether a difference is rounding; one that is not a number, or a temperature's, is none."""
        return seen.mean <= self.mean and seen.largest <= self.largest and abs(seen.warmer) <= WARMER

    def __str__(self) -> str:
        """Return both figures as a person reads them."""
        return f"{self.mean:g} and {self.largest:g}"


LIMITS = {torch.float32: Limits(1e-3, 1e-3), torch.bfloat16: Limits(0.05, 1.0)}
"""By the coarser type of engine and learner. SmolLM2 under vLLM has 3e-6 and 7e-5 in float32, and 0.03 and 0.4 in
bfloat16; the limits of bfloat16 are provisional, from that model alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Compares an engine that has weights of its own with the learner.

    Args:
        engine: who samples.
        learner: whose weights the engine should have.
        requests: the prompts, with their seeds.
        params: how they are completed.
        engine_dtype: type of the engine's products.
        learner_dtype: type of the learner's products.
    """

    engine: Engine
    learner: Learner
    requests: tuple[Request, ...]
    params: SamplingParams
    engine_dtype: torch.dtype
    learner_dtype: torch.dtype

    @property
    def dtype(self) -> torch.dtype:
        """The coarser type of products."""
        return min(self.engine_dtype, self.learner_dtype, key=lambda dtype: dtype.itemsize)

    @property
    def limits(self) -> Limits:
        """What counts as rounding."""
        return LIMITS[self.dtype]

    def at(self, temperature: float) -> "Agreement":
        """Return the comparison at another temperature."""
        return replace(self, params=replace(self.params, temperature=temperature))

    def compare(self) -> Difference:
        """Let the engine complete the prompts and the learner judge the tokens."""
        samples, version = self._sampled()
        return self._difference(samples, version, self.params.temperature)

    def disagreement(self, seen: Difference) -> str | None:
        """Say what is wrong and, as far as trying finds out, why; None where all is well."""
        if self.limits.hold(seen) and seen.engine_version == self.learner.policy_version:
            return None
        return (
            f"log-probabilities of the same tokens in engine and learner differ by {seen}; limits {self.limits}. "
            f"{self.cause(seen)}"
        )

    def cause(self, seen: Difference) -> str:
        """Push the weights once more, then try other temperatures, and say what mends a difference."""
        self.engine.load(self.learner.weights(), self.learner.policy_version)
        samples, version = self._sampled()
        again = self._difference(samples, version, self.params.temperature)
        behind = f"The engine had weights {seen.engine_version} where the learner has {self.learner.policy_version}"
        if version != self.learner.policy_version:
            return f"{behind}, and pushing them once more did not change that: the engine does not take weights."
        if not self.limits.hold(again):
            return self._other_function(samples, again)
        if seen.engine_version != version:
            return (
                f"{behind}, and pushing them once more mends it: a push was lost, so the engine's weights were stale."
            )
        return (
            f"Pushing the weights once more mends it ({again}), though the engine called them {version} before as "
            "well: a tensor arrived wrongly, or was changed in the engine afterwards."
        )

    def _other_function(self, samples: Sequence[TrainingSample], again: Difference) -> str:
        """The weights are not to blame, so it is the temperature or what is computed."""
        asked, found = self.params.temperature, self._nearest_temperature(samples)
        fitted = self._difference(samples, again.engine_version, found)
        if self.limits.hold(fitted):
            return (
                f"Pushing the weights once more does not mend it, but at temperature {found:.3g} the learner agrees "
                f"({fitted}): the engine samples, or takes log-probabilities, at that temperature and not at the "
                f"{asked:g} it is asked for."
            )
        engine, learner = (str(dtype).removeprefix("torch.") for dtype in (self.engine_dtype, self.learner_dtype))
        return (
            f"Neither pushing the weights once more ({again}) nor another temperature ({fitted} at {found:.3g}) mends "
            f"it: the engine ({engine}) computes another function of the same weights than the learner ({learner}). "
            "Look for a layer that it loads wrongly or computes otherwise, for positions, and for scales of the logits."
        )

    def _sampled(self) -> tuple[list[TrainingSample], int]:
        """Return the engine's completions with their log-probabilities, and the version of its weights."""
        members = [
            (request, completion)
            for request, completions in zip(self.requests, self.engine.sample(self.requests, self.params), strict=True)
            for completion in completions
        ]
        samples = [
            TrainingSample(
                prompt_ids=request.prompt_ids,
                completion_ids=completion.token_ids,
                sampler_logprobs=completion.logprobs,
                advantage=0.0,
            )
            for request, completion in members
        ]
        return samples, min(completion.policy_version for _, completion in members)

    def _difference(self, samples: Sequence[TrainingSample], version: int, temperature: float) -> Difference:
        """Compare what the engine said with what the learner says at a temperature."""
        apart_M = self._apart(samples, temperature)
        warmer = _warmer(apart_M, self._apart(samples, temperature * (1 + WARMER)))
        return Difference(float(apart_M.abs().mean()), float(apart_M.abs().max()), version, warmer)

    def _apart(self, samples: Sequence[TrainingSample], temperature: float) -> Tensor:
        """Return the learner's log-probability at a temperature less the engine's, of every token."""
        learner_M = torch.cat(self.learner.logprobs(samples, temperature)).cpu()
        return learner_M - torch.tensor([logprob for sample in samples for logprob in sample.sampler_logprobs])

    def _nearest_temperature(self, samples: Sequence[TrainingSample]) -> float:
        """Return the temperature at which the learner comes nearest to what the engine said, by least squares."""

        def squared(log_ratio: float) -> float:
            return float(self._apart(samples, self.params.temperature * math.exp(log_ratio)).square().mean())

        farthest = math.log(FARTHEST)
        found = minimize_scalar(squared, bounds=(-farthest, farthest), method="bounded", options={"xatol": 1e-5})
        return self.params.temperature * math.exp(float(found.x))


def _warmer(apart_M: Tensor, apart_if_warmer_M: Tensor) -> float:
    """Return by which share a temperature is too high that makes such differences, to first order, else 0.

    Each token gives an estimate of its own; the median does not depend on a few extreme ones.

    Args:
        apart_M: the learner's log-probabilities less the engine's.
        apart_if_warmer_M: the same with the learner's temperature raised by ``WARMER``.
    """
    slopes_M = (apart_if_warmer_M - apart_M) / WARMER
    shares_M = -(apart_M / slopes_M)[slopes_M.abs() > SENSITIVE]
    if len(shares_M) < FEWEST:
        return 0.0
    share = float(shares_M.median())
    same_side = float((shares_M * share > 0).float().mean())
    return share if same_side > AGREEING else 0.0


def require_current(batch: Batch, version: int) -> None:
    """Refuse completions of other weights than the learner's, where sampling does not run ahead.

    Raises:
        EngineError: there are some.
    """
    found = {completion.policy_version for group, _ in batch.sampled() for completion in group.completions}
    if stale := sorted(found - {version}):
        raise EngineError(
            f"step {batch.step}: completions were sampled with weights {', '.join(map(str, stale))}, where the learner "
            f"has {version}: a push was lost."
        )
