"""`reasonrl init`: what it writes is a run that trains, and it overwrites nothing."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.runfile import load_run
from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.init import write_new_run
from reasonrl.run.init.choices import Choices, problem_file
from reasonrl.run.init.settings import starting_settings, usual_reward

COMMAND = [sys.executable, "-m", "reasonrl"]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def choices(problems: str = "arithmetic", reward: str = "numeric_answer", model: str = "tiny") -> Choices:
    return Choices(name="my-run", model=model, problems=problems, reward=reward)


def sums_file(folder: Path, rows: int = 60) -> Path:
    """A file of additions as users have them, with the answer at the end of a solution."""
    path = folder / "sums.jsonl"
    texts = [{"problem": f"What is {n} + 7?", "solution": f"Add 7. #### {n + 7}", "level": 1} for n in range(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return path


def init(*words: str) -> str:
    return CliRunner().invoke(app, ["init", *words], catch_exceptions=False).output


@pytest.mark.parametrize(
    ("given", "task", "template", "rate"),
    [
        (choices(), "arithmetic", "r1_zero", 5e-4),
        (choices("countdown", "countdown"), "countdown", "plain", 5e-4),
        (choices("functions", "unit_tests", "smollm2-135m-instruct"), "functions", "chat", 2.5e-5),
        (choices("arithmetic", "new", "Qwen/Qwen2.5-0.5B-Instruct"), "arithmetic", "chat", 1e-6),
        (choices("gsm8k", "math", "Qwen/Qwen2.5-0.5B"), "gsm8k", "r1_zero", 1e-6),
    ],
)
def test_every_choice_makes_a_run_file_whose_values_suit_the_model(
    in_folder: Path, given: Choices, task: str, template: str, rate: float
) -> None:
    write_new_run(given, in_folder, Plugins())
    config = load_run(in_folder / "my-run.yaml")
    assert (config.tasks[0].label, config.template) == (task, template)
    assert config.learner.learning_rate == rate
    assert [suite.name for suite in config.evaluation.suites], "what it learns is measured"
    assert all(
        line.startswith("#") for line in (in_folder / "my-run.yaml").read_text().split("\n\n")[1].splitlines()[:1]
    )


def test_a_run_of_a_recipes_model_and_task_has_the_recipes_settings() -> None:
    plugins = Plugins()
    recipe = load_run(Path(str(plugins.entries("configs")["quickstart"].offered)))
    settings = starting_settings(choices(), plugins)
    ours = recipe.model_validate(settings)
    same = ("task", "template", "rewards", "algorithm", "rollout", "learner", "evaluation")
    assert [getattr(ours, name) for name in same] == [getattr(recipe, name) for name in same]


def test_columns_of_a_file_are_found_and_a_part_of_it_is_held_out(in_folder: Path) -> None:
    path = sums_file(in_folder)
    found = problem_file(str(path))
    assert found.has_numbers
    assert found.params == {
        "path": str(path),
        "question": "problem",
        "answer": "solution",
        "answer_pattern": r"####\s*(.+)",
    }
    assert usual_reward(str(path), "tiny", Plugins()) == "numeric_answer"
    settings = starting_settings(choices(str(path)), Plugins())
    (suite,) = settings["evaluation"]["suites"]
    assert settings["task"]["params"]["heldout_share"] == suite["params"]["heldout_share"] == 0.1
    assert suite["params"]["metric"] == "number_in_answer"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("[1]\n", "one.jsonl:1: is a list, not an object"),
        ("{\n", "one.jsonl:1: is not JSON"),
        ('{"text": "What?"}\n', "no column with an answer .* it has 'text'"),
        ('{"answer": "7", "text": "What?"}\n', "no column with a question"),
    ],
)
def test_a_file_that_holds_no_problems_is_refused_with_what_it_lacks(in_folder: Path, content: str, said: str) -> None:
    (in_folder / "one.jsonl").write_text(content)
    with pytest.raises(ReasonRLError, match=said):
        problem_file("one.jsonl")


def test_the_next_three_commands_are_said(in_folder: Path) -> None:
    said = init("--model", "tiny", "--on", "arithmetic", "--reward", "new", "sums")
    assert "Written: sums.yaml, sums_reward.py, test_sums_reward.py" in said
    assert [line.split("  #")[0].strip() for line in said.splitlines()[-3:]] == [
        "reasonrl plan sums.yaml",
        "reasonrl train sums.yaml",
        "reasonrl report runs/sums",
    ]


def test_nothing_is_overwritten_and_nothing_is_written_beside_what_is_there(in_folder: Path) -> None:
    (in_folder / "my_run_reward.py").write_text("mine")
    with pytest.raises(ConfigError, match=r"my_run_reward\.py: there already, and nothing is overwritten"):
        write_new_run(choices(reward="new"), in_folder, Plugins())
    assert [(path.name, path.read_text()) for path in in_folder.iterdir()] == [("my_run_reward.py", "mine")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "tiny"], r"here give --on, --reward, such as"),
        (["--model", "tinny", "--on", "arithmetic", "--reward", "new"], "Did you mean 'tiny'"),
        (["--model", "tiny", "--on", "arithmetics", "--reward", "new"], "Did you mean 'arithmetic'"),
        (["--model", "tiny", "--on", "arithmetic", "--reward", "numeric"], "Did you mean 'numeric_answer'"),
        (["../elsewhere", "--model", "tiny", "--on", "arithmetic", "--reward", "new"], "cannot be called"),
    ],
)
def test_what_cannot_be_meant_is_refused(in_folder: Path, words: Sequence[str], said: str) -> None:
    with pytest.raises(ReasonRLError, match=said):
        init(*words)
    assert not list(in_folder.iterdir())


@pytest.mark.slow
def test_in_a_terminal_three_questions_are_asked_and_a_wrong_answer_is_asked_again(in_folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "init"], stdin=theirs, stdout=subprocess.PIPE, text=True, cwd=in_folder)
    os.write(ours, b"\nsums\narithmetic\nnew\n")
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, said
    assert "tasks: no 'sums'" in said
    assert load_run(in_folder / "my-run.yaml").rewards[0].name == "./my_run_reward.py:score"


@pytest.mark.slow
@pytest.mark.parametrize("problems", ["arithmetic", "file"])
def test_what_is_written_passes_its_test_and_its_plan_and_trains_at_once(in_folder: Path, problems: str) -> None:
    given = problems if problems != "file" else str(sums_file(in_folder))
    init("--model", "tiny", "--on", given, "--reward", "new")
    tested = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_run_reward.py"]
    subprocess.run(tested, check=True, cwd=in_folder)
    small = ["rollout.prompts_per_step=2", "rollout.samples_per_prompt=2", "run.steps=1", "learner.warmup_steps=0"]
    few = [] if problems == "file" else ["evaluation.suites.0.params.num_problems=8"]
    for command in ("plan", "train"):
        result = CliRunner().invoke(app, [command, "my-run.yaml", *small, *few], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (in_folder / "runs" / "my-run" / "checkpoints" / "step_000001").is_dir()
