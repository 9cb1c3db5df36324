"""What each process of ``test_parallel.py`` does, over gloo: learns what one process learns, and notes it."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from builders import logprob_model, policy_learner, run_config, small_llama
from gradients import METHODS, Recorder, random_step
from objectives import BradleyTerry, scoring_head
from torch import Tensor
from torch import distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from reasonrl.config.settings import LoraSettings
from reasonrl.learner import Learner, logprobs
from reasonrl.learner.critic import Critic, ValueModel
from reasonrl.learner.sharing import own_rows
from reasonrl.learner.strategies import DDP, SINGLE, Strategy
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_model
from reasonrl.models.lora import prepare_adapter
from reasonrl.preference.encoding import scored_sample
from reasonrl.preference.objectives import BradleyTerryObjective, PairSample
from reasonrl.types import TrainingSample

TIMEOUT = timedelta(seconds=60)
STRATEGIES = ("ddp", "fsdp2", "fsdp2 without resharding")
FIRST = ("as it comes", "a rank without rows, adaptive divergence")
"""Scenarios that are tried first."""

CPU = torch.device("cpu")


def strategy(name: str) -> Strategy:
    """The strategy of a name, with the processes that there are."""
    from reasonrl.learner.strategies.fsdp2 import FSDP2

    if name == "ddp":
        return DDP()
    return SINGLE if name == "single" else FSDP2(CPU, reshard_after_forward=name == "fsdp2")


# Models, each made in the memory that a strategy asks for.


def even(seed: int = 0, *, tied: bool = True, checkpointing: bool = False, rank: int = 0) -> PreTrainedModel:
    """A model of its own with the weights of ``even_llama``, and an adapter of this rank."""
    model = small_llama(seed=seed, tied=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(0.25)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    if rank:
        prepare_adapter(model, LoraSettings(rank=rank), seed=1)
    return model


def classifier() -> PreTrainedModel:
    """A model with one score."""
    config = small_llama().config
    config.num_labels = 1
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_config(config).eval()


def loaded(how: Strategy, make: Callable[[], PreTrainedModel], dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model as a strategy loads it."""

    def load(weights_on: torch.device | None) -> PreTrainedModel:
        with weights_on or nullcontext():
            return make()

    return how.load(load, dtype)


# Policies.


@dataclass(frozen=True)
class Scenario:
    """Samples that every process is given, and how the run learns from them."""

    samples: Sequence[TrainingSample]
    algorithm: Mapping[str, Any]
    """Any: settings."""
    learner: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[], PreTrainedModel] = even
    dtype: torch.dtype = torch.float32


def group(samples: Sequence[TrainingSample], prompt: tuple[int, ...]) -> list[TrainingSample]:
    """The samples as completions of one prompt."""
    return [replace(sample, prompt_ids=prompt) for sample in samples]


def short(sample: TrainingSample) -> TrainingSample:
    """The sample without all but its first token."""
    return replace(sample, token_ids=sample.token_ids[:1], sampler_logprobs=(-1.0,), mask=(True,))


def core() -> dict[str, Scenario]:
    """How rows may fall to the processes, and what is added to the loss."""
    advantages = (1.0, -0.5, 0.0, 0.7, -1.2, 0.3, 0.0, 0.4)
    samples = [replace(s, advantages_T=a) for s, a in zip(random_step(1).samples[:8], advantages, strict=True)]
    useless = [replace(sample, advantages_T=0.0) for sample in samples]
    adaptive = {"kl_coefficient": 0.1, "kl_target": 0.1, "kl_horizon": 20}
    towards = {"entropy_target": 100, "entropy_delta": 0.1}
    several = {"minibatch_sequences": 4, "epochs": 2}
    return {
        "as it comes": Scenario(samples, {"preset": "dapo"}),
        "one group is larger": Scenario(
            group(samples[:6], (3, 4)) + group(samples[6:], (5,)), {"preset": "gspo"}, several
        ),
        "a rank without rows": Scenario(group(samples, (3, 4)), {"preset": "cispo"}, several),
        "a rank without rows, adaptive divergence": Scenario(
            group(samples, (3, 4)), {"preset": "grpo", **adaptive}, several
        ),
        "adaptive divergence and entropy": Scenario(
            samples, {"preset": "grpo", "entropy_coefficient": 0.1, **towards, **adaptive}, several
        ),
        "one group teaches nothing": Scenario(
            group(samples[:4], (3, 4)) + group(useless[4:], (5, 6, 7)), {"preset": "grpo", "importance": "token"}
        ),
        "nothing teaches": Scenario(useless, {"preset": "rloo"}, several),
    }


def further() -> dict[str, Scenario]:
    """Kinds of models, and rows of one token, over which the layers need not run twice."""
    samples = core()["as it comes"].samples
    low = {"preset": "grpo", "kl_coefficient": 0.1}
    several = {"minibatch_sequences": 4, "epochs": 2}
    return {
        "untied": Scenario(samples, low, several, partial(even, tied=False)),
        "gradient checkpointing": Scenario(samples, low, several, partial(even, checkpointing=True)),
        "adapter": Scenario(samples, low, several, partial(even, rank=4)),
        "adapter with gradient checkpointing": Scenario(
            samples, {"preset": "dapo"}, {}, partial(even, tied=False, checkpointing=True, rank=4)
        ),
        "a group of one token": Scenario(
            group([short(sample) for sample in samples[:4]], (7, 8, 9)) + list(samples[4:]),
            {"preset": "dapo"},
            {"microbatch_tokens": 12},
        ),
    }


def scenarios(name: str) -> dict[str, Scenario]:
    """Those that a strategy is tried with; when FSDP2 gives memory back says nothing of kinds of models."""
    return core() if "without" in name else core() | further()


def policy(
    how: Strategy,
    scenario: Scenario,
    kind: type[Learner] = Learner,
    model: PreTrainedModel | None = None,
) -> Any:
    """A learner of a scenario, with its model or another. Any: of the kind that is asked for."""
    # A large epsilon: AdamW divides by the gradient's size, which makes rounding of tiny gradients a full step.
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40, **scenario.learner}
    rollout = {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 12}
    config = run_config(algorithm=scenario.algorithm, learner=changes, rollout=rollout)
    model, reference = model or loaded(how, scenario.make, scenario.dtype), None
    if config.algorithm.kl_coefficient > 0:
        within = hasattr(model, "peft_config")  # the policy without its adapter
        base = model if within else loaded(how, partial(even, 7))
        reference = replace(logprob_model(base), without_adapter=within)
    made = policy_learner(model, config, reference=reference, kind=partial(kind, strategy=how))  # type: ignore[arg-type]  # a class with an argument bound
    made.objective = replace(made.objective, policy=logprobs.logprob_model(model, Compute(dtype=scenario.dtype), 1.0))
    return made


def weights(one: Learner) -> Tensor:
    """What an engine would be given, in one vector."""
    return torch.cat([tensor.detach().flatten() for _, tensor in one.weights()])


def run(how: Strategy, scenario: Scenario) -> dict[str, Any]:
    """Weights after two updates, and what each update measured. Any: tensors and metrics."""
    one = policy(how, scenario)
    metrics = [one.update(scenario.samples) for _ in range(2)]
    return {"parameters": weights(one), "metrics": metrics}


def gradient(how: Strategy, algorithm: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Tensor:
    """The gradient of one update of a method, before it is clipped. Any: settings."""
    step = random_step(3)
    one = policy(how, Scenario(step.samples, algorithm, dtype=dtype), Recorder)
    one.old = step.old
    one.update(step.samples)
    return one.gradient


# Other objectives.


def prefer(how: Strategy) -> dict[str, Any]:
    """Weights, the head's included, and metrics of updates on pairs whose members have different prompts.

    Each of two processes has one of the two prompts, and would have half of every pair. The head is the objective's
    own: it is whole on every process.
    """
    model = loaded(how, even)
    head = scoring_head(model)
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40, "minibatch_sequences": 2}
    one = Learner(model, BradleyTerry(model, head), run_config(learner=changes).learner, num_steps=2, strategy=how)
    samples = [replace(s, mask=(False,) * (len(s.token_ids) - 1) + (True,)) for s in random_step(1).samples[:8]]
    pairs = [
        group([first], prompt) + group([second], other)
        for first, second, prompt, other in zip(
            samples[0::2], samples[1::2], [(3, 4), (5,)] * 2, [(5,), (3, 4)] * 2, strict=True
        )
    ]
    metrics = [one.update(pairs) for _ in range(2)]
    own = torch.cat([parameter.detach().flatten() for parameter in head.parameters()])
    return {"parameters": torch.cat([weights(one), own]), "metrics": metrics}


def pairs() -> list[PairSample]:
    """Preferred completions of three prompts."""
    samples = random_step(2).samples
    halves = [scored_sample(sample.prompt_ids, (*sample.token_ids, 0)) for sample in samples]
    return [
        PairSample(
            prompt=str(one.prompt_ids), chosen=one, rejected=replace(other, prompt_ids=one.prompt_ids), margin=0.1
        )
        for one, other in zip(halves[0::2], halves[1::2], strict=False)
    ]


def score(how: Strategy, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A reward model's weights and metrics after two updates."""
    model = loaded(how, classifier, dtype)
    objective = BradleyTerryObjective(model=model, dtype=dtype, head_weights={}, head_rate_factor=3.0)
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40}
    one = Learner(model, objective, run_config(learner=changes).learner, num_steps=2, strategy=how)
    metrics = [one.update(pairs()) for _ in range(2)]
    return {"parameters": weights(one), "metrics": metrics}


def value(how: Strategy) -> dict[str, Any]:
    """A critic's weights and metrics after two updates, and what it then expects."""
    changes = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "microbatch_tokens": 40, "minibatch_sequences": 4}
    values = ValueModel(loaded(how, classifier), torch.float32)
    one = Critic(values, run_config(learner=changes).learner, clip=0.2, num_steps=2, strategy=how)
    samples = [
        replace(sample, values_T=(0.1,) * len(sample.token_ids), returns_T=(float(number % 3),) * len(sample.token_ids))
        for number, sample in enumerate(random_step(1).samples)
    ]
    metrics = [one.update(samples) for _ in range(2)]
    return {"parameters": torch.cat([weights(one), *one.predict(samples)]), "metrics": metrics}


def diverge(how: Strategy) -> dict[str, Any]:
    """A sample on one process gives a gradient that is not finite: what each measured, and whether it moved."""
    samples = random_step(1).samples
    first, second = group(samples[:4], (3, 4)), group(samples[4:6], (5,))
    one = policy(how, Scenario([], {"preset": "dr_grpo"}))
    before = weights(one).clone()
    measured = one.update([*first, replace(second[0], advantages_T=float("inf")), second[1]])
    return {"measured": measured, "moved": not torch.equal(before, weights(one))}


# What processes tell each other.


class Traffic(TorchDispatchMode):
    """Counts communications, and the bytes of the tensors in them, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            tensors = [each for each in torch.utils._pytree.tree_leaves(args) if isinstance(each, Tensor)]
            self.bytes.setdefault(func.__name__, []).append(max(each.nbytes for each in tensors))
        return func(*args, **(kwargs or {}))


def traffic(how: Strategy) -> dict[str, Any]:
    """Communications of one update of several micro-batches, and how many parameters there are. Any: by name."""
    scenario = replace(core()["as it comes"], learner={"microbatch_tokens": 12})
    one = policy(how, scenario)
    with Traffic() as seen:
        one.update(scenario.samples)
    passes = len([*one.passes(one.objective.rows(scenario.samples))])
    return {"bytes": seen.bytes, "parameters": sum(p.numel() for p in one.model.parameters()), "passes": passes}


def gathered(how: Strategy) -> dict[str, Any]:
    """Logits that a process computes by itself, differently often, and the communications meanwhile and afterwards."""
    scenario = core()["as it comes"]
    one = policy(how, scenario)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad(), how.gathered(one.model), Traffic() as seen:
        found = [one.model(input_ids=ids).logits for _ in range(1 + dist.get_rank())]
    one.update(scenario.samples)
    return {"logits": found[-1], "bytes": seen.bytes, "parameters": weights(one)}


def shares() -> dict[str, list[int]]:
    """Which rows of each scenario are this process's, in its first update."""
    return {name: own_rows(policy(SINGLE, each).objective.rows(each.samples)) for name, each in core().items()}


# Checkpoints.


def adapted(how: Strategy, base: Path) -> PreTrainedModel:
    """The model of a folder with an adapter."""

    def load(weights_on: torch.device | None) -> PreTrainedModel:
        model = load_model(str(base), CPU, weights_on=weights_on)
        prepare_adapter(model, LoraSettings(rank=4), seed=1)
        return model

    return how.load(load, torch.float32)


def begun(how: Strategy, folder: Path, model: PreTrainedModel | None = None) -> Any:
    """A learner that has taken two steps and written a checkpoint. Any: of a policy."""
    one = policy(how, core()["as it comes"], model=model)
    for _ in range(2):
        one.update(core()["as it comes"].samples)
    folder.mkdir(exist_ok=True, parents=True)
    one.save_state(folder)
    return one


def continued(how: Strategy, folder: Path) -> dict[str, Any]:
    """Weights and metrics of the step after a checkpoint. Any: metrics."""
    model = how.load(lambda weights_on: load_model(str(folder), CPU, weights_on=weights_on), torch.float32)
    one = policy(how, core()["as it comes"], model=model)
    one.restore_state(folder)
    return next_step(one)


def next_step(one: Any) -> dict[str, Any]:
    """Weights, version and metrics after another step. Any: a learner of a policy."""
    metrics = one.update(core()["as it comes"].samples)
    return {"parameters": weights(one), "metrics": [metrics], "version": one.policy_version, "steps": one.steps_taken}


def checkpoints(how: Strategy, folder: Path, model: PreTrainedModel | None = None) -> dict[str, Any]:
    """The step after a checkpoint without a stop, and by a new learner of each strategy. Any: as above."""
    straight = next_step(begun(how, folder, model))
    return {"straight": straight, **{name: continued(strategy(name), folder) for name in STRATEGIES[:2]}}


# Processes.


def basics() -> dict[str, Any]:
    """What every change to the learner is to be tried with. Any: see the functions."""
    found: dict[str, Any] = {"shares": shares()}
    for name in STRATEGIES[:2]:
        how = strategy(name)
        runs = {key: run(how, core()[key]) for key in FIRST}
        found[name] = {"runs": runs, "traffic": traffic(how), "diverged": diverge(how)}
    return found


def everything(folder: Path) -> dict[str, Any]:
    """All the rest. Any: see the functions."""
    found: dict[str, Any] = {
        name: {"runs": {key: run(strategy(name), each) for key, each in scenarios(name).items()}} for name in STRATEGIES
    }
    for name in STRATEGIES[:2]:
        how = strategy(name)
        found[name] |= {
            "preferred": prefer(how),
            "gradients": {key: gradient(how, method) for key, method in METHODS.items()},
            "bfloat16": gradient(how, METHODS["grpo"], torch.bfloat16),
            "scored": score(how),
            "scored in bfloat16": score(how, torch.bfloat16),
            "valued": value(how),
            "gathered": gathered(how),
        }
    for name in STRATEGIES[:2]:
        how = strategy(name)
        with_adapter = adapted(how, folder / "one")
        found[name]["checkpoints"] = checkpoints(how, folder / name)
        found[name]["checkpoints of an adapter"] = checkpoints(how, folder / f"{name} adapter", with_adapter)
        found[name]["from one"] = continued(how, folder / "one")
    return found


def work(rank: int, world: int, folder: str, is_thorough: bool) -> None:
    """Be one of several processes, and leave what it found in a file."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=TIMEOUT)
    found = everything(Path(folder)) if is_thorough else basics()
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
