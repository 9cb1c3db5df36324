"""PPO, RLOO, GRPO and Dr. GRPO on the recipe `quickstart`, some seeds each: held-out figures, and curves as a picture.

    pip install matplotlib
    python benchmarks/algorithms.py --picture docs/images/algorithms-quickstart.svg

The runs follow one another, each in a process of its own with one thread, and differ in `algorithm` and seed only; a
critic has settings of its own. Run directories are kept: what is finished is not run again, what was stopped goes on.
"""

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from measuring import machine

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.files import read_result
from reasonrl.run.files.directory import RunDirectory

ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "ppo": ("critic.pretrain_steps=5",),
    "rloo": (),
    "grpo": (),
    "dr_grpo": (),
}
"""Presets, with what they need beside the recipe."""

NAMES: Final = {"ppo": "PPO", "rloo": "RLOO", "grpo": "GRPO", "dr_grpo": "Dr. GRPO"}
COLORS: Final = {"ppo": "#c8553d", "rloo": "#3d8361", "grpo": "#8c6bb1", "dr_grpo": "#1b6ca8"}
SUITE: Final = "arithmetic"
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reasonrl",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
}
"""Settings of matplotlib. Any: their types differ between its versions."""
SMOOTHED_STEPS: Final = 5
"""Steps whose training reward a point of the picture is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What one run measured."""

    rewards: tuple[float, ...]
    """Mean training reward of each step."""
    heldout: Mapping[int, Estimate]
    """By step."""
    explained_variance: tuple[float, ...]
    """What the critic foresaw in each step; nothing without one."""
    seconds: float
    """Time of all steps together."""

    @property
    def last(self) -> Estimate:
        """The held-out figure of the trained model."""
        return self.heldout[max(self.heldout)]


def main() -> None:
    """Train, print a table, and draw a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each algorithm")
    parser.add_argument("--root", type=Path, default=Path("runs/algorithms"), help="folder of the run directories")
    parser.add_argument("--picture", type=Path, help="SVG file to write")
    parser.add_argument("settings", nargs="*", help="settings of all runs, such as run.steps=40")
    options = parser.parse_args()
    print(*machine("matplotlib"), "1 thread a run, one run at a time", sep="\n", flush=True)
    curves = {
        name: [trained(name, seed, options.root, options.settings) for seed in range(options.seeds)]
        for name in ALGORITHMS
    }
    print(table(curves))
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture(curves), encoding="utf-8")
        print(f"\n{options.picture}: {options.picture.stat().st_size / 1024:.0f} KiB")


def trained(algorithm: str, seed: int, root: Path, settings: Sequence[str]) -> Curve:
    """Return the curve of a run, trained as far as that was not done before."""
    path = root / f"{algorithm}-{seed}"
    if not path.exists():
        given = [f"algorithm={algorithm}", *ALGORITHMS[algorithm], *settings]
        train("quickstart", f"name={path.name}", f"run.root={root}", f"seed={seed}", *given)
    elif RunDirectory.open(path).manifest.status != "finished":
        train("--resume", str(path))
    return read_curve(RunDirectory.open(path))


def train(*arguments: str) -> None:
    """Run ``reasonrl train`` in a process of its own, whose lines come after its end."""
    command = [sys.executable, "-m", "reasonrl", "train", *arguments, "--plain"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
    print(f"done: {' '.join(arguments)}", flush=True)


def read_curve(run: RunDirectory) -> Curve:
    """Read what a run measured."""
    steps = [line for line in run.read_metrics() if "reward/mean" in line]
    folders = sorted((run.path / "evals").glob(f"step_*/{SUITE}"))
    return Curve(
        rewards=tuple(line["reward/mean"] for line in steps),
        heldout={int(folder.parent.name.removeprefix("step_")): read_result(folder).estimate() for folder in folders},
        explained_variance=tuple(
            line["value/explained_variance"] for line in steps if "value/explained_variance" in line
        ),
        seconds=sum(line["seconds/step"] for line in steps),
    )


def table(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Return the held-out figures of every run with their 95 % intervals, and the mean of each algorithm."""
    lines = [
        "",
        f"{'algorithm':10} {'seed':>4}  {'held-out before':18} {'held-out after':18} {'last reward':>11} {'min':>5}",
    ]
    for name, runs in curves.items():
        for seed, curve in enumerate(runs):
            last = fmean(curve.rewards[-SMOOTHED_STEPS:])
            lines.append(
                f"{NAMES[name]:10} {seed:>4}  {said(curve.heldout[0]):18} {said(curve.last):18} {last:>11.3f} "
                f"{curve.seconds / 60:>5.1f}"
            )
        figures = [curve.last.value for curve in runs]
        lines.append(
            f"{NAMES[name]:10} mean  {'':18} {fmean(figures):.1%} ({min(figures):.1%} to {max(figures):.1%} over seeds)"
        )
    for name, runs in curves.items():
        if explained := [fmean(curve.explained_variance[-10:]) for curve in runs if curve.explained_variance]:
            shares = ", ".join(f"{share:.0%}" for share in explained)
            lines.append(f"{NAMES[name]}: variance of returns that the critic foresaw in the last 10 steps: {shares}")
    return "\n".join(lines)


def said(estimate: Estimate) -> str:
    """Write a figure with its interval."""
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


def picture(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Draw training reward and held-out figure over the steps: each seed thin, their mean thick."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        sys.exit("the picture needs matplotlib: pip install matplotlib")
    with mpl.rc_context(STYLE):
        figure, content = Figure(figsize=(9.0, 3.6), layout="constrained"), io.StringIO()
        left, right = figure.subplots(1, 2)
        for name, runs in curves.items():
            rewards = [smoothed(curve.rewards) for curve in runs]
            figures = [[curve.heldout[step].value for step in sorted(curve.heldout)] for curve in runs]
            for axes, steps, values in (
                (left, range(1, len(rewards[0]) + 1), rewards),
                (right, sorted(runs[0].heldout), figures),
            ):
                for of_seed in values:
                    axes.plot(steps, of_seed, color=COLORS[name], linewidth=0.7, alpha=0.45)
                mean = [fmean(at_step) for at_step in zip(*values, strict=True)]
                axes.plot(steps, mean, color=COLORS[name], linewidth=2, label=NAMES[name])
        left.set_title(f"training reward (mean of {SMOOTHED_STEPS} steps)", loc="left")
        right.set_title("held-out accuracy", loc="left")
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.set_ylim(0, 1)
        right.legend(frameon=False, loc="lower right")
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and those before it."""
    return [fmean(values[max(0, end - SMOOTHED_STEPS) : end]) for end in range(1, len(values) + 1)]


if __name__ == "__main__":
    main()
