"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reasonrl import commands
from reasonrl.errors import ReasonRLError


def say(*arguments: str) -> str:
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(commands.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", [["--help"], ["rewards", "list"], ["engines", "list"], ["config", "schema"]])
def test_light_commands_import_nothing_heavy(command: list[str]) -> None:
    script = (
        f"import sys; from reasonrl import commands; sys.argv = ['reasonrl', *{command!r}]\n"
        "try:\n    commands.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'vllm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_reasonrl_imports_nothing_heavy() -> None:
    script = "import sys, reasonrl; assert not {'torch', 'transformers', 'vllm', 'datasets'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_mistake_is_one_message_on_standard_error_without_a_traceback(in_folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "reasonrl", "train", "quickstrat"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: configs: no 'quickstrat'. Did you mean 'quickstart'?")
    assert "Traceback" not in result.stderr


def test_rewards_are_listed_with_owner_and_sentence() -> None:
    listed = say("rewards", "list")
    assert "numeric_answer  (reasonrl-rewards (reasonrl))" in listed
    assert "right number" in listed


def test_a_plugin_is_shown_with_its_parameters() -> None:
    shown = say("tasks", "show", "arithmetic")
    assert "max_value: int = 20" in shown
    assert "split" not in shown.split("\n\n")[0]


def test_config_show_fills_in_every_default() -> None:
    shown = say("config", "show", "quickstart", "algorithm=grpo")
    assert "name: group_normalized" in shown
    assert "max_grad_norm: 1.0" in shown


def test_config_explain_says_what_a_setting_means() -> None:
    assert "at least 2" in say("config", "explain", "rollout.samples_per_prompt")


def test_config_schema_is_json() -> None:
    assert json.loads(say("config", "schema"))["title"] == "Run file"
    assert json.loads(say("config", "schema", "--kind", "policy"))["title"] == "RunConfig"


def test_models_list_says_what_is_here_and_how_to_get_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path))
    listed = say("models", "list")
    assert "tiny" in listed
    assert "reasonrl models get smollm2-135m-instruct" in listed


@pytest.mark.parametrize(
    "command",
    [
        ["train"],
        ["train", "quickstart", "--resume", "runs/x"],
        ["eval", "tiny", "--suite", "arithmetic", "--param", "num_problems"],
        ["compare", "nowhere"],
        ["models", "get", "tiny"],
        ["rewards", "show", "nothing"],
    ],
)
def test_commands_that_make_no_sense_are_refused_with_our_errors(in_folder: Path, command: list[str]) -> None:
    with pytest.raises(ReasonRLError):
        say(*command)


@pytest.mark.slow
def test_a_plan_says_what_a_run_would_cost_and_writes_nothing(in_folder: Path) -> None:
    small = ["rollout.prompts_per_step=2", "rollout.samples_per_prompt=2", "evaluation.suites.0.params.num_problems=8"]
    planned = say("plan", "quickstart", *small)
    for word in ("overlap", "budget", "time", "memory", "held-out", "lengths", "total      about"):
        assert word in planned
    assert list(in_folder.iterdir()) == []


@pytest.mark.parametrize("recipe", ["gsm8k-qwen2.5-0.5b", "math-qwen2.5-1.5b"])
def test_a_recipe_for_another_machine_can_be_planned_here(in_folder: Path, recipe: str) -> None:
    planned = say("plan", recipe)
    assert "not checked here" in planned
    assert "budget" in planned


@pytest.mark.slow
def test_a_model_is_measured_and_compared_with_itself(in_folder: Path) -> None:
    small = ["--suite", "arithmetic", "--param", "num_problems=8", "--template", "plain"]
    assert "95 %" in say("eval", "tiny", *small, "--out", "a")
    say("eval", "tiny", *small, "--out", "b")
    assert "+0.000" in say("compare", "a/tiny", "b/tiny")
    assert "measured before: nothing was sampled" in say("eval", "tiny", *small, "--out", "a")
    with pytest.raises(ReasonRLError, match=r"another setup: seed was 0 and is 1 now.*--overwrite"):
        say("eval", "tiny", *small, "--out", "a", "--seed", "1")
