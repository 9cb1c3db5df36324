"""The fast path against transformers' forward pass on a GPU: tokens a second, MFU, peak memory, and equality.

The model has the shape of Qwen2.5-1.5B and random weights; products are in bfloat16, and activations are computed again
in the backward pass. One way after the other samples and learns steps at learning rate 0, and computes the
log-probabilities of the same completions: the last lines say how far these are apart, and the program fails where that
is more than rounding.

  python benchmarks/gpu_paths.py
  python benchmarks/gpu_paths.py --device cpu --tiny     # the same program on a small model
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import torch
from gpu_step import QWEN, TINY, Options, Work, device_line, product_peak, run_config, timed_step
from measuring import machine, peak_memory, row, spread
from step_sides import Ours, Step, with_vowels

from reasonrl.config.settings import RunConfig
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_inputs
from reasonrl.types import TrainingSample

WAYS: Final = {"fast path": True, "transformers": False}
"""What each way is called, and the setting that takes it."""

MEAN_NATS: Final = 0.05
"""Largest mean difference of log-probabilities, in nats: what a run allows between an engine and the learner too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one way did."""

    steps: Sequence[Step]
    samples: Sequence[TrainingSample]
    """Of its last step."""
    logprobs: Sequence[torch.Tensor]
    """Of the completions that the first way sampled in its first step."""
    peak_mib: float
    work: Work


def measure(options: Options, *, fast: bool, shared: Sequence[TrainingSample] | None) -> Measured:
    """Take steps in one way, after one that warms up.

    Args:
        options: what the command line asks for.
        fast: whether it is the fast path.
        shared: completions whose log-probabilities are computed; None takes those of its own first step.
    """
    config = way_config(options, fast=fast)
    ours = Ours(config, with_vowels(load_inputs(config, Plugins())))
    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    step = timed_step(ours, options.device)
    step()
    samples = shared or samples_of(ours)
    policy = ours.components.policy
    logprobs = policy.of_samples(samples, max_tokens=config.learner.microbatch_tokens)
    for _ in range(options.pairs):
        step()
    groups = ours.records[-1].batch.groups
    peak = torch.cuda.max_memory_allocated() / 2**20 if options.device != "cpu" else peak_memory()
    measured = Measured(
        steps=ours.steps[1:],
        samples=samples,
        logprobs=[each.cpu() for each in logprobs],
        peak_mib=peak,
        work=Work(
            weights=sum(parameter.numel() for parameter in ours.components.learner.model.parameters()),
            prompt_tokens=sum(len(group.prompt_ids) for group in groups) // len(groups),
            completions=options.shape.prompts * options.shape.samples,
            peak=product_peak(options.device, 8192 if options.device != "cpu" else 512),
        ),
    )
    ours.close()
    return measured


def way_config(options: Options, *, fast: bool) -> RunConfig:
    """Return the run of one way; its learning rate is 0, so that both ways keep the same weights."""
    config = run_config(options)
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"fast_path": fast}),
            "learner": config.learner.model_copy(update={"learning_rate": 0.0}),
        }
    )


def samples_of(ours: Ours) -> list[TrainingSample]:
    """Return the completions of the last step as what is learned from."""
    groups = ours.records[-1].batch.groups
    return [TrainingSample.of(group, member, 1.0) for group in groups for member in group.trajectories]


def differences(ways: Sequence[Measured]) -> torch.Tensor:
    """Return how far the log-probabilities of the two ways are apart, in nats."""
    first, second = (torch.cat(list(way.logprobs)).float() for way in ways)
    return (first - second).abs()


def benchmark(options: Options) -> Iterator[str]:
    """Measure, and tell it line by line."""
    yield from machine()
    yield device_line(options.device)
    ways: list[Measured] = []
    for fast in WAYS.values():
        ways.append(measure(options, fast=fast, shared=ways[0].samples if ways else None))
        gc.collect()  # models hold themselves in cycles, and the next one needs their memory
    shape, work = options.shape, ways[0].work
    yield (
        f"{shape.name}, random weights ({work.weights:,}): {shape.prompts} prompts of {work.prompt_tokens} tokens x "
        f"{shape.samples} completions of at most {shape.max_new_tokens}; medians of {options.pairs} steps after one"
    )
    yield f"products of large matrices in bfloat16: {work.peak / 1e12:.3g} TFLOP/s"
    yield row("", *WAYS)
    for phase in ("sampling", "learning"):
        yield row(f"tokens/s {phase}", *(spread([each.tokens / each.seconds[phase] for each in w.steps]) for w in ways))
        yield row(f"MFU of {phase}", *(f"{median(w.work.mfu(each, phase) for each in w.steps):.1%}" for w in ways))
    yield row("peak memory, MiB", *(f"{way.peak_mib:,.0f}" for way in ways))
    apart = differences(ways)
    yield f"log-probabilities of {len(apart)} tokens differ by {apart.mean():.2g} nats, at most {apart.max():.2g}"
    if not apart.mean() <= MEAN_NATS:
        raise SystemExit(f"FAILED: the two ways differ by more than {MEAN_NATS} nats in the mean")
    yield "the two ways agree"


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model and a small step")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of either way, after a warm-up")
    given = parser.parse_args(arguments)
    if given.steps < 1:
        parser.error(f"--steps is {given.steps}: there is nothing to measure; use 1 or more (3 is a good start)")
    return Options(shape=TINY if given.tiny else QWEN, device=given.device, pairs=given.steps, folder=Path())


def main() -> None:
    """Measure and print."""
    options = options_from()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here; --device cpu --tiny runs the program without one.")
    with tempfile.TemporaryDirectory() as folder:
        for line in benchmark(replace(options, folder=Path(folder))):
            print(line, flush=True)


if __name__ == "__main__":
    main()
