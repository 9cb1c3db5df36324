"""What the runs of a report are called."""

from collections.abc import Sequence

from reasonrl.run.history import History


def run_names(runs: Sequence[History]) -> list[str]:
    """Return each run's name; with its folder where several have one name."""
    names = [run.name for run in runs]
    return [f"{name} ({run.path})" if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)]
