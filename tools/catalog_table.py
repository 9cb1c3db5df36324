"""The table of published data sets in the documentation, from :func:`reasonrl_tasks.catalog.catalog`."""

from collections.abc import Mapping

from reasonrl_evals import reasonrl_suites
from reasonrl_tasks import reasonrl_tasks
from reasonrl_tasks.catalog import CatalogEntry, catalog

HEADER = ("name", "is a", "source", "license", "size", "paper", "metric", "as papers sample it", "verified")


def catalog_table() -> str:
    """Return one row an entry: those that only a task reads after those that a suite measures."""
    kinds = {name: _kind(name) for name in catalog()}
    ordered = sorted(catalog().items(), key=lambda item: "suite" not in kinds[item[0]])
    rows = [_row(name, kinds[name], entry) for name, entry in ordered]
    return "\n".join([_line(HEADER), _line(["---"] * len(HEADER)), *rows])


def _kind(name: str) -> str:
    """Say which plugins read a set."""
    offered: Mapping[str, Mapping[str, object]] = {"task": reasonrl_tasks(), "suite": reasonrl_suites()}
    return ", ".join(kind for kind, names in offered.items() if name in names)


def _row(name: str, kind: str, entry: CatalogEntry) -> str:
    cells = (
        entry.source,
        entry.license,
        entry.size,
        _linked(entry.paper),
        entry.metric,
        entry.protocol,
        entry.verified,
    )
    return _line([f"`{name}`", kind, *cells])


def _linked(paper: str) -> str:
    number = paper.removeprefix("arXiv:")
    if number != paper:
        return f"[{paper}](https://arxiv.org/abs/{number})"
    return f"[link]({paper})" if paper.startswith("http") else paper


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
