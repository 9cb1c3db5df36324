"""Whether a reward gives one reply one value whenever it is asked, and only reads what it is given."""

import asyncio
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

import numpy as np

from reasonrl.author.bench import Answered, Bench, Question
from reasonrl.author.report import Finding, describe, finding
from reasonrl.author.samples import rollout_of
from reasonrl.config import RewardRef, ScoringSettings
from reasonrl.plugins import Plugins
from reasonrl.scoring.contract import Reward, arguments_for, load_reward
from reasonrl.scoring.pool import Pool
from reasonrl.scoring.runner import Call, Functions
from reasonrl.types import Problem, Rollout

PERCENTILES: Final = (50, 95, 99, 100)


def steadiness(
    bench: Bench, reward: Reward, questions: Sequence[Question], settings: ScoringSettings
) -> Iterator[Finding | str]:
    """Ask again, in fresh processes and then in another order; yield findings and notes.

    Args:
        bench: was asked about these and many more.
        reward: the same.
        questions: replies on which it neither fails nor takes long.
        settings: time limit.
    """
    if not questions:
        yield "not checked: whether it is deterministic, since no reply was scored"
        return
    alone = settings.model_copy(update={"workers": 1})
    before, fresh = bench.ask_together(questions), _round(reward, questions, alone)
    mixed = _mixed_round(reward, questions, alone)
    changed = _differing(before, fresh) or _differing(fresh, mixed)
    if not changed:
        where = "in this process" if reward.is_async else "in three processes"
        yield f"deterministic: {len(questions)} replies got the same values three times {where}, in two orders"
    elif _differing(fresh, _round(reward, questions, alone)):
        yield _changed("is not deterministic: the same replies get other values in another process", changed)
    else:
        yield _changed("depends on the order of the replies, or on those before them", changed)
    yield _speed(fresh)
    yield from mutations(reward, questions, settings)


def _mixed_round(reward: Reward, questions: Sequence[Question], settings: ScoringSettings) -> list[Answered]:
    """Ask once in another order; the scores are returned in the order of the questions."""
    places = list(range(len(questions)))
    Random(0).shuffle(places)
    answered = _round(reward, [questions[place] for place in places], settings)
    return [item for _, item in sorted(zip(places, answered, strict=True), key=lambda pair: pair[0])]


def _round(reward: Reward, questions: Sequence[Question], settings: ScoringSettings) -> list[Answered]:
    """Ask once, in processes of its own."""
    with Bench(reward, settings) as bench:
        return bench.ask_together(questions)


def _differing(before: Sequence[Answered], after: Sequence[Answered]) -> list[tuple[Answered, Answered]]:
    """Return the replies whose scores differ; reasons may."""
    return [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if (one.value, one.score.outcome) != (other.value, other.score.outcome)
    ]


def _changed(says: str, differing: Sequence[tuple[Answered, Answered]]) -> Finding:
    """Return a finding that shows both scores of a reply."""
    shown = finding(says, [before for before, _ in differing])
    before, after = next(pair for pair in differing if describe(pair[0].score) == shown.got)
    return replace(shown, got=f"{describe(before.score)}, then {describe(after.score)}")


def _speed(answered: Sequence[Answered]) -> str:
    """Say how long the reward takes for ordinary replies on one worker."""
    run_s = np.array([item.score.run_s for item in answered])
    times = ", ".join(
        f"{'max' if percent == 100 else f'p{percent}'} {value:.3g} ms"
        for percent, value in zip(PERCENTILES, np.percentile(run_s * 1000, PERCENTILES), strict=True)
    )
    return f"speed: {1 / max(float(run_s.mean()), 1e-9):,.0f} calls a second on one worker; {times}"


def mutations(reward: Reward, questions: Sequence[Question], settings: ScoringSettings) -> Iterator[Finding | str]:
    """Yield a finding for a reward that changes what it is given: others are given the same objects."""
    rollouts = [
        rollout_of(_with_columns(item.case.problem, reward), item.text, seed=n) for n, item in enumerate(questions[:10])
    ]
    groups = [[one] for one in rollouts] if reward.unit == "rollout" else [[one, one] for one in rollouts]
    with Pool(partial(load_watched, reward.ref), workers=1) as pool:
        calls = [Call(function="watched", arguments={"rollouts": g}, timeout_s=settings.timeout_s) for g in groups]
        replies = [future.result() for future in [pool.submit(call) for call in calls]]
    if any(reply.outcome == "returned" and reply.value for reply in replies):
        yield Finding(
            says="changes what it is given (the problem's meta or messages): other rewards would see the change"
        )
    elif any(reply.outcome == "returned" for reply in replies):
        yield "it leaves what it is given as it was"
    else:
        yield f"not checked: whether it changes what it is given ({replies[0].why})"


def _with_columns(problem: Problem, reward: Reward) -> Problem:
    """Return the problem with what can be changed: columns, and messages where they do not change how it is asked."""
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
