"""A run of SFT, DPO or KTO, as starting, resuming and forking see it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonrl.config.finetune import FinetuneConfig, SFTDataSettings
from reasonrl.config.settings import PluginRef
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.matches import Overlap, overlap_file
from reasonrl.evaluation.overlap import find_overlaps, require_apart
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.attempt import Status
from reasonrl.run.check import check_finetune
from reasonrl.run.events import AlarmRaised
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.same_data import require_same_data
from reasonrl.run.finetune.data import FinetuneData, load_finetune_data
from reasonrl.run.inputs import load_suite, refuse_repeated_suites
from reasonrl.run.observers import Observers
from reasonrl.run.recorded import flat_settings, plugin_defaults, suite_settings
from reasonrl.run.roles import touch_warnings
from reasonrl.run.update_alarms import UpdateAlarms

if TYPE_CHECKING:
    from reasonrl.finetune.training import Finetuning
    from reasonrl.run.finetune.heldout import FinetuneSuites


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRun:
    """A run whose rows and suites are read and checked."""

    config: FinetuneConfig
    rows: FinetuneData
    suites: tuple[Suite, ...]
    overlaps: Mapping[str, Overlap]
    """By name of the suite."""
    plugins: Plugins

    @classmethod
    def prepare(cls, config: FinetuneConfig, plugins: Plugins, earlier: RunDirectory | None) -> "FinetuneRun":
        """Read the rows and the suites, and check that they fit together.

        Args:
            config: the run.
            plugins: where tasks, suites and templates come from.
            earlier: the run that this one continues or is forked from.

        Raises:
            DataError: the rows cannot be used, or are not what the run began with.
            OverlapError: held-out problems are among them.
        """
        check_finetune(config, plugins)
        suites = tuple(load_suite(ref, plugins) for ref in config.evaluation.suites)
        refuse_repeated_suites(suites)
        rows = load_finetune_data(config, plugins)
        if earlier and earlier.config.name == config.name:  # it goes on; a fork has a name of its own
            require_same_data(earlier, rows.digest, source=rows.source, rows="rows")
        overlaps = find_overlaps(rows.problems, {suite.name: suite.problems for suite in suites})
        require_apart(overlaps, config.evaluation.allow_overlap)
        return cls(config=config, rows=rows, suites=suites, overlaps=overlaps, plugins=plugins)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the run's figures should know, as far as that is known without the model."""
        return (*self.rows.warnings, *self._suite_warnings())

    def _suite_warnings(self) -> Iterator[str]:
        config = self.config
        if not self.suites:
            yield "no held-out suite: the run cannot show whether it learned (evaluation.suites)"
        for suite in self.suites:
            yield from cluster_warnings(suite)
            overlap = self.overlaps[suite.name]
            if overlap.is_refused:
                yield f"suite {suite.name!r}: {overlap.summary}; allowed because: {config.evaluation.allow_overlap}"
            elif overlap.copies:
                yield f"suite {suite.name!r}: {overlap.summary}; see overlap.json"
            if suite.template != config.template:
                yield f"suite {suite.name!r} uses template {suite.template!r}, training uses {config.template!r}"

    def data(self) -> Mapping[str, object]:
        """Return source, sizes and digest of the rows, and what was found of overlap."""
        return {
            "source": self.rows.source,
            "digest": self.rows.digest,
            "summary": dict(self.rows.summary),
            "heldout": {
                suite.name: {
                    "num_problems": len(suite.problems),
                    "version": suite.version,
                    "overlap": self.overlaps[suite.name].summary,
                }
                for suite in self.suites
            },
            "allow_overlap": self.config.evaluation.allow_overlap,
            "warnings": list(self.warnings),
        }

    def settings(self) -> Mapping[str, Any]:
        """Return everything that decides the run by key. Any: JSON values."""
        data = self.config.data
        references: dict[str, tuple[Kind, PluginRef]] = {
            f"evaluation.suites.{index}": ("suites", ref) for index, ref in enumerate(self.config.evaluation.suites)
        }
        if isinstance(data, SFTDataSettings) and data.task is not None:
            references["data.task"] = ("tasks", data.task)
        return {
            **flat_settings(self.config),
            **plugin_defaults(references, self.plugins),
            **suite_settings(self.suites),
            "data.rows": f"{len(self.rows.rows)} rows, digest {self.rows.digest}",
        }

    def files(self) -> Mapping[str, bytes]:
        """Return what was found of overlap in full."""
        reason = self.config.evaluation.allow_overlap
        return {"overlap.json": overlap_file(self.overlaps, reason)} if self.overlaps else {}

    def alarms(self, notify: Callable[[AlarmRaised], None], _: RunDirectory) -> UpdateAlarms:
        """Return what watches the metrics."""
        return UpdateAlarms(self.config.alarms, notify)

    def load(
        self, checkpoint: Path | None, rate_factor: float, compute: Mapping[str, Any] | None
    ) -> "LoadedFinetuneRun":
        """Load the model, encode the rows, and start what measures. Any: JSON values."""
        from reasonrl.finetune.training import build_finetuning
        from reasonrl.run.finetune.heldout import FinetuneSuites

        with ExitStack() as opened:
            tuned = build_finetuning(
                self.config,
                self.rows.rows,
                self.rows.source,
                self.plugins,
                checkpoint=checkpoint,
                rate_factor=rate_factor,
                compute=compute,
            )
            opened.enter_context(closing(tuned))
            suites = FinetuneSuites.open(self.config, self.suites, tuned, self.plugins)
            opened.pop_all()
        return LoadedFinetuneRun(prepared=self, tuned=tuned, suites=suites)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFinetuneRun:
    """A run with its model, for one attempt."""

    prepared: FinetuneRun
    tuned: "Finetuning"
    suites: "FinetuneSuites | None"

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return self.tuned.num_steps

    @property
    def token_ends(self) -> None:
        """Nothing is sampled to learn from."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the run's figures should know."""
        config, long = self.prepared.config, self.tuned.num_too_long
        limit, times = config.data.max_length, 2 + (self.num_steps - 1) // config.evaluation.every
        left_out = [f"{long} rows have more than {limit} tokens (data.max_length) and are left out"] if long else []
        touched = touch_warnings(config, self.prepared.suites, times)
        return (*self.prepared.warnings, *left_out, *touched, *self.tuned.choice.warnings)

    def compute(self) -> Mapping[str, Any]:
        """Return how the model is computed. Any: JSON values."""
        return self.tuned.compute.record()

    def environment(self) -> Mapping[str, str]:
        """Return the device, and TRL's version."""
        from importlib.metadata import version

        return {"device": str(self.tuned.device), "trl": version("trl")}

    def attempt(self, directory: RunDirectory, observers: Observers, steps_done: int, position: int) -> Status:
        """Train to the end, or to where the run is stopped."""
        from reasonrl.run.finetune.session import FinetuneSession

        prepared = self.prepared
        session = FinetuneSession(
            prepared.config, prepared.rows, self.tuned, self.suites, directory, observers, self.warnings
        )
        return session.run(steps_done)

    def close(self) -> None:
        """End the engine and the metrics' workers, and remove what TRL has written."""
        with closing(self.tuned):
            if self.suites is not None:
                self.suites.close()
