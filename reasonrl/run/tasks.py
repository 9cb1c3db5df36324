"""The training problems of a run: those of each task, chosen and weighed by difficulty, and the order of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reasonrl.config.rewards import passing_total
from reasonrl.config.settings import DifficultySettings, PluginRef, RunConfig, RunTask
from reasonrl.errors import DataError
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.curriculum import CurriculumOrder, CurriculumTask
from reasonrl.rollout.mixture import MixedOrder, interleaved
from reasonrl.rollout.order import DataOrder, ProblemOrder
from reasonrl.run.files.difficulty import DifficultyManifest, DifficultyRow, read_difficulty
from reasonrl.types import Problem, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProblems:
    """A task of a run with its problems."""

    task: RunTask
    problems: Sequence[Problem]
    weights: Sequence[float] | None = None
    """How often each problem comes beside the others; None is once for all."""
    warnings: tuple[str, ...] = ()


def load_problems(task: PluginRef, plugins: Plugins, *, split: str = "train", seed: int = 0) -> Sequence[Problem]:
    """Return the problems of one split of a task.

    Raises:
        PluginError: the task failed, or returned something else.
        DataError: there are none.
    """
    problems: Sequence[Problem] = plugins.call("tasks", task, split=split, seed=seed)
    if not problems:
        raise DataError(f"task {task.name!r}: has no {split} problems; check its params and its data.")
    return problems


def load_tasks(config: RunConfig, plugins: Plugins, *, split: Split = "train", seed: int = 0) -> list[TaskProblems]:
    """Return the problems of every task; those of a mixture have its labels as their ``task``.

    Raises:
        PluginError: a task failed, or returned something else.
        DataError: a task has no problems, or its difficulty is not that of its problems.
    """
    return [_loaded(config, task, plugins, split, seed) for task in config.tasks]


def _loaded(config: RunConfig, task: RunTask, plugins: Plugins, split: Split, seed: int) -> TaskProblems:
    problems = load_problems(task.ref, plugins, split=split, seed=seed)
    if isinstance(config.task, list):
        problems = [replace(problem, task=task.label) for problem in problems]
    settings = task.ref.difficulty if split == "train" else None
    loaded = TaskProblems(task=task, problems=problems)
    return loaded if settings is None else chosen_by_difficulty(loaded, settings, config)


def all_problems(tasks: Sequence[TaskProblems]) -> Sequence[Problem]:
    """Return the problems of all tasks; the first ones are of all tasks too."""
    if len(tasks) == 1:
        return tasks[0].problems
    return interleaved([task.problems for task in tasks], [task.task.weight for task in tasks])


def in_order(config: RunConfig, tasks: Sequence[TaskProblems]) -> list[Problem]:
    """Return every problem once, no two of one task and id, in the order in which the run would first train on them.

    Those of a mixture are mixed by the weights until a task has no more of them.
    """
    unlike = [list({problem.id: problem for problem in each.problems}.values()) for each in tasks]
    ordered = [
        DataOrder(problems, _seed(config, each.task)).at(0, len(problems))
        for problems, each in zip(unlike, tasks, strict=True)
    ]
    return interleaved(ordered, [each.task.weight for each in tasks])


def _seed(config: RunConfig, task: RunTask) -> int | str:
    """Return what names the order of a task's problems: in a mixture each has one of its own."""
    return f"{config.seed}/{task.label}" if isinstance(config.task, list) else config.seed


def problem_order(config: RunConfig, tasks: Sequence[TaskProblems]) -> ProblemOrder:
    """Return the endless stream of training problems."""
    orders = [DataOrder(each.problems, _seed(config, each.task), each.weights) for each in tasks]
    if (settings := config.curriculum) is not None:
        judged = [_judged(each, order, settings.pass_at) for each, order in zip(tasks, orders, strict=True)]
        return CurriculumOrder(judged, settings, config.seed)
    return orders[0] if len(orders) == 1 else MixedOrder(orders, [each.task.weight for each in tasks])


def _judged(each: TaskProblems, order: DataOrder, pass_at: float | None) -> CurriculumTask:
    usual: Callable[[int], float] = partial(passing_total, each.task.rewards)
    return CurriculumTask(
        label=each.task.label,
        problems=each.problems,
        order=order,
        weight=each.task.weight,
        pass_at=usual if pass_at is None else lambda _: pass_at,
    )


# Difficulty.


def chosen_by_difficulty(loaded: TaskProblems, settings: DifficultySettings, config: RunConfig) -> TaskProblems:
    """Return the problems whose pass rate is within limits, with what they weigh.

    Raises:
        DataError: the file cannot be used, has none of the problems, lacks some, or nothing is left.
    """
    where, task = f"{loaded.task.key}.difficulty", loaded.task
    rows, manifest, sha256 = read_difficulty(Path(settings.file))
    find = _finder(rows, where)
    pairs = [(problem, find(problem)) for problem in loaded.problems]
    _refuse_unmatched(pairs, rows, settings, where)
    kept = [(problem, row) for problem, row in pairs if _is_kept(row, settings)]
    if not kept:
        raise DataError(
            f"{where}: none of {len(pairs)} problems of task {task.label!r} has a pass rate from "
            f"{settings.min_pass_rate:g} to {settings.max_pass_rate:g} in {settings.file}: widen the limits."
        )
    unknown = DifficultyRow(problem_id="unknown", num_samples=0, num_passed=0)
    weights = [(row or unknown).variance for _, row in kept] if settings.weigh == "variance" else None
    warnings = tuple(_difficulty_warnings(where, settings.file, manifest, sha256, task, config))
    return replace(loaded, problems=[problem for problem, _ in kept], weights=weights, warnings=warnings)


def _finder(rows: Sequence[DifficultyRow], where: str) -> Callable[[Problem], DifficultyRow | None]:
    """Return what finds a problem's row by its id, and by its task where several tasks have that id."""
    by_id: dict[str, list[DifficultyRow]] = {}
    for row in rows:
        by_id.setdefault(row.problem_id, []).append(row)

    def find(problem: Problem) -> DifficultyRow | None:
        found = by_id.get(problem.id, [])
        of_task = [row for row in found if row.task == problem.task]
        if len(found) > 1 and not of_task:
            tasks = ", ".join(row.task for row in found)
            raise DataError(
                f"{where}: problem {problem.id} has several rows, of tasks {tasks}, and none of {problem.task!r}."
            )
        return next(iter(of_task or found), None)

    return find


def _refuse_unmatched(
    pairs: Sequence[tuple[Problem, DifficultyRow | None]],
    rows: Sequence[DifficultyRow],
    settings: DifficultySettings,
    where: str,
) -> None:
    """Refuse a file of other problems, and one that lacks some, unless the run file says what becomes of them."""
    missing = [problem for problem, row in pairs if row is None]
    if len(missing) == len(pairs):
        raise DataError(
            f"{where}: {settings.file} has none of the task's {len(pairs)} problems. Its {len(rows)} rows are of other "
            f"ones, such as {rows[0].problem_id} of task {rows[0].task!r}; the task has {missing[0].id}."
        )
    if missing and settings.missing == "refuse":
        raise DataError(
            f"{where}: {settings.file} lacks {len(missing)} of {len(pairs)} problems, such as {missing[0].id}. Measure "
            "all of them (reasonrl difficulty without --num-problems), or say what becomes of them: "
            "difficulty.missing: keep, or drop."
        )


def _is_kept(row: DifficultyRow | None, settings: DifficultySettings) -> bool:
    """Say whether a problem is trained on; one without a scored completion is as good as missing."""
    if row is None or row.rate is None:
        return settings.missing != "drop"
    return settings.min_pass_rate <= row.rate <= settings.max_pass_rate


def _difficulty_warnings(
    where: str, file: str, manifest: DifficultyManifest | None, sha256: str, task: RunTask, config: RunConfig
) -> Iterator[str]:
    """Say what a file was made with that this run has not."""
    if manifest is None:
        yield f"{where}: {file} has no manifest beside it, so nobody can tell which model and template it was made with"
        return
    if manifest.sha256 != sha256:
        yield f"{where}: {file} was changed after reasonrl difficulty wrote it"
    made = manifest.tasks.get(task.label) or (next(iter(manifest.tasks.values())) if len(manifest.tasks) == 1 else {})
    then = {"model": manifest.model, "temperature": manifest.temperature, **made}
    differing = [
        f"{name} {_shown(then[name])}, here {_shown(value)}"
        for name, value in sampled_with(config, task).items()
        if name in then and then[name] != value
    ]
    if differing:
        yield f"{where}: {file} was made with {'; '.join(differing)}: its pass rates may be others here"


def sampled_with(config: RunConfig, task: RunTask) -> Mapping[str, Any]:
    """Return what decides how often a task's problems are passed. Any: JSON values."""
    return {"model": config.model.name, "temperature": config.rollout.temperature, **task_settings(task)}


def task_settings(task: RunTask) -> Mapping[str, Any]:
    """Return what decides it of the task itself. Any: JSON values."""
    decisive = {"name", "params", "label", "weight", "gate", "gate_at_least", "timeout_value"}
    return {
        "template": task.template,
        "max_new_tokens": task.max_new_tokens,
        "stop": list(task.stop),
        "rewards": [reward.model_dump(mode="json", include=decisive) for reward in task.rewards],
    }


def _shown(value: object) -> str:
    """Return a value for a message: of rewards their labels."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return " + ".join(f"{each['label'] or each['name']} x {each['weight']}" for each in value)
    return repr(value)
