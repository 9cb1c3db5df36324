"""What is known of the published data sets that tasks and suites read: for ``reasonrl tasks list`` and the docs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A published data set."""

    source: str
    """Where it comes from: a data set of the hub, or a package."""
    license: str
    """As its authors state it; ``not stated`` where they do not."""
    size: str
    """Problems by split, such as ``7,473 train, 1,319 test``."""
    paper: str
    """arXiv number, or an address."""
    metric: str
    """What its figure is, such as ``accuracy of the final answer``."""
    protocol: str
    """How papers sample it: shots, temperature, top_p, completions of a problem, longest completion."""
    verified: str = "no"
    """Against which published figure ours was compared, and with what result; ``no`` where it was not."""


def catalog() -> Mapping[str, CatalogEntry]:
    """Return the entries by the name of their task or suite."""
    from reasonrl_tasks import catalog_math, catalog_programs

    return {**catalog_math.ENTRIES, **catalog_programs.ENTRIES}
