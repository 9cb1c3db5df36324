"""How a run stands, in one line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any, Final, Self

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ReasonRLError
from reasonrl.run.history import History
from reasonrl.run.time_left import TimeLeft, duration
from reasonrl.system.printable import visible

SILENT_S: Final = 600.0
"""Seconds without a sign, beyond the time of twenty of its steps, after which a running run is called silent."""
_SUITE: Final = re.compile(r"heldout/(?P<suite>[^/]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The held-out figure that stands for a run: before its first step, and at the last evaluation."""

    name: str
    base: float | None
    now: float
    step: int
    """Of the last evaluation."""

    def __str__(self) -> str:
        return f"{self.name} {'' if self.base is None else f'{self.base:.1%} -> '}{self.now:.1%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run at one moment."""

    path: Path
    name: str
    status: str
    """``running``, ``silent`` (it says that it runs, and gives no sign), ``finished``, ``interrupted``, ``failed``."""
    step: int
    num_steps: int | None
    """None where nobody knows yet."""
    headline: Headline | None
    reward: float | None
    """Of the last step; None for a reward model."""
    seconds_left: float | None
    """None where the run is over, or has done no step."""
    last_sign: datetime | None
    """When the run wrote something last: when it ended, where it is over."""
    alarms: Mapping[str, int]
    """How often each alarm was raised."""
    cause: str | None
    """Why it is interrupted or failed."""

    @classmethod
    def of(cls, run: History) -> Self:
        """Read how a run stands.

        Raises:
            RunError: a file of it is damaged.
        """
        step, num_steps, signs = run.steps_done, num_steps_of(run), [line["wall"] for line in run.lines]
        last = max((datetime.fromisoformat(wall) for wall in signs), default=None)
        left = _time_left(run)
        status = _called(run, last, left)
        is_going = status == "running" and num_steps is not None
        return cls(
            path=run.path,
            name=run.name,
            status=status,
            step=step,
            num_steps=num_steps,
            headline=headline(run),
            reward=run.metrics["reward/mean"].values[-1] if "reward/mean" in run.metrics else None,
            seconds_left=left.seconds(num_steps - step) if is_going and num_steps is not None else None,
            last_sign=last,
            alarms=alarm_counts(run),
            cause=run.manifest.cause,
        )

    @property
    def is_going(self) -> bool:
        """Whether more may come."""
        return self.status == "running"

    def cells(self) -> list[str]:
        """Return what a line of a table says."""
        return [
            self.name,
            self.status,
            f"{self.step}/{'?' if self.num_steps is None else self.num_steps}",
            "" if self.headline is None else str(self.headline),
            "" if self.reward is None else f"reward {self.reward:.3f}",
            self._when(),
            _counted(self.alarms),
            visible(" ".join((self.cause or "").split()))[:80],
        ]

    def record(self) -> dict[str, Any]:
        """Return it as JSON values. Any: JSON."""
        record = asdict(self)
        sign = self.last_sign
        return {**record, "path": str(self.path), "last_sign": None if sign is None else sign.isoformat()}

    def _when(self) -> str:
        if self.seconds_left is not None:
            return f"{duration(self.seconds_left)} left"
        if self.last_sign is None:
            return ""
        verb = {"running": "last sign", "silent": "last sign"}.get(self.status, "ended")
        return f"{verb} {self.last_sign:%Y-%m-%d %H:%M} UTC"


def num_steps_of(run: History) -> int | None:
    """Return how many steps a run has in all; of epochs, as its data say."""
    config = run.config
    if isinstance(config, RunConfig) or config.run.steps is not None:
        return config.run.steps
    is_tuned = isinstance(config, FinetuneConfig)
    per_step = config.rows_per_step if isinstance(config, FinetuneConfig) else config.pairs_per_step
    with suppress(OSError, ValueError, KeyError, TypeError):
        of_data = json.loads((run.path / "data.json").read_bytes())["summary"]["rows" if is_tuned else "train"]
        return max(run.steps_done, ceil(config.run.epochs * ceil(int(of_data) / per_step)))
    return None


def headline(run: History) -> Headline | None:
    """Return the figure that stands for a run: of the suite that is measured first, or a reward model's accuracy."""
    measured = ((line["step"], name) for line in run.lines for name in line if _SUITE.fullmatch(name))
    first = next((name for _, name in measured if name != "heldout/loss"), None)
    name = "heldout/accuracy" if "heldout/accuracy" in run.metrics else first
    if name is None:
        return None
    series = run.metrics[name]
    base = series.values[0] if series.steps[0] == 0 and len(series.steps) > 1 else None
    return Headline(name=name.removeprefix("heldout/"), base=base, now=series.values[-1], step=series.steps[-1])


def alarm_counts(run: History) -> dict[str, int]:
    """Return how often each alarm was raised, by its kind."""
    kinds = sorted(alarm.message.partition(":")[0] for alarm in run.alarms)
    return {kind: len([*same]) for kind, same in groupby(kinds)}


def status_lines(paths: Sequence[Path]) -> Iterator[RunStatus | str]:
    """Yield how each run stands; of one that cannot be read, why."""
    for path in paths:
        try:
            yield RunStatus.of(History.open(path))
        except ReasonRLError as error:
            yield f"{path.name}  cannot be read: {visible(str(error))}"


def _time_left(run: History) -> TimeLeft:
    left = TimeLeft()
    for line in run.lines:
        left.add(line)
    return left


def _called(run: History, last: datetime | None, left: TimeLeft) -> str:
    """Return a run's status; one that was killed with its machine says that it runs."""
    status = run.manifest.status
    if status != "running" or last is None:
        return status
    silent_s = (datetime.now(UTC) - last).total_seconds()
    return "silent" if silent_s > SILENT_S + (left.seconds(20) or 0.0) else status


def _counted(alarms: Mapping[str, int]) -> str:
    if not alarms:
        return ""
    named = ", ".join(f"{kind} x{count}" if count > 1 else kind for kind, count in alarms.items())
    return f"alarms: {visible(named)}"
