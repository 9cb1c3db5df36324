"""A run that trains a policy, as starting, resuming and forking see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.matches import overlap_file
from reasonrl.evaluation.primaries import PREREGISTRATION, RECORDED_SHA
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.attempt import Status
from reasonrl.run.distillation import teacher_record
from reasonrl.run.events import AlarmRaised
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import TokenEndsOf
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.run.observers import Observers
from reasonrl.run.preregistration import preregistration, sha
from reasonrl.run.recorded import data_settings, flat_settings, plugin_defaults, policy_references

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """A run whose problems, suites and rewards are loaded and checked."""

    config: RunConfig
    inputs: RunInputs
    plugins: Plugins

    @classmethod
    def prepare(cls, config: RunConfig, plugins: Plugins) -> "PolicyRun":
        """Load and check everything that needs no model."""
        return cls(config=config, inputs=load_inputs(config, plugins), plugins=plugins)

    def data(self) -> Mapping[str, object]:
        """Return sources, sizes, and what was found of overlap."""
        inputs = self.inputs
        return {
            "train": {"task": self.config.model_dump(mode="json")["task"], "num_problems": len(inputs.problems)},
            "heldout": {
                suite.name: {
                    "num_problems": len(suite.problems),
                    "version": suite.version,
                    "overlap": inputs.overlaps[suite.name].summary,
                }
                for suite in inputs.suites
            },
            "allow_overlap": self.config.evaluation.allow_overlap,
            **teacher_record(self.config),
            "warnings": list(inputs.warnings),
        }

    def settings(self) -> Mapping[str, Any]:
        """Return everything that decides the run by key. Any: JSON values."""
        return {
            **flat_settings(self.config),
            **plugin_defaults(policy_references(self.config), self.plugins),
            **data_settings(self.inputs.tasks, self.inputs.suites),
            **({RECORDED_SHA: sha(content)} if (content := self._preregistration) else {}),
        }

    def files(self) -> Mapping[str, bytes]:
        """Return what was found of overlap in full, and the figures that were named beforehand, if any were."""
        reason, named = self.config.evaluation.allow_overlap, self._preregistration
        return {
            **({"overlap.json": overlap_file(self.inputs.overlaps, reason)} if self.inputs.overlaps else {}),
            **({PREREGISTRATION: named} if named else {}),
        }

    @property
    def _preregistration(self) -> bytes | None:
        return preregistration(self.config, self.inputs.suites)

    def alarms(self, notify: Callable[[AlarmRaised], None], directory: RunDirectory) -> AlarmMonitor:
        """Return what watches the metrics."""
        return AlarmMonitor(
            self.config.alarms,
            notify,
            rollouts_every=self.config.run.rollouts_every,
            checkpoints=directory.checkpoints,
            num_steps=self.config.run.steps,
            evaluate_every=self.config.evaluation.every,
        )

    def load(self, checkpoint: Path | None, rate_factor: float, compute: Mapping[str, Any] | None) -> "LoadedPolicyRun":
        """Load the model and everything that samples, scores and learns with it. Any: JSON values."""
        from reasonrl.run.build import build_components

        components = build_components(
            self.config,
            self.inputs,
            self.plugins,
            checkpoint=checkpoint,
            rate_factor=rate_factor,
            compute=compute,
        )
        return LoadedPolicyRun(config=self.config, inputs=self.inputs, components=components)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicyRun:
    """A run with the components of one attempt."""

    config: RunConfig
    inputs: RunInputs
    components: "RunComponents"

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return self.config.run.steps

    @property
    def token_ends(self) -> TokenEndsOf:
        """Finds tokens in the texts of completions."""
        from reasonrl.run.token_ends import TokenEnds

        tokenizer = self.components.tokenizer
        return TokenEnds(lambda token_ids: str(tokenizer.decode(token_ids)))

    def compute(self) -> Mapping[str, Any]:
        """Return how the models are computed. Any: JSON values."""
        return self.components.compute.record()

    def environment(self) -> Mapping[str, str]:
        """Return the device, and what the rewards say of their surroundings."""
        components = self.components
        shared = f"{components.num_ranks} ({components.strategy})"
        processes = {"processes": shared} if components.strategy != "single" else {}
        return {"device": str(components.device), **processes, **components.rewards.notes}

    def attempt(self, directory: RunDirectory, observers: Observers, steps_done: int, position: int) -> Status:
        """Train to the end, or to where the run is stopped."""
        from reasonrl.run.session import Session

        return Session(self.config, self.inputs, self.components, directory, observers).run(steps_done, position)

    def close(self) -> None:
        """End workers, servers and engine."""
        self.components.close()
