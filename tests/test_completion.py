"""What the tab key offers, and that it costs no import of torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasonrl.commands.complete import checkpoints, run_directories, run_files, suites


@pytest.fixture
def places(in_folder: Path) -> Path:
    """A folder with run files, runs and other things."""
    for folder in ("runs/one/checkpoints/step_000004", "runs/one/checkpoints/step_000020", "runs/two", "rest"):
        (in_folder / folder).mkdir(parents=True)
    for run in ("one", "two"):
        (in_folder / "runs" / run / "manifest.json").write_text("{}")
    for name in ("run.yaml", "rest/other.yml", "notes.txt", ".hidden.yaml"):
        (in_folder / name).write_text("")
    return in_folder


def test_recipes_and_run_files_complete(places: Path) -> None:
    assert run_files("quick") == ["quickstart"]
    assert set(run_files("r")) >= {"rest/", "run.yaml", "runs/"}
    assert run_files("rest/") == ["rest/other.yml"]
    assert run_files("no_such") == []
    assert run_files("nowhere/x") == []


def test_run_directories_and_their_checkpoints_complete(places: Path) -> None:
    assert set(run_directories("")) >= {"runs/one", "runs/two"}
    assert run_directories("runs/o") == ["runs/one"]
    assert checkpoints("runs/o") == ["runs/one"]
    assert checkpoints("runs/one@") == ["runs/one@4", "runs/one@20"]
    assert checkpoints("runs/one@2") == ["runs/one@20"]


def test_suites_complete() -> None:
    assert "arithmetic" in suites("arith")


def completed(words: str) -> list[str]:
    """What bash is offered for the last word of a command line."""
    environment = {
        **os.environ,
        "_REASONRL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    code = (
        "import sys; sys.argv = ['reasonrl']\nfrom reasonrl.commands import main\n"
        "try: main()\nfinally: assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "torch" not in done.stderr
    return done.stdout.split()


def test_the_shell_is_offered_commands_recipes_and_runs_without_torch(places: Path) -> None:
    assert {"train", "tasks"} <= set(completed("reasonrl t"))
    assert completed("reasonrl train quick") == ["quickstart"]
    assert completed("reasonrl show runs/o") == ["runs/one"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str) -> None:
    environment = {**os.environ, "_REASONRL_COMPLETE": f"source_{shell}"}
    code = "import sys; sys.argv = ['reasonrl']\nfrom reasonrl.commands import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "_REASONRL_COMPLETE" in done.stdout
