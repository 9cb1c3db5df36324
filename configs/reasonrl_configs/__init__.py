"""Recipes: one run file each."""

from collections.abc import Mapping
from pathlib import Path

from reasonrl import hookimpl


@hookimpl
def reasonrl_configs() -> Mapping[str, Path]:
    """Offer every run file in this folder under its name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
