"""An order that passes over problems which the model always or never solves, by what the run has seen of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from reasonrl.config.curriculum import CurriculumSettings
from reasonrl.config.rewards import passes
from reasonrl.rollout.mixture import TaskTurns
from reasonrl.rollout.order import DataOrder
from reasonrl.types import Group, Problem, RewardResults

PRIOR = 0.5
"""Both parameters of Jeffreys' prior of a pass rate."""


@dataclass(frozen=True, slots=True)
class PassCounts:
    """What was seen of a problem, as it counts at a step."""

    passed: float = 0.0
    failed: float = 0.0
    step: int = 0

    def at(self, step: int, half_life: float) -> "PassCounts":
        """Return what it still counts at a later step."""
        kept = 0.5 ** ((step - self.step) / half_life)
        return PassCounts(self.passed * kept, self.failed * kept, step)

    @property
    def mean(self) -> float:
        """The posterior mean of the pass rate."""
        return (PRIOR + self.passed) / (2 * PRIOR + self.passed + self.failed)


def probabilities_between(counts: Sequence[PassCounts], low: float, high: float) -> list[float]:
    """Return for each problem the posterior probability that its pass rate lies between two values."""
    from scipy.special import betainc  # 0.1 s to import

    alphas, betas = [PRIOR + each.passed for each in counts], [PRIOR + each.failed for each in counts]
    found: list[float] = (betainc(alphas, betas, high) - betainc(alphas, betas, low)).tolist()
    return found


@dataclass(slots=True, kw_only=True)
class CurriculumTask:
    """The problems of one task, and what was seen of them."""

    label: str
    problems: Sequence[Problem]
    order: DataOrder
    weight: float
    pass_at: Callable[[int], float]
    """From a step to the smallest total reward of a completion that passes."""
    candidates: int = 0
    """Positions of the task's own order that are used up, taken or passed over."""
    seen: dict[str, PassCounts] = field(default_factory=dict)
    """By the problem's id."""
    num_different: int = field(init=False)
    """Problems whose ids differ."""

    def __post_init__(self) -> None:
        """Count the problems."""
        self.num_different = len({problem.id for problem in self.problems})

    def count(self, step: int, results: RewardResults, counts: PassCounts) -> PassCounts:
        """Return what is known of a problem after a group; completions without a score say nothing."""
        totals = [result.total.value for result in results if result.total.value is not None]
        passed = sum(passes(total, self.pass_at(step)) for total in totals)
        return PassCounts(counts.passed + passed, counts.failed + len(totals) - passed, step)


class CurriculumOrder:
    """An endless stream in which a problem is taken, when its turn comes, as surely as it is worth the samples.

    The posterior of a problem's pass rate is Beta(1/2 + passed, 1/2 + failed), where what was seen long ago counts
    less. A problem that was never seen is taken. Another one is taken with the posterior probability that its pass rate
    lies between ``min_pass_rate`` and ``max_pass_rate``, which is Thompson sampling of that question, and at least with
    probability ``revisit``. The random number belongs to the seed and the position, so the stream is a function of
    these and of what the steps before have shown.

    Groups whose members all pass or all fail have no advantage; their share is what a policy-gradient method wastes:
    online filtering (arXiv:2504.03380), learnability p (1 - p) (arXiv:2502.12272), screening by a few samples
    (arXiv:2506.09016), curricula over categories as a bandit (arXiv:2505.14970). Here problems are judged by samples
    that were paid for anyway.

    Args:
        tasks: one, or those of a mixture; the shares of positions are those of their weights whatever is passed over.
        settings: of the curriculum.
        seed: the run's.
    """

    def __init__(self, tasks: Sequence[CurriculumTask], settings: CurriculumSettings, seed: int) -> None:
        self._tasks = tasks
        self._settings = settings
        self._seed = seed
        self._turns = TaskTurns([task.weight for task in tasks])
        self._step = 0
        self._passed_over = 0

    def at(self, first: int, count: int) -> list[Problem]:
        """Return the next ``count`` problems, which take positions ``first`` and after."""
        return [self._next(self._tasks[self._turns.at(position)[0]]) for position in range(first, first + count)]

    def _next(self, task: CurriculumTask) -> Problem:
        while True:
            problem = task.order.at(task.candidates, 1)[0]
            chance = Random(f"{self._seed}/{task.label}/curriculum/{task.candidates}").random()
            task.candidates += 1
            if chance < max(self._settings.revisit, self._probability(task, problem.id)):
                return problem
            self._passed_over += 1

    def _probability(self, task: CurriculumTask, problem_id: str) -> float:
        """Return how surely a problem teaches something at the next step."""
        return self._in_play([task.seen[problem_id]])[0] if problem_id in task.seen else 1.0

    def _in_play(self, seen: Sequence[PassCounts]) -> list[float]:
        now = [counts.at(self._step + 1, self._settings.half_life) for counts in seen]
        return probabilities_between(now, self._settings.min_pass_rate, self._settings.max_pass_rate)

    def observe(self, step: int, sampled: Sequence[tuple[Group, RewardResults]]) -> Mapping[str, float]:
        """Count what a step sampled, and return how many problems are worth their samples now."""
        self._step = step
        by_label = {task.label: task for task in self._tasks}
        for group, results in sampled:
            task = self._tasks[0] if len(self._tasks) == 1 else by_label[group.problem.task]
            known = task.seen.get(group.problem.id, PassCounts(step=step))
            task.seen[group.problem.id] = task.count(step, results, known.at(step, self._settings.half_life))
        passed_over, self._passed_over = self._passed_over, 0
        return {"curriculum/passed_over": float(passed_over), **self._metrics()}

    def _metrics(self) -> dict[str, float]:
        """Return means over all problems; for each task as well where there are several."""
        sums = {task.label: self._sums(task) for task in self._tasks}
        sizes = {task.label: task.num_different for task in self._tasks}
        whole = sum(sizes.values())
        means = {name: sum(of[name] for of in sums.values()) / whole for name in ("in_play", "seen", "pass_rate")}
        each = sums if len(sums) > 1 else {}
        return {
            **{f"curriculum/{name}": mean for name, mean in means.items()},
            **{
                f"task/{label}/{name}": total / sizes[label] for label, of in each.items() for name, total in of.items()
            },
        }

    def _sums(self, task: CurriculumTask) -> dict[str, float]:
        """Sum over the problems of a task; one that was not seen is in play, and its pass rate is the prior's."""
        seen = list(task.seen.values())
        means = [counts.at(self._step, self._settings.half_life).mean for counts in seen]
        unseen = task.num_different - len(seen)
        return {
            "in_play": math.fsum(self._in_play(seen)) + unseen,
            "seen": float(len(seen)),
            "pass_rate": math.fsum(means) + 0.5 * unseen,
        }

    def state(self) -> Mapping[str, Any]:
        """Return what was seen, and how far each task's order is used up. Any: JSON values."""
        tasks = {
            task.label: {
                "candidates": task.candidates,
                "seen": {name: [of.passed, of.failed, of.step] for name, of in task.seen.items()},
            }
            for task in self._tasks
        }
        return {"step": self._step, "tasks": tasks}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of a checkpoint. Any: JSON values."""
        self._step = state["step"]
        for task in self._tasks:
            of_task = state["tasks"][task.label]
            task.candidates = of_task["candidates"]
            task.seen = {name: PassCounts(*counts) for name, counts in of_task["seen"].items()}
