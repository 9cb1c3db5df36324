"""What a person sees of a run, and what a model's text cannot do to the terminal."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from builders import batch
from rich.cells import cell_len
from rich.console import Console

from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult
from reasonrl.preference.card import HeldoutEvaluation, Interval
from reasonrl.run.events import (
    AlarmRaised,
    EvaluationFinished,
    HeldoutMeasured,
    Message,
    RunEnded,
    RunStarted,
    StepFinished,
    StepMetrics,
)
from reasonrl.run.terminal import LiveView, PlainView, choose_view
from reasonrl.types import Group, Problem, RewardResult, Score, StepRecord, Trajectory

METRICS: Mapping[str, float] = {
    "seconds/sampling": 1.0,
    "seconds/scoring": 0.1,
    "seconds/learning": 1.0,
    "seconds/step": 2.1,
    "tokens_per_second/sampling": 2103.4,
    "reward/mean": 0.431,
    "reward/exact": 0.4,
    "reward/format[a]": 0.31,
    "groups/useful": 13 / 16,
    "groups/count": 16,
    "completion/length_mean": 41.2,
    "completion/truncated": 0.031,
    "policy/entropy": 0.52,
    "policy/grad_norm": 0.31,
    "policy/learning_rate": 1e-6,
}

CONFIG = RunConfig.model_validate(
    {
        "name": "a",
        "model": "tiny",
        "task": "arithmetic",
        "rewards": ["exact", "format[a]"],
        "run": {"steps": 150},
    }
)


def group_of(texts: Sequence[str], name: str = "2 + 2 = ?") -> Group:
    """Return a group with these completions."""
    completions = tuple(
        Trajectory.single_turn(
            token_ids=(1,),
            text=text,
            logprobs=(-0.5,),
            finish_reason="stop",
            policy_version=0,
            sample_index=index,
            seed=index,
        )
        for index, text in enumerate(texts)
    )
    problem = Problem(id=name, task="arithmetic", prompt=name, answer="4")
    return Group(problem=problem, prompt=name, prompt_ids=(1,), trajectories=completions)


def record_of(
    texts: Sequence[str] = (), values: Sequence[float | None] = (), metrics: Mapping[str, float] = METRICS
) -> StepRecord:
    """Return step 12 with one group; None stands for a reward that timed out."""
    scores = [Score(value, "", "timeout" if value is None else "scored") for value in values]
    results = tuple(RewardResult(total=score, rewards={"exact": score}) for score in scores)
    advantages = tuple((value or 0.0) - 0.5 for value in values)
    return StepRecord(
        batch=batch([group_of(texts)], [results], step=12),
        advantages=(advantages,),
        policy_version=11,
        measured={},
        seconds={},
        metrics=metrics,
    )


def evaluation(step: int, num_right: int) -> EvaluationFinished:
    """Return the figures of a suite with two problems after a step."""
    rows = [
        SampleResult(
            problem_id=str(number),
            sample_index=0,
            seed=0,
            prompt="",
            completion="",
            parsed=None,
            answer="",
            value=float(number < num_right),
            finish_reason="stop",
            num_tokens=1,
        )
        for number in range(2)
    ]
    result = SuiteResult(
        name="arithmetic",
        version=1,
        role="valid",
        suite_sha="",
        prompt_sha="",
        template="plain",
        sampling=Sampling(num_samples=1, max_new_tokens=1, temperature=0.0, stop=()),
        seed=0,
        seconds=1.0,
        rows=tuple(rows),
    )
    return EvaluationFinished(step=step, results=(result,))


STARTED = RunStarted(config=CONFIG, path=Path("runs/a"), steps_done=0, num_steps=150)


def plain(record: StepRecord, show_samples: int = 0, *, width: int = 80, encoding: str = "utf-8") -> str:
    """Return what a plain view prints for a step."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    view = PlainView(Console(file=stream, width=width, color_system=None, highlight=False), show_samples)
    view(STARTED)
    stream.seek(0)
    stream.truncate()
    view(StepFinished(record=record))
    stream.seek(0)
    return stream.read()


def live(width: int = 100) -> tuple[LiveView, io.StringIO]:
    """Return a view on a terminal that is a string."""
    screen = io.StringIO()
    return LiveView(Console(file=screen, width=width, force_terminal=True, highlight=False)), screen


def last_block(screen: io.StringIO) -> str:
    """Return the status block as it was drawn last, without escapes."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return text[text.rindex("step 12/150  ━") :]


REWARD_MODEL_STEP: Mapping[str, float] = {
    "rm/loss": 0.512,
    "rm/accuracy": 0.719,
    "rm/margin": 0.43,
    "rm/grad_norm": 1.2,
    "seconds/step": 2.1,
    "tokens_per_second/learning": 2103.4,
}


def measured(step: int, accuracy: float = 0.75) -> HeldoutMeasured:
    """A measurement of a reward model after a step."""
    evaluation = HeldoutEvaluation(
        accuracy=Interval(value=accuracy, lower=0.7, upper=0.8),
        length_only=Interval(value=0.6, lower=0.5, upper=0.7),
        length_rule="longer",
        difference=Interval(value=0.15, lower=0.05, upper=0.25),
        num_pairs=100,
        num_prompts=50,
    )
    return HeldoutMeasured(step=step, evaluation=evaluation, metrics={"heldout/accuracy": 0.75, "heldout/loss": 0.55})


def test_a_step_of_a_reward_model_is_one_line_and_its_measurement_has_length_alone_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = choose_view(plain=True, show_samples=3)
    view(STARTED)
    capsys.readouterr()
    view(StepFinished(record=StepMetrics(step=12, metrics=REWARD_MODEL_STEP)))
    view(measured(12))
    view(HeldoutMeasured(step=24, evaluation=None, metrics={"heldout/loss": 0.5}))
    assert capsys.readouterr().out.splitlines() == [
        "step 12/150 | 2.1 s | loss 0.512 | accuracy 71.9% | margin 0.430 | grad norm 1.20 | 2103 tok/s | 0:04:50 left",
        "step 12/150 | held-out | accuracy 75.0% [70.0%, 80.0%] | length only 60.0% [50.0%, 70.0%] | "
        "difference +15.0 points [+5.0, +25.0] | loss 0.550",
        "step 24/150 | held-out | loss 0.500",
    ]


def test_the_status_block_of_a_reward_model_has_its_figures_and_its_accuracies() -> None:
    view, screen = live(width=120)
    view(STARTED)
    view(measured(0, accuracy=0.5))
    view(StepFinished(record=StepMetrics(step=12, metrics=REWARD_MODEL_STEP)))
    view(measured(12))
    view(RunEnded(status="finished"))
    block = last_block(screen)
    assert "0:04:50 left" in block.splitlines()[0]
    assert [line.rstrip() for line in block.splitlines()[1:4]] == [
        "speed     2.1 s   2103 tok/s",
        "model     loss 0.512   accuracy 71.9%   margin 0.430   grad norm 1.20",
        "held-out  accuracy  step 0: 50.0% [70.0%, 80.0%]  step 12: 75.0% [70.0%, 80.0%]",
    ]


def test_a_step_is_one_line_without_escapes() -> None:
    assert plain(record_of()) == (
        "step 12/150 | 2.1 s (sample 1.0, score 0.1, learn 1.0) | reward 0.431 | useful groups 13/16 | "
        "length 41.2 | truncated 3.1 % | entropy 0.52 | grad norm 0.31 | 2103 tok/s | 0:04:50 left\n"
    )


@pytest.mark.parametrize("absent", METRICS)
def test_a_figure_that_was_not_measured_is_left_out(absent: str) -> None:
    metrics = {name: value for name, value in METRICS.items() if name != absent}
    line = plain(record_of(metrics=metrics)).strip()
    assert "nan" not in line
    assert all(piece.strip() for piece in line.split("|"))


def test_a_step_without_figures_still_has_its_line() -> None:
    assert plain(record_of(metrics={})) == "step 12/150\n"


def test_facts_figures_and_messages_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    view = choose_view(plain=True, show_samples=0)
    view(
        RunStarted(
            config=CONFIG,
            path=Path("runs/[bold]a[/bold]"),
            steps_done=0,
            num_steps=150,
            facts={"device": "cpu x2"},
            warnings=("no suite",),
        )
    )
    view(evaluation(0, num_right=1))
    view(AlarmRaised(step=3, kind="truncation", message="all cut", action="warn", since=1))
    view(Message(text="checkpoint :smile: [/] in runs/a"))
    view(RunEnded(status="finished", message="done\x1b]0;owned\x07"))
    assert capsys.readouterr().out.splitlines() == [
        "device  cpu x2",
        "run     runs/[bold]a[/bold]",
        "warning: no suite",
        "step 0/150 | held-out | arithmetic 50.0% [9.5%, 90.5%]",
        "alarm truncation after step 3: all cut",
        "checkpoint :smile: [/] in runs/a",
        "done",
    ]


def test_samples_are_the_best_the_worst_and_the_median() -> None:
    printed = plain(record_of(["b", "a", "c", "d", "e"], [0.5, 0.25, 1.0, None, 0.0]), 3)
    headings = [line for line in printed.splitlines() if " of 5 " in line]
    assert headings == [
        "best of 5 | reward 1.000 (exact 1.000) | advantage +0.500",
        "worst of 5 | reward 0.000 (exact 0.000) | advantage -0.500",
        "median of 5 | reward 0.250 (exact 0.250) | advantage -0.250",
    ]
    assert re.findall(r"^    (\w)$", printed, re.MULTILINE) == ["c", "e", "a"]
    assert "arithmetic: 2 + 2 = ? (answer: 4)\n" in printed


@pytest.mark.parametrize(("count", "labels"), [(0, []), (1, ["best"]), (2, ["best", "worst"])])
def test_no_more_samples_are_shown_than_asked_for(count: int, labels: list[str]) -> None:
    printed = plain(record_of(["b", "a", "c"], [0.5, 0.25, 1.0]), count)
    assert re.findall(r"^(best|worst|median)", printed, re.MULTILINE) == labels


def test_no_completion_is_shown_twice() -> None:
    printed = plain(record_of(["a", "b"], [1.0, 0.0]), 3)
    assert re.findall(r"^(best|worst|median)", printed, re.MULTILINE) == ["best", "worst"]


def test_a_group_without_any_score_is_shown_with_the_outcomes() -> None:
    assert "reward timeout (exact timeout)" in plain(record_of(["a", "b"], [None, None]), 1)


def test_the_group_shown_is_one_that_teaches() -> None:
    flat, telling = record_of(["same", "same"], [0.5, 0.5]), record_of(["yes", "no"], [1.0, 0.0])
    both = replace(
        flat,
        batch=batch(flat.batch.groups + telling.batch.groups, flat.batch.results + telling.batch.results, step=12),
        advantages=flat.advantages + telling.advantages,
    )
    assert "    yes\n" in plain(both, 1)


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 9000, "\n" * 200, "漢字" * 900])
def test_a_long_completion_takes_at_most_twelve_lines_of_the_screen(text: str) -> None:
    lines = plain(record_of([text, "b"], [1.0, 0.0]), 1, width=40).splitlines()
    shown = lines[lines.index("best of 2 | reward 1.000 (exact 1.000) |") :]
    assert len(shown) == 12
    assert shown[-1] == f"    ... ({len(text)} characters in all)"
    assert all(cell_len(line) <= 40 for line in shown)


def test_markup_in_a_completion_is_shown_and_not_obeyed() -> None:
    text = "[bold red]4[/bold red] [/] [link=http://x]y[/link] :smile: \\[a]"
    assert f"    {text}\n" in plain(record_of([text, "b"], [1.0, 0.0]), 1)


@pytest.mark.parametrize(
    "evil",
    [
        "\x1b[31m",
        "\x1b[2J\x1b[1;1H",
        "\x9b31m",
        "\x1b]0;a title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x1bPq#0\x1b\\",
        "\x1bc",
        "\x1b(0",
        "\x1b\x00",
        "\r",
        "\x08\x08",
        "\x00\x07",
        "\u202e",
        "\u2028",
    ],
)
def test_a_completion_cannot_steer_the_terminal(evil: str) -> None:
    printed = plain(record_of([f"an{evil}swer", "b"], [1.0, 0.0]), 1)
    assert "    answer\n" in printed


def test_text_a_terminal_cannot_encode_does_not_stop_the_run() -> None:
    assert "    \\u65e5 \\ud83d\n" in plain(record_of(["日 \ud83d", "b"], [1.0, 0.0]), 1, encoding="ascii")


def test_the_status_block_has_the_figures_of_the_step_and_of_each_reward() -> None:
    view, screen = live()
    view(STARTED)
    view(StepFinished(record=record_of()))
    view(RunEnded(status="finished"))
    block = last_block(screen)
    assert "0:04:50 left" in block.splitlines()[0]
    assert [line.rstrip() for line in block.splitlines()[1:5]] == [
        "speed     2.1 s (sample 1.0, score 0.1, learn 1.0)   2103 tok/s",
        "reward    mean 0.431   (exact 0.400, format[a] 0.310)",
        "groups    useful groups 13/16   length 41.2   truncated 3.1 %",
        "policy    entropy 0.52   grad norm 0.31",
    ]


def test_the_time_left_follows_the_mean_of_recent_steps() -> None:
    view, screen = live()
    view(STARTED)
    for seconds in (1.0, 3.0):
        view(StepFinished(record=record_of(metrics={"seconds/step": seconds})))
    view(RunEnded(status="finished"))
    assert "0:04:36 left" in last_block(screen)


def test_the_status_block_keeps_the_first_and_the_latest_held_out_figures() -> None:
    view, screen = live()
    view(STARTED)
    for step, num_right in ((0, 0), (4, 1), (8, 1), (12, 2)):
        view(evaluation(step, num_right))
    view(StepFinished(record=record_of()))
    view(RunEnded(status="finished"))
    (line,) = [line for line in last_block(screen).splitlines() if line.startswith("held-out")]
    without_intervals = re.sub(r" \[.*?\]", "", line)
    assert without_intervals.split() == ["held-out", "arithmetic", "step", "0:", "0.0%", "step", "12:", "100.0%"]


def test_the_status_block_keeps_its_height_on_a_narrow_terminal() -> None:
    view, screen = live(width=40)
    view(STARTED)
    view(StepFinished(record=record_of()))
    view(RunEnded(status="finished"))
    assert len(last_block(screen).strip().splitlines()) == 5


def test_stopping_gives_the_terminal_back_even_before_the_first_step() -> None:
    view, screen = live()
    view(STARTED)
    view(RunEnded(status="interrupted", message="interrupted"))
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")
    assert "interrupted" in screen.getvalue()


@pytest.mark.parametrize(
    ("terminal", "plain_asked", "environment", "expected"),
    [
        (True, False, {}, LiveView),
        (True, True, {}, PlainView),
        (False, False, {}, PlainView),
        (True, False, {"CI": "true"}, PlainView),
        (True, False, {"TERM": "dumb"}, PlainView),
        (False, False, {"FORCE_COLOR": "1"}, PlainView),
    ],
)
def test_the_block_is_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    plain_asked: bool,
    environment: Mapping[str, str],
    expected: type[LiveView | PlainView],
) -> None:
    for name, value in {"CI": "", "TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert type(choose_view(plain_asked, 0)) is expected


def test_a_plain_view_prints_no_colors_even_when_they_are_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    view = choose_view(plain=True, show_samples=3)
    view(STARTED)
    view(StepFinished(record=record_of(["a", "b"], [1.0, 0.0])))
    assert "\x1b" not in capsys.readouterr().out
