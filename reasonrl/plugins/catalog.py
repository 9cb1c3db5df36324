"""What packages know of the published data behind their tasks and suites: source, license, size and so on.

A package says it by a function without arguments in the entry-point group ``reasonrl.catalog``. It returns a mapping
from the name of a task or suite to a dataclass of texts, whose fields are the headings.
"""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from reasonrl.errors import PluginError
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.loading import IMPORT_TIMEOUT_S, owner_of

GROUP: Final = "reasonrl.catalog"
REQUIRED: Final = frozenset({"source", "size", "license"})
"""What a list of tasks shows."""


@cache
def catalog() -> Mapping[str, Mapping[str, str]]:
    """Return the facts of each task or suite, by heading.

    Raises:
        PluginError: a package's function fails, or returns something else.
    """
    return {name: facts for entry in entry_points(group=GROUP) for name, facts in _facts(entry).items()}


def _facts(entry: EntryPoint) -> dict[str, dict[str, str]]:
    owner = owner_of(entry)
    with guarded_import("catalog", owner, timeout_s=IMPORT_TIMEOUT_S):
        found = entry.load()()
        if not isinstance(found, Mapping) or not all(is_dataclass(one) for one in found.values()):
            raise PluginError(f"{label('catalog', owner)}: returned no mapping from names to dataclasses of texts.")
        facts = {name: asdict(one) for name, one in found.items()}
        if lacking := [name for name, one in facts.items() if REQUIRED - one.keys()]:
            raise PluginError(f"{label('catalog', owner)}: says of {lacking[0]!r} no {' or '.join(sorted(REQUIRED))}.")
        return facts
