"""What settings are called in TRL, verl, OpenRLHF and prime-rl, for whoever writes their name into a run file.

``docs/coming-from.md`` is tested against this table.
"""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, Final

MAX_LISTED: Final = 8
"""Most names of a foreign section that a message lists."""

_SAMPLING: Final = (
    "none: completions are drawn from the whole distribution, so that the policy's probabilities are theirs"
)
_UPDATES: Final = "learner.minibatch_sequences (completions of an update) and learner.microbatch_tokens (memory)"
_SHORT_PROMPTS: Final = "none: prompts are never cut. Leave long problems out of the data"
_EPOCHS: Final = "run.steps (an epoch is the task's problems over rollout.prompts_per_step; reasonrl plan counts it)"
_TRACKERS: Final = "run.trackers: [trackio], wandb, tensorboard, mlflow or swanlab"
_PROJECT: Final = "run.trackers.N.params.project"
_OWN_MODEL: Final = "rollout.engine: local, vllm (in this process) or vllm_server"

SYNONYMS: Final[Mapping[str, str]] = {
    # how much is sampled
    "num_generations": "rollout.samples_per_prompt",
    "group_size": "rollout.samples_per_prompt",
    "rollout.n": "rollout.samples_per_prompt",
    "n": "rollout.samples_per_prompt",
    "num_return_sequences": "rollout.samples_per_prompt",
    "n_samples_per_prompt": "rollout.samples_per_prompt",
    "num_samples_per_prompt": "rollout.samples_per_prompt",
    "generation_batch_size": "rollout.prompts_per_step (times rollout.samples_per_prompt)",
    "data.train_batch_size": "rollout.prompts_per_step",
    "rollout_batch_size": "rollout.prompts_per_step",
    "prompts_per_batch": "rollout.prompts_per_step",
    "batch_size": "rollout.prompts_per_step (problems of a step) or learner.minibatch_sequences (of an update)",
    "max_completion_length": "rollout.max_new_tokens",
    "max_response_length": "rollout.max_new_tokens",
    "response_length": "rollout.max_new_tokens",
    "generate_max_len": "rollout.max_new_tokens",
    "sampling.max_tokens": "rollout.max_new_tokens",
    "max_tokens": "rollout.max_new_tokens",
    "max_new_token": "rollout.max_new_tokens",
    "max_length": "rollout.max_new_tokens",
    "max_prompt_length": _SHORT_PROMPTS,
    "prompt_max_len": _SHORT_PROMPTS,
    "prompt_length": _SHORT_PROMPTS,
    "temp": "rollout.temperature",
    "sampling_temperature": "rollout.temperature",
    "top_p": _SAMPLING,
    "top_k": _SAMPLING,
    "min_p": _SAMPLING,
    "repetition_penalty": _SAMPLING,
    "stop_strings": "rollout.stop",
    "steps_per_generation": "learner.minibatch_sequences",
    "async_train": "rollout.async_steps",
    "async_training": "rollout.async_steps and rollout.max_staleness",
    "max_off_policy_steps": "rollout.async_steps and rollout.max_staleness",
    # engines
    "use_vllm": _OWN_MODEL,
    "vllm_mode": _OWN_MODEL,
    "rollout.name": _OWN_MODEL,
    "vllm_gpu_memory_utilization": "vllm.gpu_memory_utilization",
    "gpu_memory_utilization": "vllm.gpu_memory_utilization",
    "vllm_tensor_parallel_size": "vllm.options.tensor_parallel_size",
    "tensor_parallel_size": "vllm.options.tensor_parallel_size",
    "tensor_model_parallel_size": "vllm.options.tensor_parallel_size",
    "vllm_enable_sleep_mode": "vllm.sleep",
    "vllm_server_base_url": "vllm.urls",
    "vllm_server_host": "vllm.urls",
    "vllm_num_engines": "vllm.replicas",
    # learning
    "lr": "learner.learning_rate",
    "actor_learning_rate": "learner.learning_rate",
    "optim.lr": "learner.learning_rate",
    "lr_scheduler_type": "learner.schedule",
    "lr_scheduler": "learner.schedule",
    "lr_schedule": "learner.schedule",
    "lr_warmup_steps": "learner.warmup_steps",
    "warmup": "learner.warmup_steps",
    "warmup_ratio": "learner.warmup_steps (steps, not a share)",
    "lr_warmup_ratio": "learner.warmup_steps (steps, not a share)",
    "lr_warmup_steps_ratio": "learner.warmup_steps (steps, not a share)",
    "adam_beta1": "learner.adam_betas",
    "adam_beta2": "learner.adam_betas",
    "betas": "learner.adam_betas",
    "adam_eps": "learner.adam_epsilon",
    "l2": "learner.weight_decay",
    "grad_clip": "learner.max_grad_norm",
    "max_norm": "learner.max_grad_norm",
    "clip_grad": "learner.max_grad_norm",
    "per_device_train_batch_size": _UPDATES,
    "gradient_accumulation_steps": _UPDATES,
    "train_batch_size": "learner.minibatch_sequences",
    "ppo_mini_batch_size": "learner.minibatch_sequences (in completions, not prompts)",
    "mini_batch_size": "learner.minibatch_sequences",
    "micro_train_batch_size": "learner.microbatch_tokens",
    "micro_rollout_batch_size": "learner.microbatch_tokens (the engine finds its own batches)",
    "ppo_micro_batch_size_per_gpu": "learner.microbatch_tokens",
    "ppo_micro_batch_size": "learner.microbatch_tokens",
    "micro_batch_size": "learner.microbatch_tokens",
    "ppo_max_token_len_per_gpu": "learner.microbatch_tokens",
    "num_iterations": "learner.epochs",
    "ppo_epochs": "learner.epochs",
    "max_epochs": "learner.epochs",
    "bf16": "model.compute_dtype: bfloat16",
    "fp16": "model.compute_dtype (auto, float32 or bfloat16)",
    "dtype": "model.compute_dtype",
    "torch_dtype": "model.compute_dtype",
    "model_dtype": "model.weights_dtype (of what learns) and model.compute_dtype (of products)",
    "model_init_kwargs.dtype": "model.weights_dtype (of what learns) and model.compute_dtype (of products)",
    "optimizer_type": "learner.optimizer",
    "use_8bit_optimizer": "learner.optimizer: adamw_8bit",
    "stochastic_rounding": "model.weights_dtype: bfloat16, whose updates are rounded so",
    "use_liger_kernel": "model.fast_path",
    "use_liger": "model.fast_path",
    "use_fused_kernels": "model.fast_path",
    "use_remove_padding": "model.fast_path",
    "attn_implementation": "model.fast_path",
    "gradient_checkpoint": "model.gradient_checkpointing",
    "enable_gradient_checkpointing": "model.gradient_checkpointing",
    "lora_rank": "model.lora.rank",
    "lora_r": "model.lora.rank",
    "lora_alpha": "model.lora.alpha",
    "lora_target_modules": "model.lora.target_modules",
    "use_peft": "model.lora",
    "peft_config": "model.lora",
    # the method
    "beta": "algorithm.kl_coefficient",
    "kl_coef": "algorithm.kl_coefficient",
    "kl_coeff": "algorithm.kl_coefficient",
    "init_kl_coef": "algorithm.kl_coefficient",
    "kl_loss_coef": "algorithm.kl_coefficient",
    "kl_tau": "algorithm.kl_coefficient",
    "kl_penalty": "algorithm.kl_coefficient, with algorithm.kl_in: reward",
    "use_kl_loss": "algorithm.kl_in: loss, with an algorithm.kl_coefficient",
    "use_kl_in_reward": "algorithm.kl_in: reward, with an algorithm.kl_coefficient",
    "kl_loss_type": "algorithm.kl_estimator",
    "kl_type": "algorithm.kl_estimator",
    "target_kl": "algorithm.kl_target",
    "entropy_coeff": "algorithm.entropy_coefficient",
    "entropy_coef": "algorithm.entropy_coefficient",
    "entropy_loss_coef": "algorithm.entropy_coefficient",
    "use_adaptive_entropy": "algorithm.entropy_target",
    "entropy_coef_delta": "algorithm.entropy_delta",
    "entropy_coef_max": "algorithm.entropy_max_coefficient",
    "entropy_coef_min": "none: it is 0",
    "off_policy_mask_threshold": "algorithm.off_policy_threshold",
    "use_bias_correction_kl": "none: a divergence in the loss is always weighted by the ratio",
    "use_unbiased_kl": "none: a divergence in the loss is always weighted by the ratio",
    "sapo_temperature_pos": "algorithm.loss: sapo, with params.temperature_positive",
    "sapo_temperature_neg": "algorithm.loss: sapo, with params.temperature_negative",
    "tau_pos": "algorithm.loss: sapo, with params.temperature_positive",
    "tau_neg": "algorithm.loss: sapo, with params.temperature_negative",
    "dppo_mask_low": "algorithm.loss: dppo_tv, with params.threshold_low",
    "dppo_mask_high": "algorithm.loss: dppo_tv, with params.threshold_high",
    "epsilon": "algorithm.loss.params.clip_low and clip_high",
    "cliprange": "algorithm.loss.params.clip_low and clip_high",
    "clip_range": "algorithm.loss.params.clip_low and clip_high",
    "clip_ratio": "algorithm.loss.params.clip_low and clip_high",
    "eps_clip": "algorithm.loss.params.clip_low and clip_high",
    "eps_clip_low_high": "algorithm.loss.params.clip_low and clip_high",
    "epsilon_low": "algorithm.loss.params.clip_low",
    "clip_low": "algorithm.loss.params.clip_low",
    "clip_high": "algorithm.loss.params.clip_high",
    "dual_clip": "algorithm.loss.params.dual_clip",
    "clip_ratio_low": "algorithm.loss.params.clip_low",
    "epsilon_high": "algorithm.loss.params.clip_high",
    "clip_ratio_high": "algorithm.loss.params.clip_high",
    "clip_ratio_c": "algorithm.loss.params.dual_clip",
    "delta": "algorithm.loss.params.dual_clip",
    "loss_type": "algorithm.loss (its name) and algorithm.reduction (how token losses are averaged)",
    "loss_mode": "algorithm.loss",
    "policy_loss": "algorithm.loss",
    "policy_loss_type": "algorithm.loss",
    "loss_agg_mode": "algorithm.reduction",
    "importance_sampling_level": "algorithm.loss: gspo for whole sequences",
    "scale_rewards": "algorithm.advantage: group_normalized divides by the spread, group_centered does not",
    "norm_adv_by_std_in_grpo": "algorithm.advantage: group_normalized divides by the spread, group_centered does not",
    "multi_objective_aggregation": "algorithm.advantage: gdpo",
    "adv_estimator": "algorithm.advantage",
    "advantage_estimator": "algorithm.advantage",
    "mask_truncated_completions": "algorithm.truncated: mask",
    "vllm_importance_sampling_correction": "algorithm.importance",
    "vllm_importance_sampling_cap": "algorithm.importance_high",
    "enable_vllm_is_correction": "algorithm.importance",
    "rollout_correction": "algorithm.importance",
    "filter_groups": "algorithm.refill_attempts",
    "filter_zero_advantages": "algorithm.refill_attempts",
    "dynamic_filtering": "algorithm.refill_attempts",
    "dynamic_sampling": "algorithm.refill_attempts",
    "overlong_buffer": "algorithm.overlong_window",
    "overlong_buffer_len": "algorithm.overlong_window",
    "get_soft_overlong_punishment": "algorithm.overlong_window",
    "sync_ref_model": "none: the reference is the policy before training",
    "ref_model": "none: the reference is the policy before training (algorithm.kl_coefficient loads it)",
    "teacher_model": "distillation.teacher",
    "teacher_model_name_or_path": "distillation.teacher",
    "teacher_model_server": "distillation.teacher (an address)",
    "teacher_model_server_url": "distillation.teacher (an address)",
    "teacher_tau": "distillation.weight",
    "adv_tau": "distillation.reward_weight",
    "gkd_logits_topk": "distillation.top_k",
    "topk_logits_k": "distillation.top_k",
    "distillation_topk": "distillation.top_k",
    "gamma": "algorithm.advantage: gae, with params.gamma",
    "lam": "algorithm.advantage: gae, with params.lam",
    "lambd": "algorithm.advantage: gae, with params.lam",
    "cliprange_value": "critic.value_clip",
    "value_model": "critic.init",
    "critic_learning_rate": "critic.learning_rate",
    "critic_warmup": "critic.pretrain_steps",
    "freezing_actor_steps": "critic.pretrain_steps",
    # rewards and data
    "reward": "rewards",
    "reward_func": "rewards",
    "reward_funcs": "rewards",
    "reward_function": "rewards",
    "reward_functions": "rewards",
    "custom_reward_function": "rewards (./file.py:function, with verl's own signature)",
    "reward_model": "rewards: [{name: preference, params: {model: ...}}]",
    "reward_pretrain": "rewards: [{name: preference, params: {model: ...}}]",
    "remote_rm_url": "rewards: [preference_server], or a function of your own",
    "reward_weights": "rewards.N.weight",
    "datasets": "task (a list of tasks with weights)",
    "data_mixture": "task (a list of tasks with weights)",
    "dataset_mixer": "task (a list of tasks with weights)",
    "dataset_mixer_list": "task (a list of tasks with weights)",
    "online_difficulty_filtering": "curriculum",
    "easy_threshold": "curriculum.max_pass_rate",
    "hard_threshold": "curriculum.min_pass_rate",
    "dataset": "task",
    "dataset_name": "task: {name: hub, params: {name: ...}}",
    "train_dataset": "task",
    "train_data": "task",
    "train_files": "task: {name: jsonl or parquet, params: {path: ...}}",
    "prompt_data": "task: {name: jsonl, parquet or hub, params: ...}",
    "input_key": "task.params.question (the column of a file)",
    "val_files": "evaluation.suites",
    "eval_dataset": "evaluation.suites",
    "chat_template": "template",
    "prompt_template": "template",
    "apply_chat_template": "template: chat",
    "system_prompt": "template (a Jinja file may begin with it)",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "model_path": "model.name",
    "model.path": "model.name",
    "pretrain": "model.name",
    "base_model": "model.name",
    # the run
    "max_steps": "run.steps",
    "num_steps": "run.steps",
    "total_steps": "run.steps",
    "training_steps": "run.steps",
    "total_training_steps": "run.steps",
    "num_train_epochs": _EPOCHS,
    "total_epochs": _EPOCHS,
    "num_episodes": _EPOCHS,
    "save_steps": "run.checkpoint_every",
    "save_freq": "run.checkpoint_every",
    "save_interval": "run.checkpoint_every",
    "save_total_limit": "run.keep_checkpoints",
    "max_ckpt_num": "run.keep_checkpoints",
    "max_actor_ckpt_to_keep": "run.keep_checkpoints",
    "eval_steps": "evaluation.every",
    "test_freq": "evaluation.every",
    "eval_interval": "evaluation.every",
    "eval_every": "evaluation.every",
    "eval_batch_size": "evaluation.max_concurrent",
    "per_device_eval_batch_size": "evaluation.max_concurrent",
    "output_dir": "run.root (the folder) and name (the run's own in it)",
    "save_path": "run.root (the folder) and name (the run's own in it)",
    "ckpt_path": "run.root (the folder) and name (the run's own in it)",
    "default_local_dir": "run.root (the folder) and name (the run's own in it)",
    "run_name": "name",
    "experiment_name": "name",
    "project_name": _PROJECT,
    "wandb_run_name": "name",
    "report_to": _TRACKERS,
    "use_wandb": _TRACKERS,
    "use_tensorboard": _TRACKERS,
    "logging_dir": "run.trackers: [{name: tensorboard, params: {folder: ...}}]",
    "trainer.logger": _TRACKERS,
    "wandb_project": _PROJECT,
    "logging_steps": "none: every step has its line in metrics.jsonl",
    "log_completions": "run.rollouts_every, and --show-samples N on the command line",
    "resume_from_checkpoint": "reasonrl train --resume DIR",
    "n_gpus_per_node": "model.device",
    "nnodes": "none: a run learns on one machine",
    "deepspeed": "none: a run learns in one process",
}
"""Their name, or the end of their dotted path, and what it is here; ``none: `` begins the reason for what is not."""

_ROWS: Final = ("rows_per_step (rows of an optimizer step) and learner.microbatch_rows (of a forward pass)",)
_ANSWERS_ALONE: Final = ("none: what the assistant says has a loss, and nothing else",)
_REFERENCE: Final = ("none: the reference is the model that the run begins with",)

FINETUNING: Final[Mapping[str, tuple[str, ...]]] = {
    "per_device_train_batch_size": _ROWS,
    "gradient_accumulation_steps": _ROWS,
    "train_batch_size": _ROWS,
    "micro_train_batch_size": _ROWS,
    "micro_batch_size": _ROWS,
    "batch_size": _ROWS,
    "num_train_epochs": ("run.epochs",),
    "total_epochs": ("run.epochs",),
    "max_epochs": ("run.epochs",),
    "max_seq_length": ("data.max_length",),
    "max_seq_len": ("data.max_length",),
    "max_len": ("data.max_length",),
    "loss_type": ("sft.loss", "dpo.loss", "kto.loss"),
    "assistant_only_loss": _ANSWERS_ALONE,
    "completion_only_loss": _ANSWERS_ALONE,
    "train_on_inputs": _ANSWERS_ALONE,
    "dataset_text_field": ("none: give messages, or prompt and completion",),
    "dataset": ("data.path",),
    "dataset_name": ("data.path",),
    "train_dataset": ("data.path",),
    "train_data": ("data.path",),
    "train_files": ("data.path",),
    "dataset_split": ("data.split",),
    "ref_model": _REFERENCE,
    "precompute_ref_log_probs": _REFERENCE,
    "rpo_alpha": ("dpo.sft_weight",),
    "resume_from_checkpoint": ("reasonrl sft, dpo or kto --resume DIR",),
}
"""The same for runs of SFT, DPO and KTO, where that differs; of several the first whose section the run has."""


def translated(path: str) -> str | None:
    """Return what a setting of another framework is here; None where nobody calls one so.

    Args:
        path: dotted keys that lead to it; the longest end that the table has decides.
    """
    return next((SYNONYMS[end] for end in _ends(path) if end in SYNONYMS), None)


def _ends(path: str) -> Iterator[str]:
    """Yield the ends of a dotted path, the longest first."""
    keys = path.lower().split(".")
    return (".".join(keys[start:]) for start in range(len(keys)))


def _fitting(path: str, groups: Container[str]) -> str | None:
    """Return what a setting is in a kind of runs; None where it has no such setting."""
    own = [here for end in _ends(path) for here in FINETUNING.get(end, ())] if "rows_per_step" in groups else []
    known = (*own, *filter(None, [translated(path)]))
    return next((here for here in known if _group(here) in groups or _group(here) in ("none", "reasonrl")), None)


def translations(path: str, given: object, groups: Container[str]) -> list[str]:
    """Return a sentence for a known name of a foreign setting, or for each in a foreign section.

    Args:
        path: the dotted keys that are unknown here.
        given: what stands there.
        groups: the settings of the run's first level; what this kind of run does not have is not named.
    """
    fitting = [(leaf, here) for leaf in _leaves(path, given) if (here := _fitting(leaf, groups)) is not None]
    sentences = [_sentence(leaf, here, is_whole=leaf == path) for leaf, here in fitting]
    more = [f"and {len(sentences) - MAX_LISTED} more"] if len(sentences) > MAX_LISTED else []
    return [*sentences[:MAX_LISTED], *more]


def _group(here: str) -> str:
    return re.split(r"[^a-z_]", here, maxsplit=1)[0]


def _sentence(leaf: str, here: str, *, is_whole: bool) -> str:
    """Say what a name is here; a name that is the whole of what is wrong is not repeated."""
    absent = here.removeprefix("none: ")
    said = f"here it is {here}" if absent == here else f"there is none here: {absent}"
    return f"{said[:1].upper()}{said[1:]}" if is_whole else f"{leaf}: {said}"


def _leaves(path: str, given: Any) -> Iterator[str]:
    """Yield the dotted paths of everything in a section. Any: as in YAML."""
    if isinstance(given, Mapping) and given and translated(path) is None:
        for key, value in given.items():
            yield from _leaves(f"{path}.{key}", value)
    else:
        yield path
