"""What can go wrong in an engine with weights of its own, and runs and doctors that must find it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import run_config

from reasonrl.config.settings import RunConfig
from reasonrl.engines import Engine, Request
from reasonrl.errors import EngineError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.attempt import Status
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.doctor import Check, checks
from reasonrl.run.files import RunDirectory
from reasonrl.run.inputs import load_inputs
from reasonrl.run.mismatch import mismatch_check
from reasonrl.run.observers import Observers
from reasonrl.run.recorder import RunRecorder
from reasonrl.run.session import Session
from reasonrl.types import Trajectory

MakeEngine = Callable[[RunComponents], Engine]

Weights = Iterable[tuple[str, torch.Tensor]]


def never(push: int) -> bool:
    """No push."""
    return False


class Faulty:
    """An engine in which something goes wrong.

    Args:
        engine: one that works.
        temperature: factor of the temperature it is asked for.
        lost: says which pushes, from 1, do not arrive.
        corrupted: says in which pushes one layer arrives wrongly.
        layer: part of the names of that layer's weights.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        temperature: float = 1.0,
        lost: Callable[[int], bool] = never,
        corrupted: Callable[[int], bool] = never,
        layer: str = "layers.1.mlp.down_proj",
    ) -> None:
        self.engine = engine
        self.policy_version, self.shares_weights = engine.policy_version, engine.shares_weights
        self.loads_while_sampling = engine.loads_while_sampling
        self.pushes = 0
        self._temperature, self._lost, self._corrupted, self._layer = temperature, lost, corrupted, layer

    async def generate(self, request: Request) -> Trajectory:
        params = replace(request.params, temperature=self._temperature * request.params.temperature)
        return await self.engine.generate(replace(request, params=params))

    def load_weights(self, weights: Weights, version: int) -> None:
        self.pushes += 1
        if self._lost(self.pushes):
            return
        if self._corrupted(self.pushes):
            weights = [(name, 1.5 * value if self._layer in name else value) for name, value in weights]
        self.engine.load_weights(weights, version)
        self.policy_version = self.engine.policy_version

    def abort(self) -> None:
        self.engine.abort()

    def sleep(self) -> None:
        self.engine.sleep()

    def close(self) -> None:
        self.engine.close()


def with_engine(components: RunComponents, engine: Engine) -> RunComponents:
    """The components with another engine, given the learner's weights by its first push."""
    engine.load_weights(components.learner.weights(), components.learner.policy_version)
    sampler = replace(components.sampler, groups=replace(components.sampler.groups, engine=engine))
    return replace(components, engine=engine, sampler=sampler, step=replace(components.step, engine=engine))


def config_of(folder: Path, *, steps: int = 4, learning_rate: float = 1e-3, **rollout: Any) -> RunConfig:
    """A small run that moves its weights. Any: rollout settings."""
    return run_config(
        task={"name": "arithmetic", "params": {"num_problems": 50, "min_terms": 2, "max_terms": 2}},
        rollout={"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 8, **rollout},
        rewards=[{"name": str(folder / "reward.py:score"), "isolated": False}],
        algorithm={"preset": "grpo", "importance": "token"},
        learner={"learning_rate": learning_rate},
        run={"steps": steps, "root": str(folder), "checkpoint_every": 1},
    )


class Trained:
    """A run: what became of it."""

    def __init__(self, folder: Path, make_engine: MakeEngine | None, **settings: Any) -> None:
        self.config = config_of(folder, **settings)
        (folder / "reward.py").write_text("def score(rollout): return sum(rollout.trajectory.token_ids) % 7")
        self._inputs = load_inputs(self.config, Plugins())
        self.components = build_components(self.config, self._inputs, Plugins())
        if make_engine is not None:
            self.components = with_engine(self.components, make_engine(self.components))
        self.directory = RunDirectory.create(self.config, "", environment={}, argv=["train"])

    def run(self, done: int = 0) -> Status:
        observers = Observers([RunRecorder(self.directory, self.config)])
        return Session(self.config, self._inputs, self.components, self.directory, observers).run(done, position=0)

    def stops(self) -> str:
        """Run, and return the error that stops it."""
        with pytest.raises(EngineError) as caught:
            self.run()
        assert RunDirectory.open(self.directory.path).manifest.cause == str(caught.value)
        return str(caught.value)

    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics. Any: JSON values."""
        path = self.directory.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def examine(config: RunConfig, make_engine: MakeEngine) -> dict[str, Check]:
    """The doctor's checks of a run that stands still, by name."""
    inputs = load_inputs(config, Plugins())
    components = build_components(config, inputs, Plugins())
    components = with_engine(components, make_engine(components))
    first = next(components.sampler.batches(range(1, 2)))
    found = checks(components, first, 2, mismatch_check(config, inputs, components))
    return {check.name: check for check in found}


def wrong(found: dict[str, Check]) -> list[str]:
    """The names of the checks that fail."""
    return [name for name, check in found.items() if not check.passed]
