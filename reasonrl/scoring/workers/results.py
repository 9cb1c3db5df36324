"""What a call's result says, from what became of it in a worker."""

import pickle

from reasonrl.plugins.failures import message
from reasonrl.scoring.runner import CallResult
from reasonrl.scoring.workers.assignments import Ended
from reasonrl.scoring.workers.backlog import QueuedCall
from reasonrl.scoring.workers.wire import FAILED


def not_made(why: str) -> CallResult:
    """Return the result of a call that no worker began."""
    return CallResult(outcome="error", why=why)


def of_ended(ended: Ended) -> CallResult:
    """Return the result of a call that a worker has ended; past its deadline nothing but the timeout counts."""
    queued, begun_at, frame = ended
    if frame.kind == FAILED:
        return of_failed(queued, begun_at, frame.clock, frame.body.decode(errors="replace"))
    queue_s, run_s = max(0.0, begun_at - queued.submitted_at), frame.clock - begun_at
    if run_s >= queued.call.timeout_s:
        return of_failed(queued, begun_at, frame.clock, "")
    try:
        return CallResult(outcome="returned", value=pickle.loads(frame.body), queue_s=queue_s, run_s=run_s)
    except BaseException as error:  # the code of any object that the function returned
        return of_failed(queued, begun_at, frame.clock, f"returned what cannot be read here: {message(error)}")


def of_failed(queued: QueuedCall, begun_at: float, ended_at: float, why: str) -> CallResult:
    """Return the result of a call that was begun and gave nothing: past its deadline a timeout, before it an error."""
    queue_s, run_s = max(0.0, begun_at - queued.submitted_at), ended_at - begun_at
    if run_s >= queued.call.timeout_s:
        why = f"ran longer than {queued.call.timeout_s:g} s"
        return CallResult(outcome="timeout", why=why, queue_s=queue_s, run_s=run_s)
    return CallResult(outcome="error", why=why, queue_s=queue_s, run_s=run_s)
