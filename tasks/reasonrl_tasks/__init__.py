"""Problem sources. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import TaskFn, hookimpl


@hookimpl
def reasonrl_tasks() -> Mapping[str, TaskFn]:
    """Offer the tasks of this package."""
    from reasonrl_tasks.arithmetic import arithmetic
    from reasonrl_tasks.countdown import countdown
    from reasonrl_tasks.files import jsonl, parquet
    from reasonrl_tasks.functions import functions
    from reasonrl_tasks.hub import hub
    from reasonrl_tasks.programs import code_jsonl, humaneval, mbpp
    from reasonrl_tasks.reasoning_gym import reasoning_gym

    return {
        "arithmetic": arithmetic,
        "code_jsonl": code_jsonl,
        "countdown": countdown,
        "functions": functions,
        "hub": hub,
        "humaneval": humaneval,
        "jsonl": jsonl,
        "mbpp": mbpp,
        "parquet": parquet,
        "reasoning_gym": reasoning_gym,
    }
