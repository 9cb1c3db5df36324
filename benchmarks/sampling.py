"""Tokens a second of every engine and of transformers' generate: 8 prompts x 8 completions of one length.

Each side is a process of its own, loaded and warmed up; then they sample in turn, several rounds, while the others
wait. All sample the same prompts at temperature 1 with log-probabilities of every token, and end at the token limit
alone, so that all do the same work: end-of-sequence tokens are ordinary ones here. The share of the limit says how
much of a side's time the matrix products alone would take, at the rates measured in the same run.

  reasonrl models get smollm2-135m-instruct
  python benchmarks/sampling.py

The sides that need vLLM are left out, and named, where it is not installed.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import torch
from measuring import Limit, machine, measure_limit, row, spread
from torch import nn

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines import Engine, EngineInputs, Request, SamplingParams, builtin
from reasonrl.engines.batch import sample_all
from reasonrl.errors import ReasonRLError
from reasonrl.models.compute import Compute
from reasonrl.models.hardware import autocast, compute_dtype
from reasonrl.models.load import load_model, load_tokenizer

PROMPTS, SAMPLES = 8, 8
CPU = torch.device("cpu")
QUESTIONS = [f"What is {number} + {2 * number + 5}? Say how you find it." for number in range(11, 11 + PROMPTS)]

Round = Callable[[int], int]
"""Samples all prompts once, under a seed, and returns the number of sampled tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    max_new_tokens: int
    rounds: int
    side: str | None
    dtype: torch.dtype


# --- The sides ---


def prompts(options: Options) -> list[tuple[int, ...]]:
    """Return the prompts as tokens."""
    tokenizer = load_tokenizer(options.model)
    turns = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = [tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) for turn in turns]
    return [tuple(tokenizer(str(text), add_special_tokens=False)["input_ids"]) for text in texts]


def engine_round(engine: Engine, options: Options) -> Round:
    """Sample with an engine."""
    asked = prompts(options)
    params = SamplingParams(max_new_tokens=options.max_new_tokens)

    def sample(seed: int) -> int:
        requests = [
            Request(prompt_ids=ids, seed=1000 * seed + SAMPLES * number + index, sample_index=index, params=params)
            for number, ids in enumerate(asked)
            for index in range(SAMPLES)
        ]
        return sum(len(completion.token_ids) for completion in sample_all(engine, requests))

    return sample


def engine_inputs(options: Options, **settings: Any) -> EngineInputs:
    """Return what an engine is made from. Any: settings of vLLM."""
    model = load_model(options.model, CPU)
    return EngineInputs(
        model=model,
        tokenizer=load_tokenizer(options.model),
        compute=Compute(dtype=options.dtype),
        device=CPU,
        weight_names=frozenset(name for name, _ in model.named_parameters()),
        vllm=VLLMSettings(**settings),
    )


def local(options: Options) -> Round:
    """Ours: the embedded engine."""
    engine: Any = builtin.local(engine_inputs(options))  # Any: the Protocol has no end_ids
    engine.end_ids = frozenset()
    return engine_round(engine, options)


def vllm(options: Options, *, eager: bool) -> Round:
    """vLLM in this process, as a run has it."""
    inputs = engine_inputs(options, enforce_eager=eager, max_num_seqs=PROMPTS * SAMPLES, max_model_len=512)
    engine: Any = builtin.vllm(inputs)  # Any: the Protocol has no end_ids
    engine.end_ids = frozenset()
    engine.load_weights(inputs.model.named_parameters(), 0)
    return engine_round(engine, options)


def generate(options: Options) -> Round:
    """Transformers' generate, which repeats every prompt and gives the scores of the whole vocabulary.

    Any: parts of transformers are untyped.
    """
    model: Any = load_model(options.model, CPU)
    tokenizer = load_tokenizer(options.model)
    padded = tokenizer.pad({"input_ids": list(map(list, prompts(options)))}, padding_side="left", return_tensors="pt")
    length = {"min_new_tokens": options.max_new_tokens, "max_new_tokens": options.max_new_tokens}

    @torch.no_grad()
    def sample(seed: int) -> int:
        torch.manual_seed(seed)
        with autocast(CPU, options.dtype):
            sampled: Any = model.generate(
                **padded,
                **length,
                do_sample=True,
                top_k=0,
                num_return_sequences=SAMPLES,
                return_dict_in_generate=True,
                output_scores=True,
                pad_token_id=tokenizer.pad_token_id,
            )
        model.compute_transition_scores(sampled.sequences, sampled.scores, normalize_logits=True)
        return int(sampled.sequences[:, padded["input_ids"].shape[1] :].numel())

    return sample


SIDES: Mapping[str, Callable[[Options], Round]] = {
    "reasonrl local": local,
    "vllm eager": lambda options: vllm(options, eager=True),
    "vllm compiled": lambda options: vllm(options, eager=False),
    "transformers generate": generate,
}


# --- Measuring ---


def serve(options: Options, side: str) -> None:
    """Be one side: warm up, then sample once for every line on standard input and report."""
    sample = SIDES[side](options)
    sample(0)
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, start=1):
        began = perf_counter()
        tokens = sample(number)
        print(json.dumps({"tokens": tokens, "seconds": perf_counter() - began}), flush=True)


class Process:
    """One side in a process of its own."""

    def __init__(self, side: str, options: Options) -> None:
        """Start it; :meth:`wait` until it is warm."""
        command = [sys.executable, __file__, "--side", side, "--model", options.model]
        command += ["--max-new-tokens", str(options.max_new_tokens)]
        self.side = side
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait(self) -> float:
        """Return the seconds from now until it is warm."""
        began = perf_counter()
        self._line("ready")
        return perf_counter() - began

    def sample(self) -> float:
        """Let it sample once; return tokens a second."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        measured = json.loads(self._line("{"))
        return float(measured["tokens"] / measured["seconds"])

    def end(self) -> None:
        """End it."""
        self._process.communicate("")

    def _line(self, beginning: str) -> str:
        """Return its next line that begins so; libraries may say other things."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        raise SystemExit(f"{self.side!r} ended with {self._process.wait()}; run it alone with --side to see why.")


def benchmark(options: Options) -> Iterator[str]:
    """Measure all sides in turn and tell."""
    yield from machine()
    dtype = str(options.dtype).removeprefix("torch.")
    yield f"{options.model}, {dtype}: {PROMPTS} prompts x {SAMPLES} completions of {options.max_new_tokens} tokens,"
    yield f"medians over {options.rounds} rounds after a warm-up, in brackets the least and the greatest"
    missing = [side for side in SIDES if side.startswith("vllm") and find_spec("vllm") is None]
    if missing:
        yield f"left out, because vLLM is not installed: {', '.join(missing)}"
    rates, warm = measure([side for side in SIDES if side not in missing], options)
    yield from table(options, rates, warm)
    yield headline(rates)


def measure(sides: Sequence[str], options: Options) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return tokens a second, round by round, and the seconds until each side was warm."""
    processes, warm = [], {}
    for side in sides:  # one after the other: starting is work too
        processes.append(Process(side, options))
        warm[side] = processes[-1].wait()
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for process in processes:
            rates[process.side].append(process.sample())
    for process in processes:
        process.end()
    return rates, warm


def table(options: Options, rates: Mapping[str, Sequence[float]], warm: Mapping[str, float]) -> Iterator[str]:
    """Lay out what each side reached."""
    limit, least = least_seconds(options)
    yield f"The model's matrices are multiplied at {limit.sampling / 1e9:.0f} GFLOP/s at {PROMPTS * SAMPLES} rows."
    yield row("", "tokens a second", "share of the limit", "seconds until warm")
    tokens = PROMPTS * SAMPLES * options.max_new_tokens
    for side, reached in rates.items():
        shares = [least * rate / tokens for rate in reached]
        yield row(side, spread(reached), f"{median(shares):.0%}", f"{warm[side]:.0f}")


def least_seconds(options: Options) -> tuple[Limit, float]:
    """Return how fast matrices are multiplied, and what the products of one round take at least."""
    model = nn.Module.to(load_model(options.model, CPU), options.dtype)
    limit = measure_limit(model, PROMPTS * SAMPLES)
    completions = PROMPTS * SAMPLES
    prompt_tokens = sum(map(len, prompts(options)))
    products = limit.products(prompt_tokens, completions * options.max_new_tokens, completions)
    return limit, 2 * products / limit.sampling


def headline(rates: Mapping[str, Sequence[float]]) -> str:
    """Compare ours with the others, round by round."""
    ours = rates["reasonrl local"]
    ratios = {
        side: median(mine / other for mine, other in zip(ours, theirs, strict=True)) for side, theirs in rates.items()
    }
    others = ", ".join(f"{ratio:.1f}x {side}" for side, ratio in ratios.items() if side != "reasonrl local")
    return f"reasonrl local, tokens a second: {others}"


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder")
    add("--max-new-tokens", type=int, default=48, help="length of every completion (%(default)s)")
    add("--rounds", type=int, default=3, help="measured rounds of each side, after a warm-up (%(default)s)")
    add("--side", choices=list(SIDES), help="be this side: sample once for each line on standard input")
    parsed = parser.parse_args(arguments)
    hidden_size = load_model(parsed.model, CPU).config.get_text_config().hidden_size
    return Options(**vars(parsed), dtype=compute_dtype("auto", CPU, hidden_size))


def main() -> None:
    """Measure and print, or be one side."""
    try:
        options = options_from()
        if options.side:
            return serve(options, options.side)
        for line in benchmark(options):
            print(line, flush=True)
    except ReasonRLError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
