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
    UnreachableError,
)
from reasonrl.hookspecs import hookimpl
from reasonrl.types import (
    Completion,
    Group,
    LoadHeldout,
    Measurement,
    MetricFn,
    Problem,
    RewardFn,
    Rollout,
    Score,
    Split,
    Suite,
    SuiteFn,
    TaskFn,
    digest,
    split_of,
)

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "ConfigError",
    "DataError",
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
    "Score",
    "Split",
    "Suite",
    "SuiteFn",
    "TaskFn",
    "UnreachableError",
    "digest",
    "hookimpl",
    "split_of",
]
