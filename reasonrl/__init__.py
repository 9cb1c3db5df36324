"""reasonrl: reasoning RL with verifiable rewards.

These are the names a plugin author needs; everything else is reached through the command line or the
modules that ARCHITECTURE.md lists.
"""

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
    in_process,
    keeps_open,
    named_by,
)
from reasonrl.types import Group, Problem, Rollout, Score, Span, Split, Trajectory, digest, split_of

__version__ = "0.2.0"

__all__ = [
    "ConfigError",
    "DataError",
    "FindMetric",
    "Group",
    "LoadHeldout",
    "Measurement",
    "MetricFn",
    "ModelError",
    "PluginError",
    "Problem",
    "ReasonRLError",
    "RewardFn",
    "Rollout",
    "RunError",
    "SandboxError",
    "Score",
    "SharedResource",
    "Span",
    "Split",
    "Suite",
    "SuiteFn",
    "TaskFn",
    "Template",
    "Trajectory",
    "UnreachableError",
    "digest",
    "hookimpl",
    "in_process",
    "keeps_open",
    "named_by",
    "split_of",
]
