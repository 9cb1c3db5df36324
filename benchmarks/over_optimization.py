"""Over-optimization of a reward model, and what KL and an ensemble do about it: gold against proxy, on one core.

A gold function (``gold.py``) stands for what people want. The tiny model's completions are paired and labeled by it,
with 25 % of the labels turned round; reward models learn from the pairs, and the policy of ``quickstart`` learns from a
reward model alone. The gold function is measured beside it with weight 0, and the alarm ``over_optimization`` watches.
Then the same with the divergence charged in the reward, and with the least score of four reward models
(arXiv:2210.10760, arXiv:2310.02743).

  python benchmarks/over_optimization.py --picture docs/images/over-optimization.svg
  python benchmarks/over_optimization.py --steps 30 --folder runs/short

What was made already in the folder is kept, so that an interrupted benchmark goes on where it was.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import yaml
from measuring import machine

MEMBERS = 4
"""Reward models of the ensemble; the first of them is the proxy of the other runs."""
WAYS = ("alone", "kl", "ensemble")
"""Of using them: the first alone, the same with the divergence in the reward, the least of all."""
WINDOW = 5
"""Steps whose mean is called a level."""
TASK = {"name": "arithmetic", "params": {"num_problems": 8000, "min_terms": 3, "max_terms": 4, "max_value": 20}}


GOLD = f"{Path(__file__).resolve().with_name('gold.py')}:gold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    folder: Path
    steps: int
    seed: int
    problems: int
    flip: float
    learning_rate: float
    kl: float
    ways: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a run did."""

    gold: tuple[float, ...]
    """Mean of each step."""
    proxy: tuple[float, ...]
    kl: tuple[float, ...]
    """Divergence from the initial policy, in nats a completion."""
    alarm: int | None
    """Step of the first alarm ``over_optimization``."""

    @property
    def peak(self) -> tuple[int, float]:
        """The step in the middle of the highest level of the gold figure, and that level."""
        levels = [(fmean(self.gold[first : first + WINDOW]), first) for first in range(len(self.gold) - WINDOW + 1)]
        level, first = max(levels)
        return first + WINDOW // 2 + 1, level

    @property
    def start(self) -> float:
        """Gold figure before anything was learned."""
        return self.gold[0]

    @property
    def end(self) -> float:
        """Last level of the gold figure."""
        return fmean(self.gold[-WINDOW:])


def make_pairs(options: Options) -> Path:
    """Sample the base model and label pairs of its completions by the gold function, with noise."""
    samples, pairs = options.folder / "samples.jsonl", options.folder / "pairs.jsonl"
    if not pairs.exists():
        _reasonrl(
            *("sample", "quickstart", "--out", str(samples), "--num-problems", str(options.problems)),
            *("--num-samples", "6", f"seed={options.seed}"),
        )
        _reasonrl(
            *("rm", "pairs", str(samples), "--out", str(pairs), "--gold", GOLD, "--pairing", "all"),
            *("--pairs-per-prompt", "5", "--flip", str(options.flip), "--seed", str(options.seed)),
        )
    return pairs


def train_reward_model(options: Options, pairs: Path, member: int) -> Path:
    """Train one reward model; members differ in their head's start and in the order of the data."""
    name = f"rm-{member}"
    config = {
        "name": name,
        "model": "tiny",
        "template": "r1_zero",
        "seed": options.seed + member,
        "data": {"path": str(pairs), "max_length": 256},
        "learner": {"learning_rate": 2e-4},
        "evaluation": {"every": 1000},
        "run": {"root": str(options.folder), "epochs": 2, "checkpoint_every": 1000},
    }
    return _run(options, name, config, "rm", "train")


def train_policy(options: Options, name: str, reward: Mapping[str, object], **algorithm: object) -> Curve:
    """Train the policy of ``quickstart`` on a reward model; return what came of it."""
    config = {
        "name": name,
        "model": "tiny",
        "seed": options.seed,
        "task": TASK,
        "template": "r1_zero",
        "rewards": [
            {"name": "preference", "label": "proxy", "params": {"force": True, **reward}},
            {"name": GOLD, "label": "gold", "weight": 0.0},
        ],
        "algorithm": {"preset": "dr_grpo", "kl_measured": True, **algorithm},
        "alarms": {"gold": "gold", "over_optimization": "warn"},
        "rollout": {"prompts_per_step": 16, "samples_per_prompt": 8, "max_new_tokens": 80},
        "learner": {"learning_rate": options.learning_rate, "warmup_steps": 3},
        "run": {"root": str(options.folder), "steps": options.steps, "checkpoint_every": options.steps},
    }
    return read_curve(_run(options, name, config, "train"))


def read_curve(run: Path) -> Curve:
    """Read a run's metrics and alarms."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "reward/gold" in line]
    events = run / "events.jsonl"
    records = [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else []
    alarms = [record["step"] for record in records if record["message"].startswith("over_optimization")]
    return Curve(
        gold=tuple(line["reward/gold"] for line in steps),
        proxy=tuple(line["reward/proxy"] for line in steps),
        kl=tuple(line["policy/kl_sequence"] for line in steps),
        alarm=min(alarms, default=None),
    )


def _run(options: Options, name: str, config: Mapping[str, object], *command: str) -> Path:
    """Train what a configuration says, unless it was trained already; return its run directory."""
    path = options.folder / name
    if not path.exists():
        file = options.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        _reasonrl(*command, str(file), "--plain")
    return path


def _reasonrl(*arguments: str) -> None:
    print("reasonrl", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "reasonrl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")


def draw(curves: Mapping[str, Curve], picture: Path) -> None:
    """Draw gold and proxy over the steps, and gold over the root of the divergence."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"svg.hashsalt": "reasonrl", "svg.fonttype": "none", "font.size": 9}
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for name, curve in curves.items():
        steps = range(WINDOW, len(curve.gold) + 1)
        (line,) = left.plot(steps, _levels(curve.gold), label=name)
        middle.plot(steps, _levels(curve.proxy), color=line.get_color())
        right.plot([max(kl, 0.0) ** 0.5 for kl in _levels(curve.kl)], _levels(curve.gold), color=line.get_color())
        if curve.alarm:
            left.axvline(curve.alarm, color=line.get_color(), linestyle=":", linewidth=1)
    left.set(xlabel="step", ylabel=f"gold (mean of {WINDOW} steps)", title="gold; dotted: the alarm")
    middle.set(xlabel="step", ylabel="reward model's score", title="proxy, what is learned from")
    right.set(xlabel="√KL from the initial policy (nats a completion)", ylabel="gold", title="gold over √KL")
    left.legend(fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None})


def _levels(values: Sequence[float]) -> list[float]:
    return [fmean(values[end - WINDOW : end]) for end in range(WINDOW, len(values) + 1)]


def measure(options: Options) -> dict[str, Curve]:
    """Train everything; return a curve for each way of using the reward models."""
    options.folder.mkdir(parents=True, exist_ok=True)
    pairs = make_pairs(options)
    num_members = MEMBERS if "ensemble" in options.ways else 1
    members = [str(train_reward_model(options, pairs, member)) for member in range(num_members)]
    kl = {"kl_in": "reward", "kl_estimator": "k1", "kl_coefficient": options.kl}
    runs: dict[str, tuple[str, Mapping[str, object], Mapping[str, object]]] = {
        "alone": ("proxy alone", {"model": members[0]}, {}),
        "kl": (f"KL {options.kl:g} in the reward", {"model": members[0]}, kl),
        "ensemble": (f"least of {MEMBERS} models", {"models": members, "aggregate": "min"}, {}),
    }
    chosen = {way: runs[way] for way in options.ways}
    return {name: train_policy(options, way, reward, **algorithm) for way, (name, reward, algorithm) in chosen.items()}


def main() -> None:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/over-optimization"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=900)
    parser.add_argument("--flip", type=float, default=0.25)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--kl", type=float, default=0.1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="what to train against (all)")
    parser.add_argument("--picture", type=Path, help="where to draw the curves, as SVG")
    parser.add_argument("--json", type=Path, help="where to write the curves")
    given = vars(parser.parse_args())
    picture, out = given.pop("picture"), given.pop("json")
    print(*machine(), sep="\n")
    curves = measure(Options(**given))
    for name, curve in curves.items():
        (step, level), last = curve.peak, len(curve.gold)
        alarm = f"alarm after step {curve.alarm}" if curve.alarm else "no alarm"
        proxy = f"proxy {fmean(curve.proxy[:WINDOW]):+.2f} → {fmean(curve.proxy[-WINDOW:]):+.2f}"
        gold = f"gold {curve.start:.3f} → {level:.3f} at step {step} → {curve.end:.3f} at {last}"
        print(f"{name:<22} {gold}; {proxy}; {alarm}")
    if out:
        out.write_text(json.dumps({name: asdict(curve) for name, curve in curves.items()}))
    if picture:
        draw(curves, picture)


if __name__ == "__main__":
    main()
