"""SFT on right rollouts, DPO on pairs, and GRPO on one task, at the same number of sampled tokens: held-out figures.

    python benchmarks/methods.py
    python benchmarks/methods.py --grpo run.steps=10 --root runs/methods-10     # a sixth of the budget

Each seed of GRPO trains the recipe `quickstart`; what it sampled, in tokens, is the budget of the other methods of that
seed. They sample the base model on the same problems with the same reward until the budget is used up, and learn from
whole problems within it: SFT from all right completions, DPO from pairs of a right and a wrong one. All are measured on
the same held-out problems. Every step is kept: what is finished is not done again, what was stopped goes on.

Left out: methods of several rounds, which sample what they have learned, and a search of the settings of each.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from measuring import machine

from reasonrl.evaluation.compare import compare
from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.files import read_result
from reasonrl.evaluation.find import find_results
from reasonrl.evaluation.results import SuiteResult
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.history import History
from reasonrl.system import jsonl

SUITE: Final = "arithmetic"
NAMES: Final = {"sft": "SFT on right samples", "dpo": "DPO on pairs", "grpo": "GRPO"}
SHARED: Final[Mapping[str, object]] = {
    "model": "tiny",
    "template": "r1_zero",
    "rows_per_step": 32,
    "evaluation": {
        "suites": [
            {
                "name": SUITE,
                "params": {"min_terms": 3, "max_terms": 4, "max_value": 20},
                "max_new_tokens": 80,
            }
        ],
        "every": 1000,
    },
}
"""Settings of SFT and DPO; the suite is that of the recipe."""
OWN: Final[Mapping[str, Mapping[str, object]]] = {
    "sft": {"sft": {}, "learner": {"learning_rate": 5e-4, "schedule": "linear"}, "run": {"epochs": 3}},
    "dpo": {"dpo": {"beta": 0.1}, "learner": {"learning_rate": 5e-5, "schedule": "linear"}, "run": {"epochs": 2}},
}
SELECTIONS: Final[Mapping[str, Sequence[str]]] = {
    "sft": ("--schema", "sft", "--keep", "right"),
    "dpo": ("--schema", "preference", "--keep", "right"),
}
"""What is kept of the samples: all right ones; each right one in a pair with a wrong one of about its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One method with one seed."""

    tokens: int
    """Sampled in all."""
    completions: int
    rows: int | None
    """What was learned from, where that was chosen."""
    updates: int
    result: SuiteResult
    """Held out, after training."""


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method")
    parser.add_argument("--root", type=Path, default=Path("runs/methods"), help="folder of run directories and samples")
    for name in ("grpo", "sft", "dpo"):
        parser.add_argument(f"--{name}", nargs="*", default=[], help=f"settings of the runs of {name}")
    options = parser.parse_args()
    print(*machine("trl"), "1 thread a run, one run at a time", sep="\n", flush=True)
    found: dict[str, list[Trained]] = {"grpo": [], "sft": [], "dpo": []}
    for seed in range(options.seeds):
        grpo = trained_by_grpo(options.root, seed, options.grpo)
        found["grpo"].append(grpo)
        for method in ("sft", "dpo"):
            more = getattr(options, method)
            found[method].append(trained_on_samples(method, options.root, seed, grpo.tokens, more))
    base = read_result(find_results(f"{options.root / 'grpo-0'}@0", SUITE))
    print("\n".join(table(found, base)))


def trained_by_grpo(root: Path, seed: int, more: Sequence[str]) -> Trained:
    """Return a run of the recipe, trained as far as that was not done before."""
    path = root / f"grpo-{seed}"
    given = ["algorithm=grpo", f"name={path.name}", f"run.root={root}", f"seed={seed}", *more]
    train("train", path, "quickstart", *given)
    lengths = [record.completion_tokens for record in History.open(path).rollouts()]
    return read_run(path, tokens=sum(lengths), completions=len(lengths))


def trained_on_samples(method: str, root: Path, seed: int, budget: int, more: Sequence[str]) -> Trained:
    """Return a run on samples of the base model, made and trained as far as that was not done before."""
    samples = root / f"base-{seed}.samples.jsonl"
    num_problems, lengths = sampled_within(samples, seed, budget)
    rows = root / f"{method}-{seed}.jsonl"
    if not rows.exists():
        sample(samples, rows, seed, num_problems, *SELECTIONS[method])
    path = root / f"{method}-{seed}"
    settings = {**SHARED, **OWN[method], "name": path.name, "seed": seed, "data": {"path": str(rows)}}
    run_file = root / f"{method}-{seed}.yaml"
    run_file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    train(method, path, str(run_file), f"run.root={root}", *more)
    return read_run(path, tokens=sum(lengths), completions=len(lengths), rows=len(jsonl.read(rows)))


def sampled_within(samples: Path, seed: int, budget: int) -> tuple[int, list[int]]:
    """Sample the base model until the budget is used up; return how many whole problems are within it.

    Also returns the length of each of their completions in tokens.
    """
    num_problems = 64
    while True:
        lengths = lengths_by_problem(samples)
        within = problems_within(lengths, budget)
        if within < len(lengths):
            return within, [tokens for problem in lengths[:within] for tokens in problem]
        used = sum(map(sum, lengths))
        num_problems = math.ceil(1.05 * len(lengths) * budget / used) + 1 if used else num_problems
        sample(samples, samples.with_suffix(".all.jsonl"), seed, num_problems, "--schema", "sft", "--keep", "all")


def lengths_by_problem(samples: Path) -> list[list[int]]:
    """Return the lengths of each problem's completions in tokens, in the order of the file."""
    lengths: dict[str, list[int]] = {}
    for row in jsonl.read(samples):
        lengths.setdefault(str(row["problem_id"]), []).append(int(row["num_tokens"]))
    return list(lengths.values())


def problems_within(lengths: Sequence[Sequence[int]], budget: int) -> int:
    """Return how many of the first problems have no more tokens than the budget, together."""
    used = 0
    for number, problem in enumerate(lengths):
        used += sum(problem)
        if used > budget:
            return number
    return len(lengths)


def sample(samples: Path, out: Path, seed: int, num_problems: int, *selection: str) -> None:
    """Sample the recipe's base model, and choose rows."""
    place = ("--samples", str(samples), "--out", str(out), "--num-problems", str(num_problems), "--overwrite")
    command("sample", "quickstart", f"seed={seed}", *place, *selection)


def train(kind: str, path: Path, *arguments: str) -> None:
    """Train a run that is not there yet, or go on with one that was stopped."""
    if not path.exists():
        command(kind, *arguments, "--plain")
    elif RunDirectory.open(path).manifest.status != "finished":
        command(kind, "--resume", str(path), "--plain")


def command(*arguments: str) -> None:
    """Run a command in a process of its own, with one thread; show what it printed where it fails."""
    words = [sys.executable, "-m", "reasonrl", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}")
    print(f"done: reasonrl {' '.join(arguments)}", flush=True)


def read_run(path: Path, *, tokens: int, completions: int, rows: int | None = None) -> Trained:
    """Read what a run has become."""
    history = History.open(path)
    result = read_result(find_results(path, SUITE))
    return Trained(tokens=tokens, completions=completions, rows=rows, updates=history.steps_done, result=result)


def table(found: Mapping[str, Sequence[Trained]], base: SuiteResult) -> Iterator[str]:
    """Yield the figures of every seed and of all together, with 95 % intervals, and differences to GRPO."""
    yield f"\nheld out: {base.num_problems} problems of {SUITE}, greedy; before training {said(base.estimate())}\n"
    counted = f"{'sampled tokens':>14} {'completions':>11} {'rows':>6} {'updates':>7}"
    yield f"{'method':22} {'seed':>4} {counted}  held-out accuracy"
    for method, runs in found.items():
        for seed, one in enumerate(runs):
            rows = "" if one.rows is None else str(one.rows)
            counts = f"{one.tokens:>14} {one.completions:>11} {rows:>6} {one.updates:>7}"
            yield f"{NAMES[method]:22} {seed:>4} {counts}  {said(one.result.estimate())}"
    yield "\nall seeds together, intervals over problems:"
    together = {method: merged([one.result for one in runs]) for method, runs in found.items()}
    for method, result in together.items():
        difference = "" if method == "grpo" else f"  GRPO less this: {points(difference_of(result, together['grpo']))}"
        yield f"{NAMES[method]:22} {said(result.estimate())}{difference}"


def merged(results: Sequence[SuiteResult]) -> SuiteResult:
    """Return several seeds' results as one with a completion of each problem for each seed."""
    rows = [replace(row, sample_index=seed) for seed, result in enumerate(results) for row in result.rows]
    rows.sort(key=lambda row: (row.problem_id, row.sample_index))
    return replace(results[0], rows=tuple(rows), sampling=replace(results[0].sampling, num_samples=len(results)))


def difference_of(a: SuiteResult, b: SuiteResult) -> PairedDifference:
    """Return how much better B is than A, problem by problem."""
    return compare(a, b).figures[0].difference


def said(estimate: Estimate) -> str:
    """Write a figure with its interval."""
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


def points(difference: PairedDifference) -> str:
    """Write a difference with its interval."""
    ends = f"[{100 * difference.lower:+.1f}, {100 * difference.upper:+.1f}]"
    return f"{100 * difference.difference:+.1f} {ends} points"


if __name__ == "__main__":
    main()
