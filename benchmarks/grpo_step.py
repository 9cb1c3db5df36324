"""One GRPO step, ours against TRL's GRPOTrainer: seconds by phase, share of the matrix-product limit, peak memory.

Both sides take their steps in one process, in turn, on two copies of one model: the same prompts, token for token,
the same number of completions, temperature, reward and optimizer, all in float32. Ours are the parts that
`reasonrl train` runs, built by `build_components` and driven by `loop.train`. Theirs is `GRPOTrainer.train` with what
was fastest on a CPU: no gradient checkpointing, no reference model, transformers' generation with a growing cache (a
static one and continuous batching were slower), nothing logged or saved.

The sides draw different random numbers, so their completions differ in length: the tables have the tokens of both and
the time a token. Ours computes no gradient for a group whose rewards are all equal, so there are two tables: one with
a reward under which every group teaches, one with the reward of the task. Memory is that of two fresh processes, one
a side, which take one step with completions of a fixed length.

  pip install 'reasonrl[trl]'
  reasonrl models get smollm2-135m-instruct
  python benchmarks/grpo_step.py
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, Literal

import torch
from measuring import LEARNING_ROWS, Limit, machine, measure_limit, peak_memory, row, spread
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    TrainerCallback,
)

from reasonrl import ReasonRLError, Rollout
from reasonrl.config.settings import RewardRef, RunConfig
from reasonrl.loop import train
from reasonrl.models import locate
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.order import DataOrder
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.guarded_engine import GuardedEngine
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.scoring.contract import arguments_for, as_score, bind
from reasonrl.types import Group, Problem, StepRecord, Trajectory, mean_advantage, teaches

PHASES = ("sampling", "scoring", "learning")
"""What the table shows; the little that syncing the weights takes is part of the step only."""
PROMPTS, SAMPLES = 8, 8
MEMORY_PROMPTS, MEMORY_SAMPLES = 2, 2
"""The step whose memory is measured: one forward pass on either side."""

Side = Literal["reasonrl", "TRL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    small: bool
    pairs: int
    max_new_tokens: int
    length: int
    trl_batch: int
    memory_of: Side | None
    folder: str = ""
    """Where the sides may write, until the end of the benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of one side took."""

    seconds: Mapping[str, float]
    """By phase, and ``step`` for all of it."""
    tokens: int
    """Tokens sampled."""
    idle: float
    """Share of groups whose rewards are all equal."""


# --- What both sides are given ---


def run_config(options: Options, *, prompts: int, samples: int, steps: int) -> RunConfig:
    """Return the run that both sides take steps of."""
    task = {"num_problems": 150, "min_terms": 2, "max_terms": 2, "max_value": 20, "operations": "+"}
    return RunConfig.model_validate(
        {
            "name": "grpo-step",
            "model": {"name": options.model, "device": "cpu", "compute_dtype": "float32"},
            "task": {"name": "arithmetic", "params": task},
            "template": "r1_zero" if options.small else "chat",
            "rewards": [{"name": "numeric_answer", "params": {"sources": ["last_number"]}}],
            "algorithm": "grpo",
            "rollout": {
                "prompts_per_step": prompts,
                "samples_per_prompt": samples,
                "max_new_tokens": options.max_new_tokens,
            },
            "run": {"steps": steps, "root": options.folder},
        }
    )


def vowels(rollout: Rollout) -> float:
    """Share of vowels in a completion: hardly ever the same for all completions of a problem."""
    return sum(letter in "aeiou" for letter in rollout.text) / max(1, len(rollout.text))


def with_vowels(inputs: RunInputs) -> RunInputs:
    """Replace the reward of the task by one under which every group teaches."""
    return replace(inputs, rewards=(bind(RewardRef(name="vowels", isolated=False), vowels),))


REWARDS: Mapping[str, Callable[[RunInputs], RunInputs]] = {
    "a reward under which every group teaches": with_vowels,
    "the reward of the task": lambda inputs: inputs,
}
"""What is measured, by the reward that decides it."""


def save_small_model(folder: Path) -> str:
    """Write a random Llama of 4 layers, 256 wide, with the tokenizer of the packaged model; return where."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer("tiny")
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


# --- Ours ---


class Ours:
    """The parts of a run, one step at a time."""

    def __init__(self, config: RunConfig, inputs: RunInputs) -> None:
        self.components: RunComponents = build_components(config, inputs, Plugins())
        self.records: list[StepRecord] = []
        self.steps: list[Step] = []
        self._batches = self.components.sampler.batches(range(1, config.run.steps + 1))

    def step(self) -> None:
        """Sample, score and learn once."""
        began = perf_counter()
        train(islice(self._batches, 1), self.components.step, self.records.append)
        seconds = {"step": perf_counter() - began}
        record = self.records[-1]
        seconds |= {phase: {**record.batch.seconds, **record.seconds}[phase] for phase in PHASES}
        tokens = sum(len(member.token_ids) for group in record.batch.groups for member in group.trajectories)
        self.steps.append(Step(seconds=seconds, tokens=tokens, idle=1.0 - fmean(map(teaches, record.batch.results))))


# --- Theirs ---


class Theirs(TrainerCallback):
    """TRL's trainer with a clock around its phases."""

    def __init__(self, config: RunConfig, inputs: RunInputs, **settings: Any) -> None:
        """Make the trainer. Any: settings of TRL's beside those that follow from the run."""
        self.steps: list[Step] = []
        self._before_step: Callable[[], None] = lambda: None
        self._reward = inputs.rewards[0]
        self._num_samples = config.rollout.samples_per_prompt
        count = config.run.steps * config.rollout.prompts_per_step
        self._problems = DataOrder(inputs.problems, config.seed).at(0, count)
        self._trainer = self._make_trainer(config, {**trl_settings(config), **settings})
        for phase, method in (("sampling", "_generate"), ("scoring", "_calculate_rewards")):
            setattr(self._trainer, method, self._timed(phase, getattr(self._trainer, method)))

    def train(self, before_step: Callable[[], None] = lambda: None) -> None:
        """Take all steps; before each, with the clock not running yet, let something else happen."""
        self._before_step = before_step
        self._trainer.train()

    def refuse_other_tokens(self, renderer: Renderer) -> None:
        """Stop where TRL makes other tokens of the prompts: the comparison would mean nothing."""
        texts, ids = zip(*map(renderer.render, self._problems), strict=True)
        if [tuple(row) for row in self._trainer._tokenize_prompts(list(texts))[0]] != list(ids):
            raise SystemExit("TRL makes other tokens of these prompts than reasonrl does; choose another model.")

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Start the clock. What the trainer tells of itself is not needed."""
        self._before_step()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._began = perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        """Stop the clock: what was neither sampling nor scoring was learning."""
        step = perf_counter() - self._began
        learning = step - sum(self._seconds.values())
        seconds = {**self._seconds, "learning": learning, "step": step}
        self.steps.append(Step(seconds=seconds, tokens=self._tokens, idle=self._idle))

    def _timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Measure a method of the trainer. Any: arguments and results pass through."""

        def timed(*args: Any, **named: Any) -> Any:
            began = perf_counter()
            result = method(*args, **named)
            self._seconds[phase] += perf_counter() - began
            return result

        return timed

    def _make_trainer(self, config: RunConfig, settings: Mapping[str, Any]) -> Any:
        """Set TRL up for the same run. Any: TRL is an extra, and its types are not checked here."""
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        tokenizer = load_tokenizer(config.model.name)
        renderer = Renderer(tokenizer, find_template(config.template, Plugins()))
        prompts = [renderer.text(problem) for problem in self._problems]
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(config.model.name, dtype=torch.float32),
            reward_funcs=self._score,
            args=GRPOConfig(**settings),
            train_dataset=Dataset.from_dict({"prompt": prompts, "number": list(range(len(prompts)))}),
            processing_class=tokenizer,
            callbacks=[self],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _score(
        self, completions: Sequence[str], completion_ids: Sequence[Sequence[int]], number: Sequence[int], **_: object
    ) -> list[float | None]:
        """Apply the run's reward as TRL wants it, and note what was sampled."""
        rollouts = [
            rollout(self._problems[which], text, ids)
            for which, text, ids in zip(number, completions, completion_ids, strict=True)
        ]
        asked = [arguments_for(self._reward, [one], step=0) for one in rollouts]
        values = [as_score(self._reward.function(**arguments)).value for arguments in asked]
        groups = [values[first : first + self._num_samples] for first in range(0, len(values), self._num_samples)]
        self._tokens = sum(map(len, completion_ids))
        self._idle = fmean(len(set(group)) == 1 for group in groups)
        return values


def rollout(problem: Problem, text: str, ids: Sequence[int]) -> Rollout:
    """Return one of TRL's completions as our rewards see them."""
    completion = Trajectory.single_turn(
        token_ids=tuple(ids),
        text=text,
        logprobs=(0.0,) * len(ids),
        finish_reason="stop",
        policy_version=0,
        sample_index=0,
        seed=0,
    )
    return Rollout(problem=problem, prompt=problem.prompt, trajectory=completion)


def trl_settings(config: RunConfig) -> dict[str, Any]:
    """Return TRL's settings for our run. Any: each has a type of its own."""
    rollouts, learner = config.rollout, config.learner
    return {
        "output_dir": config.run.root,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "shuffle_dataset": False,
        "max_steps": config.run.steps,
        "per_device_train_batch_size": rollouts.prompts_per_step * rollouts.samples_per_prompt,
        "num_generations": rollouts.samples_per_prompt,
        "max_completion_length": rollouts.max_new_tokens,
        "temperature": rollouts.temperature,
        "beta": 0.0,
        "num_iterations": 1,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "learning_rate": learner.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta1": learner.adam_betas[0],
        "adam_beta2": learner.adam_betas[1],
        "adam_epsilon": learner.adam_epsilon,
        "weight_decay": learner.weight_decay,
        "max_grad_norm": learner.max_grad_norm,
    }


# --- The matrix-product limit ---


def least_seconds(limit: Limit, record: StepRecord) -> dict[str, float]:
    """Return the least time that the products of a step take: 2 operations a weight and token, 4 more to learn."""
    rows = [
        (group, member, advantage)
        for group, advantages in zip(record.batch.groups, record.advantages, strict=True)
        for member, advantage in zip(group.trajectories, advantages, strict=True)
    ]
    sampling = 2 * weighed(limit, [(group, member) for group, member, _ in rows])
    learning = 6 * weighed(limit, [(group, member) for group, member, advantage in rows if mean_advantage(advantage)])
    return {"sampling": sampling / limit.sampling, "learning": learning / limit.learning}


def weighed(limit: Limit, rows: Sequence[tuple[Group, Trajectory]]) -> int:
    """Count weights times tokens, each prompt once."""
    prompts = {group.prompt_ids for group, _ in rows}
    predicted = sum(len(member.token_ids) for _, member in rows)
    return limit.products(sum(map(len, prompts)), predicted, len(rows))


# --- Measuring ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Steps of both sides, taken in turn."""

    ours: Sequence[Step]
    theirs: Sequence[Step]
    limits: Sequence[Mapping[str, float]]
    """What the matrix products of our steps take at least."""
    limit: Limit

    def ratios(self, phase: str = "step") -> list[float]:
        """Return TRL's seconds over ours, pair by pair."""
        return [b.seconds[phase] / max(a.seconds[phase], 1e-9) for a, b in zip(self.ours, self.theirs, strict=True)]


def compare(options: Options, reward: Callable[[RunInputs], RunInputs]) -> Pairs:
    """Take steps of both sides in turn; the first pair is a warm-up."""
    gc.collect()  # the trainer of the comparison before holds itself
    config = run_config(options, prompts=PROMPTS, samples=SAMPLES, steps=options.pairs + 1)
    inputs = reward(load_inputs(config, Plugins()))
    accumulation = PROMPTS * SAMPLES // options.trl_batch
    ours = Ours(config, inputs)
    theirs = Theirs(
        config, inputs, per_device_train_batch_size=options.trl_batch, gradient_accumulation_steps=accumulation
    )
    theirs.refuse_other_tokens(Renderer(ours.components.tokenizer, find_template(config.template, Plugins())))
    theirs.train(before_step=ours.step)
    limit = measure_limit(ours.components.learner.model, PROMPTS * SAMPLES)
    limits = [least_seconds(limit, record) for record in ours.records[1:]]
    return Pairs(ours=ours.steps[1:], theirs=theirs.steps[1:], limits=limits, limit=limit)


def memory_step(options: Options) -> dict[str, float]:
    """Take one step of one side whose completions all have the longest length; return its memory in MiB."""
    options = replace(options, max_new_tokens=options.length)
    config = run_config(options, prompts=MEMORY_PROMPTS, samples=MEMORY_SAMPLES, steps=1)
    inputs = with_vowels(load_inputs(config, Plugins()))
    if options.memory_of == "TRL":
        theirs = Theirs(config, inputs, generation_kwargs={"min_new_tokens": options.length})
        loaded = peak_memory()
        theirs.train()
        return {"loaded": loaded, "peak": peak_memory(), "tokens": theirs.steps[0].tokens}
    ours = Ours(config, inputs)
    engine = ours.components.engine
    assert isinstance(engine, GuardedEngine)
    vars(engine.guarded)["end_ids"] = frozenset()
    loaded = peak_memory()
    ours.step()
    return {"loaded": loaded, "peak": peak_memory(), "tokens": ours.steps[0].tokens}


def memory_in_fresh_process(options: Options, side: Side) -> dict[str, float]:
    """Let a child process take the long step and report."""
    command = [sys.executable, __file__, "--memory-of", side, "--model", options.model, "--length", str(options.length)]
    command += ["--small"] if options.small else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The memory of {side} could not be measured:\n{done.stderr[-2000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


# --- Telling ---

COUNTS: Mapping[str, Callable[[Step], float]] = {
    "completion tokens": lambda step: step.tokens,
    "tokens a second": lambda step: step.tokens / step.seconds["step"],
    "groups without spread": lambda step: step.idle,
}
"""What is told of a step beside its seconds."""


def table(pairs: Pairs) -> Iterator[str]:
    """Lay out medians over the pairs, with the least and the greatest."""
    yield row("", "reasonrl", "TRL", "TRL / reasonrl")
    for phase in (*PHASES, "step"):
        sides = ([step.seconds[phase] for step in side] for side in (pairs.ours, pairs.theirs))
        yield row(f"{phase} s", *map(spread, sides), spread(pairs.ratios(phase)))
    ours, theirs = ([1000 * step.seconds["step"] / step.tokens for step in side] for side in (pairs.ours, pairs.theirs))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    yield row("step ms a token", spread(ours), spread(theirs), spread(ratios))
    for name, value in COUNTS.items():
        yield row(name, *(spread([value(step) for step in side]) for side in (pairs.ours, pairs.theirs)))


def limit_lines(pairs: Pairs) -> Iterator[str]:
    """Say how much of our time the matrix products alone would take."""
    rates = f"{pairs.limit.sampling / 1e9:.0f} GFLOP/s at {PROMPTS * SAMPLES} rows, {pairs.limit.learning / 1e9:.0f}"
    yield f"The model's matrices are multiplied at {rates} at {LEARNING_ROWS}. Of our seconds they need at least:"
    least = [{**limits, "step": sum(limits.values())} for limits in pairs.limits]
    for phase in ("sampling", "learning", "step"):
        shares = [few[phase] / step.seconds[phase] for few, step in zip(least, pairs.ours, strict=True)]
        yield f"  {phase:10}{median(few[phase] for few in least):8.2f} s {median(shares):6.0%}"


def memory_lines(options: Options) -> Iterator[str]:
    """Measure both sides' peak memory, and tell."""
    completions = MEMORY_PROMPTS * MEMORY_SAMPLES
    yield f"Memory in MiB, of fresh processes, for a step with {completions} completions of {options.length} tokens:"
    yield row("", "reasonrl", "TRL", "TRL / reasonrl")
    measured = [memory_in_fresh_process(options, side) for side in ("reasonrl", "TRL")]
    for name in ("loaded", "peak"):
        values = [one[name] for one in measured]
        yield row(name, f"{values[0]:,.0f}", f"{values[1]:,.0f}", f"{values[1] / values[0]:.2f}")
    wanted = completions * options.length
    if any(one["tokens"] != wanted for one in measured):
        yield f"  Not all completions had that length: {[one['tokens'] for one in measured]} tokens of {wanted}."


def benchmark(options: Options) -> Iterator[str]:
    """Measure everything, and tell it line by line."""
    yield from machine("trl", "accelerate")
    name = "A random Llama, 4 layers, 256 wide" if options.small else Path(options.model).name
    yield f"{name}: {PROMPTS} prompts x {SAMPLES} completions of at most {options.max_new_tokens} tokens,"
    yield f"medians over {options.pairs} pairs of steps after a warm-up, in brackets the least and the greatest"
    if options.length:
        yield from ("", *memory_lines(options))  # first: the child processes need the memory that this one will keep
    headline = {}
    for name, reward in REWARDS.items():
        pairs = compare(options, reward)
        headline[name] = median(pairs.ratios())
        yield from ("", f"With {name}", *table(pairs), *limit_lines(pairs))
    ratios = ", ".join(f"{ratio:.1f}x with {name}" for name, ratio in headline.items())
    yield f"TRL / reasonrl seconds per step: {ratios}"


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    add = parser.add_argument
    add(
        "--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder (%(default)s)"
    )
    add("--small", action="store_true", help="a random Llama instead, 4 layers, 256 wide, where overhead weighs more")
    add("--pairs", type=int, default=5, help="measured steps of either side, after a warm-up (%(default)s)")
    add("--max-new-tokens", type=int, default=48, help="longest completion (%(default)s)")
    add("--length", type=int, default=1024, help="completion tokens of the memory part; 0 leaves it out (%(default)s)")
    add(
        "--trl-batch",
        type=int,
        default=16,
        choices=[8, 16, 32, 64],
        help="completions in one of TRL's forward passes; decides its memory, hardly its time (%(default)s)",
    )
    add("--memory-of", choices=["reasonrl", "TRL"], help=argparse.SUPPRESS)
    options = Options(**vars(parser.parse_args(arguments)))
    if options.pairs < 1:
        parser.error(f"--pairs is {options.pairs}: there is nothing to measure; use 1 or more (5 is a good start)")
    return options


def main() -> None:
    """Measure and print."""
    options = options_from()
    if find_spec("trl") is None:
        raise SystemExit("The benchmark compares with TRL, which is not installed: pip install 'reasonrl[trl]'")
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = save_small_model(Path(folder) / "model") if options.small else locate(options.model)
            options = replace(options, model=model, folder=folder)
            for line in [json.dumps(memory_step(options))] if options.memory_of else benchmark(options):
                print(line, flush=True)
        except ReasonRLError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
