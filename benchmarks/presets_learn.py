"""Each of the newer presets on the recipe `quickstart`, two seeds each: held-out figures before and after.

    python benchmarks/presets_learn.py
    python benchmarks/presets_learn.py sapo gmpo --seeds 1 --set run.steps=20

The runs follow one another, each in a process of its own with one thread. Methods that act between the updates of a
step have four of them. Run directories are kept: what is finished is not run again, what was stopped goes on.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from algorithms import SMOOTHED_STEPS, Curve, read_curve, said, train
from measuring import machine

from reasonrl.run.files.directory import RunDirectory

FOUR_UPDATES: Final = "learner.minibatch_sequences=32"
"""Of the 128 completions of a step."""
HALF_RATE: Final = "learner.learning_rate=2.5e-4"
"""Without a clip all four updates are full ones. After 20 steps seeds 0 and 1 stood at 42.5 % and 72.0 % at the rate
of the recipe, and at 90.0 % and 90.8 % at this one."""
METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "gmpo": ("algorithm=gmpo", FOUR_UPDATES),
    "sapo": ("algorithm=sapo", FOUR_UPDATES),
    "dppo": ("algorithm=dppo", FOUR_UPDATES, HALF_RATE),
    "dppo_kl": (
        "algorithm={preset: dppo, loss: {name: dppo_kl, params: {threshold_low: 0.05, threshold_high: 0.05}}}",
        FOUR_UPDATES,
        HALF_RATE,
    ),
    "deepseek_v3_2": ("algorithm=deepseek_v3_2", FOUR_UPDATES),
    "skywork_or1": ("algorithm=skywork_or1",),
    "opo": ("algorithm=opo",),
    "maxrl": ("algorithm=maxrl",),
    "pass_at_k": ("algorithm=pass_at_k",),
}
"""Settings of the runs beside the recipe's."""


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"some of {', '.join(METHODS)}; all without", metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each method")
    parser.add_argument("--root", type=Path, default=Path("runs/presets"), help="folder of the run directories")
    parser.add_argument("--set", nargs="*", default=[], help="settings of all runs, such as run.steps=20", dest="more")
    options = parser.parse_args()
    if unknown := set(options.methods) - METHODS.keys():
        parser.error(f"no method {', '.join(sorted(unknown))}: choose from {', '.join(METHODS)}")
    print(*machine(), "1 thread a run, one run at a time", sep="\n", flush=True)
    curves = {
        name: [trained(name, seed, options.root, options.more) for seed in range(options.seeds)]
        for name in options.methods or METHODS
    }
    print(table(curves))
    failed = [name for name, runs in curves.items() if not all(map(learned, runs))]
    print(f"\nlearned with every seed: {len(curves) - len(failed)} of {len(curves)}")
    if failed:
        sys.exit(f"not learned: {', '.join(failed)}")


def trained(name: str, seed: int, root: Path, more: Sequence[str]) -> Curve:
    """Return the curve of a run, trained as far as that was not done before."""
    path = root / f"{name}-{seed}"
    if not path.exists():
        train("quickstart", f"name={path.name}", f"run.root={root}", f"seed={seed}", *METHODS[name], *more)
    elif RunDirectory.open(path).manifest.status != "finished":
        train("--resume", str(path))
    return read_curve(RunDirectory.open(path))


def learned(curve: Curve) -> bool:
    """Say whether the interval of the trained model lies above that of the model before."""
    return curve.last.lower > curve.heldout[0].upper


def table(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Return the held-out figures of every run with their 95 % intervals."""
    lines = [
        "",
        f"{'method':14} {'seed':>4}  {'held-out before':20} {'held-out after':20} {'last reward':>11} {'min':>5}",
    ]
    for name, runs in curves.items():
        for seed, curve in enumerate(runs):
            last = fmean(curve.rewards[-SMOOTHED_STEPS:])
            lines.append(
                f"{name:14} {seed:>4}  {said(curve.heldout[0]):20} {said(curve.last):20} {last:>11.3f} "
                f"{curve.seconds / 60:>5.1f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
