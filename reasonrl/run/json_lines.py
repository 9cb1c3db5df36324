"""What happens in a run as JSON, one object a line on standard output, for programs that follow it."""

import json
from dataclasses import asdict
from typing import Any

from reasonrl.run.events import (
    AlarmRaised,
    CheckpointSaved,
    Event,
    HeldoutMeasured,
    Message,
    MetricsMeasured,
    RunEnded,
    RunStarted,
    StepFinished,
    SuiteEvaluated,
)
from reasonrl.system.jsonl import finite


def print_event(event: Event) -> None:
    """Print an event; its kind stands under ``event``, and null for numbers that are not finite."""
    if (record := _record(event)) is not None:
        print(json.dumps(finite(record), ensure_ascii=False, allow_nan=False), flush=True)


def _record(event: Event) -> dict[str, Any] | None:
    """Return what is printed; None for what other events say already. Any: JSON values."""
    match event:
        case RunStarted():
            about = {"path": str(event.path), "steps_done": event.steps_done, "num_steps": event.num_steps}
            facts = {"facts": dict(event.facts), "warnings": list(event.warnings)}
            return {"event": "started", "name": event.config.name, **about, **facts}
        case StepFinished(record=record):
            return {"event": "step", "step": record.step, "metrics": dict(record.metrics)}
        case MetricsMeasured() | HeldoutMeasured():
            return {"event": "metrics", "step": event.step, "metrics": dict(event.metrics)}
        case SuiteEvaluated(result=result):
            figure = asdict(result.estimate())
            suite = {"suite": result.name, "figure": figure}
            return {"event": "evaluation", "step": event.step, **suite, "metrics": dict(event.metrics)}
        case AlarmRaised():
            return {"event": "alarm", **asdict(event)}
        case CheckpointSaved():
            return {"event": "checkpoint", "step": event.step, "path": str(event.path)}
        case Message():
            return {"event": "message", "text": event.text}
        case RunEnded():
            return {"event": "ended", "status": event.status, "message": event.message, "cause": event.cause}
    return None
