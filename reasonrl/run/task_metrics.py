"""What a step's log line says of each task of a mixture."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from reasonrl.config.rewards import passes, passing_total
from reasonrl.config.tasks import RunTask
from reasonrl.types import Group, RewardResults, teaches


def task_metrics(
    sampled: Sequence[tuple[Group, RewardResults]], tasks: Sequence[RunTask], step: int
) -> Iterator[tuple[str, float]]:
    """Yield the metrics of every task that a step sampled; nothing of a run with one task.

    Args:
        sampled: all groups of the step, those that are not learned from included.
        tasks: of the run.
        step: its number, for weights of rewards that move.
    """
    for task in tasks if len(tasks) > 1 else ():
        own = [(group, results) for group, results in sampled if group.problem.task == task.label]
        if own:
            yield f"task/{task.label}/share", len(own) / len(sampled)
            yield from _figures(f"task/{task.label}", own, passing_total(task.rewards, step))


def _figures(
    prefix: str, sampled: Sequence[tuple[Group, RewardResults]], pass_at: float
) -> Iterator[tuple[str, float]]:
    trajectories = [trajectory for group, _ in sampled for trajectory in group.trajectories]
    totals = [result.total.value for _, results in sampled for result in results if result.total.value is not None]
    if totals:
        yield f"{prefix}/reward", fmean(totals)
        yield f"{prefix}/passed", fmean(passes(total, pass_at) for total in totals)
    if any(len(results) > 1 for _, results in sampled):
        yield f"{prefix}/useful", fmean(teaches(results) for _, results in sampled)
    yield f"{prefix}/length_mean", fmean(trajectory.num_sampled_tokens for trajectory in trajectories)
    yield f"{prefix}/truncated", fmean(trajectory.finish_reason == "length" for trajectory in trajectories)
