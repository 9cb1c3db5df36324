"""What each process of ``test_parallel.py`` does: two updates of every scenario, over gloo."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from builders import run_config
from gradients import even_llama, learner, random_step
from objectives import BradleyTerry, scoring_head
from torch import distributed as dist

from reasonrl.learner import Learner, parallel
from reasonrl.types import TrainingSample

TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True)
class Scenario:
    """Samples that every process is given, and how the run learns from them."""

    samples: list[TrainingSample]
    algorithm: dict[str, Any]
    """Any: settings."""
    learner: dict[str, Any]


def group(samples: list[TrainingSample], prompt: tuple[int, ...]) -> list[TrainingSample]:
    """The samples as completions of one prompt."""
    return [replace(sample, prompt_ids=prompt) for sample in samples]


def scenarios() -> dict[str, Scenario]:
    """Everything a rank may be dealt."""
    advantages = (1.0, -0.5, 0.0, 0.7, -1.2, 0.3, 0.0, 0.4)
    samples = [replace(s, advantages_T=a) for s, a in zip(random_step(1).samples[:8], advantages, strict=True)]
    useless = [replace(sample, advantages_T=0.0) for sample in samples]
    adaptive = {"kl_coefficient": 0.1, "kl_target": 0.1, "kl_horizon": 20}
    several = {"minibatch_sequences": 4, "epochs": 2}
    return {
        "as it comes": Scenario(samples, {"preset": "dapo"}, {}),
        "one group is larger": Scenario(
            group(samples[:6], (3, 4)) + group(samples[6:], (5,)), {"preset": "gspo"}, several
        ),
        "a rank without rows": Scenario(group(samples, (3, 4)), {"preset": "cispo"}, several),
        "a rank without rows, adaptive divergence": Scenario(
            group(samples, (3, 4)), {"preset": "grpo", **adaptive}, several
        ),
        "adaptive divergence and entropy": Scenario(
            samples, {"preset": "grpo", "entropy_coefficient": 0.1, **adaptive}, several
        ),
        "one group teaches nothing": Scenario(
            group(samples[:4], (3, 4)) + group(useless[4:], (5, 6, 7)), {"preset": "grpo", "importance": "token"}, {}
        ),
        "nothing teaches": Scenario(useless, {"preset": "rloo"}, several),
    }


def run(scenario: Scenario) -> dict[str, Any]:
    """Parameters after two updates, and what each update measured. Any: tensors and metrics."""
    # A large epsilon: AdamW divides by the gradient's size, which makes rounding of tiny gradients a full step.
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40, **scenario.learner}
    rollout = {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 12}
    config = run_config(algorithm=scenario.algorithm, learner=changes, rollout=rollout)
    one = learner(config, copy.deepcopy(even_llama()))
    metrics = [one.update(scenario.samples) for _ in range(2)]
    return {"parameters": parameters(one.model), "metrics": metrics}


def parameters(model: Any) -> torch.Tensor:
    """All parameters in one vector. Any: a module."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def diverge() -> dict[str, Any]:
    """A sample on one rank gives a gradient that is not finite: what each rank measured, and whether it moved."""
    samples = random_step(1).samples
    first, second = group(samples[:4], (3, 4)), group(samples[4:6], (5,))
    one = learner(run_config(algorithm="dr_grpo"), copy.deepcopy(even_llama()))
    before = parameters(one.model).clone()
    measured = one.update([*first, replace(second[0], advantages_T=float("inf")), second[1]])
    return {"measured": measured, "moved": not torch.equal(before, parameters(one.model))}


def prefer() -> dict[str, Any]:
    """Parameters, the head's included, and metrics of updates on pairs whose members have different prompts.

    Each rank has one of the two prompts, and would have half of every pair.
    """
    model = copy.deepcopy(even_llama())
    head = scoring_head(model)
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40, "minibatch_sequences": 2}
    one = Learner(model, BradleyTerry(model, head), run_config(learner=changes).learner, num_steps=2)
    samples = [replace(s, mask=(False,) * (len(s.token_ids) - 1) + (True,)) for s in random_step(1).samples[:8]]
    pairs = [
        group([first], prompt) + group([second], other)
        for first, second, prompt, other in zip(
            samples[0::2], samples[1::2], [(3, 4), (5,)] * 2, [(5,), (3, 4)] * 2, strict=True
        )
    ]
    metrics = [one.update(pairs) for _ in range(2)]
    return {"parameters": torch.cat([parameters(model), parameters(head)]), "metrics": metrics}


def shares() -> dict[str, list[int]]:
    """How many rows of each scenario are this rank's, in its first update."""
    found = {}
    for name, scenario in scenarios().items():
        config = run_config(algorithm=scenario.algorithm)
        found[name] = parallel.own_rows(learner(config).objective.rows(scenario.samples))
    return found


def work(rank: int, folder: str) -> None:
    """Run everything as one of two processes, and leave it in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=TIMEOUT)
    done = {name: run(scenario) for name, scenario in scenarios().items()}
    torch.save(
        {"runs": done, "preferred": prefer(), "diverged": diverge(), "shares": shares()},
        Path(folder) / f"rank{rank}.pt",
    )
    dist.destroy_process_group()
