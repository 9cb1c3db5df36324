"""Check several tasks and suites, one after the other."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.task_check import check_task
from reasonrl.run.task_grading import Graders
from reasonrl.run.task_report import TaskReport
from reasonrl.run.task_source import family_of, find_source

HUB: Final = "https://huggingface.co"
HUB_TIMEOUT_S: Final = 5.0
MIN_DRAWN: Final = 10
"""Problems of each side that a generator draws at least, so that it can be seen whether ids decide the split."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was checked, and what could not be."""

    reports: Sequence[TaskReport]
    not_checked: Mapping[str, str]
    """Names, and why they cannot be loaded here."""

    @property
    def is_passed(self) -> bool:
        """Whether nothing that was checked is at fault."""
        return all(report.is_passed for report in self.reports)

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values. Any: those."""
        reports = [report.as_json() for report in self.reports]
        return {"passed": self.is_passed, "reports": reports, "not_checked": dict(self.not_checked)}

    @property
    def summary(self) -> str:
        """What is left to say after the reports."""
        failed = [report.name for report in self.reports if not report.is_passed]
        lines = [f"not checked: {name}: {why}" for name, why in self.not_checked.items()]
        passed = f"{len(self.reports) - len(failed)} of {len(self.reports)} passed"
        return "\n".join([*lines, f"{passed}; failed: {', '.join(failed)}" if failed else passed])


def check_tasks(
    names: Sequence[str],
    *,
    reward: str | None,
    params: Mapping[str, Any],
    data: str | None,
    num_problems: int | None,
    model: str | None,
    settings: ScoringSettings,
    tell: Callable[[str], None],
    plugins: Plugins | None = None,
) -> Checked:
    """Check tasks and suites by name; without a name, all that are installed and can be loaded here.

    Args:
        names: what to check; a family's name stands for all of its members.
        reward: what scores in place of suites' metrics.
        params: parameters of all of them. Any: their types are the functions'.
        data: a file or folder with the data.
        num_problems: problems of each side that replies are made for; None takes all.
        model: whose tokens prompts are counted in.
        settings: workers and time limits.
        tell: is given each report as text when it is there.
        plugins: where they come from; the installed ones if None.

    Raises:
        ConfigError: parameters are given without a name.
        ReasonRLError: what was named cannot be loaded.
    """
    plugins = plugins or Plugins()
    if not names and (params or data or reward):
        raise ConfigError("--param, --data and --reward are of one task or suite: name it.")
    wanted, is_lenient = _wanted(names, plugins), not names or _has_family(names, plugins)
    if not names:
        _stay_offline_without_hub()
    at_most = None if num_problems is None else max(MIN_DRAWN, num_problems)
    reports, not_checked = [], {}
    with Graders(settings, plugins) as graders:
        for name in wanted:
            try:
                kinds = _kinds(name, reward, plugins)
                source = find_source(name, plugins, kinds=kinds, params=params, data=data, at_most=at_most)
                report = check_task(source, graders, reward=reward, num_problems=num_problems, model=model)
            except ReasonRLError as error:
                if not is_lenient:
                    raise
                is_family = not names and _has_family([name], plugins)
                not_checked[name] = "has many members; name it to check all of them" if is_family else _in_short(error)
                continue
            reports.append(report)
            tell(str(report))
    return Checked(reports, not_checked)


def _kinds(name: str, reward: str | None, plugins: Plugins) -> Sequence[Kind]:
    """Return what a name stands for: of a task and a suite the task alone, where a reward takes the metric's place."""
    is_task = name.partition(":")[0] in plugins.entries("tasks")
    return ("tasks",) if reward is not None and is_task else ("tasks", "suites")


def _stay_offline_without_hub() -> None:
    """Keep the hub's client from trying again for each data set where the hub cannot be reached."""
    host = urlsplit(os.environ.get("HF_ENDPOINT", HUB)).hostname or ""
    try:
        socket.create_connection((host, 443), timeout=HUB_TIMEOUT_S).close()
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the client is imported


def _in_short(error: ReasonRLError) -> str:
    return str(error).split("\n")[0].split(". ")[0].rstrip(".")


def _wanted(names: Sequence[str], plugins: Plugins) -> list[str]:
    """Return the names one by one; families only where they are asked for by name."""
    installed = sorted({*plugins.entries("tasks"), *plugins.entries("suites")})
    return [one for name in names or installed for one in (names and family_of(name, plugins)) or [name]]


def _has_family(names: Sequence[str], plugins: Plugins) -> bool:
    return any(family_of(name, plugins) for name in names)
