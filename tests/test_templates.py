"""Templates contain the prompt, and prompts reach the model as they are meant to."""

from pathlib import Path

import pytest
from builders import letter_tokenizer, problem

from reasonrl.errors import ModelError
from reasonrl.plugins.builtin import TEMPLATES
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.rollout.templates import Renderer, find_template


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
