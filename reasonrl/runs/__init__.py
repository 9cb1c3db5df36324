"""The run directory: everything a run leaves on disk, and what it needs to continue."""

from reasonrl.runs.directory import RunDirectory
from reasonrl.runs.manifest import Manifest

__all__ = ["Manifest", "RunDirectory"]
