"""One attempt at a run of SFT, DPO or KTO: TRL's steps, with our metrics, checkpoints and evaluations around them."""

from collections.abc import Iterator, Mapping
from typing import Final

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.kinds import kind_of
from reasonrl.finetune.training import Finetuning
from reasonrl.models.compute import dtype_name
from reasonrl.run.attempt import Attempt, Schedule, Status
from reasonrl.run.events import RunEnded, RunStarted, StepFinished, StepMetrics
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.finetune.data import FinetuneData
from reasonrl.run.finetune.heldout import FinetuneSuites
from reasonrl.run.finetune.report import summary
from reasonrl.run.metric_spellings import FINETUNING
from reasonrl.run.observers import Observers

NOT_TOLD: Final = ("epoch", "num_tokens")
"""What TRL logs beside metrics of a step."""


class FinetuneSession:
    """One attempt, from some step to the end or to where it is stopped."""

    def __init__(
        self,
        config: FinetuneConfig,
        data: FinetuneData,
        tuned: Finetuning,
        suites: FinetuneSuites | None,
        directory: RunDirectory,
        observers: Observers,
        warnings: tuple[str, ...],
    ) -> None:
        self._config, self._data, self._tuned, self._suites = config, data, tuned, suites
        self._directory, self._observers, self._warnings = directory, observers, warnings
        self._attempt = Attempt(directory, observers)
        self._schedule = Schedule(tuned.num_steps, config.evaluation.every, config.run.checkpoint_every)
        self._method = kind_of(config).name

    def run(self, steps_done: int) -> Status:
        """Train from step ``steps_done + 1`` to the end.

        Whatever ends the attempt, every observer is told how it ended before an error is passed on.
        """
        self._last_step = steps_done
        return self._attempt.run(self._train)

    def _train(self) -> RunEnded:
        """Train until the last step, or until a stop is asked for."""
        self._start()
        steps = self._attempt.steps(range(self._last_step + 1, self._tuned.num_steps + 1), self._last_step)
        if next(steps, None) is not None:
            self._tuned.trainer.train_from(
                self._tuned.checkpoint, lambda step, logs: self._after_step(step, logs, steps)
            )
        return self._end()

    def _start(self) -> None:
        """Tell of the run, and measure what is due before its next step."""
        self._observers.notify(
            RunStarted(
                config=self._config,
                path=self._directory.path,
                steps_done=self._last_step,
                num_steps=self._tuned.num_steps,
                facts=facts(self._config, self._data, self._tuned),
                warnings=self._warnings,
            )
        )
        self._evaluate_if_due()

    def _after_step(self, step: int, logs: Mapping[str, float], steps: Iterator[int]) -> bool:
        """Tell of a step, and do what is due after it; say whether another one begins."""
        self._last_step = step
        self._observers.notify(StepFinished(record=StepMetrics(step=step, metrics=named(self._method, logs))))
        if self._schedule.saves_after(step):
            self._save_checkpoint()
        self._evaluate_if_due()
        return next(steps, None) is not None

    def _evaluate_if_due(self) -> None:
        if self._suites is not None and self._schedule.evaluates_after(self._last_step):
            with self._attempt.evaluating(self._last_step):
                self._suites.measure_now(self._last_step, self._directory, self._observers)

    def _save_checkpoint(self) -> None:
        # The step is all that the order of the rows depends on, so it is the position as well.
        self._attempt.save_checkpoint(self._last_step, self._last_step, self._tuned.save_state)

    def _end(self) -> RunEnded:
        """Say how training ended: after its last step, or before it because the user asked to stop."""
        if self._last_step == self._tuned.num_steps:
            suites = self._suites.suites if self._suites else ()
            return RunEnded(status="finished", message=summary(self._directory, self._tuned.num_steps, suites))
        if self._last_step not in self._directory.checkpoints():
            self._save_checkpoint()
        return self._attempt.interrupted()


def named(method: str, logs: Mapping[str, float]) -> dict[str, float]:
    """Return what TRL logs of a step under our names."""
    ours = {theirs: name for name, theirs in FINETUNING[method].items()}
    told = {name: value for name, value in logs.items() if name not in NOT_TOLD}
    shared = {name: told.pop(name) for name in ("seconds/step", "tokens_per_second/learning")}
    return {**{f"{method}/{ours.get(name, name.replace('/', '_'))}": value for name, value in told.items()}, **shared}


def facts(config: FinetuneConfig, data: FinetuneData, tuned: Finetuning) -> Mapping[str, str]:
    """Return what a person should know of a run that begins, by name."""
    parameters = list(tuned.model.parameters())
    size, trainable = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    share = "" if trainable == size else f", {trainable / 1e6:.2f} M of them trainable"
    packed = f", which fill {tuned.num_rows} sequences" if tuned.num_rows + tuned.num_too_long < len(data.rows) else ""
    return {
        "model": f"{config.model.name} ({size / 1e6:.1f} M parameters{share})",
        "data": f"{len(data.rows) - tuned.num_too_long} rows of {data.source}{packed}",
        "template": f"{config.template}, at most {config.data.max_length} tokens",
        "device": f"{tuned.device}, {dtype_name(tuned.compute.dtype)} products ({tuned.choice.reason})",
    }
