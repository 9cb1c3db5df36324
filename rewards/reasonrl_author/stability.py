"""Whether a reward gives a reply the same value whenever it is called, and changes nothing that it is given."""

import asyncio
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from reasonrl import Problem, Rollout
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.contract import Reward, arguments_for, load_reward
from reasonrl.scoring.runner import FunctionCall, Functions
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl_author.probes import Probe, ProbeResult, ProbeRunner
from reasonrl_author.report import Finding, describe, describe_times, finding_from
from reasonrl_author.rollouts import rollout_of


def check_stability(
    runner: ProbeRunner, reward: Reward, probes: Sequence[Probe], settings: ScoringSettings
) -> Iterator[Finding | str]:
    """Score probes again, in new processes and then in another order; yield findings and notes.

    Args:
        runner: has scored these probes and many more.
        reward: the same reward.
        probes: replies on which it neither fails nor takes long.
        settings: time limit.
    """
    if not probes:
        yield "not checked: whether it is deterministic, since no reply was scored"
        return
    alone = settings.model_copy(update={"workers": 1})
    before, fresh = runner.score_together(probes), _score_in_new_processes(reward, probes, alone)
    shuffled = _score_shuffled(reward, probes, alone)
    changed = _differing(before, fresh) or _differing(fresh, shuffled)
    if not changed:
        where = "in this process" if reward.is_async or reward.in_process else "in three processes"
        yield f"deterministic: {len(probes)} replies got the same values three times {where}, in two orders"
    elif _differing(fresh, _score_in_new_processes(reward, probes, alone)):
        yield _changed("is not deterministic: the same replies get other values in another process", changed)
    else:
        yield _changed("depends on the order of the replies, or on those before them", changed)
    yield _speed(fresh)
    yield from check_mutation(reward, probes, settings)


def _score_shuffled(reward: Reward, probes: Sequence[Probe], settings: ScoringSettings) -> list[ProbeResult]:
    """Score probes in another order; the results are in the order of the probes."""
    places = list(range(len(probes)))
    Random(0).shuffle(places)
    results = _score_in_new_processes(reward, [probes[place] for place in places], settings)
    return [result for _, result in sorted(zip(places, results, strict=True), key=lambda pair: pair[0])]


def _score_in_new_processes(reward: Reward, probes: Sequence[Probe], settings: ScoringSettings) -> list[ProbeResult]:
    with ProbeRunner(reward, settings) as runner:
        return runner.score_together(probes)


def _differing(before: Sequence[ProbeResult], after: Sequence[ProbeResult]) -> list[tuple[ProbeResult, ProbeResult]]:
    """Return the results that differ in value or outcome; reasons may differ."""
    return [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if (one.value, one.score.outcome) != (other.value, other.score.outcome)
    ]


def _changed(says: str, differing: Sequence[tuple[ProbeResult, ProbeResult]]) -> Finding:
    """Return a finding that shows both scores of a reply."""
    shown = finding_from(says, [before for before, _ in differing])
    before, after = next(pair for pair in differing if describe(pair[0].score) == shown.got)
    return replace(shown, got=f"{describe(before.score)}, then {describe(after.score)}")


def _speed(results: Sequence[ProbeResult]) -> str:
    run_s = [result.score.run_s for result in results]
    rate = 1 / max(sum(run_s) / len(run_s), 1e-9)
    return f"speed: {rate:,.0f} calls a second on one worker; {describe_times(run_s)}"


def check_mutation(reward: Reward, probes: Sequence[Probe], settings: ScoringSettings) -> Iterator[Finding | str]:
    """Yield a finding for a reward that changes what it is given: other rewards get the same objects."""
    rollouts = [
        rollout_of(_with_columns(item.case.problem, reward), item.text, seed=n) for n, item in enumerate(probes[:10])
    ]
    groups = [[one] for one in rollouts] if reward.unit == "rollout" else [[one, one] for one in rollouts]
    with WorkerPoolRunner(partial(load_watched, reward.ref), workers=1) as pool:
        calls = [
            FunctionCall(function="watched", arguments={"rollouts": group}, timeout_s=settings.timeout_s)
            for group in groups
        ]
        results = [future.result() for future in [pool.submit(call) for call in calls]]
    if any(result.outcome == "returned" and result.value for result in results):
        yield Finding(
            says="changes what it is given (the problem's meta or messages): other rewards would see the change"
        )
    elif any(result.outcome == "returned" for result in results):
        yield "it leaves what it is given as it was"
    else:
        yield f"not checked: whether it changes what it is given ({results[0].why})"


def _with_columns(problem: Problem, reward: Reward) -> Problem:
    """Return the problem with mutable columns, and with messages where the reward is called the same with them."""
    with_columns = replace(problem, meta={"solution": problem.answer, "tags": ["a", "b"], **problem.meta})
    is_adapted = reward.function is not reward.source
    if is_adapted or problem.messages:
        return with_columns
    return replace(with_columns, messages=({"role": "user", "content": problem.prompt},))


def load_watched(ref: RewardRef) -> Functions:
    """Return a function that says whether the reward changes what it is given; called in a worker."""
    reward = load_reward(ref, Plugins())

    def watched(rollouts: list[Rollout]) -> bool:
        before = copy.deepcopy(rollouts)
        returned = reward.function(**arguments_for(reward, rollouts, 0))
        if reward.is_async:
            asyncio.run(returned)
        return rollouts != before

    return {"watched": watched}
