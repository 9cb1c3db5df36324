"""The boundary around a run's engine, which may be anybody's code."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from reasonrl.engines import Engine, Request
from reasonrl.errors import PluginError
from reasonrl.plugins.boundary import guarded, label
from reasonrl.types import Trajectory


class GuardedEngine:
    """Passes everything on to an engine; what it raises or returns wrongly is one error that names it.

    Loading weights has a deadline; sampling has its own, ``rollout.timeout_s``.

    Args:
        engine: anybody's.
        name: the name in the run file.
        timeout_s: longest time of a call, sampling not counted.
    """

    def __init__(self, engine: Engine, name: str, timeout_s: float | None) -> None:
        self.policy_version = engine.policy_version
        self.shares_weights = engine.shares_weights
        self.loads_while_sampling = engine.loads_while_sampling
        self.guarded = engine
        """The engine itself."""
        self._name = name
        self._timeout_s = timeout_s

    async def generate(self, request: Request) -> Trajectory:
        """Sample with the engine."""
        with self._guarded(self.guarded.generate, None):  # many run at once: each with a timer would disturb the others
            trajectory: object = await self.guarded.generate(request)
        if not isinstance(trajectory, Trajectory):
            what = f"generate returned a value of type {type(trajectory).__name__}; it returns a Trajectory"
            raise PluginError(f"{label('engine', self._name)}: {what}.")
        return trajectory

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        with self._guarded(self.guarded.abort, self._timeout_s):
            self.guarded.abort()

    def sleep(self) -> None:
        """Let the engine free what the learner may need."""
        with self._guarded(self.guarded.sleep, self._timeout_s):
            self.guarded.sleep()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Give the engine new weights."""
        with self._guarded(self.guarded.load_weights, self._timeout_s):
            self.guarded.load_weights(weights, version)
            self.policy_version = self.guarded.policy_version

    def close(self) -> None:
        """Close the engine."""
        with self._guarded(self.guarded.close, self._timeout_s):
            self.guarded.close()

    def _guarded(self, method: Callable[..., Any], timeout_s: float | None) -> AbstractContextManager[None]:
        """Turn whatever a method raises into one error. Any: what methods take and return."""
        remedy = "Mend it there, or name another one in the run file's rollout.engine."
        return guarded("engine", self._name, method, timeout_s=timeout_s, remedy=remedy)
