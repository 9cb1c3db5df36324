"""A recipe on the fast path and on the general way: held-out results before and after, and seconds, in one run.

    python benchmarks/quickstart_paths.py
    python benchmarks/quickstart_paths.py --recipes quickstart smollm2-arithmetic
    python benchmarks/quickstart_paths.py --settings run.steps=4 evaluation.every=4 run.checkpoint_every=4

Both runs of a recipe have the same seed and differ in `model.fast_path` alone; they follow one another, each in a
process of its own. What they sample parts where rounding decides a token, so results are equal within their intervals,
not to the last digit. Whether the trained models differ is told in pairs over the held-out problems. The last line is
the seconds of the general way over those of the fast path, of whole commands with their starts and evaluations.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from measuring import machine

from reasonrl.evaluation.estimates import Estimate, PairedDifference, paired_difference
from reasonrl.evaluation.files import read_result
from reasonrl.evaluation.find import first_and_last
from reasonrl.evaluation.results import SuiteResult
from reasonrl.run.files.directory import RunDirectory

WAYS: Final[Mapping[str, str]] = {"fast path": "model.fast_path=true", "general way": "model.fast_path=false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one run measured."""

    seconds: float
    """Of the whole command."""
    phases: Mapping[str, float]
    """Seconds of all steps together, by phase."""
    heldout: Mapping[str, tuple[SuiteResult, SuiteResult]]
    """First and last result of every suite."""


def main() -> None:
    """Train every recipe on both ways and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["quickstart"], help="recipes or run files (%(default)s)")
    parser.add_argument(
        "--root", type=Path, help="folder of the run directories, which are kept; a temporary one if not"
    )
    parser.add_argument("--settings", nargs="*", default=[], help="settings of all runs, such as run.steps=20")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in benchmark(options.recipes, options.root or Path(folder), options.settings):
            print(line, flush=True)


def benchmark(recipes: Sequence[str], root: Path, settings: Sequence[str]) -> Iterator[str]:
    """Measure and tell."""
    yield from machine()
    seconds = dict.fromkeys(WAYS, 0.0)
    for recipe in recipes:
        yield from ("", head(recipe))
        runs = {}
        for way in WAYS:
            runs[way] = trained(recipe, way, root, settings)
            yield from lines(way, runs[way])
            seconds[way] += runs[way].seconds
        yield from differences(*(runs[way] for way in WAYS))
    fast, general = seconds.values()
    yield from ("", f"seconds of the whole commands: {general:.0f} on the general way, {fast:.0f} on the fast path")
    yield f"{general / fast:.1f}x"


def trained(recipe: str, way: str, root: Path, settings: Sequence[str]) -> Trained:
    """Train in a process of its own."""
    name = f"{Path(recipe).stem}-{way.replace(' ', '-')}"
    given = [f"name={name}", f"run.root={root}", WAYS[way], *settings]
    command = [sys.executable, "-m", "reasonrl", "train", recipe, *given, "--plain", "--overwrite"]
    began = perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    seconds = perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
    steps = [line for line in RunDirectory.open(root / name).read_metrics() if "seconds/step" in line]
    phases = {
        phase: sum(line.get(f"seconds/{phase}", 0.0) for line in steps) for phase in ("sampling", "learning", "step")
    }
    pairs = first_and_last(root / name)
    results = {suite: (read_result(first), read_result(last)) for suite, (first, last) in pairs.items()}
    return Trained(seconds=seconds, phases=phases, heldout=results)


def head(recipe: str) -> str:
    """Return the heading of a recipe's table."""
    cells = f"{'command s':>10}{'steps s':>9}{'sampling s':>11}{'learning s':>11}"
    return f"{recipe:20}{cells}  {'suite':24}{'held-out before':>24}{'held-out after':>24}"


def lines(way: str, run: Trained) -> Iterator[str]:
    """Return what a run measured, one line a suite."""
    phases = run.phases
    cells = f"{run.seconds:>10.0f}{phases['step']:>9.0f}{phases['sampling']:>11.0f}{phases['learning']:>11.0f}"
    for suite, results in run.heldout.items():
        before, after = (said(result.estimate()) for result in results)
        yield f"{way:20}{cells}  {suite:24}{before:>24}{after:>24}"


def differences(fast: Trained, general: Trained) -> Iterator[str]:
    """Say whether the trained models differ, in pairs over the held-out problems."""
    for suite, (_, after) in general.heldout.items():
        other = fast.heldout[suite][1]
        values, others = after.values_by_problem(), other.values_by_problem()
        pairs = paired_difference(list(values.values()), [others[problem] for problem in values])
        within = after.estimate().lower <= other.estimate().value <= after.estimate().upper
        yield (
            f"{suite}: fast path - general way {said(pairs)}; the result of the fast path is "
            f"{'within' if within else 'OUTSIDE'} the interval of the general way's"
        )


def said(measured: Estimate | PairedDifference) -> str:
    """Return a figure with its interval."""
    if isinstance(measured, PairedDifference):
        return f"{measured.difference:+.1%} [{measured.lower:+.1%}, {measured.upper:+.1%}]"
    return f"{measured.value:.1%} [{measured.lower:.1%}, {measured.upper:.1%}]"


if __name__ == "__main__":
    main()
