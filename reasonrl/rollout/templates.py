"""Prompt templates: how a problem becomes the text, and the tokens, that a model sees."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from jinja2 import Environment, StrictUndefined, TemplateError, meta

from reasonrl.config.yaml import read_mapping
from reasonrl.errors import ModelError, and_known
from reasonrl.plugins.boundary import TIMEOUT_S, guarded
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Template
from reasonrl.system.atomic import write_atomically
from reasonrl.system.text import read_text
from reasonrl.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


GIVEN: Final = ("prompt", "problem")
"""What a template may use."""
MESSAGES: Final = ("system", "user")
"""What a file of a chat's messages may hold."""


def find_template(name: str, plugins: Plugins) -> Template:
    """Return an installed template by name, or read one from a Jinja file.

    A file whose name ends in ``.chat.jinja`` is the user's turn of a chat, ``.yaml`` holds its messages ``system`` and
    ``user``; any other is the whole prompt.

    Raises:
        ModelError: there is no such template, or it leaves the prompt out.
        PluginError: what a package offers under the name is no template.
    """
    template = plugins.template(name) if name in plugins.entries("templates") else _read_template(name, plugins)
    _refuse_without_prompt(template)
    return template


def _read_template(name: str, plugins: Plugins) -> Template:
    path = Path(name)
    if not path.exists() and not path.is_symlink():
        hint = f" There is no file {path.resolve()}." if path.suffix else ""
        known = and_known(name, plugins.entries("templates"))
        raise ModelError(f"template: no {name!r}.{hint}{known} Or the path of a Jinja file.")
    if path.suffix in (".yaml", ".yml"):
        return _read_messages(path, name)
    text = read_text(path, ModelError, "the prompt template")
    return Template(text, chat=path.name.endswith(".chat.jinja"), name=name)


def _read_messages(path: Path, name: str) -> Template:
    """Read a chat's messages from a file, as :func:`write_template` writes them."""
    given, _ = read_mapping(read_text(path, ModelError, "the prompt template"), path)
    if unknown := sorted(given.keys() - set(MESSAGES)):
        raise ModelError(f"{path}: no message {unknown[0]!r} in a template.{and_known(unknown[0], MESSAGES)}")
    system, user = given.get("system", ""), given.get("user")
    if not isinstance(user, str) or not isinstance(system, str):
        raise ModelError(f"{path}: a template has a text 'user', such as '{{{{ prompt }}}}', and perhaps one 'system'.")
    return Template(user, chat=True, name=name, system=system)


def write_template(template: Template, path: Path) -> None:
    """Write a chat template as a file that :func:`find_template` reads."""
    messages = {"system": template.system, "user": template.text}
    write_atomically(path, yaml.safe_dump(messages, allow_unicode=True, sort_keys=False).encode())


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


class FilledTemplate:
    """Turns problems into texts, or into conversations where the template is a chat; needs no tokenizer.

    Args:
        template: checked by :func:`find_template`.
        timeout_s: longest time in seconds of filling it in for one problem; None is no limit.
    """

    def __init__(self, template: Template, *, timeout_s: float | None = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(template.text)
        self.template = template

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Return the conversation that the template makes of a problem, where it is a chat.

        Raises:
            ModelError: the problem and the template have a system message each.
            PluginError: the template failed on this problem.
        """
        *earlier, last = problem.messages or ({"role": "user", "content": problem.prompt},)
        asked = replace(problem, prompt=last["content"])
        messages = [*map(dict, earlier), {**last, "content": self.filled(asked)}]
        if not self.template.system:
            return messages
        if messages[0]["role"] == "system":
            raise ModelError(
                f"template {self.template.name!r} has a system message, and so has problem {problem.id}: remove one."
            )
        return [{"role": "system", "content": self.template.system}, *messages]

    def filled(self, problem: Problem) -> str:
        """Fill in the Jinja text, which is a program of its own.

        Raises:
            PluginError: it failed on this problem, or took too long.
        """
        remedy = f"That was on problem {problem.id}."
        with guarded("template", self.template.name, timeout_s=self._timeout_s, remedy=remedy):
            return self._jinja.render(prompt=problem.prompt, problem=problem)


class Renderer:
    """Turns problems into token ids with one tokenizer and one template.

    Args:
        tokenizer: the model's.
        template: checked by :func:`find_template`.
        timeout_s: longest time in seconds of filling it in for one problem; None is no limit.

    Raises:
        ModelError: the template is a chat and the tokenizer has no chat template.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: Template, *, timeout_s: float | None = TIMEOUT_S
    ) -> None:
        if template.chat and not tokenizer.chat_template:
            raise ModelError(
                f"template {template.name!r} is a chat, but the tokenizer of {tokenizer.name_or_path!r} has no "
                "chat template. Use 'r1_zero' or 'plain' for a base model."
            )
        self._tokenizer = tokenizer
        self._filled = FilledTemplate(template, timeout_s=timeout_s)
        self.template = template

    def text(self, problem: Problem) -> str:
        """Return the prompt as the model sees it."""
        if not self.template.chat:
            return self._filled.filled(problem)
        messages = self.messages(problem)
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:  # such as a model without system messages
            raise ModelError(
                f"the chat template of {self._tokenizer.name_or_path!r} refuses problem {problem.id}: {error}"
            ) from None

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Return the conversation that the template makes of a problem; see :meth:`FilledTemplate.messages`."""
        return self._filled.messages(problem)

    def render(self, problem: Problem) -> tuple[str, tuple[int, ...]]:
        """Return the prompt and its tokens; a beginning-of-sequence token stands there exactly once.

        Raises:
            PluginError: the template failed on this problem.
            ModelError: it made an empty prompt of it.
        """
        text = self.text(problem)
        ids: Any = self._tokenizer(text, add_special_tokens=not self.template.chat)["input_ids"]
        if not ids:
            raise ModelError(f"template {self.template.name!r}: the prompt of problem {problem.id} is empty.")
        return text, tuple(_without_end(ids, self._tokenizer))


def _without_end(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Drop an end-of-sequence token that some tokenizers add: a prompt is not finished."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    while len(ids) > 1 and ids[-1] == eos and eos != bos:
        ids = ids[:-1]
    return ids
