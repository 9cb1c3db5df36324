"""The recipe `quickstart` on one process and on several: what differs, what is sent, and where the time goes.

  python benchmarks/ranks.py                              # every launcher, number of ranks and strategy
  python benchmarks/ranks.py --ranks 2 --strategies ddp   # one of them

Every run is a process tree of its own, one after another, with one thread a process: one process without a launcher is
what the others are compared with, and one more with other micro-batches shows what rounding alone does. A metric's
difference stands beside its size in that step, and beside its largest size in the run: the loss is a sum of
advantages, which are near 0 in the mean, so in some steps nothing is left of it but rounding. Left out are clocks and
what is nothing but rounding (`mismatch/*`, and `policy/kl_sqrt`, whose square is compared). Completions are compared
letter by letter: a token that flips makes every later step another one, and the benchmark says where.

Then `rank_updates.py` takes one update of every preset on ranks and on one process, and counts what is sent.

Bytes are those of the loopback device, in a network namespace of the run's own (Linux): what all processes of the run
send one another, headers and rendezvous included. Ends with an error where a figure is above its limit.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from measuring import machine

from reasonrl.models import locate
from reasonrl.models.skeleton import load_skeleton
from reasonrl.run.files.directory import RunDirectory

LIMIT: Final = 1e-4
"""Largest relative difference of a step's metric, and of a held-out figure."""

RECIPE: Final = "quickstart"
CLOCKS: Final = ("seconds/", "tokens_per_second/", "wall", "step", "schema_version")
ROUNDING: Final = ("mismatch/", "policy/kl_sqrt")
"""What is nothing but rounding, and the root of a divergence that is 0 but for rounding at first."""
PHASES: Final = ("step", "waiting", "sampling", "scoring", "learning", "weight_sync")
BYTES_FILE: Final = "bytes.jsonl"

OBSERVER: Final = '''\
"""Writes down what went over the loopback device of this network namespace so far, after each step."""
from pathlib import Path

from reasonrl.run.events import StepFinished


def note(event, *, path: str) -> None:
    if isinstance(event, StepFinished):
        lines = Path("/proc/self/net/dev").read_text().splitlines()
        sent = next(line.split()[9] for line in lines if line.strip().startswith("lo:"))
        with open(path, "a") as file:
            file.write(f'{{"step": {event.step}, "bytes": {sent}}}\\n')
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a run is started."""

    launcher: str = "alone"
    """``alone`` starts one process and no launcher."""
    ranks: int = 1
    strategy: str = "auto"
    settings: tuple[str, ...] = ()
    what: str = ""
    """Its name in the tables where it is no launcher's."""

    @property
    def title(self) -> str:
        """Return what the tables call it."""
        return self.what or f"{self.ranks} {self.strategy} {self.launcher}"

    @property
    def name(self) -> str:
        """Return the name of its run."""
        return self.title.replace(" ", "-").replace("--", "")

    def command(self, *arguments: str) -> list[str]:
        """Return the command that trains with these arguments."""
        train = ["-m", "reasonrl", "train", *arguments, *self.settings]
        if self.launcher == "torchrun":
            torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.ranks}"]
            return [sys.executable, *torchrun, *train, f"learner.parallel.strategy={self.strategy}"]
        if self.launcher == "--processes":
            own = [f"learner.parallel.strategy={self.strategy}", f"--processes={self.ranks}"]
            return [sys.executable, *train, *own]
        return [sys.executable, *train]


@dataclass(frozen=True)
class Trained:
    """A run that is finished."""

    launch: Launch
    directory: RunDirectory

    @cached_property
    def steps(self) -> Mapping[int, Mapping[str, float]]:
        """Return the metrics of each step, held-out figures included, but for clocks and rounding."""
        steps: dict[int, dict[str, float]] = {}
        for line in self.directory.read_metrics():
            kept = {name: value for name, value in line.items() if is_compared(name)}
            steps.setdefault(line["step"], {}).update(kept)
        return steps

    @cached_property
    def completions(self) -> Mapping[int, Sequence[object]]:
        """Return what identifies a step's completions and what they say, in order."""
        return {
            step: [
                (line.id, line.prompt, line.completion, line.completion_tokens, line.seed)
                for line in self.directory.read_rollouts(step)
            ]
            for step in self.steps
            if step
        }

    @cached_property
    def answers(self) -> Mapping[str, str]:
        """Return the held-out samples by the folder that they are in."""
        found = sorted((self.directory.path / "evals").glob("*/*/samples.jsonl"))
        return {str(path.relative_to(self.directory.path).parent): path.read_text(encoding="utf-8") for path in found}

    def seconds(self, phase: str) -> float:
        """Return the median time of a phase over all steps but the first."""
        lines = [line for line in self.directory.read_metrics() if "seconds/step" in line]
        return float(median(line.get(f"seconds/{phase}", 0.0) for line in lines[1:]))

    def bytes_a_step(self) -> float | None:
        """Return the median of what was sent between the ends of two steps; None where it was not counted."""
        file = self.directory.path.parent / f"{self.launch.name}.{BYTES_FILE}"
        if not file.exists():
            return None
        counted = [json.loads(line)["bytes"] for line in file.read_text().splitlines()]
        return float(median(later - earlier for earlier, later in pairwise(counted)))


def is_compared(name: str) -> bool:
    """Say whether a metric is neither a clock's nor rounding alone."""
    return not name.startswith((*CLOCKS, *ROUNDING)) and not name.endswith("_s")


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a metric is from its value in the run of one process."""

    metric: str
    step: int
    relative: float
    """Beside its size in this step."""
    to_scale: float
    """Beside its largest size in any step."""

    def __str__(self) -> str:
        return f"{self.to_scale:.1e} {self.metric}@{self.step}"


def differences(alone: Trained, other: Trained) -> list[Difference]:
    """Return the difference of every metric of every step; raise where one of them has a metric more."""
    scales: dict[str, float] = {}
    for metrics in alone.steps.values():
        for name, value in metrics.items():
            scales[name] = max(scales.get(name, 0.0), abs(value))
    found = []
    for step, metrics in alone.steps.items():
        if metrics.keys() != (theirs := other.steps.get(step, {})).keys():
            sys.exit(f"{other.launch.title}, step {step}: only one run has {sorted(metrics.keys() ^ theirs.keys())}")
        for name, value in metrics.items():
            apart = abs(value - theirs[name])
            relative, to_scale = (apart / size if apart else 0.0 for size in (max(abs(value), 1e-300), scales[name]))
            found.append(Difference(name, step, relative, to_scale))
    return found


def first_flip(alone: Trained, other: Trained) -> str:
    """Say whether all completions are those of one process, or where the first is not."""
    for step, completions in alone.completions.items():
        if completions != (theirs := other.completions.get(step)):
            changed = sum(one != two for one, two in zip(completions, theirs or (), strict=False))
            return f"step {step}: {changed} of {len(completions)}"
    wrong = [name for name, text in alone.answers.items() if other.answers.get(name) != text]
    return f"held out: {', '.join(wrong)}" if wrong else "identical"


def train(launch: Launch, root: Path, given: Sequence[str], *, counts_bytes: bool) -> Trained:
    """Train a run to its end, or read the one that is finished already."""
    path = root / launch.name
    if not (path / "manifest.json").exists():
        observer = f"observers=[{{name: {root}/wire.py:note, params: {{path: {root}/{launch.name}.{BYTES_FILE}}}}}]"
        arguments = [RECIPE, f"name={launch.name}", f"run.root={root}", *given, *([observer] if counts_bytes else ())]
        command = launch.command(*arguments, "--plain")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(
            in_namespace(command) if counts_bytes else command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    directory = RunDirectory.open(path)
    if directory.manifest.status != "finished":
        sys.exit(f"{path} is {directory.manifest.status}: remove it, and run this again.")
    print(f"done: {launch.title}", flush=True)
    return Trained(launch, directory)


def in_namespace(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one where nobody else uses the loopback device."""
    script = 'ip link set lo up && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh", *command]


def can_count_bytes() -> bool:
    """Say whether this machine lets us have a network namespace."""
    if not all(map(shutil.which, ("unshare", "ip"))):
        return False
    return subprocess.run(in_namespace(["true"]), capture_output=True).returncode == 0


# --- Tables ---


def equality(alone: Trained, others: Sequence[Trained]) -> Iterator[str]:
    """Yield what differs from one process, a line a run."""
    heading = f"{'':26}{'completions':>18}{'held out':>16}{'loss, a step':>14}{'loss, scale':>13}"
    yield from ("", f"{heading}  largest of all metrics, scale")
    for other in others:
        found = differences(alone, other)
        losses = [difference for difference in found if difference.metric == "policy/loss"]
        figures = " ".join(f"{value:.4f}" for name, value in heldout(other))
        yield (
            f"{other.launch.title:26}{first_flip(alone, other):>18}{figures:>16}"
            f"{max(loss.relative for loss in losses):>14.1e}{max(loss.to_scale for loss in losses):>13.1e}"
            f"  {max(found, key=lambda difference: difference.to_scale)}"
        )


def heldout(run: Trained) -> Iterator[tuple[str, float]]:
    """Yield the held-out figures of a run by metric and step."""
    for step, metrics in run.steps.items():
        for name, value in metrics.items():
            if name.startswith("heldout/") and name.count("/") == 1:
                yield f"{name}@{step}", value


def largest(alone: Trained, others: Sequence[Trained], key: str) -> dict[Any, Difference]:
    """Return the largest difference in any of the runs, by metric or by step. Any: either of them."""
    found: dict[Any, Difference] = {}
    for other in others:
        for difference in differences(alone, other):
            group = getattr(difference, key)
            found[group] = max(found.get(group, difference), difference, key=lambda one: one.to_scale)
    return found


def by(key: str, alone: Trained, rounded: Trained, others: Sequence[Trained]) -> Iterator[str]:
    """Yield the largest difference of each metric or step: of rounding in one process, and of all runs on ranks."""
    yield from ("", f"{key:30}{'rounding, scale':>16}{'ranks, scale':>14}{'ranks, a step':>15}")
    rounding, ranks = largest(alone, [rounded], key), largest(alone, others, key)
    for group, difference in ranks.items():
        if key == "step" or difference.to_scale or rounding[group].to_scale:
            where = difference.metric if key == "step" else f"step {difference.step}"
            shown = f"{group!s:30}{rounding[group].to_scale:>16.1e}{difference.to_scale:>14.1e}"
            yield f"{shown}{difference.relative:>15.1e}  {where}"


def times(runs: Sequence[Trained]) -> Iterator[str]:
    """Yield the median seconds of a step and its parts."""
    yield from ("", f"{'median seconds':26}" + "".join(f"{phase:>13}" for phase in PHASES))
    for run in runs:
        yield f"{run.launch.title:26}" + "".join(f"{run.seconds(phase):>13.3f}" for phase in PHASES)


def traffic(runs: Sequence[Trained], parameters: int) -> Iterator[str]:
    """Yield the bytes of a step beside the number of parameters."""
    yield from ("", f"{'sent a step':26}{'bytes':>14}{'a rank':>14}{'a rank and parameter':>24}")
    for run in runs:
        if (sent := run.bytes_a_step()) is not None:
            each = sent / run.launch.ranks
            yield f"{run.launch.title:26}{sent:>14,.0f}{each:>14,.0f}{each / parameters:>24.2f}"


def too_different(alone: Trained, others: Sequence[Trained]) -> list[str]:
    """Return what is above the limit, a line for each run."""
    wrong = []
    for other in others:
        worst = max(differences(alone, other), key=lambda difference: difference.to_scale)
        if worst.to_scale > LIMIT:
            wrong.append(f"{other.launch.title}: {worst}; completions: {first_flip(alone, other)}")
    return wrong


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--strategies", nargs="+", default=["ddp", "fsdp2"])
    parser.add_argument("--launchers", nargs="+", default=["torchrun", "--processes"], help="without dashes: processes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--root", type=Path, help="keep the run directories here, and go on with those that are there")
    parser.add_argument("--no-updates", action="store_true", help="leave out the presets")
    parser.add_argument("settings", nargs="*", help="settings of all runs, such as seed=1")
    return parser.parse_args()


def main() -> None:
    """Train on one process and on several, compare, and print tables."""
    options = parse()
    print(*machine("accelerate"), "1 thread a process, one run at a time", sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="reasonrl-ranks-") as folder:
        root = (options.root or Path(folder)).absolute()
        root.mkdir(parents=True, exist_ok=True)
        (root / "wire.py").write_text(OBSERVER)
        report(options, root)


def report(options: argparse.Namespace, root: Path) -> None:
    """Train, and print what was found."""
    length = [f"run.steps={options.steps}", f"evaluation.every={options.steps}", *options.settings]
    counts_bytes = can_count_bytes()
    launchers = [f"--{name.removeprefix('--')}" if "processes" in name else name for name in options.launchers]
    launches = [
        Launch(launcher=launcher, ranks=ranks, strategy=strategy)
        for ranks in options.ranks
        for strategy in options.strategies
        for launcher in launchers
    ]
    rounding = Launch(what="rounding", settings=("learner.microbatch_tokens=512",))
    alone, rounded, *others = (
        train(launch, root, length, counts_bytes=counts_bytes)
        for launch in (Launch(what="one process"), rounding, *launches)
    )
    parameters = load_skeleton(locate("tiny")).num_parameters()
    print(f"\n{len(alone.steps) - 1} steps, {parameters:,} parameters, held out {dict(heldout(alone))}")
    print(*equality(alone, [rounded, *others]), sep="\n")
    print(*by("metric", alone, rounded, others), *by("step", alone, rounded, others), sep="\n")
    print(*times([alone, *others]), *traffic([alone, *others], parameters), sep="\n", flush=True)
    if not options.no_updates:
        here = Path(__file__).with_name("rank_updates.py")
        subprocess.run([sys.executable, here, "--ranks", *map(str, options.ranks)], check=True)
    wrong = too_different(alone, others)
    own = max(difference.to_scale for difference in differences(alone, rounded))
    within = f"{len(others) - len(wrong)} of {len(others)} runs on ranks within {LIMIT:g}"
    worst = max(difference.to_scale for other in others for difference in differences(alone, other))
    print(
        f"\nheadline: {within} of one process; largest "
        f"difference {worst:.1e} of a metric's size, {worst / max(own, 1e-300):.1f} times what rounding alone does"
    )
    if wrong:
        sys.exit("\n".join(["above the limit:", *wrong]))


if __name__ == "__main__":
    main()
