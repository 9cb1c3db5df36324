"""Many programs through one sandbox, some of them hostile, twice: does anything leak, does any outcome change?

Nine in ten of the ordinary programs are right; the hostile ones are those of `tests/attacks`. Processes, descriptors
and memory of this process are taken before the first program and after each run: the second run, the same programs
again, must not need more than the first. Outcomes of the two are compared program by program. Exit code 1 if anything
grew or changed.

    python benchmarks/sandbox_soak.py --programs 10000
"""

import argparse
import gc
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

from measuring import machine, row
from processes import below

from reasonrl_sandbox import CallTests, Case, ProgramLimits, Sandbox
from reasonrl_sandbox.attack import Attack, TrialOutcome, read_attacks, run_attack
from reasonrl_sandbox.canary import Canary, planted_canary
from reasonrl_sandbox.types import ISOLATIONS

ATTACKS = Path(__file__).parent.parent / "tests" / "attacks"

BY_CHANCE = frozenset({"forge_every_exit_status"})
"""Hostile programs that mean to end differently every time."""

MAX_GROWTH_MIB = 8
"""How much resident memory may grow from the first run to the second: a copy of the outcomes, and fragments."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this process has."""

    processes: int
    descriptors: int
    threads: int
    memory_mib: float


def main() -> int:
    """Run the soak and say what it showed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--hostile", type=float, default=0.05, help="share of programs that are hostile")
    parser.add_argument("--isolation", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(*machine(), sep="\n")
    problems = soak(options)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{'LEAKED OR CHANGED' if problems else 'held'}: {2 * options.programs} programs")
    return 1 if problems else 0


def soak(options: argparse.Namespace) -> list[str]:
    """Run all programs twice, and return what was not as it must be."""
    before = holdings()
    with Sandbox(options.isolation) as sandbox, planted_canary(sandbox.report().uid) as canary:
        level = sandbox.report().level
        jobs = mixed(options.programs, hostile_jobs(level, canary), options.hostile, random.Random(options.seed))
        print(f"isolation {level}, {sandbox.slots} slots, {len(jobs)} programs, seed {options.seed}")
        print(row("", "processes", "descriptors", "threads", "memory"))
        show("before", before)
        first = timed("first run", lambda: run(sandbox, jobs))
        early = shown("first run")
        second = timed("second run", lambda: run(sandbox, jobs))
        late = shown("second run")
        harm = canary.harm()
    after = shown("closed")
    print(", ".join(f"{times} {outcome}" for outcome, times in Counter(first).most_common()))
    problems = [*harm, *grown(early, late), *left(before, after)]
    return [*problems, *unexpected(jobs, first), *changed(jobs, first, second)]


def hostile_jobs(level: str, canary: Canary) -> list[Attack]:
    """Return the hostile programs whose expectation holds at a level."""
    attacks = read_attacks(ATTACKS, canary.placeholders)
    return [attack for attack in attacks if level in attack.levels and not attack.name.startswith("honest_")]


def mixed(count: int, attacks: Sequence[Attack], share: float, chance: random.Random) -> list[Attack]:
    """Return ordinary and hostile programs in an order of chance."""
    num_hostile = round(count * share)
    rounds = -(-num_hostile // len(attacks))
    jobs = [job for _ in range(rounds) for job in chance.sample(attacks, len(attacks))][:num_hostile]
    jobs += [ordinary(chance) for _ in range(count - num_hostile)]
    return chance.sample(jobs, len(jobs))


def ordinary(chance: random.Random) -> Attack:
    """Return a small program as a model writes it: right, wrong, raising, or no Python."""
    factor, noise = chance.randrange(2, 100), chance.randrange(10**6)
    bodies: dict[TrialOutcome, str] = {
        "passed": f"return sum(number * {factor} for number in numbers)",
        "failed": f"return sum(numbers) * {factor} + 1",
        "runtime_error": "return numbers[len(numbers)]",
        "compile_error": "return (sum(numbers)",
    }
    outcome = chance.choices(list(bodies), weights=(90, 6, 3, 1))[0]
    source = f"# {noise}\nimport math\n\ndef scaled(numbers):\n    {bodies[outcome]}\n"
    cases = tuple(Case(([*range(length)],), expected=factor * sum(range(length))) for length in range(7))
    return Attack(
        f"ordinary {outcome}", source, frozenset({outcome}), CallTests("scaled", cases), ProgramLimits(), ISOLATIONS
    )


def run(sandbox: Sandbox, jobs: Sequence[Attack]) -> list[str]:
    """Return the outcomes."""

    with ThreadPoolExecutor(sandbox.slots) as threads:
        return [trial.outcome for trial in threads.map(partial(run_attack, sandbox), jobs)]


def timed(name: str, work: Callable[[], list[str]]) -> list[str]:
    """Do something and say how fast."""
    began = perf_counter()
    outcomes = work()
    seconds = perf_counter() - began
    print(f"{name}: {seconds:.1f} s, {len(outcomes) / seconds:.0f} programs a second")
    return outcomes


def holdings() -> Holdings:
    """Look at this process."""
    gc.collect()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Holdings(
        processes=len(below(os.getpid())),
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=int(status["Threads"]),
        memory_mib=int(status["VmRSS"].split()[0]) / 1024,
    )


def shown(name: str) -> Holdings:
    """Look, and print."""
    now = holdings()
    show(name, now)
    return now


def show(name: str, now: Holdings) -> None:
    """Print one line."""
    print(row(name, str(now.processes), str(now.descriptors), str(now.threads), f"{now.memory_mib:.1f} MiB"))


def grown(early: Holdings, late: Holdings) -> list[str]:
    """Say what there is more of after the second run than after the first."""
    problems = [
        f"LEAK: {name} grew from {getattr(early, name)} to {getattr(late, name)}"
        for name in ("processes", "descriptors", "threads")
        if getattr(late, name) > getattr(early, name)
    ]
    if late.memory_mib > early.memory_mib + MAX_GROWTH_MIB:
        problems.append(f"LEAK: memory grew from {early.memory_mib:.1f} to {late.memory_mib:.1f} MiB")
    return problems


def left(before: Holdings, after: Holdings) -> list[str]:
    """Say what is still there when the sandbox is closed."""
    names = ("processes", "descriptors", "threads")
    return [f"LEFT: {name} {getattr(after, name)}" for name in names if getattr(after, name) > getattr(before, name)]


def unexpected(jobs: Sequence[Attack], outcomes: Sequence[str]) -> list[str]:
    """Say which programs ended as they must not."""
    found = Counter(f"{job.name}: {out}" for job, out in zip(jobs, outcomes, strict=True) if out not in job.expect)
    return [f"WRONG: {name} ({times} times)" for name, times in found.items()]


def changed(jobs: Sequence[Attack], first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Say which programs ended differently the second time."""
    pairs = zip(jobs, first, second, strict=True)
    return [f"CHANGED: {job.name}: {a}, then {b}" for job, a, b in pairs if a != b and job.name not in BY_CHANCE]


if __name__ == "__main__":
    raise SystemExit(main())
