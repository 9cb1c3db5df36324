"""What several tests ask of an update: its gradient before clipping, and samples on which every rule acts."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

import torch
from builders import VOCABULARY, logprob_model, run_config, small_llama
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.algorithms.losses import LOSSES
from reasonrl.config import RunConfig
from reasonrl.learner import Learner
from reasonrl.learner.batching import Row
from reasonrl.learner.tally import Tally
from reasonrl.types import TrainingSample

TEMPERATURE = 0.7

METHODS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"preset": name} for name in ("grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++")},
    "grpo with a divergence": {"preset": "grpo", "kl_coefficient": 0.1},
    "dapo with entropy": {"preset": "dapo", "entropy_coefficient": 0.1},
    "gspo with importance weights": {"preset": "gspo", "importance": "sequence"},
    "grpo with a band": {"preset": "grpo", "importance": "band", "dual_clip": 3.0},
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

    def _weighted(self, samples: Sequence[TrainingSample]) -> list[Row]:
        return [replace(row, old_logprobs_T=self.old.get(row.sample)) for row in super()._weighted(samples)]

    def _step(self, rate: float, loss: float, tally: Tally) -> None:
        self.loss = loss
        self.gradient = flat_gradient(self.model)
        self.model.zero_grad(set_to_none=True)


def flat_gradient(model: PreTrainedModel) -> Tensor:
    """The gradient of all parameters in one vector; 0 where there is none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([part.flatten() for part in parts])


def learner(config: RunConfig, model: PreTrainedModel | None = None, kind: type[Learner] = Learner) -> Any:
    """A learner with the loss, and the reference if any, that the settings ask for. Any: of the kind asked for.

    Without a model it has one that others have too: give a copy to a learner that moves the weights.
    """
    reference = None
    if config.algorithm.kl_coefficient > 0 and config.algorithm.kl_in == "loss":
        reference = replace(logprob_model(even_llama(7)), temperature=config.rollout.temperature)
    return kind(model or even_llama(), config, loss=LOSSES[config.algorithm.loss.name], reference=reference)


def gradient(step: Step, algorithm: Any, *, model: PreTrainedModel | None = None, **changes: Any) -> Tensor:
    """The gradient of one update with these samples. Any: settings of the run."""
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12, "temperature": TEMPERATURE}
    one = learner(run_config(algorithm=algorithm, rollout=rollout, **changes), model, Recorder)
    one.old = step.old
    one.update(step.samples)
    return one.gradient


def relative_error(one: Tensor, other: Tensor) -> float:
    """How far two vectors are apart, as a share of the second's length."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def exact_logprobs(model: PreTrainedModel, sample: TrainingSample, temperature: float = TEMPERATURE) -> Tensor:
    """Log-probabilities of a completion's tokens [T], by one plain forward pass over the sample alone."""
    ids = torch.tensor([[*sample.prompt_ids, *sample.completion_ids]])
    logits = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(sample.completion_ids)[:, None])[:, 0]


@cache
def random_step(seed: int, make: Callable[[], PreTrainedModel] = even_llama) -> Step:
    """Groups of 1 to 4 completions, some of them useless, from a policy that has moved far since it sampled."""
    random, model, step = Random(seed), make(), Step([])

    def tokens(longest: int) -> tuple[int, ...]:
        # The end token is one of them: nothing may take it for padding.
        return tuple(random.randrange(len(VOCABULARY)) for _ in range(random.randint(1, longest)))

    def add(prompt: tuple[int, ...], advantage: float, old_drift: tuple[float, float], drift: float) -> None:
        draft = TrainingSample(prompt_ids=prompt, completion_ids=tokens(9), sampler_logprobs=(), advantage=advantage)
        with torch.no_grad():
            old = [value + random.uniform(*old_drift) for value in exact_logprobs(model, draft).tolist()]
        sample = replace(draft, sampler_logprobs=tuple(value + random.uniform(-drift, drift) for value in old))
        step.samples.append(sample)
        step.old[sample] = torch.tensor(old)

    prompts = [tokens(9) for _ in range(3)]
    add(prompts[0], 1.0, (0.0, 0.5), 0.3)  # one that no method clips away
    for prompt in [*prompts, prompts[0]]:
        for _ in range(random.randint(1, 4)):
            add(prompt, random.choice([0.0, random.gauss(0, 1), random.gauss(0, 1)]), (-2, 2), 2)
    return step
