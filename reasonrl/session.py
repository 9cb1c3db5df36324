"""A whole training run around the loop: evaluations, files, checkpoints, the terminal, and how it ends."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from math import nan
from pathlib import Path

from reasonrl.agreement import Difference, require_current
from reasonrl.ahead import Ahead
from reasonrl.assembly import Machinery, Material, agreement, sampler
from reasonrl.config import RunConfig
from reasonrl.errors import EngineError, GradientError, ReasonRLError, RunError
from reasonrl.evaluation.compare import compare, render_comparison
from reasonrl.evaluation.files import read_result, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.health import Alarm, Watch
from reasonrl.interrupt import Interrupt
from reasonrl.learner.rng import save_rng
from reasonrl.loop import train
from reasonrl.metrics import step_metrics
from reasonrl.runs.checkpoint import load_pending, save_pending
from reasonrl.runs.directory import RunDirectory
from reasonrl.startup import reported, startup_report
from reasonrl.types import Batch, StepRecord, Suite
from reasonrl.view import View

INTERRUPTED = 130
"""Exit code of a run that was stopped by the user and can be resumed."""


class RollBack(Exception):
    """An alarm sent the run back: its directory stands at an earlier checkpoint, to be gone on from."""


class Session:
    """One attempt at a run, from some step to its end, to Ctrl-C, or to an alarm that stops it or sends it back."""

    def __init__(
        self, config: RunConfig, directory: RunDirectory, material: Material, machinery: Machinery, view: View
    ) -> None:
        """Keep the parts; :meth:`run` does the work."""
        self._config = config
        self._directory = directory
        self._material = material
        self._machinery = machinery
        self._parts = machinery.parts
        self._ahead: Ahead | None = None
        self._view = view
        self._agreement = agreement(config, material, machinery)
        every = config.run.rollouts_every
        self._watch = Watch.replay(config.health, directory.read_metrics(), rollouts_every=every)

    def run(self, done: int, position: int) -> int:
        """Train from step ``done + 1`` and a position in the stream of problems to the end; return the exit code.

        Whatever stops the run is written to its manifest before it is passed on.

        Raises:
            RollBack: the run is to go on from the directory's latest checkpoint.
        """
        self._view.start(self._config, self._facts())
        for warning in self._material.warnings:
            self._view.note(f"warning: {warning}")
        try:
            return self._train(done, position)
        except KeyboardInterrupt:
            return self._interrupted()
        except ReasonRLError as error:
            self._view.stop("")
            with suppress(RunError):  # a full disk stops the run; that it cannot be noted is not the news
                self._directory.set_status("failed", str(error))
            raise

    def _train(self, done: int, position: int) -> int:
        """Measure, train, measure; a first Ctrl-C ends after its step with a checkpoint."""
        with Interrupt() as interrupt:
            self._verify_start(done)
            if done == 0:
                self._evaluate(0)
            self._last_step, self._position = done, position
            with closing(self._batches(done, position)) as batches:
                self._learn(self._noted(interrupt.until_asked(reported(batches, self._report))))
        if self._last_step < self._config.run.steps:
            if self._last_step not in self._directory.checkpoints():
                self._checkpoint(self._last_step)
            return self._interrupted()
        self._directory.set_status("finished")
        self._view.stop(self._summary())
        return 0

    def _batches(self, done: int, position: int) -> Generator[Batch, None, None] | Ahead:
        """Return the batches that are left; where sampling runs ahead, a resumed run has the first one already."""
        config = self._config
        is_between = config.rollout.async_steps and 0 < done < config.run.steps
        first = load_pending(self._directory.checkpoints()[done]) if is_between else None
        drawn, position = (first.step, first.position) if first else (done, position)
        steps, attempts = range(drawn + 1, config.run.steps + 1), config.algorithm.refill_attempts
        sampled = sampler(config, self._material, self._machinery).batches(steps, position, refill_attempts=attempts)
        if not config.rollout.async_steps:
            return sampled
        limit = config.rollout.max_staleness
        self._ahead = Ahead(sampled, self._machinery.engine, first=first, max_staleness=limit)
        self._parts = replace(self._parts, engine=self._ahead.engine)
        return self._ahead

    def _report(self, batch: Batch) -> None:
        """Write the start-up report and point to it."""
        report = startup_report(batch, self._config, self._machinery.learner.model, self._machinery.tokenizer)
        warnings = [f"warning: {warning}" for warning in report.warnings]
        self._view.note(" ".join([f"start-up report: {self._directory.write_startup(report.text)}", *warnings]))

    def _noted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on, and remember the one that is learnt from."""
        for batch in batches:
            if not self._config.rollout.async_steps:
                require_current(batch, self._machinery.learner.policy_version)
            self._batch = batch
            yield batch

    def _learn(self, batches: Iterator[Batch]) -> None:
        """Take a step for each batch; one whose gradient is not finite is a step without its update."""
        while True:
            try:
                return train(batches, self._parts, self._after_step)
            except GradientError:
                self._after_step(self._without_update(self._batch))

    def _without_update(self, batch: Batch) -> StepRecord:
        """Describe a step whose gradient was refused; earlier minibatches of it may have moved the weights."""
        parts = self._parts
        parts.engine.load(parts.learner.weights(), parts.learner.policy_version)
        metrics = step_metrics(batch, {"policy/grad_norm": nan}, learning_s=0.0)
        return StepRecord(batch=batch, advantages=parts.credit.advantages(batch), metrics=metrics)

    def _after_step(self, record: StepRecord) -> None:
        """Write a step down, show it, and do what is due after it."""
        record = self._ahead.timed(record) if self._ahead else record
        self._last_step, self._position = record.step, record.batch.position
        is_last = record.step == self._config.run.steps
        seen = self._compared(due=record.step % self._config.rollout.verify_every == 0)
        record = replace(record, metrics={**record.metrics, **(seen.metrics() if seen else {})})
        self._directory.append_metrics(record.step, record.metrics)
        if record.step % self._config.run.rollouts_every == 0:
            self._directory.write_rollouts(record)
        self._view.step(record)
        self._require_agreement(record.step, seen)
        self._heed(record.step, self._watch.after_step(record.step, record.metrics))
        if is_last or record.step % self._config.evaluation.every == 0:
            self._evaluate(record.step)
        if is_last or record.step % self._config.run.checkpoint_every == 0:
            self._checkpoint(record.step)

    def _verify_start(self, done: int) -> None:
        """Compare engine and learner before the engine is asked for anything else."""
        seen = self._compared(due=True)
        if seen and done == 0:  # the rows of a resumed run are those of one that never stopped
            self._directory.append_metrics(0, seen.metrics())
        self._require_agreement(done, seen)

    def _compared(self, *, due: bool) -> Difference | None:
        """Compare the log-probabilities of engine and learner, where the engine has weights of its own."""
        return self._agreement.compare() if self._agreement and due else None

    def _require_agreement(self, step: int, seen: Difference | None) -> None:
        """Stop a run whose engine is not the learner's policy.

        Raises:
            EngineError: it is not; the message says why.
        """
        if self._agreement and seen and (wrong := self._agreement.disagreement(seen)):
            again = f"To try again from the last checkpoint: reasonrl train --resume {self._directory.path}"
            raise EngineError(f"after step {step}: {wrong} {again}")

    def _heed(self, step: int, alarms: Sequence[Alarm]) -> None:
        """Tell of alarms, then do what the gravest asks for.

        Raises:
            RunError: it stops the run.
            RollBack: it sends the run back.
        """
        for alarm in alarms:
            self._view.note(f"alarm {alarm.kind} after step {step}: {alarm.message}")
            self._directory.append_event("alarm", f"{alarm.kind}: {alarm.message}", step)
        by_action = {alarm.action: alarm for alarm in reversed(alarms)}
        if "stop" in by_action:
            raise RunError(self._stopped(step, by_action["stop"]))
        if "rollback" in by_action:
            self._roll_back(step, by_action["rollback"])

    def _stopped(self, step: int, alarm: Alarm) -> str:
        """Say which alarm stops the run, and how to go on in spite of it."""
        return (
            f"alarm {alarm.kind} stopped the run after step {step}: {alarm.message} To go on in spite of it, start or "
            f"fork a run with health.{alarm.kind}=warn; to try again as it is: "
            f"reasonrl train --resume {self._directory.path}"
        )

    def _roll_back(self, step: int, alarm: Alarm) -> None:
        """Take the directory back to the last checkpoint from before the alarm, else to the start; then leave."""
        done, most = self._directory.manifest.rollbacks, self._config.health.max_rollbacks
        if done >= most:
            times = f"rolled back {done} times already (health.max_rollbacks)"
            raise RunError(f"{times}, and again: {self._stopped(step, alarm)}")
        earlier = max((at for at in self._directory.checkpoints() if at < alarm.since), default=None)
        self._directory.roll_back(earlier, at=step, cause=f"{alarm.kind}: {alarm.message}")
        place = "the start" if earlier is None else f"the checkpoint of step {earlier}"
        factor = self._config.health.rollback_rate_factor ** (done + 1)
        self._view.note(f"rolled back to {place}; the learning rate is now {factor:g} times the run's")
        raise RollBack

    def _evaluate(self, step: int) -> None:
        """Measure every held-out suite and write the results."""
        shown, alarms = {}, []
        for suite in self._material.suites:
            shown[suite.name], value = self._evaluate_suite(step, suite)
            alarms += self._watch.heldout(step, suite.name, value)
        if shown:
            self._view.evaluated(step, shown)
        self._heed(step, alarms)

    def _evaluate_suite(self, step: int, suite: Suite) -> tuple[str, float]:
        """Measure one suite; return its figure as a line and as a number. Every step of a run uses the same seeds."""
        result = measure(
            suite,
            self._machinery.engine,
            self._machinery.suite_renderers[suite.name],
            seed=self._config.seed,
            batch_problems=self._config.evaluation.batch_problems,
        )
        model = {"name": self._config.model.name, "run": self._config.name, "step": step}
        write_result(result, self._directory.eval_folder(step, suite.name), model=model)
        estimate = result.estimate()
        self._directory.append_metrics(step, {f"heldout/{suite.name}": estimate.value})
        shown = f"{suite.name} {estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"
        return shown, estimate.value

    def _checkpoint(self, step: int) -> None:
        """Write the whole state of the run, complete or not at all."""

        def write(folder: Path) -> None:
            self._machinery.learner.save(folder)
            self._machinery.tokenizer.save_pretrained(folder)
            save_rng(folder)
            if self._ahead and self._ahead.pending:
                save_pending(folder, self._ahead.pending)

        self._directory.save_checkpoint(step, self._position, write, self._config.run.keep_checkpoints)

    def _interrupted(self) -> int:
        """Say how to go on."""
        self._directory.set_status("interrupted")
        self._view.stop(f"Stopped. Go on with: reasonrl train --resume {self._directory.path}")
        return INTERRUPTED

    def _facts(self) -> Mapping[str, str]:
        """Return what the head of the terminal shows."""
        parameters = list(self._machinery.learner.model.parameters())
        size, learnt = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
        share = "" if learnt == size else f", {learnt / 1e6:.2f} M of them learnt"
        return {
            "model": f"{self._config.model.name} ({size / 1e6:.1f} M parameters{share})",
            "device": f"{self._machinery.device}, {str(self._machinery.dtype).removeprefix('torch.')} products",
            "data": f"{len(self._material.problems)} training problems",
            **self._machinery.scorer.notes,
            "run": str(self._directory.path),
        }

    def _summary(self) -> str:
        """Return the comparison of the last evaluation with the one before the first step."""
        steps = self._config.run.steps
        folders = [(self._folder(0, suite), self._folder(steps, suite)) for suite in self._material.suites]
        tables = [
            render_comparison(compare(read_result(base), read_result(trained)), "base", f"step {steps}")
            for base, trained in folders
        ]
        where = f"Run: {self._directory.path}   Checkpoint: {self._directory.path}/checkpoints/step_{steps:06d}"
        return "\n\n".join([*tables, where])

    def _folder(self, step: int, suite: Suite) -> Path:
        """Return where a suite's results of a step stand."""
        return self._directory.eval_folder(step, suite.name)
