"""What is promised about the repository itself."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from environments import install, make_environment

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCE_ROOTS = ["rewards", "tasks", "evals", "configs"]


def test_entry_points_are_installed_as_written() -> None:
    installed = {entry.name: entry.value for entry in entry_points(group="reasonrl")}
    assert PROJECT["project"]["entry-points"]["reasonrl"].items() <= installed.items()


@pytest.mark.parametrize("folder", SOURCE_ROOTS)
def test_a_source_root_is_no_package_itself(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    assert packages
    assert all(name.startswith("reasonrl_") for name in packages)


def test_every_tool_is_told_the_same_roots() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {Path(package).parts[0] for package in packages} == {"reasonrl", *SOURCE_ROOTS}
    for told in (PROJECT["tool"]["pytest"]["ini_options"]["pythonpath"], PROJECT["tool"]["ruff"]["src"]):
        assert set(SOURCE_ROOTS) <= set(told)
    assert all(any(path.endswith(f"/{root}") for path in PROJECT["tool"]["mypy"]["mypy_path"]) for root in SOURCE_ROOTS)


def test_the_packaged_model_is_small_and_complete() -> None:
    folder = ROOT / "reasonrl" / "models" / "tiny"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8 * 2**20


def test_every_package_ships_its_types_and_says_what_it_is() -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").is_file(), package
    about = metadata("reasonrl")
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} <= set(about.get_all("Classifier") or [])
    assert about.get_all("Project-URL")
    assert about["Keywords"]
    assert about["License-Expression"] == "Apache-2.0"


PYTHONS = {
    "exit 127": "error: there is no ./python. Install Python 3.11 or newer",
    "case $2 in *version_info*) exit 1;; esac; echo Python 3.9.2": "error: ./python is Python 3.9.2. reasonrl needs",
    "case $2 in *ensurepip*) exit 1;; esac": "error: ./python has no venv. Install it",
}
"""Pythons that no environment can be made with, and what is said of each."""


@pytest.mark.parametrize(("script", "said"), PYTHONS.items())
@pytest.mark.parametrize("target", ["quickstart", "test"])
def test_a_python_that_will_not_do_is_named_with_a_remedy(in_folder: Path, target: str, script: str, said: str) -> None:
    copy_makefile(in_folder)
    write_script(in_folder / "python", script)
    done = subprocess.run(["make", target, "PYTHON=./python"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


STANDING_IN = """
case "$*" in
    "-m venv env") mkdir -p env/bin && cp python env/bin ;;
    *"pip install"*) cp python env/bin/reasonrl ;;
    train*) mkdir "runs/${3#name=}" && echo "trained $3" ;;
esac
"""
"""Does what python, pip and reasonrl do for the Makefile, without the time that they take."""


def test_the_main_job_can_be_made_again_and_replaces_no_run(in_folder: Path) -> None:
    copy_makefile(in_folder)
    write_script(in_folder / "python", STANDING_IN)
    (in_folder / "runs").mkdir()
    make = ["make", "quickstart", "PYTHON=./python", "VENV=env"]
    said = [subprocess.run(make, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    assert [re.findall(r"^trained name=(\S+)$", text, flags=re.MULTILINE) for text in said] == [
        ["quickstart"],
        ["quickstart-2"],
        ["quickstart-3"],
    ]
    assert ["venv" in said[0], "venv" in said[1]] == [True, False]


def test_what_ci_calls_to_test_is_what_the_readme_says() -> None:
    assert re.search(r'^make test VENV="\$venv"', (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE) == ["quickstart", "test"]


def copy_makefile(folder: Path) -> None:
    """Put the Makefile and what it depends on into a folder."""
    for name in ("Makefile", "pyproject.toml"):
        (folder / name).write_text((ROOT / name).read_text())


def write_script(path: Path, text: str) -> None:
    """Write something that a shell runs."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_readme_names_commands_and_recipes_that_exist() -> None:
    from typer.main import get_command

    from reasonrl.commands import app
    from reasonrl.commands.installed import add_commands
    from reasonrl.plugins.lookup import Plugins

    text = (ROOT / "README.md").read_text()
    add_commands(app)
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a click group
    shell = "".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    used = set(re.findall(r"^reasonrl (\w+)", shell, flags=re.MULTILINE))
    assert used <= set(commands)
    recipes = set(re.findall(r"^\| `([\w.-]+)` \|", text, flags=re.MULTILINE))
    assert recipes == set(Plugins().entries("configs"))


def test_the_run_file_in_the_readme_loads(tmp_path: Path) -> None:
    from reasonrl.config.runfile import load_run

    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    path = tmp_path / "run.yaml"
    path.write_text(block)
    assert load_run(path).name == "my-run"


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(tmp_path: Path) -> None:
    without_network = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *without_network, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    packages = [Path(package) for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    wanted = {
        str(path.relative_to(package.parent))
        for path in map(Path, listed.stdout.splitlines())
        for package in packages
        if path.is_relative_to(package) and (ROOT / path).is_file()
    }
    assert shipped == wanted
    assert "reasonrl_author/template/pyproject.toml.jinja" in shipped


STRANGER = {
    "pyproject.toml": """
[project]
name = "stranger-rewards"
version = "1.0"
[project.entry-points.reasonrl]
stranger = "stranger_rewards"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
""",
    "stranger_rewards.py": '''
from reasonrl import Rollout, hookimpl

def brief(rollout: Rollout, *, limit: int = 40) -> float:
    """1 for a brief completion."""
    return float(len(rollout.text) <= limit)

@hookimpl
def reasonrl_rewards():
    return {"brief": brief}
''',
    "run.yaml": """
name: strange
model: tiny
task: {name: arithmetic, params: {num_problems: 50, min_terms: 3}}
template: plain
rewards: [{name: brief, params: {limit: 30}}]
rollout: {prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 16}
run: {steps: 1}
""",
}


@pytest.mark.slow
def test_a_strangers_package_is_installed_listed_and_trains(tmp_path: Path) -> None:
    for name, text in STRANGER.items():
        (tmp_path / name).write_text(text)
    python = make_environment(tmp_path / "venv")
    install(python, tmp_path)
    command = [str(python), "-m", "reasonrl"]
    listed = subprocess.run([*command, "rewards", "list"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "brief  (stranger (stranger-rewards))" in listed.stdout
    subprocess.run([*command, "train", "run.yaml", "--plain"], check=True, cwd=tmp_path)
    assert (tmp_path / "runs" / "strange" / "checkpoints" / "step_000001").is_dir()
