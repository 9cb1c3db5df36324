"""Pairs graded per CPU-second and agreement with known results: our math comparison beside math-verify.

Both grade the same pairs (``math_pairs.py`` makes them, with the classes of real data in their shares) in turn, some
at a time, each in a worker process of its own that can be killed; what does not end costs its deadline. Processor
time is counted around each pair. The path of a training run is measured apart: the reward ``math`` called through the
pool, counting all processor time of this process, the fork server and the workers, with what passes between them; with
many calls a visit to a worker, with one, and with ``--before`` also in another checkout, in turns.

  python benchmarks/math_grading.py [--quick] [--before CHECKOUT]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean, median

from math_graders import GRADERS, Graded, load
from math_pairs import SHARES, Pair, pairs
from processor_time import cpu_seconds

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
ROUNDS = 3
"""Times that the path of a training run is measured in each way."""
SOURCES = (".", "rewards", "tasks", "evals", "configs")
"""Folders of a checkout that Python imports from."""

Results = Mapping[str, Sequence[Graded]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="300 pairs")
    parser.add_argument("--before", type=Path, help="folder of another checkout, whose pool is measured beside ours")
    parser.add_argument("--pool-only", action="store_true", help="only the pairs per CPU-second through the pool")
    options = parser.parse_args()
    count = 300 if options.quick else options.pairs
    chosen = pairs(count, options.seed)
    if options.pool_only:
        print(run_rate(chosen))
        return
    results = grade_both(chosen)
    ways = {"many calls a visit": {}, "one call a visit": {"ONE_CALL": "1"}}
    if options.before:
        ways["before"] = {"PYTHONPATH": os.pathsep.join(str(options.before.resolve() / name) for name in SOURCES)}
    rates = run_rates(ways, ["--pairs", str(count), "--seed", str(options.seed)])
    for line in report(chosen, results, rates):
        print(line)


def run_rates(ways: Mapping[str, Mapping[str, str]], arguments: Sequence[str]) -> dict[str, float]:
    """Measure the path of a training run in each way, in turns, in processes of their own; return the medians.

    Args:
        ways: the variables of the environment that make each way.
        arguments: which pairs.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, variables in ways.items():
            command = [sys.executable, __file__, "--pool-only", *arguments]
            done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
            rates[name].append(float(done.stdout))
    return {name: median(measured) for name, measured in rates.items()}


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
    if os.environ.get("ONE_CALL"):
        send_one_call_a_visit()
    with RewardCaller([reward], ScoringSettings(workers=WORKERS, timeout_s=DEADLINE_S)) as caller:
        score_all(caller, rollouts[: 10 * WORKERS])
        began = cpu_seconds()
        score_all(caller, rollouts)
        return len(rollouts) / (cpu_seconds() - began)


def send_one_call_a_visit() -> None:
    """Have each call sent to a worker by itself."""
    from reasonrl.scoring.workers import backlog  # another checkout may have none

    backlog.MAX_CALLS = 1  # type: ignore[misc]  # what is compared with


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


def report(chosen: Sequence[Pair], results: Results, rates: Mapping[str, float]) -> Iterator[str]:
    """Say what was measured, the ratio in the last line."""
    from measuring import machine  # imports torch, which nothing here needs while it measures

    yield from machine("math-verify", "latex2sympy2_extended", "sympy", "symengine", "python-flint")
    num_distinct = len({(pair.given, pair.wanted) for pair in chosen})
    yield f"{len(chosen)} pairs, {num_distinct} distinct, {sum(pair.right for pair in chosen)} of them equal"
    yield table_row("class", "share", *(cell for name in GRADERS for cell in (name, "mean us", "p99 us")))
    for kind in [*SHARES, None]:
        yield class_row(kind, chosen, results)
    for name, graded in results.items():
        yield f"{name}: {per_second(graded):,.0f} pairs per CPU-second"
    for way, rate in rates.items():
        yield f"the reward through {WORKERS} workers, all processes, {way}: {rate:,.0f} pairs per CPU-second"
    ours, theirs = (per_second(results[name]) for name in GRADERS)
    many = rates["many calls a visit"]
    yield f"ratio of the first of these to math-verify without a pool: {many / theirs:.1f}x"
    for way, rate in rates.items():
        if rate != many:
            yield f"ratio of the first of these to {way}: {many / rate:.1f}x"
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
