"""A model with TRL's trainer around it and the tokens that it learns from: what a run directory is built around."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.kinds import kind_of
from reasonrl.errors import ConfigError, DataError
from reasonrl.finetune.arguments import Tokens, make_trainer, trainer_arguments
from reasonrl.finetune.encoding import RowEncoder, end_id_of
from reasonrl.finetune.rows import Demonstration, JudgedCompletion, PreferencePair, Row
from reasonrl.models.compute import Choice, Compute, Work, choose_compute
from reasonrl.models.hardware import find_device, keep_freed_memory
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.models.lora import prepare_adapter
from reasonrl.models.quiet import without_bars
from reasonrl.models.save import save_model
from reasonrl.models.skeleton import load_config
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import find_template
from reasonrl.system.extras import needs_extra

FORWARD_AND_BACKWARD: Final = 3.0
"""A forward and a backward pass, in forward passes."""

SAMPLED_SHARE: Final = 0.1
"""Tokens that evaluations sample, as a share of those that are learned: what the choice of a format is weighed by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRows:
    """Rows as tokens, in their order."""

    rows: Sequence[Tokens]
    num_too_long: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """A model that one of TRL's trainers trains, with everything that belongs to it; to be closed."""

    config: FinetuneConfig
    tokenizer: PreTrainedTokenizerBase
    given_tokenizer: PreTrainedTokenizerBase
    """As it came: the trainer gives its own a token for padding. Kept, as the folder it is from may be gone by then."""
    model: PreTrainedModel
    trainer: Any
    """One of :mod:`reasonrl.finetune.trainers`. Any: TRL is untyped."""
    num_steps: int
    num_rows: int
    """Rows that fit; with packing, sequences that they fill."""
    num_too_long: int
    choice: Choice
    """How the model is computed, and why."""
    device: torch.device
    checkpoint: Path | None
    configs: tuple[Any, Any]
    """Configurations as the model came with them. Any: each architecture has its own."""
    scratch: "TemporaryDirectory[str]"
    """Where the trainer may write."""

    @property
    def compute(self) -> Compute:
        """How the model is computed."""
        return self.choice.compute

    def save_state(self, folder: Path) -> None:
        """Write a checkpoint: model, tokenizer as it came, and what the trainer goes on from."""
        from reasonrl.finetune.trainers import own_configs

        with own_configs(self.model, self.configs):
            save_model(self.model, folder)
        self._save_tokenizer(folder)
        self.trainer.save_state(folder)

    def _save_tokenizer(self, folder: Path) -> None:
        self.given_tokenizer.save_pretrained(folder)

    def close(self) -> None:
        """Remove what the trainer has written."""
        self.scratch.cleanup()


def encoder_of(config: FinetuneConfig, plugins: Plugins, tokenizer: PreTrainedTokenizerBase) -> RowEncoder:
    """Return what makes tokens of a run's rows.

    Raises:
        ModelError: the template or the tokenizer cannot be used.
    """
    template = find_template(config.template, plugins)
    return RowEncoder(
        tokenizer,
        template,
        end_id=end_id_of(tokenizer, template),
        max_length=config.data.max_length,
        timeout_s=config.plugins.timeout_s,
    )


def encoded(row: Row, encoder: RowEncoder) -> Tokens | None:
    """Return a row as tokens; None where it is too long."""
    match row:
        case Demonstration():
            return encoder.demonstration(row)
        case PreferencePair():
            return encoder.pair(row)
        case JudgedCompletion():
            return encoder.judged(row)


def encode_rows(rows: Sequence[Row], encoder: RowEncoder, source: str) -> EncodedRows:
    """Return the rows that fit, as tokens.

    Raises:
        DataError: none does.
    """
    found = [tokens for row in rows if (tokens := encoded(row, encoder)) is not None]
    if not found:
        raise DataError(f"{source}: all {len(rows)} rows are longer than data.max_length. Raise it.")
    return EncodedRows(rows=found, num_too_long=len(rows) - len(found))


def build_finetuning(
    config: FinetuneConfig,
    rows: Sequence[Row],
    source: str,
    plugins: Plugins,
    *,
    checkpoint: Path | None = None,
    rate_factor: float = 1.0,
    compute: Mapping[str, Any] | None = None,
) -> Finetuning:
    """Load the model, encode the rows, and give both to TRL's trainer.

    Args:
        config: the run.
        rows: what it learns from.
        source: where they come from, for messages.
        plugins: where the template comes from.
        checkpoint: continue from this folder; None starts from the run's model.
        rate_factor: multiplies the learning rate.
        compute: how the model is computed, as a manifest has it; None chooses that. Any: JSON values.

    Raises:
        ModelError: the model or the template cannot be used.
        DataError: no row can be used.
        ConfigError: the model takes fewer tokens than ``data.max_length``, or warm-up never ends.
        MissingExtraError: TRL is not installed.
    """
    with needs_extra("trl", kind_of(config).command):
        from reasonrl.finetune.trainers import configs_of

    keep_freed_memory()
    device = _device(config)
    name = config.model.name if checkpoint is None else str(checkpoint)
    tokenizer = load_tokenizer(name)
    found = encode_rows(rows, encoder_of(config, plugins, tokenizer), source)
    choice = _choice(config, name, device, compute)
    model = load_model(name, device, gradient_checkpointing=config.model.gradient_checkpointing)
    _require_room(config, model)
    prepare_adapter(model, config.model.lora, seed=config.seed)
    configs = configs_of(model)
    scratch = TemporaryDirectory(prefix="reasonrl-")
    arguments = trainer_arguments(config, device, choice.compute, scratch.name, rate_factor)
    with _quietly():
        trainer = make_trainer(config, model, tokenizer, found.rows, arguments)
    num_rows = len(trainer.train_dataset)
    num_steps = _num_steps(config, num_rows)
    trainer.args.max_steps = num_steps
    trainer.rate = arguments["learning_rate"]
    trainer.schedule_steps = config.learner.schedule_length(num_steps)
    return Finetuning(
        config=config,
        tokenizer=tokenizer,
        given_tokenizer=load_tokenizer(name),
        model=model,
        trainer=trainer,
        num_steps=num_steps,
        num_rows=num_rows,
        num_too_long=found.num_too_long,
        choice=choice,
        device=device,
        checkpoint=checkpoint,
        configs=configs,
        scratch=scratch,
    )


def _device(config: FinetuneConfig) -> torch.device:
    """Return the device; TRL's trainers take the first GPU that they see.

    Raises:
        ConfigError: it is another GPU than the first.
    """
    device = find_device(config.model.device)
    if device.index:
        raise ConfigError(
            f"model.device is {device}, but TRL's trainers take the first GPU that they see: set "
            f"CUDA_VISIBLE_DEVICES={device.index} and model.device: cuda"
        )
    return device


def _choice(config: FinetuneConfig, name: str, device: torch.device, recorded: Mapping[str, Any] | None) -> Choice:
    """Return how the model is computed: as the manifest says, or chosen for its steps and evaluations."""
    if recorded is not None:
        return Choice(compute=Compute.of_record(recorded), reason="as when the run began")
    samples = bool(config.evaluation.suites) and config.evaluation.engine.name == "local"
    work = Work(sampled=SAMPLED_SHARE * samples, learned=FORWARD_AND_BACKWARD)
    model = config.model
    return choose_compute(load_config(name), device, asked=model.compute_dtype, fast=model.fast_path, work=work)


def _require_room(config: FinetuneConfig, model: PreTrainedModel) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    if config.data.max_length > limit:
        raise ConfigError(f"data.max_length is {config.data.max_length}, but {config.model.name} takes {limit} tokens.")


def _num_steps(config: FinetuneConfig, num_rows: int) -> int:
    """Return the length of the run; the last step of an epoch may have fewer rows.

    Raises:
        ConfigError: it ends before its warm-up does.
    """
    per_epoch = math.ceil(num_rows / config.rows_per_step)
    num_steps = config.run.steps or max(1, math.ceil(round(config.run.epochs * per_epoch, 6)))
    if config.learner.warmup_steps >= num_steps:
        raise ConfigError(
            f"learner.warmup_steps is {config.learner.warmup_steps}, but the run has only {num_steps} steps."
        )
    return num_steps


@contextmanager
def _quietly() -> Iterator[None]:
    """Show no bars over the rows, and none of what TRL says of settings that are ours."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        with without_bars():
            yield
    finally:
        if shown:
            enable_progress_bar()
