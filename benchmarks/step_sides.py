"""The two sides of a GRPO step that the benchmarks compare: the parts of a run, and TRL's GRPOTrainer.

Both get the same prompts, token for token, the same number of completions, temperature, reward and optimizer. Ours are
the parts that `reasonrl train` runs, built by `build_components` and driven by `loop.train`. Theirs is
`GRPOTrainer.train` with what was fastest on a CPU: no reference model, transformers' generation with a growing cache (a
static one and continuous batching were slower), nothing logged or saved. In bfloat16 its generation runs under one
autocast: under the one for each token, which it has itself, all weights are cast for every token.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    TrainerCallback,
)

from reasonrl import Rollout
from reasonrl.config.settings import RewardRef, RunConfig
from reasonrl.loop import train
from reasonrl.models.hardware import autocast
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.order import DataOrder
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.guarded_engine import GuardedEngine
from reasonrl.run.inputs import RunInputs
from reasonrl.scoring.contract import arguments_for, as_score, bind
from reasonrl.types import Problem, StepRecord, Trajectory, teaches

PHASES: Final = ("sampling", "scoring", "learning")
"""What the tables show; the little that syncing the weights takes is part of the step only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of one side took."""

    seconds: Mapping[str, float]
    """By phase, and ``step`` for all of it."""
    tokens: int
    """Tokens sampled."""
    idle: float
    """Share of groups whose rewards are all equal."""

    def told(self) -> dict[str, float]:
        """Return its seconds and tokens by name."""
        return {**self.seconds, "tokens": self.tokens}


# --- What both sides are given ---


def run_config(
    model: str,
    *,
    template: str,
    prompts: int,
    samples: int,
    max_new_tokens: int,
    steps: int,
    folder: str,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> RunConfig:
    """Return the run that both sides take steps of; ``settings`` are further ones of the model."""
    task = {"num_problems": 150, "min_terms": 2, "max_terms": 2, "max_value": 20, "operations": "+"}
    return RunConfig.model_validate(
        {
            "name": "step",
            "model": {"name": model, "device": "cpu", **settings},
            "task": {"name": "arithmetic", "params": task},
            "template": template,
            "rewards": [{"name": "numeric_answer", "params": {"sources": ["last_number"]}}],
            "algorithm": "grpo",
            "rollout": {
                "prompts_per_step": prompts,
                "samples_per_prompt": samples,
                "max_new_tokens": max_new_tokens,
            },
            "run": {"steps": steps, "root": folder},
        }
    )


def vowels(rollout: Rollout) -> float:
    """Share of vowels in a completion, and a little for its number: never the same for all completions of a problem."""
    share = sum(letter in "aeiou" for letter in rollout.text) / max(1, len(rollout.text))
    return share + rollout.trajectory.sample_index / 1000


def with_vowels(inputs: RunInputs) -> RunInputs:
    """Replace the reward of the task by one under which every group teaches."""
    return replace(inputs, rewards=(bind(RewardRef(name="vowels", isolated=False), vowels),))


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

    def end_with(self, tokens: Iterable[int]) -> None:
        """Let these tokens and no others end a completion."""
        engine = self.components.engine
        assert isinstance(engine, GuardedEngine)
        vars(engine.guarded)["end_ids"] = frozenset(tokens)

    def close(self) -> None:
        """End what runs beside this process."""
        self.components.close()

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
        self._dtype = torch.bfloat16 if self._trainer.args.bf16 else torch.float32
        self._device = self._trainer.accelerator.device

    def train(self, before_step: Callable[[], None] = lambda: None) -> None:
        """Take all steps; before each, with the clock not running yet, let something else happen."""
        self._before_step = before_step
        self._trainer.train()

    def sample_length(self, tokens: int) -> None:
        """Let every completion have so many tokens."""
        settings = self._trainer.generation_config
        settings.min_new_tokens = settings.max_new_tokens = tokens

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
        """Measure a method of the trainer, under one autocast. Any: arguments and results pass through."""

        def timed(*args: Any, **named: Any) -> Any:
            began = perf_counter()
            with autocast(self._device, self._dtype):
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
            rollout(self._problems[which], text, ids, place % self._num_samples)
            for place, (which, text, ids) in enumerate(zip(number, completions, completion_ids, strict=True))
        ]
        asked = [arguments_for(self._reward, [one], step=0) for one in rollouts]
        values = [as_score(self._reward.function(**arguments)).value for arguments in asked]
        groups = [values[first : first + self._num_samples] for first in range(0, len(values), self._num_samples)]
        self._tokens = sum(map(len, completion_ids))
        self._idle = fmean(len(set(group)) == 1 for group in groups)
        return values


def rollout(problem: Problem, text: str, ids: Sequence[int], sample_index: int) -> Rollout:
    """Return one of TRL's completions as our rewards see them."""
    completion = Trajectory.single_turn(
        token_ids=tuple(ids),
        text=text,
        logprobs=(0.0,) * len(ids),
        finish_reason="stop",
        policy_version=0,
        sample_index=sample_index,
        seed=0,
    )
    return Rollout(problem=problem, prompt=problem.prompt, trajectory=completion)


def trl_settings(config: RunConfig) -> dict[str, Any]:
    """Return TRL's settings for our run. Any: each has a type of its own."""
    rollouts, learner = config.rollout, config.learner
    return {
        "output_dir": config.run.root,
        "use_cpu": True,
        "bf16": config.model.compute_dtype == "bfloat16",
        "gradient_checkpointing": config.model.gradient_checkpointing,
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
