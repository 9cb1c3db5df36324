"""Sampler-learner mismatch: the difference between both log-probabilities of the same tokens.

An engine with weights of its own may hold old ones, or some that arrived wrongly; it may sample at another temperature
than it was asked for, or compute another function of the same weights. None of that raises an error: the run would
learn from completions of another policy. In all of it the log-probabilities differ by more than rounding.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from reasonrl.config.settings import RolloutSettings, RunConfig
from reasonrl.engines import Engine, Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.errors import EngineError
from reasonrl.rollout.environment import Environment
from reasonrl.run.build import RunComponents
from reasonrl.run.inputs import RunInputs
from reasonrl.run.ranks import CalledLearner, CalledLogprobs
from reasonrl.types import Batch, Problem, TrainingSample

NUM_PROMPTS, SEEDS, MAX_TOKENS = 4, (0, 1), 16
"""What is sampled for a comparison: prompts, the seeds of each, longest completion. The same prompts each time,
so that keys and values kept from old weights show."""

MAX_TEMPERATURE_RATIO = 4.0
"""Temperatures up to so many times higher or lower than the one asked for are tried."""

MAX_TEMPERATURE_ERROR = 0.03
"""Largest relative error of a temperature. The limits on differences alone would let a temperature of 0.8 pass in
bfloat16, on a model that is sure of itself."""

MIN_SENSITIVITY, MIN_TOKENS, MIN_SAME_SIDE = 0.05, 24, 0.85
"""A temperature is judged by the tokens whose log-probability it moves by so many nats, as it grows by its own size;
there must be so many of them, and such a share off to the same side: rounding has none."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How far two log-probabilities of a token are apart, over some tokens, in nats."""

    mean: float
    largest: float
    engine_version: int
    """What the engine called its weights."""
    temperature_error: float
    """Share by which the engine's temperature seems too high, to first order; 0 where the tokens do not say so."""

    def __str__(self) -> str:
        shown = f"{self.mean:.2g} nats in the mean, {self.largest:.2g} at most"
        return shown + (
            f", as at a temperature {self.temperature_error:+.0%}"
            if abs(self.temperature_error) > MAX_TEMPERATURE_ERROR
            else ""
        )

    def metrics(self) -> dict[str, float]:
        """Return the figures by name."""
        return {"push/mismatch_mean": self.mean, "push/mismatch_max": self.largest}


@dataclass(frozen=True, slots=True)
class MismatchLimits:
    """Differences that are rounding, in nats."""

    mean: float
    largest: float

    def include(self, seen: Mismatch) -> bool:
        """Say whether a difference is rounding; one that is not a number, or a temperature's, is none."""
        return (
            seen.mean <= self.mean
            and seen.largest <= self.largest
            and abs(seen.temperature_error) <= MAX_TEMPERATURE_ERROR
        )

    def __str__(self) -> str:
        return f"{self.mean:g} and {self.largest:g}"


MISMATCH_LIMITS = {torch.float32: MismatchLimits(1e-3, 1e-3), torch.bfloat16: MismatchLimits(0.05, 1.0)}
"""By the coarser type of engine and learner. SmolLM2 under vLLM has 3e-6 and 7e-5 in float32, and 0.03 and 0.4 in
bfloat16; the limits of bfloat16 are provisional, from that model alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchCheck:
    """Compares an engine that has weights of its own with the learner."""

    engine: Engine
    learner: CalledLearner
    """Has the weights that the engine should have."""
    policy: CalledLogprobs
    """Computes the learner's log-probabilities."""
    microbatch_tokens: int
    requests: tuple[Request, ...]
    """The same prompts and seeds each time."""
    timeout_s: float | None
    engine_dtype: torch.dtype
    """Type of the engine's matrix products."""
    learner_dtype: torch.dtype

    @property
    def dtype(self) -> torch.dtype:
        """The coarser type of products."""
        return min(self.engine_dtype, self.learner_dtype, key=lambda dtype: dtype.itemsize)

    @property
    def limits(self) -> MismatchLimits:
        """What counts as rounding."""
        return MISMATCH_LIMITS[self.dtype]

    @property
    def params(self) -> SamplingParams:
        """How the prompts are completed."""
        return self.requests[0].params

    def at(self, temperature: float) -> "MismatchCheck":
        """Return the comparison at another temperature."""
        params = replace(self.params, temperature=temperature)
        requests = tuple(replace(request, params=params) for request in self.requests)
        return replace(self, requests=requests, policy=replace(self.policy, temperature=temperature))

    def measure(self) -> Mismatch:
        """Let the engine complete the prompts, and compute the learner's log-probabilities of the same tokens."""
        samples, version = self._sample()
        return self._mismatch(samples, version, self.params.temperature)

    def diagnose(self, seen: Mismatch) -> str | None:
        """Say what is wrong and, as far as trying finds out, why; None where all is well."""
        if self.limits.include(seen) and seen.engine_version == self.learner.policy_version:
            return None
        return (
            f"log-probabilities of the same tokens in engine and learner differ by {seen}; limits {self.limits}. "
            f"{self.cause(seen)}"
        )

    def cause(self, seen: Mismatch) -> str:
        """Push the weights once more, then try other temperatures, and say what mends a difference."""
        self.engine.load_weights(self.learner.weights(), self.learner.policy_version)
        samples, version = self._sample()
        again = self._mismatch(samples, version, self.params.temperature)
        behind = f"The engine had weights {seen.engine_version} where the learner has {self.learner.policy_version}"
        if version != self.learner.policy_version:
            return f"{behind}, and pushing them once more did not change that: the engine does not take weights."
        if not self.limits.include(again):
            return self._other_function(samples, again)
        if seen.engine_version != version:
            return (
                f"{behind}, and pushing them once more mends it: a push was lost, so the engine's weights were stale."
            )
        return (
            f"Pushing the weights once more mends it ({again}), though the engine called them {version} before as "
            "well: a tensor arrived wrongly, or was changed in the engine afterwards."
        )

    def _other_function(self, samples: Sequence[TrainingSample], again: Mismatch) -> str:
        """The weights are not to blame, so it is the temperature or what is computed."""
        asked, found = self.params.temperature, self._nearest_temperature(samples)
        fitted = self._mismatch(samples, again.engine_version, found)
        if self.limits.include(fitted):
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

    def _sample(self) -> tuple[list[TrainingSample], int]:
        """Return the engine's completions with their log-probabilities, and the version of its weights."""
        completions = sample_all(self.engine, self.requests, timeout_s=self.timeout_s)
        samples = [
            TrainingSample(
                prompt_ids=request.prompt_ids,
                token_ids=completion.token_ids,
                sampler_logprobs=completion.logprobs,
                mask=completion.mask,
            )
            for request, completion in zip(self.requests, completions, strict=True)
        ]
        return samples, min(completion.policy_version for completion in completions)

    def _mismatch(self, samples: Sequence[TrainingSample], version: int, temperature: float) -> Mismatch:
        differences_M = self._differences(samples, temperature)
        temperature_error = _temperature_error(
            differences_M, self._differences(samples, temperature * (1 + MAX_TEMPERATURE_ERROR))
        )
        return Mismatch(float(differences_M.abs().mean()), float(differences_M.abs().max()), version, temperature_error)

    def _differences(self, samples: Sequence[TrainingSample], temperature: float) -> Tensor:
        """Return the learner's log-probability at a temperature less the engine's, of every token."""
        policy = replace(self.policy, temperature=temperature)
        learner_M = torch.cat(policy.of_samples(samples, max_tokens=self.microbatch_tokens)).cpu()
        return learner_M - torch.tensor([logprob for sample in samples for logprob in sample.sampler_logprobs])

    def _nearest_temperature(self, samples: Sequence[TrainingSample]) -> float:
        """Return the temperature at which the learner comes nearest to what the engine said, by least squares."""

        def squared(log_ratio: float) -> float:
            return float(self._differences(samples, self.params.temperature * math.exp(log_ratio)).square().mean())

        farthest = math.log(MAX_TEMPERATURE_RATIO)
        found = minimize_scalar(squared, bounds=(-farthest, farthest), method="bounded", options={"xatol": 1e-5})
        return self.params.temperature * math.exp(float(found.x))


def _temperature_error(differences_M: Tensor, differences_if_hotter_M: Tensor) -> float:
    """Return by which share a temperature is too high that makes such differences, to first order, else 0.

    Each token gives an estimate of its own; the median does not depend on a few extreme ones.

    Args:
        differences_M: the learner's log-probabilities less the engine's.
        differences_if_hotter_M: the same with the learner's temperature raised by ``MAX_TEMPERATURE_ERROR``.
    """
    slopes_M = (differences_if_hotter_M - differences_M) / MAX_TEMPERATURE_ERROR
    shares_M = -(differences_M / slopes_M)[slopes_M.abs() > MIN_SENSITIVITY]
    if len(shares_M) < MIN_TOKENS:
        return 0.0
    share = float(shares_M.median())
    same_side = float((shares_M * share > 0).float().mean())
    return share if same_side > MIN_SAME_SIDE else 0.0


def require_current(batch: Batch, version: int) -> None:
    """Refuse completions of other weights than the learner's, where sampling does not run ahead.

    Raises:
        EngineError: there are some.
    """
    found = {completion.policy_version for group, _ in batch.sampled() for completion in group.trajectories}
    if stale := sorted(found - {version}):
        raise EngineError(
            f"step {batch.step}: completions were sampled with weights {', '.join(map(str, stale))}, where the learner "
            f"has {version}: a push was lost."
        )


def mismatch_check(config: RunConfig, inputs: RunInputs, components: RunComponents) -> MismatchCheck | None:
    """Return what compares engine and learner on the run's own prompts; None where they share their weights."""
    if components.engine.shares_weights:
        return None
    engine_dtype = config.vllm.dtype
    return MismatchCheck(
        engine=components.engine,
        learner=components.learner,
        policy=components.policy,
        microbatch_tokens=config.learner.microbatch_tokens,
        requests=tuple(_requests(inputs.problems[:NUM_PROMPTS], components.sampler.groups.environment, config.rollout)),
        timeout_s=config.rollout.timeout_s,
        engine_dtype=components.dtype if engine_dtype == "auto" else getattr(torch, engine_dtype),
        learner_dtype=components.dtype,
    )


def _requests(problems: Sequence[Problem], environment: Environment, rollout: RolloutSettings) -> Iterator[Request]:
    """Yield short requests for the run's prompts, without its stop strings: more tokens are compared."""
    params = SamplingParams(max_new_tokens=min(MAX_TOKENS, rollout.max_new_tokens), temperature=rollout.temperature)
    for problem in problems:
        prompt_ids = environment.prompt(problem).token_ids
        for index, seed in enumerate(SEEDS):
            yield Request(prompt_ids=prompt_ids, seed=seed, sample_index=index, params=params)
