"""What the documentation shows works: its files, run files, Python sessions and command lines."""

import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from doc_files import NAMED, blocks, write_files
from typer.main import get_command

from reasonrl.commands import app
from reasonrl.commands.installed import add_commands
from reasonrl.config.kinds import recognize
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.runfile import load_any, override_run
from reasonrl.config.settings import RewardRef, RunConfig, ScoringSettings, SuiteRef
from reasonrl.config.stages import is_pipeline_file, load_pipeline
from reasonrl.config.suite_file import suite_refs
from reasonrl.config.tasks import TaskRef
from reasonrl.config.yaml import read_value
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import find_template
from reasonrl.run.inputs import load_inputs, load_suite
from reasonrl.scoring.contract import load_reward
from reasonrl_author.grade import grade_pairs, grade_preferences
from reasonrl_grading import Policy
from reasonrl_grading.answers import Source
from tools.make_docs import documents

ROOT = Path(__file__).parent.parent
HOOK_PAGES = ROOT / "docs" / "plugins"
SECTIONS = ["Signature", "Arguments", "Returns", "Example", "Errors"]
READ_ME = [ROOT / folder / "README.md" for folder in ("rewards", "tasks", "evals")]
DOCUMENTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in (*documents(), *READ_ME)]


@pytest.mark.parametrize("kind", GIVEN)
def test_a_hooks_page_explains_the_arguments_that_the_core_passes_and_no_others(kind: str) -> None:
    page = (HOOK_PAGES / f"{kind}.md").read_text()
    assert [name for name in re.findall(r"^## (.+)$", page, flags=re.MULTILINE) if name in SECTIONS] == SECTIONS
    arguments = page.split("## Arguments")[1].split("## Returns")[0]
    assert sorted(first_column(arguments)) == sorted(GIVEN[kind])


def test_every_hook_has_a_page_and_every_page_a_hook() -> None:
    assert {path.stem for path in HOOK_PAGES.glob("*.md")} == {*GIVEN, "README"}
    index = (HOOK_PAGES / "README.md").read_text()
    assert set(re.findall(r"\[`reasonrl_(\w+)`\]", index)) == set(GIVEN)


def test_every_place_of_an_answer_and_every_policy_of_the_math_comparison_is_explained() -> None:
    page = (ROOT / "docs" / "rewards" / "math.md").read_text()
    places, why = (page.split(heading)[1].split("\n\n")[0] for heading in ("| source | reads |", "| why the default |"))
    assert first_column(places) == list(get_args(Source))
    assert first_column(why) == [field.name for field in fields(Policy)]


def test_the_rows_that_are_shown_are_graded_as_they_say_and_scores_are_as_described(in_folder: Path) -> None:
    page = ROOT / "docs" / "rewards" / "grading-files.md"
    pairs, _ = write_files(page, in_folder)
    settings = ScoringSettings(workers=1)
    said = grade_pairs(
        RewardRef(name="math"), Path(pairs), Path("out"), settings, Plugins(), bare=False, overwrite=False
    )
    assert "accuracy: 100.00 % (3 of 3 as expected" in said.text
    row, *_ = map(json.loads, Path("out").read_text().splitlines())
    described = page.read_text().split("## Scores")[1].split("## Preferences")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", described, flags=re.MULTILINE)))) == set(row)


def test_the_preferences_that_are_shown_are_graded_and_their_lines_are_as_described(in_folder: Path) -> None:
    page = ROOT / "docs" / "rewards" / "grading-files.md"
    _, preferences = write_files(page, in_folder)
    ref, settings = RewardRef(name="length", params={"soft_limit_tokens": 1, "hard_limit_tokens": 9}), ScoringSettings()
    said = grade_preferences(ref, Path(preferences), Path("out"), settings, Plugins(), overwrite=False)
    assert "of 2 pairs" in said.text
    row, *_ = map(json.loads, Path("out").read_text().splitlines())
    (described,) = re.findall(r"a line of the file of scores has (.*)", page.read_text().split("## Preferences")[1])
    assert set(re.findall(r"`(\w+)`", described)) == {*row, "tie"}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_python_file_that_is_shown_can_be_imported(
    path: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in blocks(path, "python"):
        compile(text, str(path), "exec")
    write_files(path, in_folder)
    for file in sorted(in_folder.rglob("*.py")):
        Plugins().find("rewards", f"{file.relative_to(in_folder)}:__doc__")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_python_session_says_what_is_shown(path: Path, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write_files(path, in_folder)
    monkeypatch.syspath_prepend(str(in_folder))
    for name in names:
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    session = "\n".join(blocks(path, "pycon"))
    test = doctest.DocTestParser().get_doctest(session, {}, path.name, str(path), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    for name in names:
        sys.modules.pop(Path(name).stem, None)
    assert not said, "".join(said)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_run_file_that_is_shown_loads_with_its_plugins(path: Path, in_folder: Path) -> None:
    for name in write_files(path, in_folder):
        if name.endswith(".yaml"):
            if refs := shown_suites(name):
                for ref in refs:
                    load_suite(ref, Plugins())
                continue
            if is_pipeline_file(Path(name)):
                load_pipeline(Path(name))
                continue
            config = load_any(Path(name))
            if not isinstance(config, RunConfig):
                find_template(config.template, Plugins())
                continue
            config = small(config)
            load_inputs(config, Plugins())
            Plugins().function("advantages", config.algorithm.advantage)
            Plugins().function("losses", config.algorithm.loss)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_part_of_a_run_file_that_is_shown_is_valid(path: Path, in_folder: Path) -> None:
    write_files(path, in_folder)
    for text in blocks(path, "yaml"):
        if not NAMED.match(text):
            part = read_value(text)
            if recognize(part).name == "reward_model":
                RewardModelConfig.model_validate({**SMALL_REWARD_MODEL_RUN, **part})
                continue
            config = RunConfig.model_validate({**SMALL_RUN, **part})
            for reward in config.rewards:
                if not missing(reward.name):
                    load_reward(reward, Plugins())


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_command_line_that_is_shown_is_one_of_ours(path: Path) -> None:
    for words in command_lines(path):
        parse(words)


def test_a_command_line_that_is_none_of_ours_is_found() -> None:
    for wrong in (["trian", "quickstart"], ["train", "quickstart", "--colour"], ["rewards", "show"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            parse(wrong)


SMALL_RUN: dict[str, Any] = {
    "name": "shown",
    "model": "tiny",
    "task": {"name": "arithmetic", "params": {"num_problems": 20}},
    "rewards": ["numeric_answer"],
    "run": {"steps": 100},
}
"""What is added to a part of a run file to make it whole."""
SMALL_REWARD_MODEL_RUN: dict[str, Any] = {"name": "shown", "model": "tiny", "data": {"path": "pairs.jsonl"}}
"""The same where it trains a reward model."""


def shown_suites(name: str) -> Sequence[SuiteRef]:
    """Return the suites that a file declares or lists; none where it is a run file."""
    is_run = {"suite", "suites"}.isdisjoint(read_value(Path(name).read_text()))
    return () if is_run else suite_refs([name], params={}, settings={})


def small(config: RunConfig) -> RunConfig:
    """Return a run with few problems, where they are generated."""
    is_arithmetic = isinstance(config.task, TaskRef) and config.task.name == "arithmetic"
    return override_run(config, ["task.params.num_problems=50"]) if is_arithmetic else config


def first_column(table: str) -> list[str]:
    """Return the names in the first column of a table."""
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)


def missing(reference: str) -> bool:
    """Whether a plugin is named by a file that the document does not show."""
    file, _, function = reference.rpartition(":")
    return bool(function) and file.endswith(".py") and not Path(file).is_file()


def command_lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of every ``reasonrl`` command line in a document."""
    text = "\n".join(blocks(path, "bash")).replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("reasonrl "):
            yield shlex.split(line, comments=True)[1:]


def parse(words: list[str]) -> None:
    """Parse a command line as the program would, and do nothing."""
    add_commands(app)
    command: Any = get_command(app)  # click's commands and groups; typer brings its own copy of their types
    context = None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
