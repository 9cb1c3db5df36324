"""Pairs graded per CPU-second and agreement with known results: our math comparison beside math-verify.

Both grade the same pairs (``math_pairs.py`` makes them, with the classes of real data in their shares) in turn, some
at a time, each in a worker process of its own that can be killed; what does not end costs its deadline. Processor
time is counted around each pair. The last row is the path of a training run: the reward ``math`` called through the
pool, counting all processor time of this process, the warm parent and the workers, with what passes between them.

  python benchmarks/math_grading.py [--quick]
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean

from math_graders import GRADERS, Graded, load
from math_pairs import SHARES, Pair, pairs

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import load_reward
from reasonrl.scoring.runner import FunctionCall
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl.types import Problem, Rollout, Trajectory

DEADLINE_S = 10.0
"""Longest time for one pair."""
TOGETHER = 100
"""Pairs that a scorer is given at a time."""
WORKERS = 2

Results = Mapping[str, Sequence[Graded]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="300 pairs")
    options = parser.parse_args()
    chosen = pairs(300 if options.quick else options.pairs, options.seed)
    results = grade_both(chosen)
    rate = run_rate(chosen)
    for line in report(chosen, results, rate):
        print(line)


def grade_both(chosen: Sequence[Pair]) -> Results:
    """Grade all pairs with both, taking turns, so that what else the machine does falls on both."""
    results: dict[str, list[Graded]] = {name: [] for name in GRADERS}
    with ExitStack() as stack:
        pools = {name: stack.enter_context(WorkerPoolRunner(partial(load, name), workers=1)) for name in GRADERS}
        for start in range(0, len(chosen), TOGETHER):
            for name, graded in results.items():
                graded += grade_some(pools[name], name, chosen[start : start + TOGETHER])
            print(f"\r{start + TOGETHER} of {len(chosen)} pairs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def grade_some(pool: WorkerPoolRunner, name: str, some: Sequence[Pair]) -> list[Graded]:
    """Grade pairs, together if they end within a deadline each, else one by one."""
    call = FunctionCall(function=name, arguments={"pairs": some}, timeout_s=DEADLINE_S * len(some))
    reply = pool.submit(call).result()
    if reply.outcome == "returned":
        return list(reply.value)
    if len(some) == 1:
        return [Graded(right=False, cpu_s=reply.run_s)]
    return [graded for pair in some for graded in grade_some(pool, name, [pair])]


def run_rate(chosen: Sequence[Pair]) -> float:
    """Return the pairs per CPU-second of the reward that a run applies, all processes counted."""
    rollouts = [as_rollout(number, pair) for number, pair in enumerate(chosen)]
    reward = load_reward(RewardRef(name="math"), Plugins())
    with RewardCaller([reward], ScoringSettings(workers=WORKERS, timeout_s=DEADLINE_S)) as caller:
        score_all(caller, rollouts[: 10 * WORKERS])
        began = cpu_seconds()
        score_all(caller, rollouts)
        return len(rollouts) / (cpu_seconds() - began)


def score_all(caller: RewardCaller, rollouts: Sequence[Rollout]) -> None:
    """Score completions as they would arrive, one at a time, and wait for all."""
    for future in [caller.submit("math", [rollout]) for rollout in rollouts]:
        future.result()


def as_rollout(number: int, pair: Pair) -> Rollout:
    """Return a completion that gives a pair's answer."""
    completion = Trajectory.single_turn(
        token_ids=(0,),
        text=rf"So the answer is \boxed{{{pair.given}}}.",
        logprobs=(0.0,),
        finish_reason="stop",
        policy_version=0,
        sample_index=0,
        seed=number,
    )
    problem = Problem(id=f"{number:016x}", task="benchmark", prompt="?", answer=pair.wanted)
    return Rollout(problem=problem, prompt="?", trajectory=completion)


def cpu_seconds() -> float:
    """Return the processor time of this process and of those below it that live."""
    return sum(map(time_on_cpu, [Path("/proc/self"), *below(Path("/proc/self"))]))


def below(process: Path) -> Iterator[Path]:
    """Find the processes below one."""
    for task in process.glob("task/*/children"):
        for number in task.read_text().split():
            child = Path("/proc") / number
            yield from (child, *below(child))


def time_on_cpu(process: Path) -> float:
    """Return the seconds that a process's threads have run."""
    return sum(int(task.read_text().split()[0]) for task in process.glob("task/*/schedstat")) / 1e9


def report(chosen: Sequence[Pair], results: Results, rate: float) -> Iterator[str]:
    """Say what was measured, the ratio in the last line."""
    from measuring import machine  # imports torch, which nothing here needs while it measures

    yield from machine("math-verify", "latex2sympy2_extended", "sympy", "symengine", "python-flint")
    yield f"{len(chosen)} pairs, {sum(pair.right for pair in chosen)} of them equal"
    yield table_row("class", "share", *(cell for name in GRADERS for cell in (name, "mean us", "p99 us")))
    for kind in [*SHARES, None]:
        yield class_row(kind, chosen, results)
    for name, graded in results.items():
        yield f"{name}: {per_second(graded):,.0f} pairs per CPU-second"
    yield f"reasonrl, the reward through {WORKERS} workers, all processes: {rate:,.0f} pairs per CPU-second"
    ours, theirs = (per_second(results[name]) for name in GRADERS)
    yield f"ratio of that to math-verify without a pool: {rate / theirs:.1f}x"
    yield f"ratio of pairs per CPU-second, reasonrl against math-verify: {ours / theirs:.1f}x"


def class_row(kind: str | None, chosen: Sequence[Pair], results: Results) -> str:
    """Return the row of one class of answers, or of all."""
    where = [index for index, pair in enumerate(chosen) if kind in (pair.kind, None)]
    cells = [f"{len(where) / len(chosen):.1%}"]
    for graded in results.values():
        right = fmean(graded[index].right == chosen[index].right for index in where) if where else 1.0
        times = sorted(graded[index].cpu_s * 1e6 for index in where) or [0.0]
        cells += [f"{right:.2%}", f"{fmean(times):,.0f}", f"{times[int(0.99 * (len(times) - 1))]:,.0f}"]
    return table_row(kind or "all", *cells)


def table_row(name: str, *cells: str) -> str:
    """Return one line of the table."""
    return f"{name:20}" + "".join(f"{cell:>14}" for cell in cells)


def per_second(graded: Sequence[Graded]) -> float:
    """Return the pairs per CPU-second."""
    return len(graded) / sum(one.cpu_s for one in graded)


if __name__ == "__main__":
    main()
