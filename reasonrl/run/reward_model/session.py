"""One attempt at the training of a reward model: steps, measurements, checkpoints, and the finished model."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.learner.rng import preserved_rng
from reasonrl.preference.card import HeldoutEvaluation
from reasonrl.preference.trainer import RewardModelTrainer
from reasonrl.run.attempt import Attempt, Schedule, Status
from reasonrl.run.events import HeldoutMeasured, RunEnded, RunStarted, StepFinished, StepMetrics
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.observers import Observers
from reasonrl.run.reward_model.report import summary

_EVALUATION: TypeAdapter[HeldoutEvaluation | None] = TypeAdapter(HeldoutEvaluation | None)


class RewardModelSession:
    """One attempt at the training of a reward model, from some step to its end or to where it is stopped."""

    def __init__(
        self,
        config: RewardModelConfig,
        trainer: RewardModelTrainer,
        directory: RunDirectory,
        observers: Observers,
    ) -> None:
        self._config = config
        self._trainer = trainer
        self._directory = directory
        self._observers = observers
        self._attempt = Attempt(directory, observers)
        self._schedule = Schedule(trainer.num_steps, config.evaluation.every, config.run.checkpoint_every)

    def run(self, steps_done: int) -> Status:
        """Train from step ``steps_done + 1`` to the end.

        Whatever ends the attempt, every observer is told how it ended before an error is passed on.
        """
        self._last_step = steps_done
        return self._attempt.run(self._train)

    def _train(self) -> RunEnded:
        """Train until the last step, or until a stop is asked for."""
        self._start()
        done, steps = self._last_step, range(self._last_step + 1, self._trainer.num_steps + 1)
        for step in self._attempt.steps(steps, done):
            self._after_step(step, self._trainer.step(step))
        return self._end()

    def _start(self) -> None:
        """Tell of the run, and measure what is due before its next step."""
        self._observers.notify(
            RunStarted(
                config=self._config,
                path=self._directory.path,
                steps_done=self._last_step,
                num_steps=self._trainer.num_steps,
                facts=self._trainer.facts,
                warnings=self._trainer.warnings,
            )
        )
        self._evaluate_if_due()

    def _after_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of a step, and do what is due after it: the checkpoint before the measurement, which may fail."""
        self._last_step = step
        self._observers.notify(StepFinished(record=StepMetrics(step=step, metrics=metrics)))
        if self._schedule.saves_after(step):
            self._save_checkpoint()
        self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        """Measure on the held-out prompts, unless that was done after this step before the run was resumed."""
        step = self._last_step
        if self._schedule.evaluates_after(step) and not self._directory.evaluated_suites(step):
            with self._attempt.evaluating(step), preserved_rng():
                evaluation, metrics = self._trainer.evaluate()
            self._observers.notify(HeldoutMeasured(step=step, evaluation=evaluation, metrics=metrics))

    def _save_checkpoint(self) -> None:
        # The step is all that the order of the data depends on, so it is the position as well.
        self._attempt.save_checkpoint(self._last_step, self._last_step, self._trainer.save_state)

    def _end(self) -> RunEnded:
        """Publish the model after the last step, or say how to go on where the user asked to stop."""
        if self._last_step == self._trainer.num_steps:
            return self._publish()
        if self._last_step not in self._directory.checkpoints():
            self._save_checkpoint()
        return self._attempt.interrupted()

    def _publish(self) -> RunEnded:
        """Write the finished model with its card, and say what it is worth."""
        evaluation = _EVALUATION.validate_python(self._directory.read_evaluation(self._last_step))

        def write(folder: Path) -> None:
            self._trainer.publish(folder, evaluation)

        model = self._directory.publish_model(write)
        return RunEnded(status="finished", message=summary(self._directory.path, model, evaluation))
