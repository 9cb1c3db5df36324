"""A chat template for a tokenizer whose model was trained with a prompt template that is no chat."""

from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError

from reasonrl.plugins.types import Template
from reasonrl.rollout.templates import Renderer
from reasonrl.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ONE_QUESTION: Final = (
    "{% if messages | map(attribute='role') | join(' ') not in ('user', 'user assistant') %}"
    "{{ raise_exception('this model was trained on single questions: give one message of the user') }}"
    "{% endif %}{% set prompt = messages[0]['content'] %}"
)
ANSWER: Final = "{% if messages | length == 2 %}{{ messages[1]['content'] }}{{ eos_token }}{% endif %}"
"""Adds the answer of a conversation that has one, as training adds it."""
EMPTY: Final = "{{ '' }}"
"""Keeps a line break that jinja would drop after a block, or at the end of a text."""
PROBES: Final = ("What is 12 + 7?", 'Two lines:\n<tag> & "quotes", {{ braces }}.')
"""Questions whose prompts are compared token by token."""


def give_chat_template(tokenizer: "PreTrainedTokenizerBase", template: Template) -> bool:
    """Set a chat template that makes of one message of the user the prompt that the model was trained with.

    Returns:
        Whether there is one: the prompts of trial questions are the same, token by token. If not, the tokenizer keeps
        what it had.
    """
    before = tokenizer.chat_template
    for begin in ("", "{{ bos_token }}"):
        tokenizer.chat_template = f"{ONE_QUESTION}{begin}{EMPTY}{template.text}{EMPTY}{ANSWER}"
        if makes_prompts_of(tokenizer, template):
            return True
    tokenizer.chat_template = before
    return False


def makes_prompts_of(tokenizer: "PreTrainedTokenizerBase", template: Template) -> bool:
    """Say whether a tokenizer's chat template makes, of one message of the user, the prompts of a template."""
    if not tokenizer.chat_template:
        return False
    renderer = Renderer(tokenizer, template)
    return all(_chat_ids(tokenizer, question) == _trained_ids(renderer, question) for question in PROBES)


def _chat_ids(tokenizer: "PreTrainedTokenizerBase", question: str) -> list[int]:
    """Return the prompt's tokens as a chat; none where the template refuses it."""
    messages = [{"role": "user", "content": question}]
    try:
        # Any: what is returned depends on the arguments
        found: Any = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except TemplateError:
        return []
    return list(found)


def _trained_ids(renderer: Renderer, question: str) -> list[int]:
    return list(renderer.render(Problem(id="probe", task="probe", prompt=question, answer=""))[1])
