"""Ids of the prompts that a reward model was trained on: what a later measurement must leave out."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from reasonrl.errors import ModelError
from reasonrl.system.atomic import write_atomically

PROMPT_IDS: Final = "prompts.txt"
"""One id a line, beside the model's card."""
ID_LENGTH: Final = 16


def write_prompt_ids(folder: Path, prompt_ids: Collection[str]) -> None:
    """Write the ids of the prompts that a model was trained on beside its card."""
    write_atomically(folder / PROMPT_IDS, "".join(f"{one}\n" for one in sorted(set(prompt_ids))).encode())


def read_prompt_ids(folder: Path) -> frozenset[str] | None:
    """Return the ids of the prompts that a model was trained on; None where it does not say.

    Raises:
        ModelError: a line is not an id.
    """
    path = folder / PROMPT_IDS
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").split()
    for number, line in enumerate(lines, start=1):
        if len(line) != ID_LENGTH or not set(line) <= set("0123456789abcdef"):
            raise ModelError(f"{path}:{number}: {line[:40]!r} is not the id of a prompt. The file was changed by hand.")
    return frozenset(lines)
