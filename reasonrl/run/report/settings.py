"""Settings of the runs of a report, and where they differ."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reasonrl.run.history import History
from reasonrl.run.recorded import flat_settings

UNTOLD: Final = ("name", "description", "run.root")
"""Settings that say what a run is called and where it stands."""
ABSENT: Final = "–"


def settings_of(run: History) -> Mapping[str, Any]:
    """Return everything that decides a run by dotted key, defaults of its plugins included. Any: JSON values."""
    return {**flat_settings(run.config), **(run.manifest.settings or {})}


def differences(runs: Sequence[History]) -> list[tuple[str, list[Any]]]:
    """Return the settings that are not the same in all runs, with each run's value. Any: JSON values."""
    flat = [settings_of(run) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in UNTOLD)
    rows = [(key, [settings.get(key, ABSENT) for settings in flat]) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]
