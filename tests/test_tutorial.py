"""The tutorial, step by step: its files are written, its commands run, and they say what it shows."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import environment_of, make_environment

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "rewards" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"\A# ([\w./-]+\.(?:py|yaml))\n")
INSTALL = "pip install --quiet --no-deps --no-build-isolation --no-index"

pytestmark = pytest.mark.slow


def test_every_step_of_the_tutorial_works_and_says_what_is_shown(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    said = ""
    for language, text in steps():
        if language == "bash":
            said = run(text, tmp_path, python)
        elif language == "text":
            assert missing(text, said) == []
        else:
            file = FILE.match(text)
            assert file, f"a block that names no file:\n{text}"
            (tmp_path / file[1]).write_text(text)


def steps() -> Iterator[tuple[str, str]]:
    """Yield (language, text) of every block after the one that makes the folder."""
    (_, makes_folder), *blocks = BLOCK.findall(TUTORIAL.read_text())
    assert makes_folder.startswith("mkdir ")
    yield from blocks


def run(script: str, folder: Path, python: Path) -> str:
    """Run some commands in one shell and return what they say; a check that found something is no failure."""
    command = ["bash", "-ec", script.replace("pip install", INSTALL)]
    done = subprocess.run(command, cwd=folder, env=environment_of(python), capture_output=True, text=True)
    assert done.returncode == 0 or "FOUND" in done.stdout, done.stdout + done.stderr
    return done.stdout


def missing(shown: str, said: str) -> list[str]:
    """Return the pieces of what is shown that were not said; dots stand for anything, and figures may differ."""
    pieces = [piece.strip() for line in shown.splitlines() for piece in masked(line).split("...")]
    known = masked(said)
    return [piece for piece in pieces if piece not in known]


def masked(text: str) -> str:
    """Return a text without its figures, spaced evenly."""
    return " ".join(re.sub(r"[-+]?\d(?:[\d,.]*\d)?", "#", text).split())
