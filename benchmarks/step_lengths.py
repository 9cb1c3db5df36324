"""Time and memory of a GRPO step by the length of its completions, ours against TRL's GRPOTrainer.

A step has 2 prompts x 2 completions, all of one length: no token ends one. Each is the second step of a fresh process,
whose first one has completions of one token, so that the optimizer has its moments; `step_sides.py` says what the sides
are. Memory is the most that the process has during the step, beyond what it had when it was loaded: gradients and
moments, which do not grow with the length, are in it. What grows is told between each length and the one before, for a
token of all completions. TRL gets as many completions in one forward pass as there is room for in our
`learner.microbatch_tokens`.

A side that would take more than `--limit-gib` or `--limit-s` is stopped there, and so is left out with longer
completions; by default the memory is four fifths of what is free.

  pip install 'reasonrl[trl]'
  reasonrl models get smollm2-135m-instruct
  python benchmarks/step_lengths.py
  python benchmarks/step_lengths.py --models tiny --lengths 128 512 1024 --sides reasonrl TRL

The last line is TRL's seconds over ours with the longest completions of the last model that TRL can learn from within
the limits, both without gradient checkpointing or, where only that has room for them, both with it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Literal, TypeAlias

from measuring import MIB, kilobytes, machine, peak_memory, restart_peak_memory
from step_sides import Ours, Theirs, run_config, with_vowels

from reasonrl import ReasonRLError
from reasonrl.config.settings import RunConfig
from reasonrl.models import locate
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_inputs

PROMPTS, SAMPLES = 2, 2
COMPLETIONS: Final = PROMPTS * SAMPLES
PROMPT_ROOM: Final = 256
"""Positions that are enough for a prompt."""
WATCHED_EVERY_S: Final = 0.2

Side: TypeAlias = Literal["reasonrl", "reasonrl recomputing", "TRL", "TRL recomputing"]
SIDES: Final[tuple[Side, ...]] = ("reasonrl", "reasonrl recomputing", "TRL", "TRL recomputing")
WAYS: Final[tuple[tuple[Side, Side], ...]] = (("reasonrl", "TRL"), ("reasonrl recomputing", "TRL recomputing"))
"""What is compared: without and with gradient checkpointing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    models: Sequence[str]
    lengths: Sequence[int]
    sides: Sequence[Side]
    dtype: str
    limit_gib: float
    limit_s: float
    alone: bool


# --- One step, in a process of its own ---


def step(options: Options, folder: str) -> dict[str, float]:
    """Take one step of one side; return its seconds by phase, its tokens, and memory in MiB."""
    (model,), (length,), (side,) = options.models, options.lengths, options.sides
    config = run_config(
        model,
        template="chat" if load_tokenizer(model).chat_template else "r1_zero",
        prompts=PROMPTS,
        samples=SAMPLES,
        max_new_tokens=length,
        steps=2,
        folder=folder,
        settings={"compute_dtype": options.dtype, "gradient_checkpointing": side.endswith("recomputing")},
    )
    inputs = with_vowels(load_inputs(config, Plugins()))
    if side.startswith("TRL"):
        return their_step(Theirs(config, inputs, **trl_batch(config)), length)
    return our_step(Ours(config, inputs))


def our_step(ours: Ours) -> dict[str, float]:
    """Take a step with completions of one token each, then the one that is measured."""
    loaded = restart_peak_memory()
    ours.end_with(range(ours.components.learner.model.config.vocab_size))
    ours.step()
    ours.end_with([])
    restart_peak_memory()
    ours.step()
    return {"loaded": loaded, "peak": peak_memory() - loaded, **ours.steps[1].told()}


def their_step(theirs: Theirs, length: int) -> dict[str, float]:
    """Take the same steps as :func:`our_step`."""
    loaded = restart_peak_memory()

    def before_step() -> None:
        theirs.sample_length(length if theirs.steps else 1)
        restart_peak_memory()

    theirs.train(before_step)
    return {"loaded": loaded, "peak": peak_memory() - loaded, **theirs.steps[1].told()}


def trl_batch(config: RunConfig) -> dict[str, Any]:
    """Return TRL's settings of how many completions are in a forward pass. Any: each has a type of its own."""
    room = config.learner.microbatch_tokens // (config.rollout.max_new_tokens + PROMPT_ROOM // 4)
    rows = max(rows for rows in (1, 2, 4) if rows <= max(1, room))
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": COMPLETIONS // rows}


# --- Measuring ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a step took."""

    length: int
    seconds: Mapping[str, float]
    tokens: float
    loaded: float
    """Memory before the step, in MiB."""
    peak: float
    """The most beyond it."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a step was not taken to its end."""

    length: int
    why: str


def measure(options: Options, model: str, side: Side) -> Iterator[Taken | LeftOut]:
    """Take a step of a side with each length, until one goes beyond a limit."""
    taken: list[Taken] = []
    for length in options.lengths:
        found = foreseen(options, taken, length) or take(options, model, side, length)
        yield found
        if isinstance(found, LeftOut):
            return
        taken.append(found)


def foreseen(options: Options, taken: Sequence[Taken], length: int) -> LeftOut | None:
    """Say that a step would go beyond a limit, as far as growth in proportion can tell."""
    if len(taken) < 2:
        return None
    before, last = taken[-2:]
    factor = (length - last.length) / (last.length - before.length)
    peak = last.peak + factor * (last.peak - before.peak)
    seconds = last.seconds["step"] + factor * (last.seconds["step"] - before.seconds["step"])
    if last.loaded + peak > 1024 * options.limit_gib:
        return LeftOut(length, f"would take more than {options.limit_gib:.0f} GiB: about {peak / 1024:.0f}")
    if seconds > options.limit_s:
        return LeftOut(length, f"would take more than {options.limit_s:.0f} s: about {seconds:.0f}")
    return None


def take(options: Options, model: str, side: Side, length: int) -> Taken | LeftOut:
    """Let a process take a step, and end it at a limit."""
    command = [sys.executable, __file__, "--alone", "--models", model, "--sides", side, "--lengths", str(length)]
    command += ["--dtype", options.dtype]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        why = watch(process, options)
        output.seek(0)
        text = output.read()
    if why is not None:
        return LeftOut(length, why)
    if process.returncode:
        raise SystemExit(f"A step of {side} with {length} tokens ended with {process.returncode}:\n{text[-3000:]}")
    told = json.loads(next(line for line in reversed(text.splitlines()) if line.startswith('{"loaded"')))
    tokens, loaded, peak = (told.pop(name) for name in ("tokens", "loaded", "peak"))
    if tokens != COMPLETIONS * length:
        raise SystemExit(f"{side} sampled {tokens:,} tokens in place of {COMPLETIONS} x {length:,}.")
    return Taken(length=length, seconds=told, tokens=tokens, loaded=loaded, peak=peak)


def watch(process: "subprocess.Popen[bytes]", options: Options) -> str | None:
    """Wait for a process; end it, and say why, where it takes more than it may."""
    began = monotonic()
    why = None
    while process.poll() is None and why is None:
        sleep(WATCHED_EVERY_S)
        if kilobytes("VmRSS", process.pid) > MIB * options.limit_gib:
            why = f"took more than {options.limit_gib:.0f} GiB"
        elif monotonic() - began > options.limit_s:
            why = f"took more than {options.limit_s:.0f} s with its start"
    if why is not None:
        process.kill()
    process.wait()
    return why


def with_positions(model: str, positions: int, folder: Path) -> str:
    """Return a model with room for so many tokens: itself, or a copy with further rotary positions."""
    config = json.loads((Path(model) / "config.json").read_text())
    if config["max_position_embeddings"] >= positions:
        return model
    longer = folder / Path(model).name
    shutil.copytree(model, longer)
    (longer / "config.json").write_text(json.dumps({**config, "max_position_embeddings": positions}))
    return str(longer)


# --- Telling ---

Results: TypeAlias = Mapping[Side, Sequence[Taken]]


def benchmark(options: Options, folder: Path) -> Iterator[str]:
    """Measure and tell."""
    yield from machine("trl", "accelerate")
    yield (
        f"{PROMPTS} prompts x {SAMPLES} completions in {options.dtype}, a fresh process for each step, "
        f"at most {options.limit_gib:.0f} GiB and {options.limit_s:.0f} s"
    )
    results: dict[Side, list[Taken]] = {}
    for model in options.models:
        longer = with_positions(locate(model), max(options.lengths) + PROMPT_ROOM, folder)
        results = {side: [] for side in options.sides}
        yield from ("", head(model))
        for side in options.sides:
            for found in measure(options, longer, side):
                yield line(side, found, results[side])
                if isinstance(found, Taken):
                    results[side].append(found)
    yield from headline(results)


def head(model: str) -> str:
    """Return the heading of a model's table."""
    cells = ("new tokens", "sampling s", "learning s", "step s", "ms a token", "peak MiB", "MiB a token", "loaded MiB")
    return f"{model:24}" + "".join(f"{cell:>13}" for cell in cells)


def line(side: Side, found: Taken | LeftOut, before: Sequence[Taken]) -> str:
    """Return one line of a table; growth is from the last of those before."""
    if isinstance(found, LeftOut):
        return f"{side:24}{found.length:>13,}  {found.why}"
    growth = ("", "")
    if before:
        tokens = found.tokens - before[-1].tokens
        growth = (
            f"{1000 * (found.seconds['step'] - before[-1].seconds['step']) / tokens:.2f}",
            f"{(found.peak - before[-1].peak) / tokens:.3f}",
        )
    cells = (
        f"{found.length:,}",
        *(f"{found.seconds[phase]:.2f}" for phase in ("sampling", "learning", "step")),
        growth[0],
        f"{found.peak:,.0f}",
        growth[1],
        f"{found.loaded:,.0f}",
    )
    return f"{side:24}" + "".join(f"{cell:>13}" for cell in cells)


def headline(results: Results) -> Iterator[str]:
    """Compare like with like, with the longest completions that both sides learned from; the longest of all is last."""
    pairs = [pair for ours, theirs in WAYS if (pair := longest(results, ours, theirs)) is not None]
    yield ""
    if not pairs:
        yield "no length was measured of both sides"
        return
    for (ours_side, ours), (theirs_side, theirs) in sorted(pairs, key=lambda pair: pair[0][1].length, reverse=True):
        yield (
            f"{ours.length:,} tokens: {ours_side} {ours.seconds['step']:.1f} s, {ours.peak:,.0f} MiB; {theirs_side} "
            f"{theirs.seconds['step']:.1f} s, {theirs.peak:,.0f} MiB, {theirs.peak / ours.peak:.2f} times the memory"
        )
    (_, ours), (_, theirs) = max(pairs, key=lambda pair: pair[0][1].length)
    yield f"TRL / reasonrl seconds of a step with {ours.length:,} tokens:"
    yield f"{theirs.seconds['step'] / ours.seconds['step']:.1f}x"


def longest(results: Results, ours: Side, theirs: Side) -> tuple[tuple[Side, Taken], tuple[Side, Taken]] | None:
    """Return what two sides took with the longest completions of both; None where there are none."""
    of_ours, of_theirs = ({taken.length: taken for taken in results.get(side, ())} for side in (ours, theirs))
    length = max(of_ours.keys() & of_theirs.keys(), default=None)
    return None if length is None else ((ours, of_ours[length]), (theirs, of_theirs[length]))


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--models", nargs="+", default=["tiny", "smollm2-135m-instruct"], help="names or folders")
    add("--lengths", type=int, nargs="+", default=[128, 512, 1024, 2048, 4096], help="new tokens of a completion")
    add("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="what is measured (all)")
    add("--dtype", choices=["float32", "bfloat16"], default="float32", help="format of both sides (%(default)s)")
    add("--limit-gib", type=float, default=0.0, help="most memory of a process (four fifths of what is free)")
    add("--limit-s", type=float, default=900.0, help="longest time of a step (%(default)s)")
    add("--alone", action="store_true", help="take the one step that is asked for, in this process")
    options = Options(**vars(parser.parse_args(arguments)))
    if not options.limit_gib:
        options = replace(options, limit_gib=0.8 * kilobytes("MemAvailable") / MIB)
    return replace(options, lengths=sorted(options.lengths))


def main() -> None:
    """Measure and print, or take one step."""
    options = options_from()
    if find_spec("trl") is None and any(side.startswith("TRL") for side in options.sides):
        raise SystemExit("TRL is not installed: pip install 'reasonrl[trl]', or leave it out with --sides.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            for text in [json.dumps(step(options, folder))] if options.alone else benchmark(options, Path(folder)):
                print(text, flush=True)
        except ReasonRLError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
