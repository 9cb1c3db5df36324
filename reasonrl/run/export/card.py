"""The model card of an exported model: where it comes from, how it is asked, and what it was measured to be worth."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import RewardRef, RunConfig
from reasonrl.errors import PluginError
from reasonrl.evaluation.export.hf_card import card_file, evaluation, model_index
from reasonrl.evaluation.files import Measured
from reasonrl.models import NAMED
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.card import TemplateCard
from reasonrl.run.export.data import data_lines, with_params
from reasonrl.run.export.record import ExportRecord, Stage
from reasonrl.run.files.directory import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class CardInputs:
    """What a card is written from."""

    name: str
    """The model's."""
    record: ExportRecord
    directory: RunDirectory
    """The last run."""
    results: Sequence[Measured]
    license: str
    """The base model's, as the hub names it; empty where it is not known."""
    is_chat_ready: bool
    """Whether the tokenizer's chat template makes the prompts that the model was trained with."""


def model_card(inputs: CardInputs, plugins: Plugins) -> bytes:
    """Return the card as a file of the hub, with figures in its front matter and in tables with intervals."""
    sections = [
        f"# {inputs.name}",
        _introduction(inputs),
        "\n".join(["## How it was made\n", *_stages(inputs.record.stages)]),
        "\n".join(["## Data\n", *data_lines(inputs.directory)]),
        *(
            ["\n".join(["## Rewards\n", *_rewards(inputs.directory.config, plugins)])]
            if _references(inputs.directory.config)
            else []
        ),
        "\n".join(["## Prompts\n", *_prompts(inputs)]),
        *_evaluation(inputs),
    ]
    return card_file(_front(inputs), sections)


def _front(inputs: CardInputs) -> dict[str, object]:
    base = _hub_name(inputs.record.base_model)
    return {
        **({"license": inputs.license} if inputs.license else {}),
        **({"base_model": base} if base.count("/") == 1 and not base.startswith((".", "/", "~")) else {}),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["reasonrl", *dict.fromkeys(stage.kind for stage in inputs.record.stages)],
        **({"model-index": model_index(inputs.name, inputs.results)} if inputs.results else {}),
    }


def _hub_name(model: str) -> str:
    """Return what a model is called on the hub, where one of our names stands for it."""
    known = NAMED.get(model)
    return model if known is None or known.hub_name is None else known.hub_name


def _introduction(inputs: CardInputs) -> str:
    record = inputs.record
    terms = f"Its license is that of the base model: {inputs.license}." if inputs.license else _UNKNOWN_LICENSE
    return (
        f"The weights of run `{record.stages[-1].run}` after step {record.step}, in {record.dtype}, made of "
        f"`{_hub_name(record.base_model)}` with reasonrl {record.versions['reasonrl']}. {terms}"
    )


_UNKNOWN_LICENSE: Final = "The license of the base model is not known here; it holds for this model too."


def _stages(stages: Sequence[Stage]) -> Iterator[str]:
    yield "| run | steps | method | learned from | template | began with |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for stage in stages:
        cells = (stage.run, stage.step, stage.method, stage.data, stage.template, f"`{stage.model}`")
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _references(config: AnyConfig) -> tuple[RewardRef, ...]:
    """Return the rewards that were learned from."""
    return config.all_rewards if isinstance(config, RunConfig) and config.learns_from_rewards else ()


def _rewards(config: AnyConfig, plugins: Plugins) -> Iterator[str]:
    yield "| reward | weight | what it scores |"
    yield "| --- | --- | --- |"
    for ref in _references(config):
        cells = (with_params(ref), ref.weight, _described("rewards", ref.name, plugins))
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _described(kind: Kind, name: str, plugins: Plugins) -> str:
    """Return the first paragraph of a plugin's documentation; nothing where it is no longer here."""
    try:
        text = inspect.getdoc(plugins.find(kind, name).value) or ""
    except PluginError:
        return ""
    return " ".join(text.split("\n\n")[0].split())


def _prompts(inputs: CardInputs) -> Iterator[str]:
    for card in inputs.record.templates:
        yield from _template(card)
    yield from _sampling(inputs.directory.config)
    if inputs.is_chat_ready:
        yield "The tokenizer's chat template makes this prompt of one message of the user:\n"
        yield _USE.format(max_new_tokens=_longest(inputs.directory.config))
    else:
        yield "Fill the template in before the model is asked; the tokenizer's chat template does not do it."


def _template(card: TemplateCard) -> Iterator[str]:
    what = "the user's message of a chat" if card.chat else "the whole prompt"
    yield f"Trained with template `{card.name}`, which makes {what} of a question:\n"
    yield from ("```jinja", card.text.rstrip("\n"), "```\n")
    if card.system:
        yield from ("System message:\n", "```", card.system, "```\n")


def _sampling(config: AnyConfig) -> Iterator[str]:
    if isinstance(config, RunConfig):
        stop = f", stopped at {', '.join(map(repr, config.rollout.stop))}" if config.rollout.stop else ""
        yield (
            f"Completions were sampled at temperature {config.rollout.temperature:g} with at most "
            f"{config.longest_completion} tokens{stop}.\n"
        )


_USE: Final = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto")
messages = [{{"role": "user", "content": QUESTION}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
tokens = model.generate(**inputs, max_new_tokens={max_new_tokens})
print(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


def _longest(config: AnyConfig) -> int:
    """Return a length of completions that fits the model."""
    return config.longest_completion if isinstance(config, RunConfig) else 256


def _evaluation(inputs: CardInputs) -> Iterator[str]:
    record = inputs.record
    if not inputs.results:
        yield f"## Evaluation\n\nNo suite was measured after step {record.step} of the run."
        return
    yield from evaluation(inputs.results)
    if record.dtype != "float32":
        yield f"All figures are those of the run's own weights, before they were rounded to {record.dtype}."


def _cell(value: object) -> str:
    """Return a value as a cell of a table."""
    return " ".join(str(value).replace("|", "\\|").split())
