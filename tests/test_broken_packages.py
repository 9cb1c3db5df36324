"""Installed packages that are broken in every way cost the commands that use them, and no other command."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from environments import write_package

OFFER: Final = """
from reasonrl import hookimpl

def always_{name}(text: str) -> float:
    "1 for every completion."
    return 1.0

@hookimpl
def reasonrl_rewards():
    return {{"always_{name}": always_{name}}}
"""
"""A package that works, under a name of its own."""

FAULTS: Final[Mapping[str, tuple[str, str]]] = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero (raises.py:1)"),
    "leaves": ("import sys\nsys.exit(0)", "SystemExit: 0 (leaves.py:2)"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt (interrupts.py:1)"),
    "cancels": ("import asyncio\nraise asyncio.CancelledError", "CancelledError (cancels.py:2)"),
    "unfinished": ("def f(", "SyntaxError: '(' was never closed"),
    "misspelt": (OFFER.replace("reasonrl_rewards", "reasonrl_reward"), "no hook 'reasonrl_reward'. Did you mean"),
    "unmarked": (OFFER.replace("@hookimpl", ""), "'reasonrl_rewards' is not marked with @reasonrl.hookimpl"),
    "starts_a_thread": (
        OFFER + "import threading\nthreading.Thread(target=threading.Event().wait, name='forever').start()",
        "its import starts the thread 'forever', which is ended with the command",
    ),
    "starts_a_pool": (
        OFFER + "import concurrent.futures, threading\n"
        "concurrent.futures.ThreadPoolExecutor(1, 'pool').submit(threading.Event().wait)",
        "its import starts the thread 'pool_0', which is ended with the command",
    ),
    "starts_a_process": (
        OFFER + "import multiprocessing, time\n"
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=[60], name='child').start()",
        "its import starts the process 'child', which is ended with the command",
    ),
    "prints": (OFFER + "print('hello from an import')\n", ""),
    "clashes": (
        OFFER.replace('{{"', '{{"length": print, "')
        + "@hookimpl\ndef reasonrl_presets():\n    return {{'grpo': {{}}}}",
        "'length' is offered by clashes (clashes) and by reasonrl-rewards (reasonrl). Uninstall one of them",
    ),
    "no_recipe": (
        OFFER + "@hookimpl\ndef reasonrl_configs():\n    return {{'gone': '/nowhere/gone.yaml'}}",
        "/nowhere/gone.yaml: cannot read the run file",
    ),
}
"""What is wrong with each package, and what is said of it."""

COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "no_app": ("broken", "app = 1", "is of type int, not a typer.Typer"),
    "not_importable": ("absent", "import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    "not_parsable": (
        "strange",
        "import typer\napp = typer.Typer()\n@app.command()\ndef go(x: int | str): pass\n@app.command()\ndef b(): pass",
        "Typer currently doesn't support Union types",
    ),
    "takes_a_command": (
        "train",
        "import typer\napp = typer.Typer()\n@app.command()\ndef go(): pass",
        "'train' is a command already, and stays what it is",
    ),
    "takes_a_subcommand": (
        "tasks",
        "import typer\napp = typer.Typer()\n@app.command('list')\ndef go(): print('taken')\n"
        "@app.command()\ndef more(): print('more of it')",
        "'tasks list' is a command already, and stays what it is",
    ),
}
"""Groups of commands: under which name, the package's code, and what is said of it."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of them are installed."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (text, _) in FAULTS.items():
        write_package(folder, name, text.format(name=name) if text.startswith(OFFER[:30]) else text)
    for name, (group, text, _) in COMMANDS.items():
        write_package(folder, name, text, groups=["reasonrl.commands=app"], entry=group)
    write_package(folder, "sick", "def look(): raise OSError('no such device')", groups=["reasonrl.doctor=look"])
    return folder


def reasonrl(packages: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside the broken packages, or without them."""
    paths = [str(packages), os.environ.get("PYTHONPATH", "")] if packages else [os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}
    command = [sys.executable, "-m", "reasonrl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize("command", [["config", "show", "quickstart"], ["--version"]])
def test_a_command_that_uses_none_of_them_says_what_it_says_without_them(packages: Path, command: list[str]) -> None:
    done = reasonrl(packages, *command)
    assert (done.returncode, done.stdout) == (0, reasonrl(None, *command).stdout)


def test_all_that_is_wrong_is_told_by_the_list_of_plugins(packages: Path) -> None:
    done = reasonrl(packages, "plugins", "list")
    assert done.returncode == 0, done.stderr
    told = [line.removeprefix("warning: ") for line in done.stdout.splitlines() if line.startswith("warning: ")]
    expected = {name: said for name, (*_, said) in {**FAULTS, **COMMANDS}.items() if said}
    for name, said in expected.items():
        assert any(name.replace("_", "-") in line and said in line for line in told), (name, told)
    assert "prints (prints) 1.0\n    1 rewards\n" in done.stdout
    assert "hello from an import" in done.stderr


@pytest.mark.slow
def test_the_look_at_this_machine_tells_all_of_it_too(packages: Path) -> None:
    done = reasonrl(packages, "doctor")
    assert done.returncode == 0, done.stderr
    assert "warning: doctor 'sick (sick)': OSError: no such device (sick.py:1)." in done.stdout
    assert all(said in done.stdout for _, said in FAULTS.values())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["rewards", "show", "length"], "'length' is offered by clashes (clashes) and by reasonrl-rewards"),
        (["rewards", "show", "always_misspelt"], "Failed plugin misspelt (misspelt): no hook 'reasonrl_reward'"),
        (["config", "show", "quickstart", "algorithm=grpo"], "'grpo' is offered by clashes (clashes) and by reasonrl"),
        (["config", "show", "gone"], "/nowhere/gone.yaml: cannot read the run file"),
        (["broken", "go"], "commands 'broken (no-app)': is of type int, not a typer.Typer."),
        (["absent", "go"], "commands 'absent (not-importable)': ModuleNotFoundError"),
        (
            ["strange", "b"],
            "commands 'strange (not-parsable)': AssertionError: Typer currently doesn't support Union types",
        ),
    ],
)
def test_a_command_that_uses_one_of_them_says_what_is_wrong(packages: Path, command: list[str], said: str) -> None:
    done = reasonrl(packages, *command)
    assert done.returncode == 2
    assert done.stderr.startswith(("error: ", "hello from an import\nerror: "))
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_adds_to_a_group_what_is_new_in_it(packages: Path) -> None:
    assert reasonrl(packages, "tasks", "more").stdout == "more of it\n"
