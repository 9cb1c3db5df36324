"""The critic of a run: which runs have one, what it starts from, and what learns it."""

from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.settings import RunConfig
from reasonrl.errors import ModelError
from reasonrl.learner.critic import CRITIC_FOLDER, Critic, ValueModel, critic_of, value_head
from reasonrl.learner.strategies import Strategy
from reasonrl.models import locate
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.models.lora import adapter_base
from reasonrl.preference.card import find_reward_model

USUAL_RATE_FACTOR = 5.0
"""Learning rate of a critic over that of its policy, where none is set: others have 1 (TRL) to 10 (verl)."""


def critic_source(config: RunConfig) -> str:
    """Return the folder or hub name that a new run's critic starts from.

    Raises:
        ModelError: there is none.
    """
    given = Path(config.critic.init)
    if config.critic.init != "policy":
        is_run = given.is_dir() and not (given / "config.json").is_file()
        return str(find_reward_model(given)) if is_run else locate(config.critic.init)
    place = locate(config.model.name)
    beside = Path(place) / CRITIC_FOLDER
    return str(beside) if beside.is_dir() else adapter_base(place) or place


def build_critic(
    config: RunConfig,
    policy_tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    dtype: torch.dtype,
    *,
    checkpoint: Path | None,
    rate_factor: float,
    strategy: Strategy,
) -> Critic:
    """Return the critic of a run.

    Args:
        config: the run.
        policy_tokenizer: the critic is given its tokens.
        device: of the policy.
        dtype: type of matrix products.
        checkpoint: continue from this folder; None starts from what the run says.
        rate_factor: multiplies the learning rate.
        strategy: how ranks share it.

    Raises:
        ModelError: it cannot be loaded, or has other tokens than the policy.
        RunError: the checkpoint has no critic.
    """
    source = critic_source(config) if checkpoint is None else str(critic_of(checkpoint))
    if checkpoint is None and config.critic.init != "policy":
        _require_same_tokens(source, policy_tokenizer)
    load = partial(_load, source, device, config.model.gradient_checkpointing)
    model = ValueModel(strategy.load(load, dtype), dtype)
    rate = config.critic.learning_rate
    usual = USUAL_RATE_FACTOR * config.learner.learning_rate
    return Critic(
        model,
        config.learner.model_copy(update={"learning_rate": usual if rate is None else rate}),
        clip=config.critic.value_clip,
        num_steps=config.learner.schedule_length(config.run.steps),
        rate_factor=rate_factor,
        strategy=strategy,
    )


def _load(
    source: str, device: torch.device, gradient_checkpointing: bool, weights_on: torch.device | None
) -> PreTrainedModel:
    """Load a classifier with one label, or a causal model with a head that says 0 of everything.

    ``weights_on``: see the strategies' ``LoadModel``.
    """
    model = load_classifier(
        source, device, num_labels=1, gradient_checkpointing=gradient_checkpointing, weights_on=weights_on
    )
    architectures = AutoConfig.from_pretrained(source).architectures or ()
    if not any("SequenceClassification" in each for each in architectures):
        nn.init.zeros_(value_head(model).weight)
    return model


def _require_same_tokens(source: str, policy_tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that would read other texts in the policy's tokens."""
    if load_tokenizer(source).get_vocab() != policy_tokenizer.get_vocab():
        raise ModelError(
            f"critic.init: {source} has another tokenizer than the policy, whose tokens it would be given. Use a "
            "reward model that was trained from the policy's model, or critic.init: policy"
        )
