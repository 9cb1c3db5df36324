"""A run whose reward finds no answer says so, with what it looked at and what to do."""

import json
from io import StringIO
from pathlib import Path

import pytest
from reward_cases import rollout
from rich.console import Console

from reasonrl.config.alarms import AlarmSettings
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.start import start_run
from reasonrl.run.terminal import PlainView
from reasonrl_rewards.found import no_answer

RUN = """
name: one
model: tiny
task: {name: arithmetic}
template: plain
rewards: [{name: numeric_answer, isolated: false, params: {sources: SOURCES}}]
algorithm: grpo
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 16}
run: {steps: 2, root: runs}
alarms: {patience: 2}
"""


def train(sources: str) -> tuple[str, list[dict[str, float]]]:
    """Train with these sources; return what was shown, and the metrics of each step."""
    Path("one.yaml").write_text(RUN.replace("SOURCES", sources))
    shown = StringIO()
    start_run(Path("one.yaml"), [], [PlainView(Console(file=shown, width=2000))], argv=["reasonrl", "train"])
    lines = Path("runs/one/metrics.jsonl").read_text().splitlines()
    return shown.getvalue(), list(map(json.loads, lines))


def test_a_run_without_answers_names_the_reward_where_it_looked_a_completion_and_the_remedy(in_folder: Path) -> None:
    shown, metrics = train("[boxed]")
    assert [step["reward/numeric_answer/answered"] for step in metrics] == [0, 0]
    (alarm,) = (line for line in shown.splitlines() if "alarm no_answer" in line)
    assert "after step 2: reward 'numeric_answer' found an answer in 0.0% of completions" in alarm
    assert "no answer found (sources: boxed); it ends '" in alarm
    assert "template boxed" in alarm
    assert "params.sources" in alarm


@pytest.mark.slow
def test_a_run_whose_reward_reads_what_the_model_writes_raises_no_such_alarm(in_folder: Path) -> None:
    shown, metrics = train("[last_number, whole]")
    assert "no_answer" not in shown
    assert all(step["reward/numeric_answer/answered"] > 0.05 for step in metrics)


def test_the_alarm_is_a_function_of_the_metrics_of_any_reward_that_says_whether_it_found_an_answer() -> None:
    step = {"reward/mine/answered": 0.04, "reward/other/answered": 0.5, "reward/mine": 0.0}
    monitor = AlarmMonitor(AlarmSettings(patience=2))
    assert monitor.after_step(1, step) == []
    (alarm,) = monitor.after_step(2, step)
    assert (alarm.kind, alarm.action, alarm.since) == ("no_answer", "warn", 1)
    assert alarm.message.startswith(
        "reward 'mine' found an answer in 4.0% of completions (healthy: at least 5.0%), since"
    )
    for changes in ({"no_answer": "off"}, {"min_answered": 0.04}):
        quiet = AlarmMonitor(AlarmSettings.model_validate({"patience": 2, **changes}))
        assert [quiet.after_step(number, step) for number in (1, 2, 3)] == [[], [], []]


@pytest.mark.parametrize(
    ("text", "end"),
    [("", "it is empty"), (" \n", "it is empty"), ("x" * 100, f"it ends '{'x' * 60}'"), ("a\n b", "it ends 'a b'")],
)
def test_the_reason_shows_the_end_of_a_completion_in_one_line(text: str, end: str) -> None:
    score = no_answer(rollout(text), ("boxed", "phrase"))
    assert score.why == f"no answer found (sources: boxed, phrase); {end}"
    assert (score.value, score.outcome, score.parts) == (0.0, "scored", {"answered": 0.0})
