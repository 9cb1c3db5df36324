"""One GRPO step at the size of Qwen2.5-1.5B, ours against TRL's, on a GPU: seconds, tokens a second, share of its peak.

The model has that shape and random weights, and a tokenizer is made beside it, so nothing is fetched. Both sides have
weights in float32 and products in bfloat16, recompute activations, get the same prompts, and sample completions of
full length, because a random model hardly ever ends one; they take their steps in turn. TRL samples as it does without
vLLM, by transformers' generation, under autocast, which it leaves out itself and which is faster.

MFU is the share of the GPU's matrix products that the model's weights need: 2 operations for each weight and token to
sample, 6 to learn (arXiv:2204.02311, appendix B; neither recomputation nor attention counts), over seconds and the
rate of large products on the same GPU in the same run.

  pip install 'reasonrl[trl]'
  python benchmarks/gpu_step.py
  python benchmarks/gpu_step.py --device cpu --tiny     # the same program on a small model

The last line is TRL's seconds a step over ours.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import string
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
from measuring import machine, row, spread
from step_sides import PHASES, Ours, Step, Theirs, with_vowels
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from reasonrl.config.settings import RunConfig
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_inputs

END: Final = "<|end|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of a model, and of a step with it."""

    name: str
    model: Mapping[str, Any]
    """Settings of a `Qwen2Config`. Any: of every kind."""
    prompts: int
    samples: int
    max_new_tokens: int
    microbatch_tokens: int
    trl_batch: int
    """Completions in one of TRL's forward passes."""


QWEN: Final = Shape(
    name="Qwen2.5-1.5B",
    model={
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
    prompts=8,
    samples=8,
    max_new_tokens=256,
    microbatch_tokens=16384,
    trl_batch=32,
)
TINY: Final = Shape(
    name="a small Qwen2",
    model={
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    prompts=2,
    samples=4,
    max_new_tokens=16,
    microbatch_tokens=1024,
    trl_batch=8,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    shape: Shape
    device: str
    pairs: int
    folder: Path


# --- The model and its run ---


def save_model(shape: Shape, folder: Path) -> Path:
    """Write a model of a shape with random weights, and a tokenizer of its size; return where."""
    torch.manual_seed(0)
    config = Qwen2Config(**shape.model, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None)
    tokenizer = make_tokenizer(config.vocab_size)
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, filled up with words that no text becomes but a model can write."""
    words = ("".join(letters) for length in range(3, 6) for letters in product(string.ascii_lowercase, repeat=length))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *islice(words, size - len(alphabet) - 1), END]
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=END)


def run_config(options: Options) -> RunConfig:
    """Return the run that both sides take steps of."""
    shape = options.shape
    return RunConfig.model_validate(
        {
            "name": "gpu-step",
            "model": {
                "name": str(save_model(shape, options.folder / "model")),
                "device": options.device,
                "compute_dtype": "bfloat16",
                "gradient_checkpointing": True,
            },
            "task": "arithmetic",
            "template": "r1_zero",
            "rewards": [{"name": "numeric_answer"}],
            "algorithm": "grpo",
            "rollout": {
                "prompts_per_step": shape.prompts,
                "samples_per_prompt": shape.samples,
                "max_new_tokens": shape.max_new_tokens,
            },
            "learner": {"microbatch_tokens": shape.microbatch_tokens},
            "run": {"steps": options.pairs + 1, "root": str(options.folder)},
        }
    )


# --- Both sides ---


def finish(device: str | torch.device) -> None:
    """Wait until the GPU has done all that it was asked for."""
    if torch.device(device).type != "cpu":
        torch.cuda.synchronize()


class TheirsOnDevice(Theirs):
    """TRL's trainer, with a clock that waits for the GPU."""

    def on_step_end(self, *args: object, **named: object) -> None:
        """Stop the clock when the GPU has nothing left to do."""
        finish(self._device)
        super().on_step_end(*args, **named)


def timed_step(ours: Ours, device: str) -> Callable[[], None]:
    """Return what takes one of our steps; what the GPU still does at its end counts as learning."""

    def step() -> None:
        finish(device)
        began = perf_counter()
        ours.step()
        finish(device)
        taken, last = perf_counter() - began, ours.steps[-1]
        late = taken - last.seconds["step"]
        seconds = {**last.seconds, "step": taken, "learning": last.seconds["learning"] + late}
        ours.steps[-1] = replace(last, seconds=seconds)

    return step


def trl_settings(options: Options) -> dict[str, Any]:
    """Return TRL's settings for a step like ours. Any: each has a type of its own."""
    shape = options.shape
    return {
        "use_cpu": options.device == "cpu",
        "bf16": True,
        "gradient_checkpointing": True,
        "per_device_train_batch_size": shape.trl_batch,
        "gradient_accumulation_steps": shape.prompts * shape.samples // shape.trl_batch,
    }


# --- Measuring ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step computes at least, and how fast the device could."""

    weights: int
    prompt_tokens: int
    """Tokens of a prompt in the mean."""
    completions: int
    peak: float
    """Operations a second."""

    def mfu(self, step: Step, phase: str) -> float:
        """Return the share of the peak that a phase of a step reaches; a prompt counts once for each completion."""
        tokens = step.tokens + self.prompt_tokens * self.completions
        operations = {"sampling": 2, "learning": 6, "step": 8}[phase] * self.weights * tokens
        return operations / (step.seconds[phase] * self.peak)


def product_peak(device: str, size: int) -> float:
    """Return the operations a second of one large product in bfloat16, the best of several."""
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(10):
        finish(device)
        began = perf_counter()
        _ = matrix @ matrix
        finish(device)
        times.append(perf_counter() - began)
    return 2 * float(size) ** 3 / min(times)


def measure(options: Options) -> tuple[list[Step], list[Step], Work]:
    """Take steps of both sides in turn; the first pair is a warm-up."""
    config = run_config(options)
    inputs = with_vowels(load_inputs(config, Plugins()))
    ours = Ours(config, inputs)
    theirs = TheirsOnDevice(config, inputs, **trl_settings(options))
    theirs.train(before_step=timed_step(ours, options.device))
    groups = ours.records[-1].batch.groups
    work = Work(
        weights=sum(parameter.numel() for parameter in ours.components.learner.model.parameters()),
        prompt_tokens=sum(len(group.prompt_ids) for group in groups) // len(groups),
        completions=options.shape.prompts * options.shape.samples,
        peak=product_peak(options.device, 8192 if options.device != "cpu" else 512),
    )
    return ours.steps[1:], theirs.steps[1:], work


# --- Telling ---


def benchmark(options: Options) -> Iterator[str]:
    """Measure, and tell it line by line."""
    yield from machine("trl", "accelerate")
    yield device_line(options.device)
    ours, theirs, work = measure(options)
    shape = options.shape
    yield (
        f"{shape.name}, random weights ({work.weights:,}): {shape.prompts} prompts of {work.prompt_tokens} tokens x "
        f"{shape.samples} completions of at most {shape.max_new_tokens}; medians of {options.pairs} steps after one"
    )
    yield f"products of large matrices in bfloat16: {work.peak / 1e12:.3g} TFLOP/s"
    yield from table(ours, theirs, work)
    yield f"{median(ratios(ours, theirs, 'step')):.1f}x"


def device_line(device: str) -> str:
    """Say what is measured on beside the processor."""
    if device == "cpu":
        return "no GPU is measured"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def ratios(ours: Sequence[Step], theirs: Sequence[Step], phase: str) -> list[float]:
    """Return TRL's seconds over ours, pair by pair."""
    return [b.seconds[phase] / max(a.seconds[phase], 1e-9) for a, b in zip(ours, theirs, strict=True)]


def table(ours: Sequence[Step], theirs: Sequence[Step], work: Work) -> Iterator[str]:
    """Lay out medians, with the least and the greatest."""
    yield row("", "reasonrl", "TRL", "TRL / reasonrl")
    for phase in (*PHASES, "step"):
        sides = ([step.seconds[phase] for step in side] for side in (ours, theirs))
        yield row(f"{phase} s", *map(spread, sides), spread(ratios(ours, theirs, phase)))
    for name, phase in (("tokens sampled a second", "sampling"), ("tokens a second", "step")):
        yield row(name, *(spread([step.tokens / step.seconds[phase] for step in side]) for side in (ours, theirs)))
    for phase in ("sampling", "learning", "step"):
        shares = ([100 * work.mfu(step, phase) for step in side] for side in (ours, theirs))
        yield row(f"MFU of {phase}, %", *map(spread, shares))


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model and a small step")
    parser.add_argument("--pairs", type=int, default=3, help="measured steps of either side, after a warm-up")
    given = parser.parse_args(arguments)
    if given.pairs < 1:
        parser.error(f"--pairs is {given.pairs}: there is nothing to measure; use 1 or more (3 is a good start)")
    shape = TINY if given.tiny else QWEN
    return Options(shape=shape, device=given.device, pairs=given.pairs, folder=Path())


def main() -> None:
    """Measure and print."""
    options = options_from()
    if find_spec("trl") is None:
        raise SystemExit("The benchmark compares with TRL, which is not installed: pip install 'reasonrl[trl]'")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here; --device cpu --tiny runs the program without one.")
    with tempfile.TemporaryDirectory() as folder:
        for line in benchmark(replace(options, folder=Path(folder))):
            print(line, flush=True)


if __name__ == "__main__":
    main()
