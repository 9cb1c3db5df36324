"""The files that the documentation shows: a block of code that names one in its first line, or beside its language."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reasonrl.config.yaml import read_value
from tools.make_docs import documents

ROOT: Final = Path(__file__).parent.parent
BLOCK: Final = re.compile(r"^```(?P<language>\w+)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED: Final = re.compile(r"\A# (?P<name>[\w./-]+\.(?:py|yaml|toml))\n")


def blocks(path: Path, language: str) -> list[str]:
    """Return the blocks of code in one language."""
    return [block["text"] for block in BLOCK.finditer(path.read_text()) if block["language"] == language]


def write_files(path: Path, folder: Path) -> list[str]:
    """Write every file that a document shows, and return their names."""
    written = []
    for block in BLOCK.finditer(path.read_text()):
        named = NAMED.match(block["text"]) or block
        if named["name"]:
            (folder / named["name"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named["name"]).write_text(block["text"])
            written.append(named["name"])
    return written


def shown_run_files() -> Iterator[tuple[Path, str]]:
    """Yield every whole run file with the document that shows it."""
    for path in documents():
        for text in blocks(path, "yaml"):
            if {"name", "model"} <= read_value(text).keys():
                yield path, text
