"""What a tracker has of a run, so that a resumed run tells it nothing twice."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from reasonrl.run.trackers.messages import Opening
from reasonrl.system.atomic import partial_of
from reasonrl.types import digest


class Progress:
    """The last step that a tracker was told of, and which parts of it: names of metrics, its table, its alarms.

    All that belongs to a step comes before anything of the next one, so the last step says everything.

    Args:
        path: the file that keeps it.
        target: what the tracker was opened for; of another run or tracker nothing is known.
    """

    def __init__(self, path: Path, target: str) -> None:
        self._path = path
        self._target = target
        self._step = -1
        self._parts: set[str] = set()

    @classmethod
    def of(cls, opening: Opening) -> Self:
        """Read the file; one that is not there or cannot be read says that the tracker has nothing."""
        target = digest(opening.run.id, opening.name, repr(sorted(opening.params.items())))
        progress = cls(opening.progress, target)
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(opening.progress.read_bytes())
            if found["target"] == target:
                progress._step, progress._parts = int(found["step"]), set(found["parts"])
        return progress

    def new(self, step: int, parts: Iterable[str]) -> set[str]:
        """Return which parts of a step the tracker does not have."""
        if step < self._step:
            return set()
        return set(parts) - (self._parts if step == self._step else set())

    def note(self, step: int, parts: Iterable[str]) -> None:
        """Write down that the tracker has these parts of a step.

        A full disk costs the note, and a resumed run tells the tracker again.
        """
        self._parts = self._parts.union(parts) if step == self._step else set(parts)
        self._step = step
        record = {"target": self._target, "step": self._step, "parts": sorted(self._parts)}
        partial = partial_of(self._path)
        with suppress(OSError):
            partial.write_text(json.dumps(record) + "\n")
            os.replace(partial, self._path)
