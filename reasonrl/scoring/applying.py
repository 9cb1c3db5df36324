"""Which rewards of a run apply to a problem: those of its task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from reasonrl.config.settings import RunConfig
from reasonrl.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRewards:
    """Labels of the rewards of each task of a mixture."""

    by_task: Mapping[str, frozenset[str]]
    """By the label of a task, and by the name of one that all of its entries give the same rewards."""
    others: frozenset[str]
    """Those of all other problems, such as held-out ones: what scores where no task says otherwise."""

    @classmethod
    def of_run(cls, config: RunConfig) -> Self | None:
        """Return the rewards of a mixture; None where all rewards apply to all problems."""
        if not isinstance(config.task, list):
            return None
        by_name: dict[str, set[frozenset[str]]] = {}
        by_label = {task.label: frozenset(reward.key for reward in task.rewards) for task in config.tasks}
        for task in config.tasks:
            by_name.setdefault(task.ref.name, set()).add(by_label[task.label])
        of_names = {name: next(iter(found)) for name, found in by_name.items() if len(found) == 1}
        return cls(by_task={**of_names, **by_label}, others=frozenset(reward.key for reward in config.rewards))

    def labels(self, problem: Problem) -> frozenset[str]:
        """Return the labels of the rewards that apply to a problem."""
        return self.by_task.get(problem.task, self.others)
