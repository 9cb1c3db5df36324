"""What a person sees while a run trains: a fixed status block on a terminal, one line a step elsewhere."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.console import Group as Rows
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.results import SuiteResult
from reasonrl.run.events import (
    AlarmRaised,
    EvaluationFinished,
    Event,
    HeldoutMeasured,
    Message,
    Observer,
    RunEnded,
    RunStarted,
    StepFinished,
    StepMetrics,
)
from reasonrl.run.reward_model.report import evaluation_figures
from reasonrl.run.time_left import TimeLeft
from reasonrl.types import Advantage, Problem, RewardResult, Score, StepRecord, mean_advantage

METHODS: Final = ("sft", "dpo", "kto")
"""First parts of the names of metrics of finetuning."""

_SAMPLE_LINES: Final = 12
"""Most lines that one completion takes on the screen."""


def choose_view(plain: bool, show_samples: int) -> Observer:
    """Return the status block on a terminal that can show one, otherwise lines.

    Args:
        plain: lines in any case.
        show_samples: how many completions to print after each step.
    """
    terminal = sys.stdout.isatty() and os.environ.get("CI") != "true" and os.environ.get("TERM") != "dumb"
    if terminal and not plain:
        return LiveView(Console(highlight=False), show_samples)
    # Not as rich prints in a notebook, an HTML output for each line: lines are lines there too.
    lines = Console(force_terminal=False, force_jupyter=False, color_system=None, highlight=False)
    return PlainView(lines, show_samples)


class PlainView:
    """One line a step, for logs and pipes.

    Args:
        console: where to print.
        show_samples: how many completions to print after each step.
    """

    def __init__(self, console: Console, show_samples: int = 0) -> None:
        self._console = console
        self._show_samples = show_samples
        self.num_steps = 0
        """Steps of the run in all."""
        self._time_left = TimeLeft()

    def __call__(self, event: Event) -> None:
        """Print what happened."""
        match event:
            case RunStarted():
                self._start(event)
            case StepFinished(record=record):
                self._step(record)
            case EvaluationFinished():
                for result in event.results:
                    shown = _joined(
                        " | ", f"{result.name} {_figure(result)}", *_heldout_reward(result.name, event.metrics)
                    )
                    self.print(f"step {event.step}/{self.num_steps} | held-out | {shown}")
            case HeldoutMeasured():
                figures = [f"{name} {figure}" for name, figure in _measured(event).items()]
                self.print(_joined(" | ", f"step {event.step}/{self.num_steps}", "held-out", *figures))
            case AlarmRaised():
                self.print(f"alarm {event.kind} after step {event.step}: {event.message}")
            case Message():
                self.print(event.text)
            case RunEnded() if event.message:
                self.print(event.message)

    def print(self, message: str) -> None:
        """Print text as it is, free of everything that steers a terminal."""
        self._console.print(Text(_printable(message, self._console)), soft_wrap=True)

    def take_in(self, metrics: Mapping[str, float]) -> None:
        """Learn from the metrics of a step how long others will take."""
        self._time_left.add(metrics)

    def _start(self, event: RunStarted) -> None:
        """Print a line for each fact and warning."""
        self.num_steps = event.num_steps
        facts = {**event.facts, "run": str(event.path)}
        width = max(map(len, facts))
        for name, fact in facts.items():
            self.print(f"{name:<{width}}  {fact}")
        for warning in event.warnings:
            self.print(f"warning: {warning}")

    def _step(self, record: StepRecord | StepMetrics) -> None:
        self.take_in(record.metrics)
        left = self._time_left.text(self.num_steps - record.step)
        self.print(_joined(" | ", f"step {record.step}/{self.num_steps}", *_pieces(record.metrics), left))
        if isinstance(record, StepRecord):
            for sample in _shown_samples(record, self._show_samples, self._console):
                self.print(sample)


class LiveView:
    """A status block that stays, under the lines of :class:`PlainView` that scroll.

    Args:
        console: a terminal.
        show_samples: how many completions to print after each step.
    """

    def __init__(self, console: Console, show_samples: int = 0) -> None:
        self._console = console
        self._log = PlainView(console, show_samples)
        self._live = Live(console=console, auto_refresh=False)
        self._status = _Status()

    def __call__(self, event: Event) -> None:
        """Print what happened above the block, and renew the block."""
        if isinstance(event, RunEnded):
            self._live.stop()
        self._log(event)
        match event:
            case RunStarted():
                self._status.num_steps = event.num_steps
                if isinstance(event.config, RunConfig):
                    self._status.reward_names = [reward.key for reward in event.config.all_rewards]
                self._live.start()
            case StepFinished(record=record):
                self._status.add_step(record)
                self._refresh()
            case EvaluationFinished():
                for result in event.results:
                    figures = self._status.heldout.setdefault(result.name, [])
                    figures.append(f"step {event.step}: {_figure(result)}")
                self._refresh()
            case HeldoutMeasured():
                for name, figure in list(_measured(event).items())[:1]:
                    self._status.heldout.setdefault(name, []).append(f"step {event.step}: {figure}")
                self._refresh()

    def _refresh(self) -> None:
        self._live.update(self._status.render(self._console), refresh=True)


class _Status:
    """What the status block shows."""

    def __init__(self) -> None:
        self.num_steps = 0
        self.reward_names: list[str] = []
        self.heldout: dict[str, list[str]] = {}
        """For each suite its figures so far, the untrained model's first."""
        self._step = 0
        self._metrics: Mapping[str, float] = {}
        self._time_left = TimeLeft()

    def add_step(self, record: StepRecord | StepMetrics) -> None:
        """Remember a step."""
        self._step = record.step
        self._metrics = record.metrics
        self._time_left.add(record.metrics)

    def render(self, console: Console) -> RenderableType:
        """Return the block: the bar over one line a subject."""
        bar = Table.grid(padding=(0, 2), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        done = ProgressBar(total=max(self.num_steps, 1), completed=self._step)
        left = self._time_left.text(self.num_steps - self._step)
        bar.add_row(f"step {self._step}/{self.num_steps}", done, left)
        lines = [f"{name:<9} {text}" for name, text in self._lines(console.width) if text]
        texts = [Text(_printable(line, console), no_wrap=True, overflow="crop") for line in lines]
        return Rows(bar, *texts)

    def _lines(self, width: int) -> Iterator[tuple[str, str]]:
        """Yield subject and text of each line."""
        metrics = self._metrics
        yield "speed", _joined("   ", _seconds(metrics), _tokens_per_second(metrics))
        yield "reward", self._reward()
        yield "groups", _joined("   ", _useful_groups(metrics), *_lengths(metrics))
        yield "policy", _joined("   ", *_policy(metrics), _critic(metrics))
        yield "model", _joined("   ", *_reward_model(metrics), *_finetuning(metrics))
        for suite, figures in self.heldout.items():
            yield "held-out", _joined("  ", suite, *_first_and_latest(figures, room=max(width // 40, 2)))

    def _reward(self) -> str:
        parts = _joined(", ", *(_number(name, self._metrics, f"reward/{name}") for name in self.reward_names))
        total = _number("mean", self._metrics, "reward/mean")
        teacher = _number("teacher KL", self._metrics, "distillation/kl")
        return _joined("   ", total, parts and f"({parts})", _lost_scores(self._metrics), teacher)


def _figure(result: SuiteResult) -> str:
    estimate = result.estimate()
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


def _heldout_reward(suite: str, metrics: Mapping[str, float]) -> tuple[str, str]:
    """Return what the training reward is on a suite, and how it goes with the metric."""
    name = f"heldout/{suite}/reward_"
    wrong = metrics.get(f"{name}high_when_wrong")
    return (
        _joined(
            ", ",
            _number("reward", metrics, f"{name}mean"),
            _number("correlation", metrics, f"{name}correlation", ".2f"),
        ),
        "" if wrong is None else f"high for {wrong:.0%} of wrong ones",
    )


def _first_and_latest(figures: Sequence[str], room: int) -> Sequence[str]:
    """Return the first figure and as many of the latest as there is room for."""
    return figures if len(figures) <= room else [figures[0], *figures[1 - room :]]


def _pieces(metrics: Mapping[str, float]) -> list[str]:
    """Return what a step's line says; what was not measured is empty."""
    return [
        _seconds(metrics),
        _number("reward", metrics, "reward/mean"),
        _number("teacher KL", metrics, "distillation/kl"),
        _lost_scores(metrics),
        _useful_groups(metrics),
        *_lengths(metrics),
        *_policy(metrics),
        _critic(metrics),
        *_reward_model(metrics),
        *_finetuning(metrics),
        _tokens_per_second(metrics),
    ]


def _joined(separator: str, *pieces: str) -> str:
    return separator.join(piece for piece in pieces if piece)


def _number(label: str, metrics: Mapping[str, float], name: str, form: str = ".3f") -> str:
    return f"{label} {metrics[name]:{form}}" if name in metrics else ""


def _seconds(metrics: Mapping[str, float]) -> str:
    phases = {"sample": "seconds/sampling", "score": "seconds/scoring", "learn": "seconds/learning"}
    spent = _joined(", ", *(_number(label, metrics, name, ".1f") for label, name in phases.items()))
    total = f"{metrics['seconds/step']:.1f} s" if "seconds/step" in metrics else ""
    return _joined(" ", total, spent and f"({spent})")


def _useful_groups(metrics: Mapping[str, float]) -> str:
    if not {"groups/useful", "groups/count"} <= metrics.keys():
        return ""
    count = metrics["groups/count"]
    return f"useful groups {metrics['groups/useful'] * count:.0f}/{count:.0f}"


def _lost_scores(metrics: Mapping[str, float]) -> str:
    """Return how many samples each reward failed on or ran out of time with, or nothing."""
    failures = [(name, value) for name, value in metrics.items() if name.startswith("outcome/")]
    named = [(*name.removeprefix("outcome/").rpartition("/")[::2], value) for name, value in failures]
    return ", ".join(f"{reward} {value:.0f} x {kind}" for reward, kind, value in named if kind != "unscorable")


def _lengths(metrics: Mapping[str, float]) -> tuple[str, str]:
    cut = "completion/truncated"
    truncated = f"truncated {metrics[cut] * 100:.1f} %" if cut in metrics else ""
    return _number("length", metrics, "completion/length_mean", ".1f"), truncated


def _policy(metrics: Mapping[str, float]) -> tuple[str, str]:
    entropy = _number("entropy", metrics, "policy/entropy", ".2f")
    return entropy, _number("grad norm", metrics, "policy/grad_norm", ".2f")


def _critic(metrics: Mapping[str, float]) -> str:
    name = "value/explained_variance"
    return f"critic explains {round(metrics[name], 2) + 0.0:.0%}" if name in metrics else ""


def _reward_model(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return what the training of a reward model shows."""
    return (
        _number("loss", metrics, "rm/loss"),
        _number("accuracy", metrics, "rm/accuracy", ".1%"),
        _number("margin", metrics, "rm/margin"),
        _number("grad norm", metrics, "rm/grad_norm", ".2f"),
    )


def _finetuning(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return what a run of SFT, DPO or KTO shows."""
    method = next((name for name in METHODS if f"{name}/loss" in metrics), "")
    return (
        _number("loss", metrics, f"{method}/loss"),
        _number("token accuracy", metrics, "sft/token_accuracy", ".1%"),
        _number("accuracy", metrics, f"{method}/accuracy", ".1%"),
        _number("margin", metrics, f"{method}/margin"),
        _number("grad norm", metrics, f"{method}/grad_norm", ".2f"),
    )


def _measured(event: HeldoutMeasured) -> Mapping[str, str]:
    """Return the figures of a reward model: its accuracy first, what length alone achieves, and its loss."""
    others = (("label accuracy", "heldout/label_accuracy", ".1%"), ("loss", "heldout/loss", ".3f"))
    return {
        **(evaluation_figures(event.evaluation) if event.evaluation else {}),
        **{label: f"{event.metrics[name]:{form}}" for label, name, form in others if name in event.metrics},
    }


def _tokens_per_second(metrics: Mapping[str, float]) -> str:
    samples_nothing = any(f"{method}/loss" in metrics for method in ("rm", *METHODS))
    name = "tokens_per_second/learning" if samples_nothing else "tokens_per_second/sampling"
    return f"{metrics[name]:.0f} tok/s" if name in metrics else ""


def _shown_samples(record: StepRecord, count: int, console: Console) -> Iterator[str]:
    """Yield the question of one group, then best, worst and median completion, as many as asked for."""
    if not count or not record.batch.groups:
        return
    index = _telling_group(record.advantages)
    group, results = record.batch.groups[index], record.batch.results[index]
    yield _question(group.problem, console)
    for label, member in _ranked(results)[:count]:
        heading = _heading(f"{label} of {len(results)}", results[member], record.advantages[index][member])
        yield _fitted(heading, group.trajectories[member].text, console)


def _telling_group(advantages_PG: Sequence[Sequence[Advantage]]) -> int:
    """Return the first group that teaches something, or the first when none does."""
    return next((index for index, group in enumerate(advantages_PG) if any(map(mean_advantage, group))), 0)


def _ranked(results: Sequence[RewardResult]) -> list[tuple[str, int]]:
    """Name the best, the worst and the median member, none twice; unscored ones only when all are."""
    values = {index: result.total.value for index, result in enumerate(results) if result.total.value is not None}
    order = sorted(values, key=lambda index: -values[index]) or list(range(len(results)))
    places = {"best": order[0], "worst": order[-1], "median": order[len(order) // 2]}
    first_label = {member: label for label, member in reversed(places.items())}
    return [(label, member) for label, member in places.items() if first_label[member] == label]


def _question(problem: Problem, console: Console) -> str:
    asked = problem.prompt or " ".join(message["content"] for message in problem.messages or ())
    line = " ".join(_printable(f"{problem.task}: {asked} (answer: {problem.answer})", console).split())
    return line if len(line) <= console.width else f"{line[: console.width - 3]}..."


def _heading(label: str, result: RewardResult, advantage: Advantage) -> str:
    parts = ", ".join(f"{name} {_value(score)}" for name, score in result.rewards.items())
    return f"{label} | reward {_value(result.total)} ({parts}) | advantage {mean_advantage(advantage):+.3f}"


def _value(score: Score) -> str:
    return score.outcome if score.value is None else f"{score.value:.3f}"


def _fitted(heading: str, text: str, console: Console) -> str:
    """Wrap a completion under its heading to the screen, and cut both together to a dozen lines."""
    width = max(console.width - 4, 20)
    shown = _printable(text, console)[: _SAMPLE_LINES * width]
    lines = [line.plain for line in Text(_printable(heading, console)).wrap(console, console.width)]
    lines += [f"    {line.plain}" for line in Text(shown).wrap(console, width)]
    if len(lines) > _SAMPLE_LINES:
        lines[_SAMPLE_LINES - 1 :] = [f"    ... ({len(text)} characters in all)"]
    return "\n".join(lines)


_ESCAPES: Final = re.compile(
    r"""(?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]          # control sequences, such as colours
      | (?:\x1b[\]PX^_]|[\x9d\x90]) [^\x07\x1b\x9c]* (?:\x07|\x1b\\|\x9c)  # strings, such as window titles
      | \x1b [ -/]* [0-Z\\^-~]                      # short escapes""",
    re.VERBOSE,
)


def _printable(text: str, console: Console) -> str:
    without_escapes = _ESCAPES.sub("", text)
    visible = "".join(character for character in without_escapes if _is_visible(character))
    return visible.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _is_visible(character: str) -> bool:
    """Tell text, line breaks and tabs from control, formatting and direction characters."""
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")
