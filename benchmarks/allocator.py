"""What keeping freed memory and large pages gains: one learning step, with and without them, in turns.

    python benchmarks/allocator.py --pairs 3

Each side is a process of its own, because both settings are made once for a process: with them is as
``reasonrl train`` has it.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
from statistics import median
from time import perf_counter

import torch
from measuring import machine

from reasonrl.config.settings import RunConfig
from reasonrl.learner import Learner
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.logprobs import logprob_model
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.models.compute import Compute
from reasonrl.models.hardware import keep_freed_memory
from reasonrl.models.load import load_model
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.types import TrainingSample

WARM_UP, TIMED = 3, 3
"""Updates before and while time is taken: memory grows during the first ones."""


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
        print(*one_side(options.model, keep=options.side == "with"))
        return
    report(options.model, options.pairs)


def report(model: str, pairs: int) -> None:
    """Run both sides in turns and print what they took."""
    print(*machine(), model, sep="\n")
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for pair in range(pairs):
        for side in seconds:
            time_s, system_s = run_side(model, side)
            seconds[side].append(time_s)
            print(
                f"pair {pair + 1}, {side:<7} {time_s:6.2f} s an update, of it {system_s:.2f} s in the system",
                flush=True,
            )
    print(f"without / with, seconds an update: {median(seconds['without']) / median(seconds['with']):.2f}x")


def run_side(model: str, side: str) -> tuple[float, float]:
    """Run one side in a process; return its seconds an update, and how many of them the system took."""
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1" if side == "with" else "0"}
    command = [sys.executable, __file__, "--model", model, "--side", side]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    time_s, system_s = map(float, output.split()[-2:])
    return time_s, system_s


def one_side(model_name: str, *, keep: bool) -> tuple[float, float]:
    """Learn from made-up samples; return the median seconds of an update and its system time."""
    if keep:
        keep_freed_memory()
    settings = {"name": "allocator", "model": model_name, "task": "arithmetic", "rewards": ["numeric_answer"]}
    config = RunConfig.model_validate({**settings, "algorithm": "dr_grpo", "run": {"steps": WARM_UP + TIMED}})
    learner = make_learner(config)
    times = [timed_update(learner) for _ in range(WARM_UP + TIMED)][WARM_UP:]
    return median(time for time, _ in times), median(system for _, system in times)


def make_learner(config: RunConfig) -> Learner:
    """Return what a run would learn with."""
    model = load_model(config.model.name, torch.device("cpu"))
    objective = PolicyObjective(
        algorithm=config.method,
        loss=installed_plugins().function("losses", config.algorithm.loss),
        policy=logprob_model(model, Compute(), config.rollout.temperature),
        max_new_tokens=config.rollout.max_new_tokens,
        controller=KLController(config.algorithm),
        entropy=EntropyController(config.algorithm),
    )
    return Learner(model, objective, config.learner, num_steps=config.run.steps)


def timed_update(learner: Learner) -> tuple[float, float]:
    """Update once; return wall seconds and system seconds."""
    samples = made_up_samples()
    system, began = resource.getrusage(resource.RUSAGE_SELF).ru_stime, perf_counter()
    learner.update(samples)
    return perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_stime - system


def made_up_samples() -> list[TrainingSample]:
    """Return 8 groups of 8 completions of 16 to 48 tokens."""
    chance = random.Random(0)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(chance.randrange(100, 500) for _ in range(length))

    return [
        TrainingSample(
            prompt_ids=prompt,
            token_ids=completion,
            sampler_logprobs=(-1.0,) * len(completion),
            mask=(True,) * len(completion),
            advantages_T=1.0 if member % 2 else -1.0,
        )
        for prompt in [tokens(40) for _ in range(8)]
        for member, completion in enumerate([tokens(chance.randrange(16, 49)) for _ in range(8)])
    ]


if __name__ == "__main__":
    main()
