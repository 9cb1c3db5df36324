"""Problem sources. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import TaskFn, hookimpl


@hookimpl
def reasonrl_tasks() -> Mapping[str, TaskFn]:
    """Offer the tasks of this package."""
    from reasonrl_tasks.arithmetic import arithmetic
    from reasonrl_tasks.bbeh import bbeh
    from reasonrl_tasks.choices import gpqa_diamond, mmlu_pro
    from reasonrl_tasks.contests import apps, codecontests, taco
    from reasonrl_tasks.countdown import countdown
    from reasonrl_tasks.eurus import eurus2
    from reasonrl_tasks.evalplus import humaneval_plus, mbpp_plus
    from reasonrl_tasks.files import jsonl, parquet
    from reasonrl_tasks.functions import functions
    from reasonrl_tasks.hub import hub
    from reasonrl_tasks.instructions import ifbench, ifeval
    from reasonrl_tasks.livecodebench import livecodebench
    from reasonrl_tasks.programs import code_jsonl, humaneval, mbpp
    from reasonrl_tasks.published import TASKS
    from reasonrl_tasks.reasoning_gym import reasoning_gym
    from reasonrl_tasks.schemas import open_instruct, trl, verifiers, verl

    return {
        **TASKS,
        "apps": apps,
        "arithmetic": arithmetic,
        "bbeh": bbeh,
        "code_jsonl": code_jsonl,
        "codecontests": codecontests,
        "countdown": countdown,
        "eurus2": eurus2,
        "functions": functions,
        "gpqa_diamond": gpqa_diamond,
        "hub": hub,
        "humaneval": humaneval,
        "humaneval_plus": humaneval_plus,
        "ifbench": ifbench,
        "ifeval": ifeval,
        "jsonl": jsonl,
        "livecodebench": livecodebench,
        "mbpp": mbpp,
        "mbpp_plus": mbpp_plus,
        "mmlu_pro": mmlu_pro,
        "open_instruct": open_instruct,
        "parquet": parquet,
        "reasoning_gym": reasoning_gym,
        "taco": taco,
        "trl": trl,
        "verifiers": verifiers,
        "verl": verl,
    }
