"""One GRPO step, ours against TRL's GRPOTrainer, in float32 and in bfloat16: seconds by phase, share of the limit.

Both sides take their steps in one process, in turn, on two copies of one model; `step_sides.py` says what they are. One
format after the other is compared. The one in which this machine multiplies the model's matrices faster gets `--pairs`
pairs of steps, the other `--other-pairs`; each begins with a pair that warms up. The last line is TRL's seconds a step
in its best format over ours in our best.

The sides draw different random numbers, so their completions differ in length: the tables have the tokens of both and
the time a token. Every group teaches under the reward that is used; under that of the task (`--task-reward`) groups
whose rewards are all equal cost us no gradient.

The limit is what the products with the model's matrices take at least: at the rate of a step's rows for sampling, at
that of 1,024 rows for learning, with the weights plain or packed, whichever is faster.

  pip install 'reasonrl[trl]'
  reasonrl models get smollm2-135m-instruct
  python benchmarks/grpo_step.py
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Final

import torch
from limits import LEARNING_ROWS, Limit, bfloat16_units, measure_limit
from measuring import machine, row, spread
from step_sides import PHASES, Ours, Step, Theirs, run_config, save_small_model, with_vowels

from reasonrl import ReasonRLError
from reasonrl.models import locate
from reasonrl.models.compute import dtype_name
from reasonrl.models.load import load_model
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.computing import described
from reasonrl.run.inputs import load_inputs
from reasonrl.types import Group, StepRecord, Trajectory, mean_advantage

PROMPTS, SAMPLES = 8, 8
ROWS: Final = PROMPTS * SAMPLES
FORMATS: Final = (torch.float32, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    small: bool
    pairs: int
    other_pairs: int
    max_new_tokens: int
    trl_batch: int
    task_reward: bool
    folder: str = ""
    """Where the sides may write, until the end of the benchmark."""


# --- The matrix-product limit ---


def measure_limits(options: Options) -> list[Limit]:
    """Measure every format; the one in which learning can be faster comes first."""
    model = load_model(options.model, torch.device("cpu"))
    limits = [measure_limit(model, dtype, [ROWS, LEARNING_ROWS]) for dtype in FORMATS]
    return sorted(limits, key=lambda limit: -limit.rates[LEARNING_ROWS].operations)


def least_seconds(limit: Limit, record: StepRecord) -> dict[str, float]:
    """Return the least time that the products of a step take: 2 operations a weight and token, 4 more to learn."""
    rows = [
        (group, member, advantage)
        for group, advantages in zip(record.batch.groups, record.advantages, strict=True)
        for member, advantage in zip(group.trajectories, advantages, strict=True)
    ]
    sampling = 2 * weighed(limit, [(group, member) for group, member, _ in rows])
    learning = 6 * weighed(limit, [(group, member) for group, member, advantage in rows if mean_advantage(advantage)])
    return {
        "sampling": sampling / limit.rates[ROWS].operations,
        "learning": learning / limit.rates[LEARNING_ROWS].operations,
    }


def weighed(limit: Limit, rows: Sequence[tuple[Group, Trajectory]]) -> int:
    """Count weights times tokens, each prompt once."""
    prompts = {group.prompt_ids for group, _ in rows}
    predicted = sum(len(member.token_ids) for _, member in rows)
    return limit.products(sum(map(len, prompts)), predicted, len(rows))


# --- Measuring ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Steps of both sides in one format, taken in turn."""

    ours: Sequence[Step]
    theirs: Sequence[Step]
    least: Sequence[Mapping[str, float]]
    """What the matrix products of our steps take at least, by phase."""
    limit: Limit
    computed: str
    """How ours computes the model."""

    def ratios(self, phase: str = "step") -> list[float]:
        """Return TRL's seconds over ours, pair by pair."""
        return [b.seconds[phase] / max(a.seconds[phase], 1e-9) for a, b in zip(self.ours, self.theirs, strict=True)]


def compare(options: Options, limit: Limit, pairs: int) -> Pairs:
    """Take steps of both sides in turn; the first pair is a warm-up."""
    gc.collect()  # the trainer of the comparison before holds itself
    config = run_config(
        options.model,
        template="r1_zero" if options.small else "chat",
        prompts=PROMPTS,
        samples=SAMPLES,
        max_new_tokens=options.max_new_tokens,
        steps=pairs + 1,
        folder=options.folder,
        settings={"compute_dtype": dtype_name(limit.dtype)},
    )
    inputs = load_inputs(config, Plugins())
    inputs = inputs if options.task_reward else with_vowels(inputs)
    with closing(Ours(config, inputs)) as ours:
        theirs = Theirs(
            config,
            inputs,
            per_device_train_batch_size=options.trl_batch,
            gradient_accumulation_steps=ROWS // options.trl_batch,
        )
        theirs.refuse_other_tokens(Renderer(ours.components.tokenizer, find_template(config.template, Plugins())))
        theirs.train(before_step=ours.step)
    return Pairs(
        ours=ours.steps[1:],
        theirs=theirs.steps[1:],
        least=[least_seconds(limit, record) for record in ours.records[1:]],
        limit=limit,
        computed=described(ours.components.compute, ours.components.learner.model),
    )


# --- Telling ---


def table(pairs: Pairs) -> Iterator[str]:
    """Lay out medians over the pairs, with the least and the greatest."""
    yield row("", "reasonrl", "TRL", "TRL / reasonrl")
    for phase in (*PHASES, "step"):
        sides = ([step.seconds[phase] for step in side] for side in (pairs.ours, pairs.theirs))
        yield row(f"{phase} s", *map(spread, sides), spread(pairs.ratios(phase)))
    ours, theirs = ([1000 * step.seconds["step"] / step.tokens for step in side] for side in (pairs.ours, pairs.theirs))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    yield row("step ms a token", spread(ours), spread(theirs), spread(ratios))
    for name, values in counts(pairs).items():
        yield row(name, *map(spread, values))


def counts(pairs: Pairs) -> Mapping[str, Sequence[Sequence[float]]]:
    """Return what is told of a step beside its seconds, of both sides."""
    sides = (pairs.ours, pairs.theirs)
    return {
        "completion tokens": [[step.tokens for step in side] for side in sides],
        "tokens sampled a second": [[step.tokens / step.seconds["sampling"] for step in side] for side in sides],
        "groups without spread": [[step.idle for step in side] for side in sides],
    }


def limit_lines(pairs: Pairs) -> Iterator[str]:
    """Say how much of our time the matrix products alone would take."""
    yield f"{pairs.limit.told()} Of our seconds they need at least:"
    least = [{**phases, "step": sum(phases.values())} for phases in pairs.least]
    for phase in ("sampling", "learning", "step"):
        shares = [few[phase] / step.seconds[phase] for few, step in zip(least, pairs.ours, strict=True)]
        yield f"  {phase:10}{median(few[phase] for few in least):8.2f} s {median(shares):6.0%}"


def headline(compared: Sequence[Pairs]) -> Iterator[str]:
    """Compare our best format with TRL's best; pair by pair where that is the same one."""
    ours = min(compared, key=lambda pairs: median(step.seconds["step"] for step in pairs.ours))
    theirs = min(compared, key=lambda pairs: median(step.seconds["step"] for step in pairs.theirs))
    seconds = [median(step.seconds["step"] for step in side) for side in (ours.ours, theirs.theirs)]
    formats = [dtype_name(pairs.limit.dtype) for pairs in (ours, theirs)]
    ratio = median(ours.ratios()) if ours is theirs else seconds[1] / seconds[0]
    yield ""
    yield (
        f"A step in the best format of each side: reasonrl {seconds[0]:.3g} s in {formats[0]}, "
        f"TRL {seconds[1]:.3g} s in {formats[1]}, TRL / reasonrl:"
    )
    yield f"{ratio:.1f}x"


def benchmark(options: Options) -> Iterator[str]:
    """Measure everything, and tell it line by line."""
    yield from machine("trl", "accelerate")
    yield bfloat16_units()
    name = "A random Llama, 4 layers, 256 wide" if options.small else Path(options.model).name
    reward = "the reward of the task" if options.task_reward else "a reward under which every group teaches"
    yield f"{name}: {PROMPTS} prompts x {SAMPLES} completions of at most {options.max_new_tokens} tokens, {reward},"
    yield "medians over pairs of steps after a warm-up, in brackets the least and the greatest"
    compared = []
    for limit, pairs in zip(measure_limits(options), (options.pairs, options.other_pairs), strict=True):
        compared.append(compare(options, limit, pairs))
        yield from ("", f"{dtype_name(limit.dtype)}, pairs: {pairs}; ours: {compared[-1].computed}")
        yield from (*table(compared[-1]), *limit_lines(compared[-1]))
    yield from headline(compared)


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    add = parser.add_argument
    add(
        "--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder (%(default)s)"
    )
    add("--small", action="store_true", help="a random Llama instead, 4 layers, 256 wide, where overhead weighs more")
    add("--pairs", type=int, default=3, help="measured steps of either side in the faster format (%(default)s)")
    add("--other-pairs", type=int, default=1, help="and in the other one (%(default)s)")
    add("--max-new-tokens", type=int, default=48, help="longest completion (%(default)s)")
    add("--task-reward", action="store_true", help="the reward of the task, under which some groups teach nothing")
    add(
        "--trl-batch",
        type=int,
        default=16,
        choices=[8, 16, 32, 64],
        help="completions in one of TRL's forward passes; decides its memory, hardly its time (%(default)s)",
    )
    options = Options(**vars(parser.parse_args(arguments)))
    for name, pairs in {"--pairs": options.pairs, "--other-pairs": options.other_pairs}.items():
        if pairs < 1:
            parser.error(f"{name} is {pairs}: there is nothing to measure; use 1 or more (3 is a good start)")
    return options


def main() -> None:
    """Measure and print."""
    options = options_from()
    if find_spec("trl") is None:
        raise SystemExit("The benchmark compares with TRL, which is not installed: pip install 'reasonrl[trl]'")
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = save_small_model(Path(folder) / "model") if options.small else locate(options.model)
            for line in benchmark(replace(options, model=model, folder=folder)):
                print(line, flush=True)
        except ReasonRLError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
