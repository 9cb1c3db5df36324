"""What the formats say of a result alike: when it was measured, and by what."""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from reasonrl.evaluation.files import RESULTS, Measured


def written_at(measured: Measured) -> datetime:
    """Return when the results were written."""
    return datetime.fromtimestamp((measured.folder / RESULTS).stat().st_mtime, tz=UTC)


def file_name(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^\w.@+-]+", "-", Path(text).as_posix()).strip("-.") or "model"


def packages() -> dict[str, str]:
    """Return the version that exported."""
    return {"reasonrl": version("reasonrl")}
