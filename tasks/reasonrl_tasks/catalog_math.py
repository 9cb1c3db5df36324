"""Entries of the catalog."""

from collections.abc import Mapping
from typing import Final

from reasonrl_tasks.catalog import CatalogEntry
from reasonrl_tasks.math_sets import EURUS2, SETS

ENTRIES: Final[Mapping[str, CatalogEntry]] = {**{name: found.entry for name, found in SETS.items()}, "eurus2": EURUS2}
