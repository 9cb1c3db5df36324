"""A run that goes on, on the data that it began with."""

import json

from reasonrl.errors import DataError, RunError
from reasonrl.run.files.directory import RunDirectory


def require_same_data(run: RunDirectory, digest: str, *, source: str, rows: str) -> None:
    """Refuse to go on with other data than those the run began with.

    Args:
        run: that goes on.
        digest: of the data as they are now.
        source: where they are from, as errors name it.
        rows: what they are made of, in the plural.

    Raises:
        RunError: what the run began with cannot be read.
        DataError: the data are others.
    """
    path = run.path / "data.json"
    try:
        recorded = json.loads(path.read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({type(error).__name__}: {error}). Put the old file back.") from None
    if recorded != digest:
        raise DataError(
            f"{source}: the {rows} are not those that {run.path} began with. Put the old file back, or fork the run "
            f"to go on with these: {run.kind.command} --fork {run.path}@STEP name=NEW"
        )
