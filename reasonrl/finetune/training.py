"""A model with TRL's trainer around it and the tokens that it learns from: what a run directory is built around."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.finetune import DPORunConfig, FinetuneConfig, KTORunConfig, SFTRunConfig
from reasonrl.errors import ConfigError, DataError
from reasonrl.finetune.encoding import JudgedTokens, PairTokens, RowEncoder, TaughtTokens, end_id_of
from reasonrl.finetune.rows import Demonstration, JudgedCompletion, PreferencePair, Row
from reasonrl.models.compute import Choice, Compute, Work, choose_compute
from reasonrl.models.hardware import find_device, keep_freed_memory
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.models.lora import is_base, prepare_adapter
from reasonrl.models.quiet import without_bars
from reasonrl.models.save import save_model
from reasonrl.models.skeleton import load_config
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import find_template
from reasonrl.system.extras import needs_extra

Tokens: TypeAlias = TaughtTokens | PairTokens | JudgedTokens

IGNORED: Final = -100
"""Label of a token without a loss, in transformers."""

FORWARD_AND_BACKWARD: Final = 3.0
"""A forward and a backward pass, in forward passes."""

SAMPLED_SHARE: Final = 0.1
"""Tokens that evaluations sample, as a share of those that are learned: what the choice of a format is weighed by."""

SCHEDULES: Final = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
"""What transformers calls our courses of the learning rate."""

OPTIMIZERS: Final = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
"""What transformers calls our optimizers."""


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
        load_tokenizer(self._tokenizer_of).save_pretrained(folder)
        self.trainer.save_state(folder)

    @property
    def _tokenizer_of(self) -> str:
        return self.config.model.name if self.checkpoint is None else str(self.checkpoint)

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
    with needs_extra("trl", f"reasonrl {_method(config)}"):
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
        trainer = _trainer(config, model, tokenizer, found.rows, arguments)
    num_rows = len(trainer.train_dataset)
    num_steps = _num_steps(config, num_rows)
    trainer.args.max_steps = num_steps
    trainer.rate = arguments["learning_rate"]
    trainer.schedule_steps = config.learner.schedule_length(num_steps)
    return Finetuning(
        config=config,
        tokenizer=tokenizer,
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


def _method(config: FinetuneConfig) -> str:
    match config:
        case DPORunConfig():
            return "dpo"
        case KTORunConfig():
            return "kto"
    return "sft"


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


# TRL's trainers and their arguments.


def _trainer(
    config: FinetuneConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Tokens],
    arguments: Mapping[str, Any],
) -> Any:
    """Return TRL's trainer of a run's method. Any: TRL is untyped."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    match config:
        case SFTRunConfig():
            return _sft_trainer(config, model, tokenizer, cast(Sequence[TaughtTokens], rows), arguments)
        case DPORunConfig():
            return _dpo_trainer(config, model, tokenizer, cast(Sequence[PairTokens], rows), arguments)
        case KTORunConfig():
            return _kto_trainer(config, model, tokenizer, cast(Sequence[JudgedTokens], rows), arguments)
    raise AssertionError(type(config))


def trainer_arguments(
    config: FinetuneConfig, device: torch.device, compute: Compute, scratch: str, rate_factor: float
) -> dict[str, Any]:
    """Return what the settings are in transformers' ``TrainingArguments``. Any: their own types."""
    learner = config.learner
    return {
        "output_dir": scratch,
        "seed": config.seed % 2**32,  # numpy's generator takes no greater one
        "data_seed": config.seed % 2**32,
        "per_device_train_batch_size": config.microbatch_rows,
        "gradient_accumulation_steps": config.rows_per_step // config.microbatch_rows,
        "optim": OPTIMIZERS[learner.optimizer],
        "learning_rate": learner.learning_rate * rate_factor,
        "lr_scheduler_type": SCHEDULES[learner.schedule],
        "warmup_steps": learner.warmup_steps,
        "weight_decay": learner.weight_decay,
        "adam_beta1": learner.adam_betas[0],
        "adam_beta2": learner.adam_betas[1],
        "adam_epsilon": learner.adam_epsilon,
        "max_grad_norm": learner.max_grad_norm,
        "bf16": compute.dtype is torch.bfloat16,
        "use_cpu": device.type == "cpu",
        "gradient_checkpointing": False,  # the model is loaded with it
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
    }


def _sft_trainer(
    config: SFTRunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[TaughtTokens],
    arguments: Mapping[str, Any],
) -> Any:
    from trl import SFTConfig

    from reasonrl.finetune.trainers import RunSFTTrainer

    settings = config.sft
    given = SFTConfig(**arguments, max_length=config.data.max_length, packing=settings.packing, loss_type=settings.loss)
    labels = [[token if taught else IGNORED for token, taught in zip(row.ids, row.mask, strict=True)] for row in rows]
    columns = {"input_ids": [list(row.ids) for row in rows], "labels": labels}
    return RunSFTTrainer(model, args=_on_one_gpu(given), train_dataset=_dataset(columns), processing_class=tokenizer)


def _dpo_trainer(
    config: DPORunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[PairTokens],
    arguments: Mapping[str, Any],
) -> Any:
    from trl import DPOConfig

    from reasonrl.finetune.trainers import RunDPOTrainer

    settings = config.dpo
    weighed = {"loss_type": [settings.loss, "sft"], "loss_weights": [1.0, settings.sft_weight]}
    given = DPOConfig(
        **arguments,
        **(weighed if settings.sft_weight else {"loss_type": [settings.loss]}),
        max_length=config.data.max_length,
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
    )
    columns = {f"{part}_ids": [list(getattr(row, part)) for row in rows] for part in ("prompt", "chosen", "rejected")}
    return RunDPOTrainer(
        model,
        ref_model=_reference(config, model),
        args=_on_one_gpu(given),
        train_dataset=_dataset(columns),
        processing_class=tokenizer,
    )


def _kto_trainer(
    config: KTORunConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[JudgedTokens],
    arguments: Mapping[str, Any],
) -> Any:
    from trl import KTOConfig

    from reasonrl.finetune.trainers import RunKTOTrainer

    settings = config.kto
    given = KTOConfig(
        **arguments,
        max_length=config.data.max_length,
        loss_type=settings.loss,
        beta=settings.beta,
        desirable_weight=settings.desirable_weight,
        undesirable_weight=settings.undesirable_weight,
    )
    return RunKTOTrainer(
        model,
        ref_model=_reference(config, model),
        args=_on_one_gpu(given),
        train_dataset=_dataset(kto_columns(rows, config)),
        processing_class=tokenizer,
    )


def kto_columns(rows: Sequence[JudgedTokens], config: KTORunConfig) -> dict[str, list[Any]]:
    """Return the columns that TRL makes of judged completions, in a shuffled order that it keeps.

    The divergence is estimated on each prompt with the completion of the row before it in the same forward pass; the
    first has the last one's. Any: lists of token ids, and labels.
    """
    rows = Random(f"{config.seed}/kto").sample(rows, len(rows))
    size = config.microbatch_rows
    passes = [rows[start : start + size] for start in range(0, len(rows), size)]
    others = [other for each in passes for other in (*each[-1:], *each[:-1])]
    columns: dict[str, list[Any]] = {
        "prompt_ids": [list(row.prompt) for row in rows],
        "completion_ids": [list(row.completion) for row in rows],
        "label": [row.is_good for row in rows],
    }
    if config.kto.loss == "kto":
        columns["KL_completion_ids"] = [list(other.completion) for other in others]
    return columns


def _dataset(columns: Mapping[str, list[Any]]) -> Any:
    """Return a data set of :mod:`datasets`, which is untyped. Any: columns of lists and numbers."""
    from datasets import Dataset

    return Dataset.from_dict(dict(columns))


def _on_one_gpu(arguments: Any) -> Any:
    """Use one of several GPUs that are seen: TRL refuses to spread one process over them. Any: TRL is untyped."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _reference(config: FinetuneConfig, model: PreTrainedModel) -> Any:
    """Return the model that the run began with: without its adapter where that began at nothing, else a second one.

    Any: TRL calls either as a model.
    """
    from reasonrl.finetune.trainers import WithoutAdapter

    if is_base(config.model.name, model):
        return WithoutAdapter(model)
    return load_model(config.model.name, model.device).requires_grad_(False)
