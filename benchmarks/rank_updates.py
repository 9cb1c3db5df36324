"""One update of every preset on ranks and in one process: how far gradients differ, and which collectives make them.

  python benchmarks/rank_updates.py --ranks 2 4

The learner is that of the recipe `quickstart`, built as `reasonrl train` builds it, with the algorithm of each preset;
it is given the same completions of random tokens, of prompts that are unequally long, in several micro-batches. A
gradient is what the optimizer is given, of all parameters, a critic's included. Collectives are those that gloo was
asked for on rank 0 during `Learner.update` (torch's profiler), in values sent or received. Ends with an error where a
gradient differs by more than the limit.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from measuring import machine
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile

from reasonrl.algorithms.presets import PRESETS
from reasonrl.config.find import find_run
from reasonrl.config.runfile import load_run
from reasonrl.config.settings import RunConfig
from reasonrl.distributed.processes import join, launched_rank, leave
from reasonrl.run.ranks import Builder, all_ranks
from reasonrl.types import TrainingSample

LIMIT: Final = 1e-5
"""Largest relative difference of a gradient."""

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (f"algorithm={name}",) for name in PRESETS},
    "grpo, KL in the loss": ("algorithm={preset: grpo, kl_coefficient: 0.1}",),
    "grpo, LoRA": ("algorithm=grpo", "model.lora={rank: 8}"),
    "grpo, checkpointing": ("algorithm=grpo", "model.gradient_checkpointing=true"),
    "grpo, bfloat16": ("algorithm=grpo", "model.compute_dtype=bfloat16"),
}
"""What is learned by, with the settings that say so."""

COUNTED: Final = ("grpo", "ppo", "grpo, LoRA")
"""Whose collectives are shown."""

ROUGH: Final = ("grpo, bfloat16",)
"""Shown without a limit: which products share a row decides their rounding."""


def config_of(method: str, strategy: str) -> RunConfig:
    """Return the run of a method."""
    given = [
        *METHODS[method],
        "model.device=cpu",
        "learner.max_grad_norm=1e9",
        "learner.microbatch_tokens=192",
        f"learner.parallel.strategy={strategy}",
    ]
    return load_run(find_run("quickstart"), given)


def samples() -> list[TrainingSample]:
    """Return a step of completions: five prompts, of which one has half of the tokens."""
    chance = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(2, 400) for _ in range(count))

    found = []
    for longest in (60, 8, 14, 20, 12):
        prompt = tokens(longest // 2)
        for index in range(4):
            count = max(1, longest - 3 * index)
            found.append(
                TrainingSample(
                    prompt_ids=prompt,
                    token_ids=tokens(count),
                    sampler_logprobs=(-3.0,) * count,
                    mask=(True,) * count,
                    advantages_T=chance.uniform(-1.0, 1.0),
                    values_T=tuple(chance.uniform(0.0, 1.0) for _ in range(count)),
                    returns_T=tuple(chance.uniform(0.0, 1.0) for _ in range(count)),
                )
            )
    return found


# --- On every rank ---


class MeasuredBuilder(Builder):
    """Also takes updates of which it notes the gradient, and the collectives.

    Args:
        objects: this rank's, by name. Any: whatever is called.
    """

    def __init__(self, objects: MutableMapping[str, Any]) -> None:
        super().__init__(objects)
        self._measured = objects

    def gradient(self, step: Sequence[TrainingSample]) -> Tensor:
        """Take one update; return the gradient."""
        parts: list[Tensor] = []

        def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
            parts.extend(full_gradient(p) for group in optimizer.param_groups for p in group["params"])

        handle = register_optimizer_step_pre_hook(note)
        self._measured["learner"].update(step)
        handle.remove()
        return torch.cat(parts)

    def collectives(self, step: Sequence[TrainingSample]) -> tuple[Counter[str], Counter[str]]:
        """Take one more update; return calls and values by the kind of collective."""
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
            self._measured["learner"].update(step)
        calls, values = Counter[str](), Counter[str]()
        for event in profiled.events() or ():
            if event.name.startswith("gloo:"):
                calls[event.name.removeprefix("gloo:")] += 1
                values[event.name.removeprefix("gloo:")] += sum(map(prod, event.input_shapes))
        return calls, values


@torch.no_grad()
def full_gradient(parameter: Tensor) -> Tensor:
    """Return the gradient of a parameter in one vector, gathered where it is divided; 0 where there is none."""
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    whole: Tensor = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return whole.detach().flatten().clone()


def rank_program(strategy: str, file: Path) -> None:
    """Join, and take an update of every preset; rank 0 writes down what it found."""
    join(config_of("grpo", strategy).learner.parallel, "cpu")
    ranks = all_ranks()
    ranks.objects["builder"] = MeasuredBuilder(ranks.objects)
    if launched_rank():
        ranks.follow()
    else:
        step, found = samples(), {}
        for method in METHODS:
            ranks.call("builder", "build", config_of(method, strategy), None, None, 1.0)
            gradient = ranks.call("builder", "gradient", step)
            counts = ranks.call("builder", "collectives", step) if method in COUNTED else (Counter(), Counter())
            found[method] = (gradient, *counts)
        torch.save(found, file)
        ranks.end()
    leave()


# --- The program that starts them ---


Found: TypeAlias = Mapping[str, tuple[Tensor, Counter[str], Counter[str]]]
"""Gradient, calls and values by method."""


def measured(strategy: str, num_ranks: int) -> Found:
    """Return what rank 0 of so many found."""
    with tempfile.TemporaryDirectory(prefix="reasonrl-updates-") as folder:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
        command = [sys.executable, *(torchrun if num_ranks > 1 else ()), __file__, "--rank-of", strategy]
        file = Path(folder) / "found.pt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--file", str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        loaded: Found = torch.load(file, weights_only=False)
        return loaded


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference beside the norm."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def table(alone: Found, others: Mapping[str, Found]) -> Iterator[str]:
    """Yield the relative difference of each method's gradient."""
    yield f"\n{'gradient, difference':24}{'parameters':>12}" + "".join(f"{title:>12}" for title in others)
    for method, (gradient, _, _) in alone.items():
        errors = "".join(f"{relative_error(found[method][0], gradient):>12.1e}" for found in others.values())
        yield f"{method:24}{len(gradient):>12,}{errors}"
    in_itself = relative_error(alone["grpo, bfloat16"][0], alone["grpo"][0])
    yield f"bfloat16 products move the gradient of one process by {in_itself:.1e}"


def collectives(others: Mapping[str, Found]) -> Iterator[str]:
    """Yield the collectives of an update of some methods, in calls and in values beside the parameters that learn."""
    yield f"\n{'collectives, an update':36}{'calls':>7}{'values':>14}{'a parameter':>13}  calls by kind"
    for title, found in others.items():
        for method in COUNTED:
            gradient, calls, values = found[method]
            kinds = ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))
            each = values.total() / len(gradient)
            yield f"{f'{title}: {method}':36}{calls.total():>7}{values.total():>14,}{each:>13.2f}  {kinds}"


def main() -> None:
    """Measure on the ranks that this starts, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--strategies", nargs="+", default=["ddp", "fsdp2"])
    parser.add_argument("--rank-of", dest="strategy", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.strategy:
        return rank_program(options.strategy, options.file)
    print(*machine("accelerate"), sep="\n", flush=True)
    alone = measured("auto", 1)
    several = [number for number in options.ranks if number > 1]
    others = {f"{number} {name}": measured(name, number) for number in several for name in options.strategies}
    print(*table(alone, others), *collectives(others), sep="\n")
    errors = {
        (title, method): relative_error(found[method][0], alone[method][0])
        for title, found in others.items()
        for method in METHODS
        if method not in ROUGH
    }
    worst = max(errors, key=lambda key: errors[key])
    where = f"{worst[1]} on {worst[0]}"
    print(f"\nheadline: {len(errors)} gradients on ranks, at most {errors[worst]:.1e} off one process ({where})")
    if errors[worst] > LIMIT:
        sys.exit(f"above the limit of {LIMIT:g}")


if __name__ == "__main__":
    main()
