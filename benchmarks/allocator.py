"""What keeping the memory of smaller tensors, and large pages, gains: learning steps of many sizes, in turns.

    python benchmarks/allocator.py --pairs 3

Each side is a process of its own, because both settings are made once for a process: with them is as
``reasonrl train`` has it, without them as glibc has it. Steps differ in the number of their groups and in the length
of their completions, as those of a run do: room that is left by one size fits the next one badly, and memory grows. The
last line is the ratio of the times; that of the memory is in the one before.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter

import torch
from measuring import machine, peak_memory

from reasonrl.config.settings import RunConfig
from reasonrl.learner import Learner
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.logprobs import logprob_model
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.models.hardware import keep_freed_memory
from reasonrl.models.load import load_model
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.computing import run_choice
from reasonrl.types import TrainingSample

UPDATES = 24
"""Of each process; memory grows during the first ones."""

FIGURES = {"seconds": "s", "system_seconds": "s of it in the system", "peak_mib": "MiB"}


def main() -> None:
    """Measure in pairs, or be one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="processes of each side")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder"
    )
    parser.add_argument("--side", choices=["with", "without"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options.model, keep=options.side == "with")))
        return
    report(options.model, options.pairs)


def report(model: str, pairs: int) -> None:
    """Run both sides in turns and print what they took."""
    print(*machine(), model, sep="\n")
    measured: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for pair in range(pairs):
        for side, so_far in measured.items():
            so_far.append(run_side(model, side))
            told = ", ".join(f"{so_far[-1][name]:,.1f} {unit}" for name, unit in FIGURES.items())
            print(f"pair {pair + 1}, {side:<7} {told}", flush=True)
    ratios = {
        name: median(without[name] / kept[name] for kept, without in zip(*measured.values(), strict=True))
        for name in FIGURES
    }
    print(f"without / with, most memory: {ratios['peak_mib']:.2f}x")
    print(f"without / with, time: {ratios['seconds']:.2f}x")


def run_side(model: str, side: str) -> dict[str, float]:
    """Run one side in a process."""
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1" if side == "with" else "0"}
    command = [sys.executable, __file__, "--model", model, "--side", side]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def one_side(model_name: str, *, keep: bool) -> dict[str, float]:
    """Learn from made-up steps; return the time of all updates, of it the system's, and the most memory."""
    if keep:
        keep_freed_memory()
    settings = {"name": "allocator", "model": model_name, "task": "arithmetic", "rewards": ["numeric_answer"]}
    config = RunConfig.model_validate({**settings, "algorithm": "dr_grpo", "run": {"steps": UPDATES}})
    learner, chance = make_learner(config), random.Random(0)
    system, began = resource.getrusage(resource.RUSAGE_SELF).ru_stime, perf_counter()
    for _ in range(UPDATES):
        learner.update(list(made_up_samples(chance)))
    return {
        "seconds": perf_counter() - began,
        "system_seconds": resource.getrusage(resource.RUSAGE_SELF).ru_stime - system,
        "peak_mib": peak_memory(),
    }


def make_learner(config: RunConfig) -> Learner:
    """Return what a run would learn with."""
    device = torch.device("cpu")
    compute = run_choice(config, config.model.name, device, None).compute
    model = load_model(config.model.name, device)
    objective = PolicyObjective(
        algorithm=config.method,
        loss=installed_plugins().function("losses", config.algorithm.loss),
        policy=logprob_model(model, compute, config.rollout.temperature),
        max_new_tokens=config.rollout.max_new_tokens,
        controller=KLController(config.algorithm),
        entropy=EntropyController(config.algorithm),
    )
    return Learner(model, objective, config.learner, num_steps=config.run.steps)


def made_up_samples(chance: random.Random) -> Iterator[TrainingSample]:
    """Yield 1 to 16 groups of 8 completions, whose longest has 12 to 48 tokens."""

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(chance.randrange(100, 500) for _ in range(length))

    longest = chance.randint(12, 48)
    for _ in range(chance.randint(1, 16)):
        prompt = tokens(chance.randint(30, 50))
        for member in range(8):
            completion = tokens(chance.randint(longest // 2, longest))
            yield TrainingSample(
                prompt_ids=prompt,
                token_ids=completion,
                sampler_logprobs=(-1.0,) * len(completion),
                mask=(True,) * len(completion),
                advantages_T=1.0 if member % 2 else -1.0,
            )


if __name__ == "__main__":
    main()
