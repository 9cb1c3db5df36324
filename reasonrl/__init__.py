"""reasonrl: reasoning RL with verifiable rewards.

These are the names that plugin authors, programs and notebooks need; everything else is reached through the command
line or the modules that ARCHITECTURE.md lists.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from reasonrl.errors import (
    ConfigError,
    DataError,
    ModelError,
    PluginError,
    ReasonRLError,
    RunError,
    SandboxError,
    UnreachableError,
)
from reasonrl.plugins.hookspecs import hookimpl
from reasonrl.plugins.types import (
    FindMetric,
    LoadHeldout,
    Measurement,
    MetricFn,
    RewardFn,
    SharedResource,
    Suite,
    SuiteFn,
    TaskFn,
    Template,
    TrackedRun,
    Tracker,
    TrackerFn,
    in_process,
    keeps_open,
    named_by,
)
from reasonrl.types import Group, Problem, Rollout, Score, Span, Split, Trajectory, digest, split_of

if TYPE_CHECKING:
    from reasonrl.api.comparison import Comparison, compare
    from reasonrl.api.evaluating import evaluate
    from reasonrl.api.evaluation import Evaluation
    from reasonrl.api.runs import Run, load_run
    from reasonrl.api.table import Table
    from reasonrl.api.training import fork, resume, train
    from reasonrl.config.finetune import DPORunConfig, KTORunConfig, SFTRunConfig
    from reasonrl.config.reward_model import RewardModelConfig
    from reasonrl.config.settings import RunConfig

__version__ = "0.2.0"

__all__ = [
    "Comparison",
    "ConfigError",
    "DPORunConfig",
    "DataError",
    "Evaluation",
    "FindMetric",
    "Group",
    "KTORunConfig",
    "LoadHeldout",
    "Measurement",
    "MetricFn",
    "ModelError",
    "PluginError",
    "Problem",
    "ReasonRLError",
    "RewardFn",
    "RewardModelConfig",
    "Rollout",
    "Run",
    "RunConfig",
    "RunError",
    "SFTRunConfig",
    "SandboxError",
    "Score",
    "SharedResource",
    "Span",
    "Split",
    "Suite",
    "SuiteFn",
    "Table",
    "TaskFn",
    "Template",
    "TrackedRun",
    "Tracker",
    "TrackerFn",
    "Trajectory",
    "UnreachableError",
    "compare",
    "digest",
    "evaluate",
    "fork",
    "hookimpl",
    "in_process",
    "keeps_open",
    "load_run",
    "named_by",
    "resume",
    "split_of",
    "train",
]

_LAZY = {
    "Comparison": "api.comparison",
    "DPORunConfig": "config.finetune",
    "Evaluation": "api.evaluation",
    "KTORunConfig": "config.finetune",
    "RewardModelConfig": "config.reward_model",
    "Run": "api.runs",
    "RunConfig": "config.settings",
    "SFTRunConfig": "config.finetune",
    "Table": "api.table",
    "compare": "api.comparison",
    "evaluate": "api.evaluating",
    "fork": "api.training",
    "load_run": "api.runs",
    "resume": "api.training",
    "train": "api.training",
}
"""Names that are imported when they are first used, with where: a plugin needs none of them."""


if not TYPE_CHECKING:  # a type checker would take it for a promise that every name exists

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)

    def __dir__() -> list[str]:
        return [*globals(), *_LAZY]
