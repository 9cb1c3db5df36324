"""What trackers cost a run: seconds of whole commands and of a step, beside a run without any.

    python benchmarks/tracker_cost.py
    python benchmarks/tracker_cost.py --trackers wandb sleeping --settings run.steps=20 evaluation.every=20

Every run is quickstart with the same seed, in a process of its own; they follow one another. A run without trackers
comes first and last, which shows what the machine itself varies by. `raising` raises at the second step, `sleeping`
sleeps 60 s in it, `full` writes to a full disk from the start, `lingering` sleeps 60 s when it is closed. A run whose
numbers differ from those without trackers, times apart, is named.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, Final

from measuring import machine

from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.history import NOT_METRICS

SOURCE: Final = """
import time


class Tracker:
    where = ""

    def log(self, step, metrics): ...
    def table(self, step, rows): ...
    def alarm(self, step, kind, message): ...
    def close(self, status, cause): ...


class Raising(Tracker):
    def log(self, step, metrics):
        if step == 2:
            raise ValueError("no such project")


class Sleeping(Tracker):
    def log(self, step, metrics):
        if step == 2:
            time.sleep(60)


class Full(Tracker):
    def log(self, step, metrics):
        with open("/dev/full", "w") as file:
            file.write("x")


class Lingering(Tracker):
    def close(self, status, cause):
        time.sleep(60)


def raising(run): return Raising()
def sleeping(run): return Sleeping()
def full(run): return Full()
def lingering(run): return Lingering()
"""
BAD: Final = ("raising", "sleeping", "full", "lingering")
REAL: Final = ("trackio", "tensorboard", "wandb", "mlflow", "swanlab")
NONE: Final = "none"


def main() -> None:
    """Train beside every tracker and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", nargs="+", default=[*REAL, *BAD], help="which (%(default)s)")
    parser.add_argument(
        "--settings", nargs="*", default=["run.steps=20", "evaluation.every=20"], help="settings of all runs"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in benchmark(options.trackers, Path(folder), options.settings):
            print(line, flush=True)


def benchmark(trackers: Sequence[str], root: Path, settings: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield from machine("trackio", "tensorboard", "wandb", "mlflow-skinny", "swanlab")
    yield f"{'tracker':<14}{'command s':>10}{'step s':>9}  what the run said of it"
    (root / "bad.py").write_text(SOURCE)
    alone: Sequence[Mapping[str, Any]] = ()
    for number, tracker in enumerate([NONE, *trackers, NONE]):
        seconds, run = trained(root, f"run{number}", tracker, settings)
        numbers = [untimed(line) for line in run.read_metrics()]
        alone = alone or numbers
        said = [event["message"] for event in run.read_events() if event["kind"] == "tracker_failed"]
        step_s = fmean(line["seconds/step"] for line in run.read_metrics() if "seconds/step" in line)
        same = "" if numbers == alone else "OTHER NUMBERS; "
        yield f"{tracker:<14}{seconds:>10.1f}{step_s:>9.3f}  {same}{'; '.join(said) or 'nothing'}"


def trained(root: Path, name: str, tracker: str, settings: Sequence[str]) -> tuple[float, RunDirectory]:
    """Train beside a tracker; return the seconds of the command, and the run."""
    reference = f"./bad.py:{tracker}" if tracker in BAD else tracker
    chosen = [] if tracker == NONE else [f"run.trackers=[{reference}]"]
    command = [sys.executable, "-m", "reasonrl", "train", "quickstart", f"name={name}", *settings, *chosen, "--plain"]
    began = perf_counter()
    subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL)
    return perf_counter() - began, RunDirectory.open(root / "runs" / name)


def untimed(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of metrics without what a clock decides. Any: JSON values."""
    timed = ("seconds/", "tokens_per_second/", *NOT_METRICS[2:3])
    return {name: value for name, value in line.items() if not (name.startswith(timed) or name.endswith("_s"))}


if __name__ == "__main__":
    main()
