"""Problem sources. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import TaskFn, hookimpl


@hookimpl
def reasonrl_tasks() -> Mapping[str, TaskFn]:
    """Offer the tasks of this package."""
    from reasonrl_tasks.arithmetic import arithmetic
    from reasonrl_tasks.countdown import countdown
    from reasonrl_tasks.files import jsonl, parquet
    from reasonrl_tasks.hub import hub
    from reasonrl_tasks.reasoning_gym import reasoning_gym

    return {
        "arithmetic": arithmetic,
        "countdown": countdown,
        "hub": hub,
        "jsonl": jsonl,
        "parquet": parquet,
        "reasoning_gym": reasoning_gym,
    }
