"""Measure how hard a run's training problems are for its policy: how often each is passed in a few samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from reasonrl import __version__
from reasonrl.config.rewards import passes, passing_total
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.samples import SampleRow
from reasonrl.run.files.difficulty import DifficultyRow, manifest_path, write_difficulty
from reasonrl.run.sample import SampleRequest, policy_sampler
from reasonrl.run.sample_file import Tell, refuse_other_file, write_samples
from reasonrl.run.tasks import task_settings
from reasonrl.system.disk import require_writable
from reasonrl.system.summary import Summary

BAR_WIDTH: Final = 40
"""Characters of the histogram's longest bar."""
MAX_BARS: Final = 17
"""Most bars: where more samples than that could pass, a bar stands for several numbers of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultyRequest:
    """What to measure."""

    config: RunConfig
    out: Path
    num_samples: int = 8
    num_problems: int | None = None
    """None takes all."""
    pass_at: float | None = None
    """Smallest total reward that passes; None is 1, or what the task's rewards can add up to where that is less."""

    @property
    def samples(self) -> Path:
        """Where the completions stand, which an interrupted call goes on with."""
        return self.out.with_name(f"{self.out.stem}.samples.jsonl")

    def sampling(self) -> SampleRequest:
        """Return what is sampled: all problems, also those that the run itself would leave out by their difficulty."""
        given = self.config.task
        everything = {"difficulty": None}
        task: object = (
            [each.model_copy(update=everything) for each in given]
            if isinstance(given, list)
            else given.model_copy(update=everything)
        )
        config = self.config.model_copy(update={"task": task})
        return SampleRequest(config=config, num_problems=self.num_problems, num_samples=self.num_samples)

    def thresholds(self) -> dict[str, float]:
        """Return what passes, by the label of the task."""
        usual = {task.label: passing_total(task.rewards, 0) for task in self.config.tasks}
        return usual if self.pass_at is None else dict.fromkeys(usual, self.pass_at)


def measure_difficulty(request: DifficultyRequest, plugins: Plugins, *, overwrite: bool, tell: Tell) -> Summary:
    """Sample the policy on its training problems, write how often each was passed, and return a summary.

    Args:
        request: what to measure.
        plugins: where task and rewards come from.
        overwrite: sample anew where there are completions already.
        tell: is told of every part.

    Raises:
        ConfigError: a file is there that something else made, or that was made with other settings.
        StoppedError: Ctrl-C was pressed; the same command goes on.
    """
    sampling = request.sampling()
    settings = sampling.settings()
    _refuse_other(request.out)
    refuse_other_file(request.samples, settings, overwrite)
    with policy_sampler(sampling, plugins) as policy:
        rows = write_samples(policy, settings, request.samples, overwrite=overwrite, tell=tell)
    return _written(request, rows)


def _refuse_other(out: Path) -> None:
    """Refuse to replace a file that was not made here."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: that is a folder. Name a file.")
    if out.exists() and not manifest_path(out).exists():
        raise ConfigError(f"{out} exists already and was not made by reasonrl difficulty. Give another --out.")
    require_writable(out, "then give the command again, or another --out.")


def _written(request: DifficultyRequest, samples: Sequence[SampleRow]) -> Summary:
    config, thresholds = request.config, request.thresholds()
    rows = counted(samples, thresholds, is_mixture=isinstance(config.task, list))
    write_difficulty(
        request.out,
        rows,
        reasonrl=__version__,
        num_problems=len(rows),
        num_samples=request.num_samples,
        seed=config.seed,
        model=config.model.name,
        temperature=config.rollout.temperature,
        tasks={
            task.label: {"name": task.ref.name, "pass_at": thresholds[task.label], **task_settings(task)}
            for task in config.tasks
        },
    )
    return Summary(render_difficulty(rows, request), _values(rows, request))


def _values(rows: Sequence[DifficultyRow], request: DifficultyRequest) -> dict[str, Any]:
    """Return what was measured as JSON values. Any: those."""
    return {
        "tasks": {
            task: _task_values([row for row in rows if row.task == task])
            for task in dict.fromkeys(row.task for row in rows)
        },
        "num_samples": request.num_samples,
        "pass_at": request.thresholds(),
        "file": str(request.out),
        "completions": str(request.samples),
    }


def _task_values(rows: Sequence[DifficultyRow]) -> dict[str, Any]:
    """Return a task's figures; the shares are of the problems with a score. Any: JSON values."""
    rates = [rate for row in rows if (rate := row.rate) is not None]
    return {
        "problems": len(rows),
        "scored_problems": len(rates),
        "mean_pass_rate": fmean(rates) if rates else None,
        "never_passed": fmean(rate == 0 for rate in rates) if rates else None,
        "always_passed": fmean(rate == 1 for rate in rates) if rates else None,
        "completions_without_score": sum(row.num_unscored for row in rows),
    }


def counted(samples: Sequence[SampleRow], thresholds: Mapping[str, float], *, is_mixture: bool) -> list[DifficultyRow]:
    """Return one row a problem, in the order of the samples.

    Args:
        samples: those of a problem stand together.
        thresholds: the smallest total that passes, by the label of the task.
        is_mixture: whether problems have the labels as their task; else there is one threshold.
    """
    passed: dict[tuple[str, str], list[bool | None]] = {}
    for row in samples:
        pass_at = thresholds[row.task] if is_mixture else next(iter(thresholds.values()))
        passed.setdefault((row.task, row.problem_id), []).append(
            None if row.score is None else passes(row.score, pass_at)
        )
    return [DifficultyRow.of(problem_id, task, of_problem) for (task, problem_id), of_problem in passed.items()]


def render_difficulty(rows: Sequence[DifficultyRow], request: DifficultyRequest) -> str:
    """Return what was measured as text: for each task the mean pass rate and a histogram of the problems."""
    lines = []
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        lines += [*_task_lines(task, of_task, request.num_samples), ""]
    pass_at = ", ".join(f"{value:g}" for value in dict.fromkeys(request.thresholds().values()))
    return "\n".join(
        [
            *lines,
            f"passed: a total reward of at least {pass_at}",
            f"Difficulty: {request.out}   Completions: {request.samples}",
            f"Use it: {_place(request.config)}.difficulty="
            f"{{file: {request.out}, min_pass_rate: 0.1, max_pass_rate: 0.9}}",
        ]
    )


def _place(config: RunConfig) -> str:
    return "task.N" if isinstance(config.task, list) else "task"


def _task_lines(task: str, rows: Sequence[DifficultyRow], num_samples: int) -> list[str]:
    rates = [rate for row in rows if (rate := row.rate) is not None]
    unscored = sum(row.num_unscored for row in rows)
    if not rates:
        return [f"task {task}: {len(rows)} problems, and no completion has a score"]
    never, always = sum(rate == 0 for rate in rates), sum(rate == 1 for rate in rates)
    lost = [f"{unscored} completions have no score, and count nowhere"] if unscored else []
    return [
        f"task {task}: {len(rows)} problems x {num_samples} samples, mean pass rate {fmean(rates):.3f}",
        f"never passed {never / len(rates):.1%}, sometimes {1 - (never + always) / len(rates):.1%}, always "
        f"{always / len(rates):.1%}",
        *_histogram(rates, num_samples),
        *lost,
    ]


def _histogram(rates: Sequence[float], num_samples: int) -> list[str]:
    """Draw how many problems have which pass rate: one bar for each number of passes, or for several."""
    num_bars = min(num_samples + 1, MAX_BARS)
    counts = [0] * num_bars
    for rate in rates:
        counts[round(rate * (num_bars - 1))] += 1
    return [
        f"{place / (num_bars - 1):>7.2f} {'#' * round(BAR_WIDTH * count / max(counts)):<{BAR_WIDTH}} {count}"
        for place, count in enumerate(counts)
    ]
