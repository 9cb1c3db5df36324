"""What the formats say of a result alike: the model's name, and when it was measured."""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from reasonrl.evaluation.files import RESULTS, Measured


def model_name(measured: Measured) -> str:
    """Return what a model is called: of a run's checkpoint, the run and the step."""
    model = measured.model
    if "run" in model and "step" in model:
        return f"{model['run']}@{model['step']}"
    return str(model.get("name", "model"))


def written_at(measured: Measured) -> datetime:
    """Return when the results were written."""
    return datetime.fromtimestamp((measured.folder / RESULTS).stat().st_mtime, tz=UTC)


def file_name(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^\w.@+-]+", "-", Path(text).as_posix()).strip("-.") or "model"


def packages() -> dict[str, str]:
    """Return the version that exported."""
    return {"reasonrl": version("reasonrl")}
