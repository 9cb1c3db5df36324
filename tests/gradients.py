"""What several tests ask of an update: its gradient before clipping, and samples on which every rule acts."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

import torch
from builders import VOCABULARY, logprob_model, policy_learner, run_config, small_llama, training_sample
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.config.settings import RunConfig
from reasonrl.learner import Learner
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Row
from reasonrl.models.sharded import full_tensor
from reasonrl.types import Advantage, TrainingSample

TEMPERATURE = 0.7

METHODS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"preset": name} for name in ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++")},
    **{name: {"preset": name} for name in ("gmpo", "sapo", "deepseek_v3_2")},
    "dppo": {"preset": "dppo", "loss": {"params": {"threshold_low": 0.01, "threshold_high": 0.01}}},
    "grpo with a divergence": {"preset": "grpo", "kl_coefficient": 0.1},
    "dapo with entropy": {"preset": "dapo", "entropy_coefficient": 0.1},
    "gspo with importance weights": {"preset": "gspo", "importance": "sequence"},
    "grpo with a band": {"preset": "grpo", "importance": "band", "loss": {"params": {"dual_clip": 3.0}}},
}
"""Every preset, and every term that can be added to one. Any: values of algorithm settings."""


@dataclass
class Step:
    """Samples of one step, and the log-probabilities before its first update."""

    samples: list[TrainingSample]
    old: dict[TrainingSample, Tensor] = field(default_factory=dict)


@cache
def even_llama(seed: int = 0) -> PreTrainedModel:
    """A small model whose rounding stays well below 1e-6: the wide weights of ``small_llama`` cost a digit."""
    model = small_llama(seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(0.25)
    return model


class Recorder(Learner):
    """Notes the gradient of each update in place of moving the weights."""

    old: Mapping[TrainingSample, Tensor] = {}

    def _update_once(self, rows: Sequence[Row], rate: float, measured: MetricAccumulator) -> bool:
        noted = [replace(row, old_logprobs_T=self.old.get(row.sample)) for row in rows]
        return super()._update_once(noted, rate, measured)

    def _step(self, rate: float) -> float:
        self._gradients.sum_over_ranks()
        self.gradient = gradient_of(self._parameters)
        self._gradients.clear()
        return 1.0


def flat_gradient(model: nn.Module) -> Tensor:
    """The gradient of all parameters of a model in one vector."""
    return gradient_of(model.parameters())


def gradient_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The whole gradient of parameters in one vector; 0 where there is none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([full_tensor(part).flatten() for part in parts])


def learner(config: RunConfig, model: PreTrainedModel | None = None, kind: type[Learner] = Learner) -> Any:
    """A learner with the loss, and the reference if any, that the settings ask for. Any: of the kind asked for.

    Without a model it has one that others have too: give a copy to a learner that moves the weights.
    """
    reference = None
    if config.algorithm.kl_coefficient > 0 and config.algorithm.kl_in == "loss":
        reference = logprob_model(even_llama(7), config.rollout.temperature, fast=config.model.fast_path)
    return policy_learner(model or even_llama(), config, reference=reference, kind=kind)


def gradient(
    step: Step,
    algorithm: Any,
    *,
    model: PreTrainedModel | None = None,
    engine: str = "local",
    fast: bool = True,
    **changes: Any,
) -> Tensor:
    """The gradient of one update with these samples, which an engine has sampled. Any: settings of the run."""
    changes["model"] = {"name": "tiny", "fast_path": fast}
    sizes = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12}
    rollout = {"engine": engine, "temperature": TEMPERATURE, **sizes}
    one = learner(run_config(algorithm=algorithm, rollout=rollout, **changes), model, Recorder)
    one.old = step.old
    one.update(step.samples)
    return one.gradient


def relative_error(one: Tensor, other: Tensor) -> float:
    """How far two vectors are apart, as a share of the second's length."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def exact_logprobs(model: PreTrainedModel, sample: TrainingSample, temperature: float = TEMPERATURE) -> Tensor:
    """Log-probabilities of the tokens that the policy chose, by one plain forward pass over the sample alone."""
    ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
    logits = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1] / temperature
    logprobs_T = logits.log_softmax(-1).gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]
    return logprobs_T[torch.tensor(sample.mask)]


@cache
def random_step(seed: int, make: Callable[[], PreTrainedModel] = even_llama) -> Step:
    """Groups of 1 to 4 trajectories from a policy that has moved far since it sampled.

    Some teach nothing, some have tokens of an environment in them, and some have an advantage for every token.
    """
    random, model, step = Random(seed), make(), Step([])

    def tokens(longest: int) -> tuple[int, ...]:
        # The end token is one of them: nothing may take it for padding.
        return tuple(random.randrange(len(VOCABULARY)) for _ in range(random.randint(1, longest)))

    def mask(length: int) -> tuple[bool, ...]:
        chosen = random.randrange(length)  # at least one token is the policy's
        return tuple(index == chosen or random.random() < 0.6 for index in range(length))

    def add(prompt: tuple[int, ...], number: float | None, old_drift: tuple[float, float], drift: float) -> None:
        sampled = tokens(9)
        advantage: Advantage = tuple(random.gauss(0, 1) for _ in sampled) if number is None else number
        masked = {"mask": mask(len(sampled))} if random.random() < 0.5 else {}
        draft = training_sample(prompt, sampled, advantage, **masked)
        with torch.no_grad():
            old = [value + random.uniform(*old_drift) for value in exact_logprobs(model, draft).tolist()]
        said = iter([value + random.uniform(-drift, drift) for value in old])
        sample = replace(draft, sampler_logprobs=tuple(next(said) if chosen else math.nan for chosen in draft.mask))
        step.samples.append(sample)
        step.old[sample] = torch.tensor(old)

    prompts = [tokens(9) for _ in range(3)]
    add(prompts[0], 1.0, (0.0, 0.5), 0.3)  # one that no method clips away
    for prompt in [*prompts, prompts[0]]:
        for _ in range(random.randint(1, 4)):
            add(prompt, random.choice([0.0, random.gauss(0, 1), random.gauss(0, 1), None]), (-2, 2), 2)
    return step
