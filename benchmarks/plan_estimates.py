"""What `reasonrl plan` expects of a run, and what the run then takes: time and memory, for every recipe of a CPU.

    python benchmarks/plan_estimates.py
    python benchmarks/plan_estimates.py --recipes quickstart countdown-tiny
    python benchmarks/plan_estimates.py --recipes smollm2-arithmetic --settings run.steps=10 evaluation.every=5

Each recipe is planned, then trained, each in a process of its own; the plan is of the same settings. Time is that of
the whole command. Memory is that of the trainer at its greatest, and of all that it has started, whose shared pages
count once. A machine that is busy with other things tells nothing of either: the last column is how many of its cores
were, while the run was trained. `rlhf-tiny` is trained on the model of `rlhf-tiny-reward-model`, which comes before it.
The last line is the ratio that is farthest from 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from measuring import machine

from reasonrl.config.find import find_run
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.runfile import load_any
from reasonrl.system.memory import peak_memory

RECIPES: Final = (
    "quickstart",
    "rlhf-tiny-reward-model",
    "rlhf-tiny",
    "countdown-tiny",
    "smollm2-arithmetic",
    "functions-smollm2",
)

BETWEEN_LOOKS_S: Final = 0.25
"""Time between two looks at the memory of a run: to look takes about 10 ms."""

GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Taken:
    """Time and memory, as a plan expects them or as a run has taken them."""

    seconds: float
    memory: float
    """Bytes."""
    others: float = 0.0
    """Cores that were busy with other things meanwhile."""

    def ratio(self, measured: "Taken") -> tuple[float, float]:
        """Return what was expected over what was measured, of time and of memory."""
        return self.seconds / measured.seconds, self.memory / measured.memory


def main() -> None:
    """Plan and train every recipe, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="recipes or run files (all of a CPU)")
    parser.add_argument("--settings", nargs="*", default=[], help="settings of all runs, such as run.steps=20")
    parser.add_argument("--folder", type=Path, help="where runs/ is made, and kept; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in benchmark(options.recipes, options.settings, options.folder or Path(folder)):
            print(line, flush=True)


def benchmark(recipes: Sequence[str], settings: Sequence[str], folder: Path) -> Iterator[str]:
    """Measure and tell."""
    yield from machine()
    side = f"{'expected':>9} {'measured':>9} {'ratio':>6}"
    yield f"{'recipe':<24} {'plan took':>9} {side}   {side}   {'others':>6}"
    ratios: list[float] = []
    for recipe in recipes:
        expected, planning_s = plan(recipe, settings, folder)
        measured = train(recipe, settings, folder)
        ratios += expected.ratio(measured)
        yield row(recipe, planning_s, expected, measured)
    yield f"{max(ratios, key=lambda ratio: max(ratio, 1 / ratio)):.2f}x"


def row(recipe: str, planning_s: float, expected: Taken, measured: Taken) -> str:
    """Return the line of a recipe."""
    of_time, of_memory = expected.ratio(measured)
    return (
        f"{Path(recipe).stem:<24} {planning_s:>7.0f} s {expected.seconds:>7.0f} s {measured.seconds:>7.0f} s "
        f"{of_time:>6.2f}   {expected.memory / GIB:>5.2f} GiB {measured.memory / GIB:>5.2f} GiB {of_memory:>6.2f}   "
        f"{measured.others:>6.1f}"
    )


def plan(recipe: str, settings: Sequence[str], folder: Path) -> tuple[Taken, float]:
    """Return what a plan expects, and how long it took itself."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "reasonrl", "plan", recipe, *settings, "--json"]
    said = json.loads(subprocess.run(command, check=True, cwd=folder, stdout=subprocess.PIPE).stdout)
    taken = Taken(said["time_s"]["expected"], said["memory_bytes"]["expected"])
    return taken, time.perf_counter() - began


def train(recipe: str, settings: Sequence[str], folder: Path) -> Taken:
    """Train, and look at the memory meanwhile.

    Raises:
        SystemExit: the run failed.
    """
    is_reward_model = isinstance(load_any(find_run(recipe), settings), RewardModelConfig)
    command = [sys.executable, "-m", "reasonrl", *(["rm"] if is_reward_model else []), "train", recipe, *settings]
    before, began, busy = processor_s(), time.perf_counter(), busy_s()
    process = subprocess.Popen([*command, "--plain"], cwd=folder, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid) or 0)
        time.sleep(BETWEEN_LOOKS_S)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: ended with {process.returncode}")
    seconds = time.perf_counter() - began
    return Taken(seconds, peak, max(0.0, busy_s() - busy - (processor_s() - before)) / seconds)


def processor_s() -> float:
    """Return the processor time of this process and of all that has ended of what it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def busy_s() -> float:
    """Return the time that the machine's cores were busy since it started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
