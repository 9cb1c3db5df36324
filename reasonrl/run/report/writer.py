"""Reports as files: asked for by a person, and left in the run directory at the end of every run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from reasonrl.run.events import Event, RunEnded
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.history import History
from reasonrl.run.report.page import report_page
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors

FILE: Final = "report.html"
"""Name of a run's report in its directory."""


def write_report(runs: Sequence[Path], file: Path) -> None:
    """Write the report of one run or several, which may be training meanwhile.

    Args:
        runs: their directories.
        file: where; its folder is made if need be.

    Raises:
        RunError: one is no run directory, is damaged, or the file cannot be written.
        DataError: results of an evaluation are damaged.
    """
    page = report_page([History.open(path) for path in runs])
    with disk_errors(file, "then write the report again."):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page.encode())


class ReportWriter:
    """The observer that leaves a report in the directory of a run that ends, however it ends.

    Args:
        directory: the run's.
        say: shows a person a line.
    """

    def __init__(self, directory: RunDirectory, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say

    def __call__(self, event: Event) -> None:
        """Write the report once nothing more will happen; a run that goes on from a checkpoint has not ended."""
        if not isinstance(event, RunEnded) or event.status == "rolled_back":
            return
        path = self._directory.path
        try:
            write_report([path], path / FILE)
        except (Exception, KeyboardInterrupt) as error:  # whatever it is: the run is written down, and has ended
            self._say(f"no report: {str(error) or type(error).__name__}. Make it with: reasonrl report {path}")
        else:
            self._say(f"Report: {path / FILE}")
