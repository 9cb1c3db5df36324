"""The frame of one attempt at a run of any kind: Ctrl-C, alarms that stop it or send it back, and how it ends."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from reasonrl.distributed.messages import described
from reasonrl.distributed.watch import RankLostError, last_word
from reasonrl.errors import RunError
from reasonrl.run.alarms import RollBackRequestedError, stopped_by
from reasonrl.run.events import CheckpointSaved, Message, RunEnded
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.interrupt import Interrupt
from reasonrl.run.observers import Observers

Item = TypeVar("Item")

Status: TypeAlias = Literal["finished", "interrupted", "failed", "rolled_back"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """After which steps a run is measured and saved."""

    num_steps: int
    evaluate_every: int
    checkpoint_every: int

    def evaluates_after(self, step: int) -> bool:
        """Say whether the model is measured: before the first step, every so many, and after the last."""
        return step in (0, self.num_steps) or step % self.evaluate_every == 0

    def saves_after(self, step: int) -> bool:
        """Say whether there is a checkpoint: every so many steps, and after the last."""
        return step == self.num_steps or step % self.checkpoint_every == 0


class Attempt:
    """One attempt at a run, from some step to its end, to Ctrl-C, or to an alarm that stops it or sends it back.

    Args:
        directory: the run's.
        observers: are told of all that happens.
    """

    def __init__(self, directory: RunDirectory, observers: Observers) -> None:
        self._directory = directory
        self._observers = observers
        self._interrupt = Interrupt(self._losses, observers.say)

    def run(self, work: Callable[[], RunEnded]) -> Status:
        """Do the work, which ends early where a stop is asked for.

        Whatever ends the attempt, every observer is told how it ended before an error is passed on.

        Raises:
            RunError: an alarm stopped the run.
        """
        ended = RunEnded(status="failed", cause="the process was told to exit")
        try:
            with self._interrupt:
                ended = work()
        except RollBackRequestedError as request:
            ended = self._roll_back(request)
        except (KeyboardInterrupt, Exception) as error:
            cause = last_word(error)
            if isinstance(cause, KeyboardInterrupt):
                ended = self.interrupted()
            else:
                ended = RunEnded(status="failed", cause=described(cause))
                if cause is error:
                    raise
                raise self._with_remedy(cause) from None
        finally:
            self._observers.end(ended, failing=ended.status == "failed")
        if ended.status == "failed":
            raise RunError(ended.cause)
        return ended.status

    def _with_remedy(self, cause: BaseException) -> BaseException:
        """Return the error of a lost rank with what to do."""
        return RankLostError(f"{cause}. Go on with: {self._directory.resume_command}")

    def interrupted(self) -> RunEnded:
        """Say how to go on with a run that was asked to stop."""
        return RunEnded(status="interrupted", message=f"Stopped. Go on with: {self._directory.resume_command}")

    def steps(self, items: Iterable[Item], done: int) -> Iterator[Item]:
        """Pass on what the steps after ``done`` work on, until a stop is asked for; none is begun after that."""
        work = (
            (f"step {step}, which is being sampled", f"step {step}, which is being learned") for step in count(done + 1)
        )
        return self._interrupt.until_asked(items, work)

    def evaluating(self, step: int) -> AbstractContextManager[None]:
        """Return the context of the evaluation after a step."""
        return self._interrupt.during(f"the evaluation {f'after step {step}' if step else 'before the first step'}")

    def _losses(self) -> str:
        """Say what is lost where the run is stopped at once."""
        if (latest := self._directory.latest_checkpoint()) is None:
            return "all of it is lost, as there is no checkpoint yet"
        return f"what came after the checkpoint of step {latest[0]} is lost"

    def save_checkpoint(self, step: int, position: int, write: Callable[[Path], None]) -> None:
        """Write the whole state of the run after a step, complete or not at all, and tell of it."""
        keep = self._directory.config.run.keep_checkpoints
        with self._interrupt.during(f"the checkpoint of step {step}"):
            path = self._directory.save_checkpoint(step, position, write, keep)
        self._observers.notify(CheckpointSaved(step=step, path=path))

    def _roll_back(self, request: RollBackRequestedError) -> RunEnded:
        """Take the directory back to the last checkpoint from before the alarm, else to the start, unless too often."""
        alarm, settings = request.alarm, self._directory.config.alarms
        done = self._directory.manifest.rollbacks
        if done >= settings.max_rollbacks:
            times = f"rolled back {done} times already (alarms.max_rollbacks)"
            cause = f"{times}, and again: {stopped_by(alarm, self._directory.resume_command)}"
            return RunEnded(status="failed", cause=cause)
        earlier = max((at for at in self._directory.checkpoints() if at < alarm.since), default=None)
        self._directory.roll_back(earlier, at=alarm.step, cause=f"{alarm.kind}: {alarm.message}")
        place = "the start" if earlier is None else f"the checkpoint of step {earlier}"
        factor = settings.rollback_rate_factor ** (done + 1)
        self._observers.notify(
            Message(text=f"rolled back to {place}; the learning rate is now {factor:g} times the run's")
        )
        return RunEnded(status="rolled_back")
