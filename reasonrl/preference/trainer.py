"""Train a reward model, one optimizer step at a time: what a run directory and a session are built around."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from reasonrl.config.reward_model import BradleyTerrySettings, RewardModelConfig
from reasonrl.config.settings import LearnerSettings
from reasonrl.errors import ConfigError, DataError
from reasonrl.learner import Learner
from reasonrl.learner.rng import preserved_rng, restore_rng, save_rng, seed_rng
from reasonrl.models import locate
from reasonrl.models.compute import Choice, Compute, Work, choose_compute, dtype_name
from reasonrl.models.hardware import find_device, keep_freed_memory
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.models.lora import adapter_base, adapter_of, merged_weights, prepare_adapter
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.card import HeadScale, HeldoutEvaluation, RewardModelCard, TemplateCard
from reasonrl.preference.data import Kind, LabeledCompletion, PreferenceData
from reasonrl.preference.encoded import Encoded, EncodedCompletion, Tokens, encode
from reasonrl.preference.encoding import Encoder
from reasonrl.preference.evaluation.scored import ScoredPair
from reasonrl.preference.heldout import (
    HeadScores,
    comparisons,
    fitted_temperature,
    heldout_evaluation,
    label_metrics,
    length_rule,
    pair_metrics,
    score_pairs,
)
from reasonrl.preference.inference import end_scores
from reasonrl.preference.model import RewardModel
from reasonrl.preference.objectives import BradleyTerryObjective, OutcomeObjective, bootstrap_counts
from reasonrl.preference.order import BatchOrder
from reasonrl.preference.prompt_ids import write_prompt_ids
from reasonrl.rollout.templates import Renderer, find_template

HEADS_FILE: Final = "heads.pt"
"""The heads in a checkpoint whose model is an adapter."""
RECORDED: Final = ("reasonrl", "torch", "transformers")
"""Packages whose versions the card has."""


class RewardModelTrainer:
    """A model with its optimizer, its data in order, and what they are worth.

    A step is a function of the state before it and its number, so training goes on from a checkpoint as if it had not
    stopped.

    Args:
        config: what to train.
        data: what it learns from.
        encoder: how texts become tokens.
        train: the training examples that fit.
        heldout: the held-out examples that fit.
        order: which training examples each step learns from.
        learner: the model with its optimizer.
        num_steps: length of the run.
        choice: how the backbone is computed, and why.
    """

    num_steps: int
    """Optimizer steps in all."""
    facts: Mapping[str, str]
    """What the head of a run says: model, data, template, device."""
    warnings: tuple[str, ...]
    """What a reader of the model's figures should know, that of the data included."""

    def __init__(
        self,
        *,
        config: RewardModelConfig,
        data: PreferenceData,
        encoder: Encoder,
        train: Sequence[Encoded],
        heldout: Sequence[Encoded],
        order: BatchOrder,
        learner: Learner,
        num_steps: int,
        choice: Choice,
    ) -> None:
        self._config = config
        self._data = data
        self._encoder = encoder
        self._train = train
        self._heldout = heldout
        self._comparisons = comparisons(heldout)
        self._length_rule = length_rule(train)
        self._scored: tuple[int, list[ScoredPair]] | None = None
        self._order = order
        self._learner = learner
        self._choice = choice
        self.num_steps = num_steps
        self.facts = self._facts()
        self.warnings = (*data.warnings, *choice.warnings, *self._warnings())

    @classmethod
    def build(
        cls,
        config: RewardModelConfig,
        data: PreferenceData,
        plugins: Plugins,
        *,
        checkpoint: Path | None = None,
        rate_factor: float = 1.0,
        compute: Mapping[str, Any] | None = None,
    ) -> "RewardModelTrainer":
        """Load the model and encode the data.

        Args:
            config: what to train.
            data: of the kind that the objective learns from.
            plugins: where the template comes from.
            checkpoint: continue from this folder; None starts from the run's model.
            rate_factor: multiplies the learning rate.
            compute: how the backbone is computed, as a manifest has it; None chooses that. Any: JSON values.

        Raises:
            ModelError: the model or the template cannot be used.
            DataError: the data cannot be used with them.
            ConfigError: the model takes fewer tokens than ``data.max_length``, or warm-up never ends.
        """
        keep_freed_memory()
        device = find_device(config.model.device)
        encoder = _encoder(config, plugins, checkpoint)
        train, heldout = (_encoded(config, data, side, encoder) for side in ("train", "heldout"))
        order = _order(config, train)
        seed_rng(config.seed)
        model = _model(config, device, checkpoint)
        choice = _choice(config, model, compute)
        objective = _objective(config, model, choice.compute.dtype, train)
        settings = LearnerSettings(**config.learner.model_dump())
        num_steps = _num_steps(config, order)
        length = settings.schedule_length(num_steps)
        learner = Learner(model, objective, settings, num_steps=length, rate_factor=rate_factor)
        if checkpoint is not None:
            learner.restore_state(checkpoint)
            restore_rng(checkpoint)
        return cls(
            config=config,
            data=data,
            encoder=encoder,
            train=train,
            heldout=heldout,
            order=order,
            learner=learner,
            num_steps=num_steps,
            choice=choice,
        )

    @property
    def compute(self) -> Compute:
        """How the backbone is computed."""
        return self._choice.compute

    @property
    def model(self) -> PreTrainedModel:
        """The model that learns."""
        return self._learner.model

    @property
    def train_lengths(self) -> list[int]:
        """Tokens of every training text, its prompt and its end included."""
        return [len(text.prompt) + len(text.after) for one in self._train for text in one.texts]

    def step(self, step: int) -> dict[str, float]:
        """Take one optimizer step, counted from 1, and return what was measured, by metric name.

        An update whose gradient is not finite is left out: ``rm/grad_norm`` is then NaN.
        """
        assert step == self._learner.steps_taken + 1, f"step {step} after step {self._learner.steps_taken}"
        began = perf_counter()
        batch = [self._train[index] for index in self._order.at(step)]
        measured = self._learner.update([one.sample() for one in batch])
        seconds, tokens = perf_counter() - began, _num_tokens(batch)
        speed = {"seconds/step": seconds, "rm/tokens": float(tokens), "tokens_per_second/learning": tokens / seconds}
        return {**_with_spread(measured), **speed}

    def evaluate(self) -> tuple[HeldoutEvaluation | None, dict[str, float]]:
        """Measure on the held-out prompts, and return metrics under ``heldout/``.

        There is no evaluation where no two held-out completions of a prompt can be compared, as with labeled
        completions of which each has a prompt of its own.
        """
        labeled = [one for one in self._heldout if isinstance(one, EncodedCompletion)]
        metrics = dict(label_metrics(labeled, self._scores([one.texts[0] for one in labeled]))) if labeled else {}
        pairs = self._scored_pairs()
        if not pairs:
            return None, metrics
        evaluation = heldout_evaluation(pairs, self._length_rule)
        return evaluation, {**pair_metrics(pairs, evaluation, margin=_has_margin(self._config)), **metrics}

    def save_state(self, folder: Path) -> None:
        """Write a checkpoint: model, tokenizer, optimizer, and the state of the random generators."""
        self._learner.save_state(folder)
        if adapter_of(self.model):  # what was written of the model is its adapter alone
            torch.save(_head(self.model).state_dict(), folder / HEADS_FILE)
        self._encoder.tokenizer.save_pretrained(folder)
        save_rng(folder)

    def publish(self, folder: Path, evaluation: HeldoutEvaluation | None) -> None:
        """Write the finished reward model with its card and the ids of the prompts that it learned from.

        An adapter is merged into the weights.

        Args:
            folder: for the model.
            evaluation: of the model as it is.
        """
        model = RewardModel(
            card=self._card(evaluation),
            tokenizer=self._encoder.tokenizer,
            encoder=self._encoder,
            model=self._whole_model(),
            dtype=self.compute.dtype,
        )
        model.save(folder)
        write_prompt_ids(folder, [one.example.problem.id for one in self._learned()])

    def _scored_pairs(self) -> list[ScoredPair]:
        """Return the held-out pairs with their scores, which are computed once after a step."""
        if self._scored is None or self._scored[0] != self._learner.steps_taken:
            self._scored = self._learner.steps_taken, score_pairs(self._comparisons, self._scores)
        return self._scored[1]

    def _scores(self, completions: Sequence[Tokens]) -> list[HeadScores]:
        """Return the raw scores of completions, in order; equal ones are computed once."""
        distinct = {one.key: one.sample() for one in completions}
        budget = self._config.learner.microbatch_tokens
        scores = end_scores(self.model, list(distinct.values()), max_tokens=budget, dtype=self.compute.dtype)
        found = dict(zip(distinct, scores, strict=True))
        return [found[one.key] for one in completions]

    def _card(self, evaluation: HeldoutEvaluation | None) -> RewardModelCard:
        config, template = self._config, self._encoder.renderer.template
        usual = [one.texts[0] for one in self._learned()]  # the chosen completions; of labeled ones all
        return RewardModelCard(
            kind=config.objective.kind,
            num_heads=config.ensemble.num_heads,
            template=TemplateCard.of(template),
            max_length=self._encoder.max_length,
            too_long=self._encoder.too_long,
            scales=_scales(self._scores(usual)),
            temperature=fitted_temperature(self._scored_pairs()),
            evaluation=evaluation,
            base_model=config.model.name,
            data=self._data_record(),
            versions={"python": platform.python_version(), **{name: version(name) for name in RECORDED}},
        )

    def _learned(self) -> list[Encoded]:
        """Return the examples that the model learned from; all before its first step."""
        steps = range(1, self._learner.steps_taken + 1)
        used = sorted({index for step in steps for index in self._order.at(step)})
        return [self._train[index] for index in used or range(len(self._train))]

    def _data_record(self) -> dict[str, Any]:
        """Return what the card says of the data. Any: JSON values."""
        return {
            "source": self._data.source,
            "digest": self._data.digest,
            **self._data.summary,
            **{f"{side}_too_long": count for side, count in self._too_long().items()},
            "steps": self._learner.steps_taken,
        }

    def _whole_model(self) -> PreTrainedModel:
        """Return the model; one with an adapter as a copy whose weights have it in them."""
        adapter = adapter_of(self.model)
        if adapter is None:
            return self.model
        heads, base = self._config.ensemble.num_heads, str(adapter.base_model_name_or_path)
        with preserved_rng():
            whole = load_classifier(base, self.model.device, num_labels=heads)
        whole.load_state_dict(merged_weights(self.model))
        return whole

    def _too_long(self) -> dict[str, int]:
        """Count the examples of each side that were left out because they are too long."""
        return {
            "train": len(self._data.train) - len(self._train),
            "heldout": len(self._data.heldout) - len(self._heldout),
        }

    def _facts(self) -> Mapping[str, str]:
        parameters = list(self.model.parameters())
        size, trainable = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
        share = "" if trainable == size else f", {trainable / 1e6:.2f} M of them trainable"
        heads = self._config.ensemble.num_heads
        return {
            "model": f"{self._config.model.name} ({size / 1e6:.1f} M parameters{share}), "
            + ("one head" if heads == 1 else f"{heads} heads"),
            "data": f"{_sized(self._train)} to learn from, {_sized(self._heldout)} held out",
            "template": f"{self._encoder.renderer.template.name}, at most {self._encoder.max_length} tokens",
            "device": f"{self.model.device}, {dtype_name(self.compute.dtype)} products ({self._choice.reason})",
        }

    def _warnings(self) -> list[str]:
        left_out = {side: count for side, count in self._too_long().items() if count}
        counts = " and ".join(f"{count} {side.replace('heldout', 'held-out')}" for side, count in left_out.items())
        limit = self._encoder.max_length
        long = [f"{counts} examples have more than {limit} tokens (data.max_length) and are left out"] if counts else []
        alone = "no two held-out completions of a prompt differ in label, so accuracy on pairs cannot be measured"
        return [*long, *([] if self._comparisons else [alone])]


def _encoder(config: RewardModelConfig, plugins: Plugins, checkpoint: Path | None) -> Encoder:
    tokenizer = load_tokenizer(config.model.name if checkpoint is None else str(checkpoint))
    template = find_template(config.template, plugins)
    return Encoder(
        tokenizer=tokenizer,
        renderer=Renderer(tokenizer, template, timeout_s=config.plugins.timeout_s),
        max_length=config.data.max_length,
        too_long=config.data.too_long,
    )


def _encoded(config: RewardModelConfig, data: PreferenceData, side: str, encoder: Encoder) -> list[Encoded]:
    """Encode one side of the data.

    Raises:
        DataError: it is of another kind than the objective learns from, or nothing of it fits.
    """
    examples = data.train if side == "train" else data.heldout
    kind: Kind = "outcome" if isinstance(examples[0], LabeledCompletion) else "bradley_terry"
    if kind != config.objective.kind:
        raise DataError(f"{data.source}: is data for objective.kind: {kind}, not {config.objective.kind}.")
    if encoded := encode(examples, encoder):
        return encoded
    raise DataError(
        f"{data.source}: all {len(examples)} examples of the {side.replace('heldout', 'held-out')} prompts have more "
        f"than {encoder.max_length} tokens (data.max_length). Raise it, or set data.too_long: cut_prompt."
    )


def _order(config: RewardModelConfig, train: Sequence[Encoded]) -> BatchOrder:
    objective = config.objective
    return BatchOrder(
        [one.example.problem.id for one in train],
        per_step=config.pairs_per_step,
        by_prompt=isinstance(objective, BradleyTerrySettings) and objective.by_prompt,
        seed=config.seed,
    )


def _num_steps(config: RewardModelConfig, order: BatchOrder) -> int:
    """Return the length of the run.

    Raises:
        ConfigError: it ends before its warm-up does.
    """
    num_steps = config.run.steps or order.num_steps(config.run.epochs)
    if config.learner.warmup_steps >= num_steps:
        raise ConfigError(
            f"learner.warmup_steps is {config.learner.warmup_steps}, but the run has only {num_steps} steps."
        )
    return num_steps


def _model(config: RewardModelConfig, device: torch.device, checkpoint: Path | None) -> PreTrainedModel:
    """Load the model that learns, with its adapter where it has one.

    Raises:
        ConfigError: it takes fewer tokens than the data may have.
    """
    place = locate(config.model.name if checkpoint is None else str(checkpoint))
    base = adapter_base(place)
    saving = config.model.gradient_checkpointing
    model = load_classifier(base or place, device, num_labels=config.ensemble.num_heads, gradient_checkpointing=saving)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    if config.data.max_length > limit:
        raise ConfigError(f"data.max_length is {config.data.max_length}, but {config.model.name} takes {limit} tokens.")
    if base is not None:
        _load_adapter(model, Path(place))
    prepare_adapter(model, config.model.lora, seed=config.seed)
    _head(model).requires_grad_(True)
    return model


def _choice(config: RewardModelConfig, model: PreTrainedModel, recorded: Mapping[str, Any] | None) -> Choice:
    """Return how the backbone is computed: as the manifest says, or chosen for forward and backward passes."""
    if recorded is not None:
        return Choice(compute=Compute.of_record(recorded), reason="as when the run began")
    return choose_compute(
        model.config, model.device, asked=config.model.compute_dtype, fast=False, work=Work(learned=1.0)
    )


def _head(model: PreTrainedModel) -> nn.Linear:
    return cast(nn.Linear, model.score)


def _load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Give a model an adapter, and the heads that were trained beside it; a policy's adapter has none."""
    model.load_adapter(str(folder), is_trainable=True)
    if (folder / HEADS_FILE).is_file():
        _head(model).load_state_dict(torch.load(folder / HEADS_FILE, weights_only=True))


def _objective(
    config: RewardModelConfig, model: PreTrainedModel, dtype: torch.dtype, train: Sequence[Encoded]
) -> BradleyTerryObjective | OutcomeObjective:
    """Return what is minimized."""
    ensemble, settings = config.ensemble, config.objective
    prompts = [one.example.problem.id for one in train]
    sampled = ensemble.num_heads > 1 and ensemble.bootstrap
    weights = bootstrap_counts(prompts, ensemble.num_heads, config.seed) if sampled else {}
    shared: dict[str, Any] = {  # Any: arguments of both objectives
        "model": model,
        "dtype": dtype,
        "head_rate_factor": config.head_rate_factor,
        "head_weights": weights,
    }
    if not isinstance(settings, BradleyTerrySettings):
        return OutcomeObjective(**shared)
    return BradleyTerryObjective(
        **shared, margin=settings.margin, centering=settings.centering, by_prompt=settings.by_prompt
    )


def _has_margin(config: RewardModelConfig) -> bool:
    return isinstance(config.objective, BradleyTerrySettings) and config.objective.margin


def _with_spread(measured: Mapping[str, float]) -> dict[str, float]:
    """Replace the mean square of the scores by their standard deviation."""
    metrics = dict(measured)
    if (square := metrics.pop("rm/score_square", None)) is not None:
        metrics["rm/score_std"] = math.sqrt(max(0.0, square - metrics["rm/score_mean"] ** 2))
    return metrics


def _num_tokens(batch: Sequence[Encoded]) -> int:
    """Count the tokens of the different prompts and completions of a step."""
    texts = [text for one in batch for text in one.texts]
    prompts = {text.prompt.tobytes(): len(text.prompt) for text in texts}
    return sum(prompts.values()) + sum({text.key: len(text.after) for text in texts}.values())


def _scales(scores: Sequence[HeadScores]) -> tuple[HeadScale, ...]:
    """Return mean, spread and 99.9th percentile of each head's scores."""
    return tuple(
        HeadScale(mean=float(head_N.mean()), std=float(head_N.std()) or 1.0, p999=float(np.quantile(head_N, 0.999)))
        for head_N in np.array(scores).T
    )


def _sized(examples: Sequence[Encoded]) -> str:
    what = "completions" if isinstance(examples[0], EncodedCompletion) else "pairs"
    return f"{len(examples)} {what} of {len({one.example.problem.id for one in examples})} prompts"
