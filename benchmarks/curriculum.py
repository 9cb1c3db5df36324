"""The online curriculum against uniform order at equal samples: held-out figures of some seeds, in pairs.

    python benchmarks/curriculum.py

The tiny model learns sums of 2 to 7 terms, most of which it never solves at first. Both sides take the same steps of
as many completions; they differ in ``curriculum`` alone. The runs follow one another, each in a process of its own with
one thread. Run directories are kept: what is finished is not run again, what was stopped goes on.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

from measuring import machine
from scipy.special import stdtrit

from reasonrl.evaluation.estimates import Estimate, PairedDifference, paired_difference
from reasonrl.evaluation.files import read_result
from reasonrl.run.files.directory import RunDirectory

RUN: Final = """\
name: curriculum
model: tiny
task: {name: arithmetic, params: {num_problems: 160, min_terms: 2, max_terms: 7, max_value: 20}}
template: r1_zero
rewards: [{name: numeric_answer, params: {sources: [answer_tag]}, isolated: false}]
algorithm: {preset: grpo, refill_attempts: 0}
rollout: {prompts_per_step: 8, samples_per_prompt: 8, max_new_tokens: 96}
learner: {learning_rate: 5e-4, schedule: linear, warmup_steps: 3}
evaluation:
  suites:
  - name: arithmetic
    params: {num_problems: 400, min_terms: 2, max_terms: 7, max_value: 20}
    max_new_tokens: 96
  every: 80
run: {steps: 80, checkpoint_every: 80}
"""
SIDES: Final[Mapping[str, str]] = {"uniform": "curriculum=null", "curriculum": "curriculum={}"}
SUITE: Final = "arithmetic"
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one run measured."""

    before: Estimate
    after: Estimate
    values: Mapping[str, float]
    """Held-out figure of the trained model, by problem."""
    useful: float
    """Share of groups that taught something, over all steps."""
    in_play: float | None
    """Share of problems that the model sometimes solved after the last step, as the curriculum sees it."""
    completions: int
    seconds: float
    """Time of all steps together."""


def main() -> None:
    """Train both sides and print them in pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side")
    parser.add_argument("--root", type=Path, default=Path("runs/curriculum"), help="folder of the run directories")
    parser.add_argument("settings", nargs="*", help="settings of all runs, such as run.steps=40")
    options = parser.parse_args()
    print(*machine(), "1 thread a run, one run at a time", sep="\n", flush=True)
    options.root.mkdir(parents=True, exist_ok=True)
    (options.root / "run.yaml").write_text(RUN, encoding="utf-8")
    runs = {
        side: [trained(side, seed, options.root, options.settings) for seed in range(options.seeds)] for side in SIDES
    }
    print(table(runs))


def trained(side: str, seed: int, root: Path, settings: Sequence[str]) -> Trained:
    """Return what a run measured, trained as far as that was not done before."""
    path = root / f"{side}-{seed}"
    if not path.exists():
        given = [f"name={path.name}", f"run.root={root}", f"seed={seed}", SIDES[side], *settings]
        train(str(root / "run.yaml"), *given)
    elif RunDirectory.open(path).manifest.status != "finished":
        train("--resume", str(path))
    return read_run(RunDirectory.open(path))


def train(*arguments: str) -> None:
    """Run ``reasonrl train`` in a process of its own, whose lines come after its end."""
    command = [sys.executable, "-m", "reasonrl", "train", *arguments, "--plain"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
    print(f"done: {' '.join(arguments)}", flush=True)


def read_run(run: RunDirectory) -> Trained:
    """Read what a run measured."""
    steps = [line for line in run.read_metrics() if "reward/mean" in line]
    first, *_, last = sorted((run.path / "evals").glob(f"step_*/{SUITE}"))
    result, rollout = read_result(last), run.config.model_dump()["rollout"]
    return Trained(
        before=read_result(first).estimate(),
        after=result.estimate(),
        values=result.values_by_problem(),
        useful=sum(line["groups/useful"] * line["groups/count"] for line in steps)
        / sum(line["groups/count"] for line in steps),
        in_play=steps[-1].get("curriculum/in_play"),
        completions=int(sum(line["groups/count"] for line in steps)) * rollout["samples_per_prompt"],
        seconds=sum(line["seconds/step"] for line in steps),
    )


def table(runs: Mapping[str, Sequence[Trained]]) -> str:
    """Return every run with its 95 % interval over problems, and the differences of the pairs."""
    lines = [
        "",
        f"{'order':11} {'seed':>4}  {'held-out before':21} {'held-out after':21} {'useful':>6} {'in play':>7} "
        f"{'samples':>7} {'min':>5}",
    ]
    for side, of_side in runs.items():
        for seed, run in enumerate(of_side):
            in_play = "" if run.in_play is None else f"{run.in_play:.0%}"
            lines.append(
                f"{side:11} {seed:>4}  {said(run.before):21} {said(run.after):21} {run.useful:>6.0%} {in_play:>7} "
                f"{run.completions:>7} {run.seconds / 60:>5.1f}"
            )
    pairs = list(zip(runs["uniform"], runs["curriculum"], strict=True))
    lines += ["", "curriculum - uniform, in pairs over the held-out problems:"]
    lines += [f"seed {seed}: {said(difference(*pair))}" for seed, pair in enumerate(pairs)]
    differences = [pair[1].after.value - pair[0].after.value for pair in pairs]
    return "\n".join([*lines, over_seeds(differences)])


def difference(uniform: Trained, curriculum: Trained) -> PairedDifference:
    """Compare two runs on the same problems."""
    problems = list(uniform.values)
    return paired_difference(
        [uniform.values[problem] for problem in problems], [curriculum.values[problem] for problem in problems]
    )


def over_seeds(differences: Sequence[float]) -> str:
    """Return the mean over seeds with its t interval, which says what to expect of others."""
    if len(differences) < 2:
        return "one seed says nothing of others"
    mean, degrees = fmean(differences), len(differences) - 1
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * stdev(differences) / sqrt(len(differences))
    return (
        f"mean over {len(differences)} seeds: {mean:+.1%} [{mean - half:+.1%}, {mean + half:+.1%}] "
        f"({LEVEL:.0%} t interval over seeds)"
    )


def said(estimate: Estimate | PairedDifference) -> str:
    """Write a figure with its interval."""
    if isinstance(estimate, PairedDifference):
        return f"{estimate.difference:+.1%} [{estimate.lower:+.1%}, {estimate.upper:+.1%}]"
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


if __name__ == "__main__":
    main()
