"""Templates contain the prompt, and prompts reach the model as they are meant to."""

from pathlib import Path

import pytest
from builders import letter_tokenizer, problem
from transformers import PreTrainedTokenizerBase

from reasonrl.errors import ModelError
from reasonrl.plugins.builtin import TEMPLATES
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.plugins.types import Template
from reasonrl.rollout.templates import Renderer, find_template, write_template


def test_the_r1_zero_template_asks_for_thinking_and_an_answer() -> None:
    text = Renderer(letter_tokenizer(), installed_plugins().template("r1_zero")).text(problem("What is 2 + 2?"))
    assert "<think>" in text
    assert text.endswith("User: What is 2 + 2? Assistant:")


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_contains_the_prompt(name: str) -> None:
    assert "{{ prompt }}" in find_template(name, installed_plugins()).text


def test_a_chat_template_is_applied_with_the_turn_of_the_assistant_opened() -> None:
    tokenizer = letter_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    renderer = Renderer(tokenizer, installed_plugins().template("chat"))
    assert renderer.text(problem("hello")) == "user: hello assistant: "
    conversation = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"})
    assert renderer.text(problem("hi", messages=conversation)) == "system: be brief user: hi assistant: "
    boxed = Renderer(tokenizer, installed_plugins().template("boxed")).text(problem("hi", messages=conversation))
    assert "hi\nPlease reason step by step" in boxed


def test_a_file_may_be_a_template(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("Q {{ prompt }} ({{ problem.meta.level }}) A")
    renderer = Renderer(letter_tokenizer(), find_template(str(tmp_path / "mine.jinja"), installed_plugins()))
    assert renderer.text(problem("x", meta={"level": 3})) == "Q x (3) A"


def test_a_template_without_the_prompt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("Answer!")
    with pytest.raises(ModelError, match="does not contain the prompt"):
        find_template(str(tmp_path / "mine.jinja"), installed_plugins())


def test_a_beginning_of_sequence_token_stands_exactly_once_in_a_chat() -> None:
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<begin>"})
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    _, ids = Renderer(tokenizer, installed_plugins().template("chat")).render(problem("abc"))
    assert ids.count(tokenizer.bos_token_id) == 1


def _chat_tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = letter_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    return tokenizer


def test_a_file_may_hold_a_system_message_which_stands_before_the_conversation(tmp_path: Path) -> None:
    write_template(Template("{{ prompt }}!", chat=True, system="Be brief: {x}"), tmp_path / "mine.yaml")
    renderer = Renderer(_chat_tokenizer(), find_template(str(tmp_path / "mine.yaml"), installed_plugins()))
    assert renderer.text(problem("hi")) == "system: Be brief: {x} user: hi! "
    own = ({"role": "system", "content": "be long"}, {"role": "user", "content": "hi"})
    with pytest.raises(ModelError, match="has a system message, and so has problem"):
        renderer.text(problem("hi", messages=own))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("systm: a\nuser: '{{ prompt }}'", "Did you mean 'system'"),
        ("system: a", "has a text 'user'"),
        ("user: 3", "has a text 'user'"),
        ("user: no prompt", "does not contain the prompt"),
    ],
)
def test_a_file_of_messages_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ModelError, match=message):
        find_template(str(tmp_path / "mine.yaml"), installed_plugins())


def test_a_model_that_takes_no_system_message_says_so(tmp_path: Path) -> None:
    tokenizer = _chat_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    write_template(Template("{{ prompt }}", chat=True, system="Be brief."), tmp_path / "mine.yaml")
    renderer = Renderer(tokenizer, find_template(str(tmp_path / "mine.yaml"), installed_plugins()))
    with pytest.raises(ModelError, match="System role not supported"):
        renderer.text(problem("hi"))
