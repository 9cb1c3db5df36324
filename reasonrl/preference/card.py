"""What is known of a reward model and belongs to it: ``reward_model.json`` beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasonrl.config.reward_model import TooLong
from reasonrl.errors import ModelError, and_known
from reasonrl.plugins.types import Template
from reasonrl.system.atomic import write_atomically

CARD: Final = "reward_model.json"


class CardPart(BaseModel):
    """A frozen part of the card that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TemplateCard(CardPart):
    """The prompt template that the model was trained with."""

    name: str
    text: str
    """Jinja text, so that the model does not depend on an installed template."""
    chat: bool
    system: str = ""
    """System message of a chat."""

    @classmethod
    def of(cls, template: Template) -> Self:
        """Describe a template."""
        return cls(name=template.name, text=template.text, chat=template.chat, system=template.system)

    def template(self) -> Template:
        """Return the template that is described."""
        return Template(self.text, chat=self.chat, name=self.name, system=self.system)


class HeadScale(CardPart):
    """Raw scores of one head on the chosen completions (of an outcome model: on all) that it learned from."""

    mean: float
    std: float
    """Standard deviation; 1 where all are equal."""
    p999: float
    """99.9th percentile: scores beyond it were hardly ever seen in training."""


class Interval(CardPart):
    """A share with its 95 % interval over prompts."""

    value: float
    lower: float
    upper: float


class HeldoutEvaluation(CardPart):
    """Accuracy on pairs whose prompts were not trained on, beside what length alone achieves."""

    accuracy: Interval
    """Share of pairs in which the chosen completion scores higher, averaged by prompt; a tie counts one half."""
    length_only: Interval
    """The same of the rule "prefer the longer" or "prefer the shorter", whichever fits the training pairs better."""
    length_rule: Literal["longer", "shorter"]
    difference: Interval
    """Accuracy less ``length_only``, paired by prompt."""
    num_pairs: int
    num_prompts: int

    @property
    def beats_length_only(self) -> bool:
        """Whether the model is better than length alone on the pairs that it was measured on."""
        return self.difference.value > 0


class RewardModelCard(CardPart):
    """Everything that a reward model needs to be used as it was trained, and what it was measured to be worth."""

    schema_version: Literal[1] = 1
    kind: Literal["bradley_terry", "outcome"]
    num_heads: Annotated[int, Field(ge=1)]
    template: TemplateCard
    max_length: int
    """Most tokens of prompt, completion and end-of-sequence token together."""
    too_long: TooLong
    scales: tuple[HeadScale, ...]
    """One for each head."""
    temperature: float | None = None
    """Divides a difference of scores before the sigmoid, fitted on held-out pairs; None where it was not."""
    evaluation: HeldoutEvaluation | None = None
    """None where the model was not evaluated."""
    base_model: str
    data: Mapping[str, Any] = {}
    """Source, digest and sizes of the training data. Any: JSON values."""
    versions: Mapping[str, str] = {}
    """Packages that it was trained with."""


def write_card(folder: Path, card: RewardModelCard) -> None:
    """Put the card beside the weights, or replace it."""
    write_atomically(folder / CARD, card.model_dump_json(indent=2).encode() + b"\n")


def read_card(folder: Path) -> RewardModelCard:
    """Read the card of a reward model's folder.

    Raises:
        ModelError: there is none, or it is none of this version.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(f"{folder} is not a reward model: it has no {CARD}. Train one with: reasonrl rm train RM.yaml")
    try:
        return RewardModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{path}: {where + ': ' if where else ''}{first['msg']}. The file was changed by hand, or written by "
            "another version of reasonrl."
        ) from None


def find_reward_model(path: str | Path) -> Path:
    """Return the folder of a reward model, given it or the run that trained it.

    Raises:
        ModelError: there is none; the message names the nearest one.
    """
    given = Path(path)
    for folder in (given, given / "model"):
        if (folder / CARD).is_file():
            return folder
    if (given / "manifest.json").is_file():
        raise ModelError(
            f"{given} is a run without a finished reward model. Finish it with: reasonrl rm train --resume {given}"
        )
    near = [found.parents[1].name for found in given.parent.glob(f"*/model/{CARD}")]
    what = f"it has no {CARD}" if given.is_dir() else "there is no such folder"
    raise ModelError(f"{given} is not a reward model: {what}.{and_known(given.name, near)}")
