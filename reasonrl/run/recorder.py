"""The observer that writes a run down in its directory."""

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.files import write_result
from reasonrl.run.disagreements import FILE as DISAGREEMENTS
from reasonrl.run.events import (
    AlarmRaised,
    Event,
    HeldoutMeasured,
    Message,
    MetricsMeasured,
    RunEnded,
    RunStarted,
    StepFinished,
    SuiteEvaluated,
)
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import TokenEndsOf
from reasonrl.types import StepRecord


class RunRecorder:
    """Writes metrics, rollouts, evaluations, events and the status of a run.

    Args:
        directory: the run's.
        config: its settings.
        token_ends: finds tokens in the texts of completions, where there are any.

    Raises:
        RunError: the disk refuses something.
    """

    def __init__(self, directory: RunDirectory, config: AnyConfig, token_ends: TokenEndsOf | None = None) -> None:
        self._directory = directory
        self._token_ends = token_ends
        self._rollouts_every = config.run.rollouts_every if isinstance(config, RunConfig) else 0
        self._model = {"name": config.model.name, "run": config.name}

    def __call__(self, event: Event) -> None:
        """Write down what must outlive the process."""
        directory = self._directory
        match event:
            case RunStarted():
                directory.set_status("running")
            case StepFinished(record=record):
                directory.append_metrics(record.step, record.metrics)
                if isinstance(record, StepRecord) and record.step % self._rollouts_every == 0:
                    directory.write_rollouts(record, self._token_ends)
            case MetricsMeasured():
                directory.append_metrics(event.step, event.metrics)
            case SuiteEvaluated():
                self._write_evaluation(event)
            case HeldoutMeasured(step=step, evaluation=evaluation, metrics=metrics):
                directory.write_evaluation(step, evaluation.model_dump(mode="json") if evaluation else None)
                directory.append_metrics(step, metrics)
            case AlarmRaised():
                directory.append_event("alarm", f"{event.kind}: {event.message}", event.step)
            case Message(kind=str(kind)):
                directory.append_event(kind, event.text, event.step)
            case RunEnded(status="finished" | "interrupted" | "failed" as status):
                directory.set_status(status, event.cause)

    def _write_evaluation(self, event: SuiteEvaluated) -> None:
        """Write the results, then the figures: those in metrics.jsonl say that the results are complete."""
        result = event.result
        directory = self._directory
        folder = directory.eval_folder(event.step, result.name)
        model = {**self._model, "step": event.step}
        write_result(result, folder, model=model, about=event.about, then=directory.then_resume)
        if event.disagreements is not None:
            directory.write_text(folder / DISAGREEMENTS, event.disagreements)
        directory.append_metrics(event.step, event.metrics)
