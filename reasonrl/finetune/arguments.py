"""From a run's settings and tokens to one of TRL's trainers."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, TypeAlias, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.finetune import DPORunConfig, FinetuneConfig, KTORunConfig, SFTRunConfig
from reasonrl.finetune.encoding import JudgedTokens, PairTokens, TaughtTokens
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_model
from reasonrl.models.lora import is_base

Tokens: TypeAlias = TaughtTokens | PairTokens | JudgedTokens
"""A row as tokens."""

IGNORED: Final = -100
"""Label of a token without a loss, in transformers."""

SCHEDULES: Final = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
"""What transformers calls our courses of the learning rate."""

OPTIMIZERS: Final = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
"""What transformers calls our optimizers."""


def make_trainer(
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
