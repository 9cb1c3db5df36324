"""A run that is killed with SIGKILL at random moments and resumed each time, against the same run left alone.

Compared are every number of every step, times aside, and the last checkpoint's weights, byte for byte.

  python benchmarks/kills.py --kills 20
  python benchmarks/kills.py --kills 20 --settings model.fast_path=false
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import sleep
from typing import Any, Final, TypeAlias

from async_run import command
from measuring import machine

from reasonrl.run.files.directory import RunDirectory
from reasonrl.system import jsonl

GUARD_S: Final = 1.0
"""Time for a run's guard to write down that the run was killed."""

TIMED: Final = ("seconds/", "tokens_per_second/", "wall")
"""How the names of metrics begin that a clock decides; those that end in ``_s`` are others."""

Start: TypeAlias = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]
"""Starts ``reasonrl train`` with these arguments."""


def kill_and_resume(
    start: Start, arguments: Sequence[str], path: Path, *, kills: int, within: int, random: Random
) -> RunDirectory:
    """Return a finished run that was killed as often as asked.

    Args:
        start: starts it.
        arguments: of its first start, and of further ones until it has a checkpoint.
        path: its directory.
        kills: how often.
        within: most steps of a process before its death, which comes at a random moment of the next one.
        random: decides when.
    """
    for number in range(1, kills + 1):
        if _ends_before(process := start(arguments), path, random.uniform(1, within + 1)):
            sys.exit(f"{path.name}: ended with {process.returncode} after {number - 1} kills of {kills}")
        print(f"{path.name}: kill {number} after step {last_step(path)}", flush=True)
        if path.exists() and RunDirectory.open(path).checkpoints():
            arguments = ["--resume", str(path)]
    if code := start(arguments).wait():
        sys.exit(f"{path.name}: ended with {code} after {kills} kills")
    return RunDirectory.open(path)


def _ends_before(process: "subprocess.Popen[bytes]", path: Path, num_steps: float) -> bool:
    """Kill a process after so many steps of its own and a part of one; say whether it ended by itself before."""
    first = last = last_step(path)
    while process.poll() is None and last < first + int(num_steps):
        sleep(0.05)
        first, last = min(first, last), last_step(path)  # a resumed run drops what its checkpoint does not have
    try:
        process.wait(num_steps % 1 * _step_s(path))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        sleep(GUARD_S)
        return False
    return True


def last_step(path: Path) -> int:
    """Return the last step that the run has written down; 0 while there is no run."""
    return max((int(line["step"]) for line in step_lines(path)), default=0)


def step_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics of the steps that are written down. Any: JSON values."""
    return [line for line in jsonl.read(path / "metrics.jsonl") if "seconds/step" in line]


def _step_s(path: Path) -> float:
    """Return how long the last step took."""
    return float(step_lines(path)[-1]["seconds/step"])


def differences(one: RunDirectory, other: RunDirectory) -> list[str]:
    """Return what differs between two finished runs."""
    lines = [[_untimed(line) for line in jsonl.read(run.path / "metrics.jsonl")] for run in (one, other)]
    names = {name for a, b in zip(*lines, strict=False) for name in a | b if a.get(name) != b.get(name)}
    weights = [(max(run.checkpoints().items())[1] / "model.safetensors").read_bytes() for run in (one, other)]
    found = [f"{name} differs" for name in sorted(names)]
    found += ["the number of steps differs"] if len(lines[0]) != len(lines[1]) else []
    return found + (["the weights differ"] if weights[0] != weights[1] else [])


def _untimed(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of metrics without what a clock decides. Any: JSON values."""
    return {name: value for name, value in line.items() if not (name.startswith(TIMED) or name.endswith("_s"))}


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="quickstart", help="recipe or run file (%(default)s)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--within", type=int, default=5, help="most steps of a process before its death (%(default)s)")
    parser.add_argument("--settings", nargs="*", default=[], help="as the command line of reasonrl train takes them")
    options = parser.parse_args()
    print(*machine(), sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        common = [f"run.root={folder}", f"run.steps={options.steps}", "run.checkpoint_every=2", *options.settings]

        def start(arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)

        if start([options.run, "name=alone", *common]).wait():
            sys.exit("the run that was to be left alone failed")
        killed = kill_and_resume(
            start,
            [options.run, "name=killed", "--overwrite", *common],
            Path(folder) / "killed",
            kills=options.kills,
            within=options.within,
            random=Random(0),
        )
        found = differences(RunDirectory.open(Path(folder) / "alone"), killed)
    for line in found:
        print(line)
    print(f"{options.kills} kills, {options.steps} steps: " + ("DIFFERENT" if found else "equal to the last bit"))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
