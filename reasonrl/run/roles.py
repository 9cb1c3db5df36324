"""What the role of a held-out suite means in a run: a test suite reports, and chooses nothing."""

from collections.abc import Iterator, Sequence
from typing import Final

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError
from reasonrl.plugins.types import Suite

CHOOSING: Final = ("heldout_fall", "heldout_flat", "reward_metric_gap")
"""Alarms that look at every suite; with ``rollback`` they choose a checkpoint by it."""


def num_evaluations(config: RunConfig) -> int:
    """Return how often a run measures its suites: before the first step, every so many steps, and after the last."""
    steps = config.run.steps
    return 2 + (steps - 1) // config.evaluation.every


def refuse_choosing_by_tests(config: RunConfig, suites: Sequence[Suite]) -> None:
    """Refuse to go back to a checkpoint because of a figure that should only be reported.

    Raises:
        ConfigError: an alarm would.
    """
    tests = [suite.name for suite in suites if suite.role == "test"]
    rolling = [alarm for alarm in CHOOSING if getattr(config.alarms, alarm) == "rollback" and tests]
    if config.alarms.over_optimization == "rollback" and config.alarms.gold in tests:
        rolling.append("over_optimization")
    if rolling:
        raise ConfigError(
            f"alarms.{rolling[0]} is rollback, which would choose a checkpoint by test suite {tests[0]!r}: use warn "
            "or stop, or a suite whose role is valid"
        )


def touch_warnings(config: RunConfig | FinetuneConfig, suites: Sequence[Suite], times: int) -> Iterator[str]:
    """Say how often each test suite is looked at; every look is a chance to choose by it."""
    for suite in suites:
        if suite.role == "test":
            yield (
                f"suite {suite.name!r} is a test suite and is measured {times} times in this run, "
                "each noted in test_touches.jsonl: choose nothing by it, and measure it for the record once: reasonrl "
                f"eval {config.run.root}/{config.name} --suite {suite.name} --final"
            )
