"""Entries of the catalog."""

from collections.abc import Mapping
from typing import Final

from reasonrl_tasks.catalog import CatalogEntry

ENTRIES: Final[Mapping[str, CatalogEntry]] = {}
