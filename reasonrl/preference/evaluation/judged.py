"""The model that is judged: a reward model with a card, or any sequence classifier, with the scores of its heads."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from reasonrl.errors import ConfigError, ModelError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.aggregate import Aggregate, Aggregation
from reasonrl.preference.card import CARD, RewardModelCard, TemplateCard, find_reward_model
from reasonrl.preference.encoding import Encoder, scored_sample
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.types import Problem, TrainingSample

if TYPE_CHECKING:
    import torch

    from reasonrl.preference.model import RewardModel

ComputeDtype: TypeAlias = Literal["auto", "float32", "bfloat16"]
Item: TypeAlias = tuple[Problem, str]
"""A prompt with a completion."""

CHUNK: Final = 512
"""Completions between two reports of progress."""
MAX_TOKENS: Final = 16_384
"""Tokens in one forward pass."""
DEFAULT_MAX_LENGTH: Final = 4096
"""Longest text of a classifier whose configuration has no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedModel:
    """A loaded model with all that decides its scores."""

    name: str
    """As it was given."""
    folder: Path | None
    """Where its card is; None for a classifier without one."""
    model: "RewardModel"
    encode: Callable[[Problem, str], TrainingSample | None]
    """The tokens of a completion; None where they are too many."""
    aggregate: Aggregate | None
    """None where there is one head."""
    assumptions: tuple[str, ...] = ()
    """What was assumed for want of a card."""

    @property
    def card(self) -> RewardModelCard | None:
        """The card, where there is one."""
        return None if self.folder is None else self.model.card

    def head_scores(
        self, items: Sequence[Item], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[tuple[float, ...] | None]:
        """Return the raw scores of each completion [N][K], in order; None for one that is too long.

        Args:
            items: in any order; equal ones are scored once.
            progress: told how many different ones are done, and of how many.
        """
        # Those of one prompt stand together, so that it is computed once. Its id does not decide: it passes over case
        # and white space.
        texts = dict(sorted({_key(item): item for item in items}.items(), key=lambda pair: pair[0]))
        keys, scores = list(texts), dict[tuple[str, ...], tuple[float, ...] | None]()
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            scores |= zip(chunk, self.scores_together([texts[key] for key in chunk]), strict=True)
            progress(len(scores), len(keys))
        return [scores[_key(item)] for item in items]

    def scores_together(self, items: Sequence[Item]) -> list[tuple[float, ...] | None]:
        """Return the same in as few passes as the texts fit in, none of them left out for being equal to another."""
        samples = [self.encode(problem, completion) for problem, completion in items]
        encoded = [sample for sample in samples if sample is not None]
        found = iter(self.model.sample_scores(encoded, max_tokens=MAX_TOKENS))
        return [None if sample is None else next(found) for sample in samples]

    def combined(self, scores_K: Sequence[float]) -> float:
        """Return one score of the heads' raw ones: of several what the reward makes of them, without its clipping.

        Raises:
            ModelError: a score is not a finite number.
        """
        score = scores_K[0] if self.aggregate is None else self._aggregation(self.aggregate).score(scores_K).value
        if score is None or not math.isfinite(score):
            raise ModelError(f"{self.name}: a score is {scores_K}, which is not finite: its weights are damaged.")
        return score

    def _aggregation(self, aggregate: Aggregate) -> Aggregation:
        return Aggregation(scales=self.model.card.scales, aggregate=aggregate, clip=None)


def _key(item: Item) -> tuple[str, ...]:
    """Return what is equal for items that are scored alike."""
    problem, completion = item
    said = [part for message in problem.messages or () for part in (message["role"], message["content"])]
    return (problem.prompt, *said, completion)


def load_judged(
    name: str,
    device: "torch.device",
    plugins: Plugins,
    *,
    aggregate: Aggregate | None = None,
    template: str | None = None,
    max_length: int | None = None,
    dtype: ComputeDtype = "auto",
) -> JudgedModel:
    """Load a model to judge.

    Args:
        name: a reward model's folder, the run that trained it, or a sequence classifier's folder or hub name.
        device: where it runs.
        plugins: where templates come from.
        aggregate: of several heads; None is ``mean``.
        template: of a classifier without a card; None is its tokenizer's chat template, or ``plain`` without one.
        max_length: the same, in tokens; None is what its configuration says.
        dtype: type of matrix products; ``auto`` is what is faster on this hardware, as in the loop.

    Raises:
        ModelError: it cannot be loaded, or is no reward model.
        ConfigError: an option would be ignored.
    """
    if _has_card(Path(name)):
        return _with_card(name, device, aggregate, template, max_length, dtype)
    if aggregate is not None:
        raise ConfigError(f"--aggregate {aggregate}: is for the heads of a model with a {CARD}, and {name!r} has none.")
    return _classifier(name, device, plugins, template, max_length, dtype)


def _has_card(path: Path) -> bool:
    """Say whether a path is for :func:`find_reward_model`: a model with a card, or a run."""
    return any((path / part).is_file() for part in (CARD, f"model/{CARD}", "manifest.json"))


def _with_card(
    name: str,
    device: "torch.device",
    aggregate: Aggregate | None,
    template: str | None,
    max_length: int | None,
    dtype: ComputeDtype,
) -> JudgedModel:
    from reasonrl.preference.model import RewardModel

    folder = find_reward_model(name)
    for option, given in (("--template", template), ("--max-length", max_length)):
        if given is not None:
            raise ConfigError(
                f"{option} {given}: {folder / CARD} says how {name} was trained, and it is judged as it was trained."
            )
    model = RewardModel.load(folder, device, dtype=dtype)
    if model.card.num_heads == 1 and aggregate is not None:
        raise ConfigError(f"--aggregate {aggregate}: {name} has one head.")
    return JudgedModel(
        name=name,
        folder=folder,
        model=model,
        encode=model.encoder.encode,
        aggregate=None if model.card.num_heads == 1 else aggregate or "mean",
    )


def _classifier(
    name: str,
    device: "torch.device",
    plugins: Plugins,
    template_name: str | None,
    max_length: int | None,
    dtype: ComputeDtype,
) -> JudgedModel:
    from reasonrl.models.load import load_classifier, load_tokenizer
    from reasonrl.preference.inference import hold_products_in, scoring_dtype
    from reasonrl.preference.model import RewardModel

    _require_trained_head(name)
    tokenizer, model = load_tokenizer(name), load_classifier(name, device, num_labels=1)
    config = model.config.get_text_config()
    products = scoring_dtype(model, dtype)
    hold_products_in(model, products)
    template = find_template(template_name or ("chat" if tokenizer.chat_template else "plain"), plugins)
    limit = max_length or getattr(config, "max_position_embeddings", None) or DEFAULT_MAX_LENGTH
    encoder = Encoder(tokenizer=tokenizer, renderer=Renderer(tokenizer, template), max_length=limit, too_long="drop")
    card = RewardModelCard(
        kind="bradley_terry",
        num_heads=1,
        template=TemplateCard.of(template),
        max_length=limit,
        too_long="drop",
        scales=(),
        base_model=name,
    )
    judged = RewardModel(
        card=card,
        tokenizer=tokenizer,
        encoder=encoder,
        model=model,
        dtype=products,
    )
    filler = Renderer(tokenizer, replace(template, chat=False))
    pooled = PooledEncoder(encoder=encoder, filler=filler, padding_id=model.config.pad_token_id)
    return JudgedModel(
        name=name, folder=None, model=judged, encode=pooled.encode, aggregate=None, assumptions=pooled.assumptions
    )


def _require_trained_head(name: str) -> None:
    """Refuse a model without a scoring head before one is made of random numbers.

    Raises:
        ModelError: it is a language model, or cannot be found.
    """
    from transformers import AutoConfig

    from reasonrl.models import locate

    try:
        config: Any = AutoConfig.from_pretrained(locate(name))  # Any: each architecture has a class of its own
    except (OSError, ValueError, KeyError):
        return  # loading it says why
    if not any("SequenceClassification" in architecture for architecture in config.architectures or ()):
        kinds = ", ".join(config.architectures or ["nothing"])
        raise ModelError(
            f"{name!r} is no reward model: it has no {CARD}, and its configuration names {kinds}, not a sequence "
            "classifier. Train one with: reasonrl rm train RM.yaml"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledEncoder:
    """Tokens of a classifier without a card, scored where transformers scores them: at the last token but padding.

    A conversation goes through the tokenizer's chat template as a whole, as TRL and RewardBench do it. With any other
    template the completion and the end-of-sequence token follow the prompt.
    """

    encoder: Encoder
    filler: Renderer
    """Fills the template of a chat's last turn without wrapping it."""
    padding_id: int | None
    """Id that is passed over at the end, wherever it comes from; None passes over none."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What a reader of the figures should know."""
        template = self.encoder.renderer.template
        how = (
            f"the tokenizer's chat template over the whole conversation (template {template.name!r})"
            if template.chat
            else f"template {template.name!r}, then the completion and the end-of-sequence token"
        )
        return (
            f"text: {how}",
            "score: at the last token that is not the padding token, as transformers pools",
            f"length: texts above {self.encoder.max_length:,} tokens are not scored",
        )

    def encode(self, problem: Problem, completion: str) -> TrainingSample | None:
        """Return the row of a completion; None if it is too long."""
        ids = self._ids(problem, completion)
        while len(ids) > 1 and ids[-1] == self.padding_id:
            ids = ids[:-1]
        if not 2 <= len(ids) <= self.encoder.max_length:  # a single token is no prompt with a completion
            return None
        prompt_ids = self.encoder.prompt_ids(problem)
        shared = next((at for at, (a, b) in enumerate(zip(prompt_ids, ids, strict=False)) if a != b), len(prompt_ids))
        cut = max(1, min(shared, len(ids) - 1))
        return scored_sample(ids[:cut], ids[cut:])

    def _ids(self, problem: Problem, completion: str) -> tuple[int, ...]:
        tokenizer = self.encoder.tokenizer
        if not self.encoder.renderer.template.chat:
            encoded: Any = tokenizer(completion, add_special_tokens=False)["input_ids"]
            return (*self.encoder.prompt_ids(problem), *encoded, tokenizer.eos_token_id)
        messages = [*self._before(problem), {"role": "assistant", "content": completion}]
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
        conversation: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(conversation)

    def _before(self, problem: Problem) -> list[dict[str, str]]:
        """Return the messages before the completion, the last one filled into the template."""
        *earlier, last = problem.messages or ({"role": "user", "content": problem.prompt},)
        turn = self.filler.text(replace(problem, prompt=last["content"]))
        return [*map(dict, earlier), {**last, "content": turn}]
