"""The license of a model, where it is known on this machine."""

from pathlib import Path

import yaml

from reasonrl.errors import ModelError
from reasonrl.models import NAMED, locate

FENCE = "---"


def license_of(model: str) -> str:
    """Return the license of a model as hub cards name it, such as ``apache-2.0``; empty where nothing here says it.

    A named model's is known; another's is read from the front matter of the ``README.md`` in its folder.
    """
    known = next((named for named in NAMED.values() if model in (named.name, named.hub_name)), None)
    if known is not None:
        return known.license
    try:
        card = Path(locate(model)) / "README.md"
    except ModelError:
        return ""
    found = _front_matter(card).get("license", "")
    return found if isinstance(found, str) else ""


def _front_matter(card: Path) -> dict[str, object]:
    """Return what stands between the first two fences of a card; nothing where it has none."""
    if not card.is_file():
        return {}
    begin, _, rest = card.read_text(encoding="utf-8", errors="replace").partition(f"{FENCE}\n")
    front, end, _ = rest.partition(f"\n{FENCE}")
    try:
        found = yaml.safe_load(front) if not begin and end else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
