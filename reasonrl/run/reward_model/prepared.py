"""A run that trains a reward model, as starting, resuming and forking see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.settings import PluginRef
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.attempt import Status
from reasonrl.run.events import AlarmRaised
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.same_data import require_same_data
from reasonrl.run.observers import Observers
from reasonrl.run.recorded import flat_settings, plugin_defaults
from reasonrl.run.reward_model.alarms import RewardModelAlarms
from reasonrl.run.reward_model.data import RewardModelData, load_reward_model_data

if TYPE_CHECKING:
    from reasonrl.preference.trainer import RewardModelTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelRun:
    """A run whose examples are loaded and split."""

    config: RewardModelConfig
    loaded: RewardModelData
    plugins: Plugins

    @classmethod
    def prepare(
        cls, config: RewardModelConfig, plugins: Plugins, say: Callable[[str], None], earlier: RunDirectory | None
    ) -> "RewardModelRun":
        """Load the examples; sample them where the run file asks for that and no earlier run has them.

        Args:
            config: the run.
            plugins: where task, template and gold reward come from.
            say: told of what takes long.
            earlier: the run that this one continues or is forked from.

        Raises:
            DataError: the data cannot be used, or is not what the run began with.
        """
        loaded = load_reward_model_data(config, plugins, say, earlier)
        if earlier and earlier.config.name == config.name:  # it goes on; a fork has a name of its own
            require_same_data(earlier, loaded.data.digest, source=loaded.data.source, rows="examples")
        return cls(config=config, loaded=loaded, plugins=plugins)

    def data(self) -> Mapping[str, object]:
        """Return source, sizes and digest of the examples."""
        data = self.loaded.data
        return {
            "source": data.source,
            "digest": data.digest,
            "summary": dict(data.summary),
            "warnings": list(data.warnings),
        }

    def settings(self) -> Mapping[str, Any]:
        """Return everything that decides the run by key. Any: JSON values."""
        sampled = self.config.data.sampled
        references: dict[str, tuple[Kind, PluginRef]] = {}
        if sampled is not None:
            references = {"data.sampled.task": ("tasks", sampled.task), "data.sampled.gold": ("rewards", sampled.gold)}
        return {**flat_settings(self.config), **plugin_defaults(references, self.plugins)}

    def files(self) -> Mapping[str, bytes]:
        """Return the pairs, where they were sampled."""
        return self.loaded.files

    def alarms(self, notify: Callable[[AlarmRaised], None], _: RunDirectory) -> RewardModelAlarms:
        """Return what watches the metrics."""
        return RewardModelAlarms(self.config.alarms, notify)

    def load(
        self, checkpoint: Path | None, rate_factor: float, compute: Mapping[str, Any] | None
    ) -> "LoadedRewardModelRun":
        """Load the model and encode the examples. Any: JSON values."""
        from reasonrl.preference.trainer import RewardModelTrainer

        trainer = RewardModelTrainer.build(
            self.config,
            self.loaded.data,
            self.plugins,
            checkpoint=checkpoint,
            rate_factor=rate_factor,
            compute=compute,
        )
        return LoadedRewardModelRun(config=self.config, trainer=trainer)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRewardModelRun:
    """A run with the trainer of one attempt."""

    config: RewardModelConfig
    trainer: "RewardModelTrainer"

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return self.trainer.num_steps

    @property
    def token_ends(self) -> None:
        """Nothing is sampled."""

    def compute(self) -> Mapping[str, Any]:
        """Return how the backbone is computed. Any: JSON values."""
        return self.trainer.compute.record()

    def environment(self) -> Mapping[str, str]:
        """Return the device."""
        from reasonrl.models.hardware import find_device

        return {"device": str(find_device(self.config.model.device))}

    def attempt(self, directory: RunDirectory, observers: Observers, steps_done: int, position: int) -> Status:
        """Train to the end, or to where the run is stopped."""
        from reasonrl.run.reward_model.session import RewardModelSession

        return RewardModelSession(self.config, self.trainer, directory, observers).run(steps_done)

    def close(self) -> None:
        """Do nothing: all of it runs in this process."""
