"""``--json``: every command that prints figures has it, and what it prints can be read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import results
from reported_runs import policy_config, policy_run
from typer.main import get_command
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.commands.installed import add_commands
from reasonrl.commands.kinds import KINDS
from reasonrl.run.events import Message, RunEnded, RunStarted, StepFinished, StepMetrics
from reasonrl.run.json_lines import print_event

PRINT_NO_FIGURES = {
    "config explain",
    "config schema",
    "config show",
    "export",
    "init",
    "models get",
    "models list",
    "plugins list",
    "report",
    "rewards new",
    "rm serve",
    "sandbox serve",
    "view",
    *(f"{kind} {verb}" for kind in KINDS for verb in ("list", "show")),
}
"""Commands that print names, places, settings or documentation."""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its words. Any: click's, of which typer brings a copy."""
    add_commands(app)

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield " ".join(words), command
            return
        for name, inner in command.commands.items():
            yield from walk(inner, (*words, name))

    return walk(get_command(app), ())


def test_every_command_that_prints_figures_has_json_and_no_other_has() -> None:
    having = {words for words, command in commands() if any("--json" in each.opts for each in command.params)}
    known = {words for words, _ in commands()}
    assert known - having - PRINT_NO_FIGURES == set(), "these print figures: give them --json"
    assert having & PRINT_NO_FIGURES == set()


def printed(*arguments: str) -> Any:
    """Run a command in this process and return what it printed. Any: JSON."""
    add_commands(app)
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return json.loads(done.stdout)


def test_a_comparison_is_printed_as_json(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    (pair,) = printed("compare", str(run.path), "--json")["pairs"]
    assert pair["figures"][0]["difference"]["difference"] == pytest.approx(2 / 6)


def test_a_rescored_result_is_printed_as_json(in_folder: Path) -> None:
    Path("metric.py").write_text(
        "from reasonrl import Measurement\n\ndef never(rollout):\n    return Measurement(0.0, parsed='0')\n"
    )
    folder = results.written(results.result(((1.0,), (0.0,), (1.0,))), in_folder / "model" / "sums")
    found = printed("rescore", str(folder), "--metric", "./metric.py:never", "--json")
    assert found["changed"] == {"completions": 2, "up": 0, "down": 2}
    assert found["figures"][0]["difference"]["difference"] == pytest.approx(-2 / 3)


@pytest.mark.slow
def test_scores_and_the_grading_of_a_reward_are_printed_as_json(in_folder: Path) -> None:
    right, wrong = "<answer>4</answer>", "<answer>5</answer>"
    (score,) = printed("rewards", "try", "numeric_answer", "--text", right, "--answer", "4", "--json")
    assert (score["value"], score["outcome"], score["text"]) == (1.0, "scored", right)
    rows = [{"id": number, "answer": "4", "text": text, "expected": True} for number, text in enumerate((right, wrong))]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = printed("rewards", "grade", "numeric_answer", "--pairs", "pairs.jsonl", "--out", "scores.jsonl", "--json")
    assert (found["accuracy"]["value"], found["accuracy"]["count"], found["mistakes"]["false reject"]) == (0.5, 1, 1)
    preference = {"prompt": "2+2?", "chosen": right, "rejected": wrong, "answer": "4"}
    Path("preferences.jsonl").write_text(json.dumps(preference) + "\n")
    found = printed("rewards", "grade", "numeric_answer", "--pairs", "preferences.jsonl", "--out", "p.jsonl", "--json")
    assert (found["accuracy"]["value"], found["ties"]) == (1.0, 0)


def test_an_overlap_is_printed_as_json(in_folder: Path) -> None:
    small = ("--train-param", "num_problems=30", "--param", "num_problems=20")
    found = printed("tasks", "overlap", "arithmetic", "arithmetic", *small, "--json")
    assert found["refused"] is False
    assert set(found["rates"]) >= {"masked", "similar"}


def test_made_pairs_are_counted_as_json(in_folder: Path) -> None:
    rows = [
        {"task": "sums", "problem_id": "p1", "prompt": "1 + 1?", "answer": "2", "completion": text, "score": score}
        for text, score in (("2", 1.0), ("3", 0.0))
    ]
    Path("samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = printed("rm", "pairs", "samples.jsonl", "--out", "pairs.jsonl", "--json")
    assert (found["pairs"], found["completions"], found["file"]) == (1, 2, "pairs.jsonl")


def test_json_and_what_is_for_people_are_not_asked_for_together(in_folder: Path) -> None:
    done = CliRunner().invoke(app, ["train", "quickstart", "--json", "--plain"])
    assert "--json and --plain: give one of them" in str(done.exception)


def test_events_are_one_object_a_line_without_what_json_cannot_hold(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = policy_config(tmp_path, "a", 2)
    print_event(RunStarted(config=config, path=tmp_path, steps_done=0, num_steps=2, facts={"model": "tiny"}))
    print_event(StepFinished(record=StepMetrics(step=1, metrics={"reward/mean": 0.5, "odd": float("nan")})))
    print_event(Message(text="two\nlines"))
    print_event(RunEnded(status="finished"))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["started", "step", "message", "ended"]
    assert events[1] == {"event": "step", "step": 1, "metrics": {"reward/mean": 0.5, "odd": None}}
    assert events[2]["text"] == "two\nlines"
