"""What can go wrong in an engine with weights of its own, and runs and doctors that must find it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import run_config
from rich.console import Console

from reasonrl.assembly import Machinery, agreement, build, gather, sampler
from reasonrl.config import RunConfig
from reasonrl.doctor import Check, checks
from reasonrl.engines import Arrived, Engine, Request, SamplingParams
from reasonrl.errors import EngineError
from reasonrl.plugins import Plugins
from reasonrl.runs import RunDirectory
from reasonrl.session import Session
from reasonrl.types import Completion
from reasonrl.view import PlainView

MakeEngine = Callable[[Machinery], Engine]

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
        self.pushes = 0
        self._temperature, self._lost, self._corrupted, self._layer = temperature, lost, corrupted, layer

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        return self.engine.sample(
            requests, replace(params, temperature=self._temperature * params.temperature), arrived
        )

    def load(self, weights: Weights, version: int) -> None:
        self.pushes += 1
        if self._lost(self.pushes):
            return
        if self._corrupted(self.pushes):
            weights = [(name, 1.5 * value if self._layer in name else value) for name, value in weights]
        self.engine.load(weights, version)
        self.policy_version = self.engine.policy_version

    def abort(self) -> None:
        self.engine.abort()

    def sleep(self) -> None:
        self.engine.sleep()

    def close(self) -> None:
        self.engine.close()


def with_engine(machinery: Machinery, engine: Engine) -> Machinery:
    """The machinery with another engine, given the learner's weights by its first push."""
    engine.load(machinery.learner.weights(), machinery.learner.policy_version)
    return replace(machinery, engine=engine, parts=replace(machinery.parts, engine=engine))


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
        (folder / "reward.py").write_text("def score(rollout): return sum(rollout.completion.token_ids) % 7")
        self._material = gather(self.config, Plugins())
        local = self.config.rollout.model_copy(update={"engine": "local"})
        self._machinery = build(self.config.model_copy(update={"rollout": local}), self._material, Plugins())
        if make_engine is not None:
            self._machinery = with_engine(self._machinery, make_engine(self._machinery))
        self.directory = RunDirectory.create(self.config, "", environment={}, argv=["train"])

    def run(self, done: int = 0) -> int:
        parts = (self.config, self.directory, self._material, self._machinery)
        return Session(*parts, PlainView(Console(file=StringIO()))).run(done=done, position=0)

    def stops(self) -> str:
        """Run, and return the error."""
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
    material = gather(config, Plugins())
    machinery = build(config, material, Plugins())
    machinery = with_engine(machinery, make_engine(machinery))
    samples = sampler(config, material, machinery)
    first = next(samples.batches(range(1, 2)))
    found = checks(machinery, samples, first, 2, agreement(config, material, machinery))
    return {check.name: check for check in found}


def wrong(found: dict[str, Check]) -> list[str]:
    """The names of the checks that fail."""
    return [name for name, check in found.items() if not check.passed]
