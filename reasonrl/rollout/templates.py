"""Prompt templates: how a problem becomes the text, and the tokens, that a model sees."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined, TemplateError, meta

from reasonrl.errors import ModelError, and_known
from reasonrl.plugins.lookup import Plugins
from reasonrl.types import Problem, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


GIVEN: Final = ("prompt", "problem")
"""What a template may use."""


def find_template(name: str, plugins: Plugins) -> Template:
    """Return an installed template by name, or read one from a Jinja file.

    A file whose name ends in ``.chat.jinja`` is the user's turn of a chat; any other is the whole prompt.

    Raises:
        ModelError: there is no such template, or it leaves the prompt out.
        PluginError: what a package offers under the name is no template.
    """
    template = plugins.template(name) if name in plugins.entries("templates") else _read_template(name, plugins)
    _refuse_without_prompt(template)
    return template


def _read_template(name: str, plugins: Plugins) -> Template:
    """Read a template from a Jinja file."""
    path = Path(name)
    if not path.is_file():
        hint = f" There is no file {path.resolve()}." if path.suffix else ""
        known = and_known(name, plugins.entries("templates"))
        raise ModelError(f"template: no {name!r}.{hint}{known} Or the path of a Jinja file.")
    return Template(path.read_text(encoding="utf-8"), chat=path.name.endswith(".chat.jinja"), name=name)


def _refuse_without_prompt(template: Template) -> None:
    """Refuse a template that uses neither ``prompt`` nor ``problem``, or that uses something else."""
    try:
        used = meta.find_undeclared_variables(Environment().parse(template.text))
    except TemplateError as error:
        raise ModelError(f"template {template.name!r}: {type(error).__name__}: {error}") from None
    if unknown := sorted(used - set(GIVEN)):
        raise ModelError(f"template {template.name!r}: no {unknown[0]!r} to fill in.{and_known(unknown[0], GIVEN)}")
    if not used:
        raise ModelError(f"template {template.name!r} does not contain the prompt: write {{{{ prompt }}}} in it.")


def _fill(template: Template, problem: Problem) -> str:
    """Fill in the Jinja text."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(template.text).render(prompt=problem.prompt, problem=problem)
    except TemplateError as error:
        raise ModelError(f"template {template.name!r}: {type(error).__name__}: {error}") from None


class Renderer:
    """Turns problems into token ids with one tokenizer and one template.

    Raises:
        ModelError: the template is a chat and the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: Template) -> None:
        """Check that the template and the tokenizer fit."""
        if template.chat and not tokenizer.chat_template:
            raise ModelError(
                f"template {template.name!r} is a chat, but the tokenizer of {tokenizer.name_or_path!r} has no "
                "chat template. Use 'r1_zero' or 'plain' for a base model."
            )
        self._tokenizer = tokenizer
        self.template = template

    def text(self, problem: Problem) -> str:
        """Return the prompt as the model sees it."""
        if not self.template.chat:
            return _fill(self.template, problem)
        *earlier, last = problem.messages or ({"role": "user", "content": problem.prompt},)
        asked = replace(problem, prompt=last["content"])
        messages = [*map(dict, earlier), {**last, "content": _fill(self.template, asked)}]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def render(self, problem: Problem) -> tuple[str, tuple[int, ...]]:
        """Return the prompt and its tokens; a beginning-of-sequence token stands there exactly once."""
        text = self.text(problem)
        ids: Any = self._tokenizer(text, add_special_tokens=not self.template.chat)["input_ids"]
        return text, tuple(_without_end(ids, self._tokenizer))


def _without_end(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Drop an end-of-sequence token that some tokenizers add: a prompt is not finished."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    while len(ids) > 1 and ids[-1] == eos and eos != bos:
        ids = ids[:-1]
    return ids
