"""What a run file changes about a suite."""

from dataclasses import replace
from typing import Final

from reasonrl.config.settings import PluginRef, SuiteRef
from reasonrl.plugins.types import Suite

OVERRIDES: Final = tuple(name for name in SuiteRef.model_fields if name not in PluginRef.model_fields)
"""Fields of a suite that may be set beside its name."""


def with_overrides(suite: Suite, ref: SuiteRef) -> Suite:
    """Return the suite with the settings that stand beside its name; null leaves the suite's own."""
    given = {name: getattr(ref, name) for name in OVERRIDES}
    return replace(suite, **{name: value for name, value in given.items() if value is not None})
