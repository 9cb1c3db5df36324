"""What FSDP2 leaves to each rank of a model's weights and optimizer, and what a push of the weights needs beside them.

  python benchmarks/sharded_memory.py              # 200 M parameters on 4 ranks and on one process: about 8 GiB in all
  python benchmarks/sharded_memory.py --vllm       # and pushes the weights to a vLLM server, which is asked what it has

A Llama with random weights is written to a folder. One process and each rank then build the learner of a run from it,
as `reasonrl train` does, take two optimizer steps, and hand the weights out one by one, as an engine is given them.
Resident memory (RSS) is read after the allocator has returned what it keeps (`malloc_trim`), and stands beside what
the process had before the model: Python, torch, transformers and the process group. A peak is the most that Linux saw
since the reading before (`VmHWM`, reset in `/proc/self/clear_refs`), what the allocator had kept included.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import ctypes
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import torch
from measuring import MIB, machine
from transformers import LlamaConfig, LlamaForCausalLM

from reasonrl.config.settings import RunConfig
from reasonrl.distributed.calls import Ranks
from reasonrl.distributed.collectives import rank
from reasonrl.distributed.processes import join, launched_rank, leave
from reasonrl.models.load import load_tokenizer
from reasonrl.models.lora import exported_weights
from reasonrl.models.safetensors_file import TensorSpec, write_safetensors
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.build import build_components
from reasonrl.run.inputs import load_inputs
from reasonrl.run.mismatch import mismatch_check
from reasonrl.run.ranks import Builder, CalledLearner, all_ranks
from reasonrl.types import TrainingSample

GOAL: Final = 0.30
"""Largest share of the single process's weights and optimizer that a rank of four may have."""

STAGES: Final = ("before the model", "model loaded", "first step", "second step")
PUSH: Final = "weights handed out"
SERVED: Final = "weights pushed to a server"


VLLM: Final = {"cpu_kv_cache_gib": 0.25, "max_num_seqs": 16, "max_model_len": 256, "enforce_eager": True}
"""Settings of the server."""


def save_model(folder: Path, layers: int) -> int:
    """Write a Llama of random weights, with the packaged tokenizer; return the number of its parameters."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer("tiny")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32000,
            hidden_size=1024,
            intermediate_size=2816,
            num_hidden_layers=layers,
            num_attention_heads=16,
            num_key_value_heads=8,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def run_config(model: Path, root: Path, strategy: str, engine: str) -> RunConfig:
    """Return the run whose learner is built."""
    return RunConfig.model_validate(
        {
            "name": "sharded-memory",
            "model": {"name": str(model), "device": "cpu", "compute_dtype": "float32"},
            "task": {"name": "arithmetic", "params": {"num_problems": 8}},
            "template": "plain",
            "rewards": [{"name": "numeric_answer", "isolated": False}],
            "algorithm": "grpo",
            "rollout": {"engine": engine, "prompts_per_step": 4, "samples_per_prompt": 2, "max_new_tokens": 16},
            "vllm": VLLM if engine != "local" else {},
            "learner": {"learning_rate": 1e-4, "microbatch_tokens": 128, "parallel": {"strategy": strategy}},
            "run": {"steps": 2, "root": str(root)},
        }
    )


def samples() -> list[TrainingSample]:
    """Return a step of short completions of which every rank has some."""
    chance = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(2, 200) for _ in range(count))

    prompts = [tokens(8) for _ in range(8)]
    return [
        TrainingSample(
            prompt_ids=prompts[index // 2],
            token_ids=tokens(16),
            sampler_logprobs=(-5.0,) * 16,
            mask=(True,) * 16,
            advantages_T=1.0 if index % 2 else -1.0,
        )
        for index in range(16)
    ]


# --- On every rank ---


class MeteredBuilder(Builder):
    """Also reads this process's memory when all ranks are called, and writes it to a file.

    Args:
        objects: this rank's, by name. Any: whatever is called.
        folder: where every rank has its file.
    """

    def __init__(self, objects: MutableMapping[str, Any], folder: Path) -> None:
        super().__init__(objects)
        self._file = folder / f"rank{rank()}.json"
        self._read: dict[str, float] = {}

    def read(self, stage: str) -> None:
        """Note what is resident, and the peak since the reading before, in MiB."""
        self._read[f"peak {stage}"] = status("VmHWM")
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        self._read[stage] = status("VmRSS")
        self._file.write_text(json.dumps(self._read))


def status(field: str) -> float:
    """Return a size of this process, in MiB."""
    return int(re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def rank_program(options: argparse.Namespace) -> None:
    """Join, and measure; rank 0 says what is done."""
    engine = "vllm_server" if options.vllm else "local"
    config = run_config(options.model, options.folder, options.strategy, engine)
    join(config.learner.parallel, "cpu")
    ranks = all_ranks()
    ranks.objects["builder"] = MeteredBuilder(ranks.objects, options.folder)
    if launched_rank():
        ranks.follow()
    else:
        ranks.call("builder", "read", STAGES[0])
        serve(config, ranks) if options.vllm else learn(config, ranks, options.folder / "pushed.safetensors")
        ranks.end()
    leave()


def learn(config: RunConfig, ranks: Ranks, file: Path) -> None:
    """Build the learner on all ranks, take steps, and hand the weights out."""
    learning = ranks.call("builder", "build", config, None, None, 1.0)
    ranks.call("builder", "read", STAGES[1])
    learner, step = CalledLearner(ranks, learning), samples()
    for stage in STAGES[2:]:
        learner.update(step)
        ranks.call("builder", "read", stage)
    specs = [TensorSpec.of(name, tensor) for name, tensor in exported_weights(learner.model)]
    write_safetensors(file, specs, learner.weights())
    ranks.call("builder", "read", PUSH)


def serve(config: RunConfig, ranks: Ranks) -> None:
    """Build all of a run with a vLLM server, take a step, push the weights, and ask the server what it has."""
    plugins = Plugins()
    inputs = load_inputs(config, plugins)
    components = build_components(config, inputs, plugins)
    with closing(components):
        check = mismatch_check(config, inputs, components)
        assert check is not None, "a server has weights of its own"
        before = check.measure()
        components.learner.update(samples())
        stale = check.measure()
        ranks.call("builder", "read", STAGES[-1])
        components.engine.load_weights(components.learner.weights(), components.learner.policy_version)
        ranks.call("builder", "read", SERVED)
        after = check.measure()
        wrong = check.diagnose(after)
    print(f"\nengine and learner differ by {before}; after an update that is not pushed by {stale}", flush=True)
    print(f"after the push by {after}; limits {check.limits}: {wrong or 'passes'}", flush=True)
    if wrong:
        sys.exit("the push does not pass")


# --- The program that starts them ---


def measured(model: Path, strategy: str, num_ranks: int, *options: str) -> list[Mapping[str, float]]:
    """Return the readings of each rank."""
    with tempfile.TemporaryDirectory(prefix="reasonrl-memory-") as folder:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
        command = [sys.executable, *(torchrun if num_ranks > 1 else ()), __file__, "--rank-of", strategy, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--model", str(model), "--folder", folder], env=environment, check=True)
        files = [Path(folder) / f"rank{number}.json" for number in range(num_ranks)]
        return [json.loads(file.read_text()) for file in files]


def largest_layer(model: Path) -> tuple[str, float]:
    """Return the part of the model that is gathered at once and is the largest, and its MiB in float32."""
    with torch.device("meta"):
        whole = LlamaForCausalLM(LlamaConfig.from_pretrained(model))
    layer = sum(parameter.numel() for parameter in whole.model.layers[0].parameters())
    rest = whole.num_parameters() - layer * len(whole.model.layers)
    name, size = max(("a layer", layer), ("the embeddings", rest), key=lambda part: part[1])
    return name, 4 * size / MIB


def table(title: str, readings: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield the readings of a way to train, a line a rank."""
    for number, read in enumerate(readings):
        base = read[STAGES[0]]
        cells = "".join(f"{read[stage] - base:>14.0f}" for stage in STAGES[1:])
        peaks = "".join(f"{read[f'peak {stage}'] - base:>14.0f}" for stage in STAGES[1:])
        yield f"{f'{title}, rank {number}':24}{base:>10.0f}{cells}{peaks}"


def push_cost(read: Mapping[str, float], push: str = PUSH) -> float:
    """Return the MiB that handing the weights out needed beside what was there."""
    return read[f"peak {push}"] - read[STAGES[-1]]


def report(options: argparse.Namespace, model: Path) -> None:
    """Measure and print."""
    parameters = save_model(model, options.layers)
    print(
        f"{parameters:,} parameters, {4 * parameters / MIB:.0f} MiB in float32, with AdamW {12 * parameters / MIB:.0f}"
    )
    alone = measured(model, "auto", 1)
    divided = {name: measured(model, name, options.ranks) for name in options.strategies}
    heads = [*(f"{stage}" for stage in STAGES[1:]), *(f"peak, {stage.split()[0]}" for stage in STAGES[1:])]
    print(f"\nMiB over what was there{'':1}{'before':>10}" + "".join(f"{head:>14}" for head in heads))
    print(*table("one process", alone), sep="\n")
    for name, readings in divided.items():
        print(*table(name, readings), sep="\n")
    whole = resident(alone[0])
    name, size = largest_layer(model)
    print(f"\nhanded out: MiB beside what was there; the largest part is {name} with {size:.0f} MiB")
    for strategy, readings in {"one process": alone, **divided}.items():
        print(f"{strategy:24}" + " ".join(f"{push_cost(read):.0f}" for read in readings), flush=True)
    if options.vllm:
        served = measured(model, "fsdp2", options.ranks, "--vllm")
        print(
            f"to a vLLM server: {' '.join(f'{push_cost(read, SERVED):.0f}' for read in served)} MiB beside it, by rank"
        )
    shares = [resident(read) / whole for read in divided.get("fsdp2", [])]
    if not shares:
        return
    worst = max(shares)
    push = push_cost(divided["fsdp2"][0])
    print(
        f"\nheadline: a rank of {options.ranks} has {worst:.1%} of the {whole:.0f} MiB of weights and optimizer in one "
        f"process (goal {GOAL:.0%}); a push needs {push:.0f} MiB more, {push / size:.2f} times {name}"
    )
    if options.ranks >= 4 and worst > GOAL:
        sys.exit("above the goal")


def resident(read: Mapping[str, float]) -> float:
    """Return the MiB of weights and optimizer: what is there after a step, beside what was there before the model."""
    return read[STAGES[-1]] - read[STAGES[0]]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--layers", type=int, default=14, help="14 are 198 M parameters")
    parser.add_argument("--strategies", nargs="+", default=["fsdp2"], help="those of the ranks: fsdp2, ddp")
    parser.add_argument("--vllm", action="store_true", help="push to a vLLM server too, and compare what it has")
    parser.add_argument("--rank-of", dest="strategy", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure on the ranks that this starts, or be one of them."""
    options = parse()
    if options.strategy:
        return rank_program(options)
    print(*machine("accelerate"), sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="reasonrl-memory-") as folder:
        return report(options, Path(folder))


if __name__ == "__main__":
    main()
