"""From a name to a trained model: rewards of every kind are begun, installed, checked, tested and trained with."""

import json
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from environments import environment_of, install, make_environment

from reasonrl_author.new import RewardKind

pytestmark = pytest.mark.slow
KINDS: tuple[str, ...] = get_args(RewardKind)
"""What a new reward may score at once; a reward of each kind is made, named after it."""

TINY_RUN = ["run.steps=2", "learner.warmup_steps=0", "evaluation.suites=[]", "rollout.prompts_per_step=4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the new packages, and an environment in which they are installed."""
    folder = tmp_path_factory.mktemp("author")
    python = make_environment(folder / "venv")
    for kind in KINDS:
        run(folder, "reasonrl", "rewards", "new", reward_of(kind), "--kind", kind)
        install(python, package_of(folder, kind))
    return folder


def test_the_packages_are_installed_with_all_that_they_need(home: Path) -> None:
    listed = run(home, "reasonrl", "rewards", "list")
    assert "warning:" not in listed
    assert all(f"\n{reward_of(kind)}  (" in f"\n{listed}" for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_reward_passes_its_check_and_its_own_tests(home: Path, kind: str) -> None:
    assert "Nothing found." in run(home, "reasonrl", "rewards", "check", reward_of(kind))
    assert " passed" in run(package_of(home, kind), "pytest", "-q")


@pytest.mark.parametrize("kind", ["group", "async"])
def test_a_model_is_trained_with_a_new_reward_by_the_run_file_that_came_with_it(home: Path, kind: str) -> None:
    folder = package_of(home, kind)
    run(folder, "reasonrl", "train", "run.yaml", "--plain", *TINY_RUN, "name=new")
    steps = [json.loads(line) for line in (folder / "runs" / "new" / "metrics.jsonl").read_text().splitlines()]
    measured = [step for step in steps if f"reward/{reward_of(kind)}" in step]
    assert len(measured) == 2
    assert not any(name.startswith("outcome/") for step in steps for name in step)


def reward_of(kind: str) -> str:
    """The name of the reward of a kind."""
    return f"my_{kind}"


def package_of(home: Path, kind: str) -> Path:
    """The folder of its package."""
    (folder,) = home.glob(f"{reward_of(kind).replace('_', '-')}*")
    return folder


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder, in the environment beside the packages; return what it says."""
    home = next(parent for parent in (folder, *folder.parents) if (parent / "venv").is_dir())
    python = home / "venv" / "bin" / "python"
    done = subprocess.run(command, cwd=folder, env=environment_of(python), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
