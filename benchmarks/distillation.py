"""A teacher's skill by on-policy distillation, by SFT on its texts, and by GRPO from the same start: SmolLM2 and sums.

    reasonrl models get smollm2-135m-instruct
    pip install matplotlib
    python benchmarks/distillation.py --picture docs/images/distillation-smollm2.svg

The teacher is a run of the recipe ``smollm2-arithmetic`` (``--teacher RUN``, or it is trained first); every other way
begins with the recipe's own model, on the recipe's task and suite. Held-out accuracy stands against the tokens that
were sampled for it, the student's or the teacher's; what the teacher took to learn is not counted. GRPO is shown by
the teacher's own run and by those of further seeds. Run directories are kept: what is finished is not run again, what
was stopped goes on.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import yaml
from measuring import machine

from reasonrl.config.find import find_run
from reasonrl.config.runfile import load_run
from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.files import read_result
from reasonrl.run.files.directory import RunDirectory

RECIPE: Final = "smollm2-arithmetic"
SUITE: Final = "addition_two_digit"

DISTILLED: Final = (
    "algorithm={preset: dr_grpo, reduction: token_mean}",
    "rollout.temperature=1.0",
    "rollout.prompts_per_step=32",
    "rollout.samples_per_prompt=1",
    "learner.learning_rate=2.5e-5",
    "run.steps=60",
    "evaluation.every=6",
    "run.checkpoint_every=30",
)
"""What on-policy distillation has in place of the recipe's own settings; its rewards are only measured."""

WAYS: Final[Mapping[str, str]] = {
    "opd": "on-policy distillation",
    "opd-top": "on-policy distillation, top 20",
    "sft": "SFT on the teacher's samples",
    "grpo": "GRPO",
}
COLORS: Final = {"opd": "#c8553d", "opd-top": "#8c6bb1", "sft": "#3d8361", "grpo": "#1b6ca8"}
SFT_ROWS_PER_STEP: Final = 32
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Held-out figures of one run, by the tokens that were sampled until then."""

    tokens: tuple[float, ...]
    figures: tuple[Estimate, ...]
    seconds: float
    """Time of all steps together."""

    def tokens_to(self, value: float) -> float | None:
        """Return the tokens after which a figure is reached for the first time; None where it never is."""
        reached = (tokens for tokens, each in zip(self.tokens, self.figures, strict=True) if each.value >= value)
        return next(reached, None)


def main() -> None:
    """Train what is missing, print a table, and draw a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, help="a finished run of the recipe; one is trained if not given")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each way")
    parser.add_argument("--root", type=Path, default=Path("runs/distillation"), help="folder of the run directories")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="what to run")
    parser.add_argument("--rows", type=int, default=3200, help="samples of the teacher for SFT, one a problem")
    parser.add_argument("--picture", type=Path, help="SVG file to write")
    parser.add_argument("settings", nargs="*", help="settings of the runs of reasonrl train, such as run.steps=6")
    options = parser.parse_args()
    print(*machine("matplotlib"), "one run at a time", sep="\n", flush=True)
    teacher = options.teacher or reinforced(0, options.root, options.settings)
    make: Mapping[str, Callable[[int], Curve]] = {
        "opd": lambda seed: distilled(teacher, seed, options.root, options.settings),
        "opd-top": lambda seed: distilled(teacher, seed, options.root, options.settings, top_k=20),
        "sft": lambda seed: finetuned(teacher, seed, options.root, options.rows),
        "grpo": lambda seed: sampled_curve(teacher if seed == 0 else reinforced(seed, options.root, options.settings)),
    }
    curves = {way: [make[way](seed) for seed in range(options.seeds)] for way in options.ways}
    target = sampled_curve(teacher).figures[-1]
    print(table(curves, target))
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture(curves, target), encoding="utf-8")
        print(f"\n{options.picture}: {options.picture.stat().st_size / 1024:.0f} KiB")


def reinforced(seed: int, root: Path, settings: Sequence[str]) -> Path:
    """Train the recipe, by GRPO."""
    return trained("train", root / f"grpo-{seed}", RECIPE, f"seed={seed}", "evaluation.every=6", *settings)


def distilled(teacher: Path, seed: int, root: Path, settings: Sequence[str], top_k: int | None = None) -> Curve:
    """Distill the teacher into the recipe's model while that samples."""
    path = root / (f"opd-{seed}" if top_k is None else f"opd-top-{seed}")
    given = [f"seed={seed}", *DISTILLED, f"distillation.teacher={teacher}", *settings]
    top = [] if top_k is None else [f"distillation.top_k={top_k}"]
    return sampled_curve(trained("train", path, RECIPE, *given, *top))


def finetuned(teacher: Path, seed: int, root: Path, num_rows: int) -> Curve:
    """Have the teacher write, and the recipe's model learn its texts once, each as it stands."""
    texts, recipe = root / "teacher.jsonl", load_run(find_run(RECIPE, "policy"), [])
    sampled = ("--schema", "sft", "--keep", "all", "--num-samples", "1", "--num-problems", str(num_rows))
    at_1 = (f"model.name={teacher}", "rollout.temperature=1.0")
    command("sample", RECIPE, *at_1, "--out", str(texts), *sampled)
    run = {
        "name": f"sft-{seed}",
        "seed": seed,
        "model": recipe.model.name,
        "data": {"path": str(texts.absolute())},
        "template": recipe.template,
        "rows_per_step": SFT_ROWS_PER_STEP,
        "learner": {"learning_rate": 2e-5, "schedule": "linear", "warmup_steps": 3},
        "evaluation": {
            "suites": [each.model_dump(exclude_unset=True) for each in recipe.evaluation.suites],
            "every": 10,
        },
        "run": {"epochs": 1, "root": str(root)},
        "sft": {},
    }
    file = root / f"sft-{seed}.yaml"
    file.write_text(yaml.safe_dump(run), encoding="utf-8")
    path = trained("sft", root / f"sft-{seed}", str(file))
    sampled_tokens = num_tokens(texts.with_suffix(".samples.jsonl"))  # those of completions that were left out too
    rows = len(texts.read_text(encoding="utf-8").splitlines())
    return read_curve(path, lambda step: min(step * SFT_ROWS_PER_STEP / rows, 1.0) * sampled_tokens)


def num_tokens(samples: Path) -> int:
    """Count the tokens of all completions in a file of samples."""
    return sum(json.loads(line)["num_tokens"] for line in samples.read_text(encoding="utf-8").splitlines())


def trained(kind: str, path: Path, run: str, *settings: str) -> Path:
    """Train a run as far as that was not done before; return its directory."""
    if not path.exists():
        placed = () if kind == "sft" else (f"name={path.name}", f"run.root={path.parent}")
        command(kind, run, *placed, *settings, "--plain")
    elif RunDirectory.open(path).manifest.status != "finished":
        command(kind, "--resume", str(path), "--plain")
    return path


def command(*arguments: str) -> None:
    """Run a command of reasonrl in a process of its own, whose lines are shown where it fails."""
    line = [sys.executable, "-m", "reasonrl", *arguments]
    done = subprocess.run(line, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stdout}")
    print(f"done: {' '.join(arguments)}", flush=True)


def sampled_curve(path: Path) -> Curve:
    """Read a run that sampled its own completions."""
    lines = [line for line in RunDirectory.open(path).read_metrics() if "completion/length_mean" in line]
    config = RunDirectory.open(path).config
    rollout = config.rollout  # type: ignore[union-attr]  # a run of reasonrl train
    size = rollout.prompts_per_step * rollout.samples_per_prompt
    totals = [0.0, *accumulate(size * line["completion/length_mean"] for line in lines)]
    return read_curve(path, lambda step: totals[step])


def read_curve(path: Path, tokens_at: Callable[[int], float]) -> Curve:
    """Read the held-out figures of a run.

    Args:
        path: of the run.
        tokens_at: from a step to the tokens that were sampled for it and those before.
    """
    run = RunDirectory.open(path)
    folders = sorted((run.path / "evals").glob(f"step_*/{SUITE}"))
    steps = [int(folder.parent.name.removeprefix("step_")) for folder in folders]
    return Curve(
        tokens=tuple(map(tokens_at, steps)),
        figures=tuple(read_result(folder).estimate() for folder in folders),
        seconds=sum(line.get("seconds/step", 0.0) for line in run.read_metrics()),
    )


def table(curves: Mapping[str, Sequence[Curve]], target: Estimate) -> str:
    """Return held-out figures with their 95 % intervals, and the tokens that most of the teacher's figure took."""
    wanted = 0.9 * target.value
    lines = [
        "",
        f"teacher: {said(target)}; reached: tokens sampled until a figure of {wanted:.1%}, 90 % of the teacher's",
        f"{'way':32} {'seed':>4}  {'before':21} {'after':21} {'tokens':>9} {'reached':>9} {'min':>5}",
    ]
    for way, runs in curves.items():
        for seed, curve in enumerate(runs):
            reached = curve.tokens_to(wanted)
            lines.append(
                f"{WAYS[way]:32} {seed:>4}  {said(curve.figures[0]):21} {said(curve.figures[-1]):21} "
                f"{curve.tokens[-1]:>9,.0f} {'never' if reached is None else f'{reached:,.0f}':>9} "
                f"{curve.seconds / 60:>5.1f}"
            )
    return "\n".join(lines)


def said(estimate: Estimate) -> str:
    """Write a figure with its interval."""
    return f"{estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"


def picture(curves: Mapping[str, Sequence[Curve]], target: Estimate) -> str:
    """Draw held-out accuracy over sampled tokens: a line a seed, with the first seed's intervals."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        sys.exit("the picture needs matplotlib: pip install matplotlib")
    with mpl.rc_context(STYLE):
        figure, content = Figure(figsize=(6.6, 3.8), layout="constrained"), io.StringIO()
        axes = figure.subplots()
        axes.axhline(target.value, color="#888888", linewidth=1, linestyle=":", label="the teacher")
        for way, runs in curves.items():
            for seed, curve in enumerate(runs):
                thousands = [tokens / 1000 for tokens in curve.tokens]
                first = seed == 0
                axes.plot(
                    thousands,
                    [each.value for each in curve.figures],
                    color=COLORS[way],
                    linewidth=1.8 if first else 0.8,
                    label=WAYS[way] if first else None,
                )
                if first:
                    lower, upper = [each.lower for each in curve.figures], [each.upper for each in curve.figures]
                    axes.fill_between(thousands, lower, upper, color=COLORS[way], alpha=0.15, linewidth=0)
        axes.set_title("held-out accuracy of two-digit sums", loc="left")
        axes.set_xlabel("thousand tokens sampled")
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, loc="lower right")
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


if __name__ == "__main__":
    main()
