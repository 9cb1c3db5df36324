"""Conversations, a tokenizer with a chat template that marks what the assistant says, and run files that learn them."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from builders import letter_tokenizer
from transformers import PreTrainedTokenizerFast

CHAT: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}{{ '\\n' }}"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}"
)
"""ChatML, with the markers that transformers makes masks of."""

RUNS: Final[Mapping[str, str]] = {
    "sft": "sft: {}\nlearner: {learning_rate: 1e-3, schedule: cosine, warmup_steps: 1}",
    "dpo": "dpo: {}\nlearner: {learning_rate: 1e-4}",
    "kto": "kto: {}\nlearner: {learning_rate: 1e-4}",
}
"""What the run files of each method say of their own."""

RUN: Final = """\
name: one
model: tiny
data: {{path: {rows}}}
template: plain
rows_per_step: 8
{own}
evaluation: {{suites: [{{name: arithmetic, max_new_tokens: 4, params: {{num_problems: 4}}}}], every: 3}}
run: {{steps: 6, checkpoint_every: 2, keep_checkpoints: 9, root: {root}}}
"""


def chat_tokenizer(template: str = CHAT) -> PreTrainedTokenizerFast:
    """One token a character, and those of ChatML."""
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = template
    return tokenizer


def say(*contents: str, system: str = "") -> list[dict[str, str]]:
    """A conversation in which user and assistant take turns, the user first."""
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def conversations(count: int, *, seed: int = 0) -> list[list[dict[str, str]]]:
    """Conversations of one to three answers, some of them with a system prompt."""
    chance = random.Random(seed)

    def sums() -> Iterator[str]:
        for _ in range(chance.randint(1, 3)):
            a, b = chance.randint(1, 99), chance.randint(1, 99)
            yield from (f"{a} + {b}?", str(a + b))

    return [say(*sums(), system=chance.choice(["", "", "9 - 9"])) for _ in range(count)]


def sums(method: str, count: int = 40) -> list[dict[str, Any]]:
    """Rows with sums for a method. Any: texts, and a label."""
    chance = random.Random(0)
    numbers = [(chance.randint(1, 99), chance.randint(1, 99)) for _ in range(count)]
    prompts = [(f"What is {a} plus {b}?", f" {a + b}", f" {a + b + chance.choice([-1, 1, 10])}") for a, b in numbers]
    match method:
        case "sft":
            return [{"prompt": prompt, "completion": right} for prompt, right, _ in prompts]
        case "dpo":
            return [{"prompt": prompt, "chosen": right, "rejected": wrong} for prompt, right, wrong in prompts]
    return [
        {"prompt": prompt, "completion": right if at % 2 else wrong, "label": bool(at % 2)}
        for at, (prompt, right, wrong) in enumerate(prompts)
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows, one a line. Any: JSON values."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_run(folder: Path, method: str, *, text: str = RUN, root: str = "runs") -> Path:
    """Write the rows and the run file of a method into a folder; return the file."""
    rows = write_rows(folder / f"{method}.jsonl", sums(method))
    path = folder / f"{method}.yaml"
    path.write_text(text.format(rows=rows, own=RUNS[method], root=root))
    return path
