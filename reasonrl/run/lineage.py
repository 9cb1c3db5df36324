"""Where a model comes from: the run that made it, and the prompt templates that it was trained with.

``model: RUN`` or ``RUN@STEP`` in a run file stands for what that run has made. It is resolved once, when a run begins,
so that the settings in its directory name one checkpoint, and its manifest the run and the step.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

from pydantic import TypeAdapter

from reasonrl.config.kinds import AnyConfig, KindName, kind_of
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ModelError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Template
from reasonrl.preference.card import TemplateCard, find_reward_model
from reasonrl.rollout.templates import find_template
from reasonrl.run.checkpoints import checkpoint_of, run_of
from reasonrl.run.export.record import read_record
from reasonrl.run.files.directory import RunDirectory

TEMPLATES: Final = "templates.json"
"""File of a run directory with the texts of its prompt templates, as they were when the run began."""

ALLOW_OTHER: Final = "or change the template on purpose: model.allow_other_template: true."

_CARDS = TypeAdapter(tuple[TemplateCard, ...])

Config = TypeVar("Config", bound=AnyConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The run that a model comes from."""

    run: Path
    """The run directory; of an exported model the run's name."""
    step: int | None
    """Steps of the run; None for the finished model of a reward model's run."""
    templates: tuple[TemplateCard, ...]
    """The prompt templates that the model was trained with; several for a mixture."""
    export: Path | None = None
    """The folder of an exported model."""

    @property
    def place(self) -> str:
        """The run and the step, or the exported folder, for messages."""
        step = "" if self.step is None else f"@{self.step}"
        return str(self.export) if self.export else f"{self.run}{step}"

    def record(self) -> dict[str, str | int]:
        """Return what the manifest of a run says that begins with the model: ``parent``."""
        step = {} if self.step is None else {"step": self.step}
        export = {} if self.export is None else {"export": str(self.export)}
        return {"run": str(self.run), **step, **export}


def resolve_model(config: Config, plugins: Plugins) -> Config:
    """Return a run's settings with the exact place of its model, whose template is checked to be the run's.

    ``RUN`` and ``RUN@STEP`` become a checkpoint, or the finished model of a reward model's run; any other model stays
    as it is written.

    Args:
        config: a run of any kind.
        plugins: where templates come from.

    Raises:
        RunError: the run has no such checkpoint, or made a model of another kind.
        ModelError: the model was trained with another template; see :func:`require_same_template`.
    """
    kind = kind_of(config).name
    place = model_of_run(config.model.name, kind)
    resolved = config.model_copy(update={"model": config.model.model_copy(update={"name": place})})
    if kind != "reward_model" and not config.model.allow_other_template:
        require_same_template(place, template_names(config), plugins)
    return cast(Config, resolved)


def model_of_run(model: str, kind: KindName = "policy") -> str:
    """Return the folder that ``RUN`` or ``RUN@STEP`` stands for in the run file of a kind; any other name as it is.

    Raises:
        RunError: the run has no such checkpoint, or made a model that the kind cannot begin with.
        ModelError: the run trains a reward model and has not finished.
    """
    run = Path(model.rpartition("@")[0] or model)
    if kind == "reward_model" and (run / "manifest.json").is_file():
        directory = RunDirectory.open(run)
        if directory.kind.name == "reward_model":
            at_step = "@" in model and run != Path(model)
            return str(directory.checkpoint_at(model.rpartition("@")[2])[1] if at_step else find_reward_model(run))
    return checkpoint_of(model)


def template_names(config: AnyConfig) -> tuple[str, ...]:
    """Return the names of the prompt templates that a run trains with, each once; several for a mixture."""
    if isinstance(config, RunConfig):
        return tuple(dict.fromkeys(task.template for task in config.tasks))
    return (config.template,)


def origin_of(model: str, plugins: Plugins) -> Origin | None:
    """Return the run that a model's folder comes from, or None for a model that no run has made.

    Args:
        model: a checkpoint's folder, an exported folder, or any other model's name.
        plugins: where templates come from.

    Raises:
        ModelError: what stands beside an exported model cannot be read.
    """
    folder = Path(model).expanduser()
    if record := read_record(folder):
        return Origin(run=Path(record.run), step=record.step, templates=record.templates, export=folder)
    if (found := run_of(model)) is None:
        return None
    run, step = found
    return Origin(run=run, step=step, templates=templates_of(RunDirectory.open(run), plugins))


def template_file(config: AnyConfig, plugins: Plugins) -> dict[str, bytes]:
    """Return the file of a run directory that keeps the texts of its prompt templates."""
    cards = [TemplateCard.of(find_template(name, plugins)).model_dump() for name in template_names(config)]
    return {TEMPLATES: json.dumps(cards, indent=2, ensure_ascii=False).encode() + b"\n"}


def templates_of(run: RunDirectory, plugins: Plugins) -> tuple[TemplateCard, ...]:
    """Return the prompt templates that a run was trained with.

    Raises:
        RunError: the file that keeps them cannot be read.
        ModelError: the run is from before there was such a file, and a template is no longer there.
    """
    path = run.path / TEMPLATES
    if not path.is_file():
        return tuple(TemplateCard.of(find_template(name, plugins)) for name in template_names(run.config))
    try:
        return _CARDS.validate_json(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path}: is not what the run wrote there ({error}). Restore it.") from None


def require_same_template(model: str, wanted: Sequence[str], plugins: Plugins, *, key: str = "template") -> None:
    """Refuse prompt templates that a model was not trained with: its prompts would be others than it has learned.

    Templates are the same if their texts are, whatever their names. A model that no run has made has none.

    Args:
        model: where it is: a checkpoint's folder, an exported folder, or any other model.
        wanted: names of the templates that it is to be asked with.
        plugins: where templates come from.
        key: the setting that is wrong, for the message.

    Raises:
        ModelError: one is another; the message has both names and what to write.
    """
    if (origin := origin_of(model, plugins)) is None:
        return
    for name in wanted:
        template = find_template(name, plugins)
        if not any(_is_same(card, template) for card in origin.templates):
            raise ModelError(f"{key}: {_difference(origin, name)}, {ALLOW_OTHER}")


def parent_of(config: AnyConfig, plugins: Plugins) -> dict[str, str | int] | None:
    """Return run and step of the model that a run begins with, for its manifest; None where no run has made it."""
    origin = origin_of(config.model.name, plugins)
    return None if origin is None else origin.record()


def _is_same(card: TemplateCard, template: Template) -> bool:
    return (card.text, card.chat, card.system) == (template.text, template.chat, template.system)


def _difference(origin: Origin, name: str) -> str:
    """Say which template a model was trained with in place of the one of a name, and what to write."""
    known = [card.name for card in origin.templates]
    if name in known:
        return f"{name!r} has another text than when {origin.place} was trained with it. Put back that text"
    return (
        f"{origin.place} was trained with template {' and '.join(map(repr, known))}, but this run has {name!r}, so its "
        f"prompts would not be those that the model has learned. Write template: {known[0]}"
    )
