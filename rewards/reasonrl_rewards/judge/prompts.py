"""The messages that a judge is sent: a Jinja text with the blocks ``system`` and ``user``, filled in with texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from reasonrl import ConfigError, Problem, Rollout
from reasonrl.errors import and_known
from reasonrl_grading.answers import shown_text
from reasonrl_rewards.judge.rubric import Criterion
from reasonrl_rewards.judge.untrusted import boundary_for, enclosed, harmless

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER: Final = Path(__file__).parent / "templates"
BLOCKS: Final = ("system", "user")

SAMPLE: Final = Problem(id="sample", task="sample", prompt="What is 7 + 1?", answer="8")
"""What a template and a judge are tried with before a run."""

Message: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """What a judge is asked for one verdict."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    """JSON schema of the verdict. Any: JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """What decides a reward's prompts beside the texts."""

    reward: str
    """Name of the default template."""
    template: str | None
    """A Jinja file of the user's."""
    rubric: Sequence[Criterion]
    explain: bool
    """Whether a verdict begins with an explanation."""

    def request(
        self, schema: Mapping[str, Any], texts: Mapping[str, str], listed: Mapping[str, Sequence[str]] | None = None
    ) -> JudgeRequest:
        """Return the request for a verdict.

        Args:
            schema: of the verdict. Any: JSON.
            texts: untrusted texts by the template's variable, such as ``question``; an empty reference is not shown.
            listed: lists of untrusted texts, by the template's variable.

        Raises:
            ConfigError: the template cannot be filled in.
        """
        safe = {name: harmless(text) for name, text in texts.items()}
        lists = {name: [harmless(text) for text in found] for name, found in (listed or {}).items()}
        boundary = boundary_for([*safe.values(), *(text for found in lists.values() for text in found)])
        return JudgeRequest(
            messages=_messages(
                self.reward,
                self.template,
                boundary=boundary,
                criteria=self.rubric,
                explain=self.explain,
                schema=json.dumps(schema),
                **{name: _shown(name, text, boundary) for name, text in safe.items()},
                **{name: _numbered(LABELS[name], found, boundary) for name, found in lists.items()},
            ),
            schema=schema,
        )


LABELS: Final[Mapping[str, str]] = {
    "question": "question",
    "reference": "reference answer",
    "completion": "completion",
    "first": "answer A",
    "second": "answer B",
    "completions": "completion",
}
"""What the lines around a text call it, by the template's variable."""


def _shown(name: str, text: str, boundary: str) -> str:
    return "" if name == "reference" and not text.strip() else enclosed(LABELS[name], text, boundary)


def _numbered(label: str, texts: Sequence[str], boundary: str) -> list[str]:
    return [enclosed(f"{label} {number}", text, boundary) for number, text in enumerate(texts, start=1)]


def _messages(reward: str, template: str | None, **variables: Any) -> tuple[Message, ...]:
    """Fill in both blocks. Any: texts, criteria.

    Raises:
        ConfigError: a block is missing or fails.
    """
    from jinja2 import TemplateError

    found = _template(reward, template)
    context = found.new_context(variables)
    try:
        list(found.root_render_func(context))  # which adds the blocks of the template that this one extends
        texts = {name: "".join(context.blocks[name][0](context)).strip() for name in BLOCKS if name in context.blocks}
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ConfigError(f"template {template or reward}: {type(error).__name__}: {error}") from None
    if not texts.get("user"):
        raise ConfigError(
            f"template {template or reward}: no text in a block 'user': {{% block user %}} ... {{% endblock %}}."
        )
    return tuple({"role": role, "content": text} for role, text in texts.items() if text)


@cache
def _template(reward: str, file: str | None) -> "Template":
    """Return a compiled template: the user's file, or the default one. A file may extend a default by its name."""
    from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError

    defaults = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.jinja")}
    jinja = Environment(
        loader=DictLoader(defaults), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    try:
        return jinja.get_template(reward) if file is None else jinja.from_string(_read(file))
    except TemplateError as error:
        raise ConfigError(f"template {file}: {type(error).__name__}: {error}") from None


def forget_templates() -> None:
    """Have files of templates read anew, as each run does."""
    _template.cache_clear()


def _read(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"template {file}: cannot be read: {error}. Name a Jinja file, or leave template out."
        ) from None


def require_all_texts(request: JudgeRequest, texts: Sequence[str], settings: PromptSettings) -> None:
    """Refuse a template that leaves out a text that is to be judged.

    Args:
        request: made of these texts.
        texts: each different from the others.
        settings: what made it.

    Raises:
        ConfigError: one is missing.
    """
    sent = "\n".join(message["content"] for message in request.messages)
    if any(text not in sent for text in texts):
        known = ", ".join(sorted(LABELS))
        raise ConfigError(f"template {settings.template}: leaves out what is to be judged. It may use {known}.")


def question_of(problem: Problem) -> str:
    """Return what was asked: the problem's prompt, or its conversation with a role before each message."""
    if problem.messages is None:
        return problem.prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in problem.messages)


def completion_of(rollout: Rollout, *, thinking: bool) -> str:
    """Return the completion, with or without what it thinks inside ``<think>``."""
    return rollout.text if thinking else shown_text(rollout).strip()


def reference_of(problem: Problem, column: str | None) -> str:
    """Return the reference answer of a problem; empty where there is none.

    Args:
        problem: what is answered.
        column: ``answer`` for the problem's answer, or a column of its data; None for no reference.

    Raises:
        LookupError: the problem has no such column, or no text in it.
    """
    if column is None or column == "answer":
        return "" if column is None else problem.answer
    found = problem.meta.get(column)
    if not isinstance(found, str) or not found.strip():
        raise LookupError(f"the problem has no text in {column!r}.{and_known(column, map(str, problem.meta))}")
    return found
