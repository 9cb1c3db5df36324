"""The run directory: everything a run leaves on disk, and what it needs to continue."""

from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.manifest import Manifest

__all__ = ["Manifest", "RunDirectory"]
