"""One attempt at the training of a policy, around the loop: evaluations, checkpoints, and how it ends."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from reasonrl.config.settings import RunConfig
from reasonrl.errors import EngineError
from reasonrl.learner.rng import save_rng
from reasonrl.loop import train
from reasonrl.rollout.buffer import BufferState
from reasonrl.rollout.continuous import ContinuousSampler, SamplingLead
from reasonrl.rollout.prefetch import AsyncSampler
from reasonrl.rollout.shared_engine import SharedEngine
from reasonrl.run.attempt import Attempt, Schedule, Status
from reasonrl.run.beside import EvaluationBesideLearning, is_engine_free
from reasonrl.run.build import RunComponents
from reasonrl.run.events import Message, MetricsMeasured, RunEnded, RunStarted, StepFinished
from reasonrl.run.files.checkpoint import load_buffer, load_pending, save_buffer, save_order, save_pending
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.heldout import HeldoutSuites
from reasonrl.run.inputs import RunInputs
from reasonrl.run.metrics import step_metrics
from reasonrl.run.mismatch import Mismatch, MismatchCheck, mismatch_check, require_current
from reasonrl.run.observers import Observers
from reasonrl.run.startup import startup_report
from reasonrl.run.summary import run_facts, summary
from reasonrl.scoring.penalties import AdjustedScorer
from reasonrl.types import Batch, StepRecord


class Session:
    """One attempt at the training of a policy, from some step to its end or to where it is stopped."""

    def __init__(
        self,
        config: RunConfig,
        inputs: RunInputs,
        components: RunComponents,
        directory: RunDirectory,
        observers: Observers,
    ) -> None:
        self._config = config
        self._inputs = inputs
        self._components = components
        self._step = components.step
        self._directory = directory
        self._observers = observers
        self._attempt = Attempt(directory, observers)
        self._schedule = Schedule(config.run.steps, config.evaluation.every, config.run.checkpoint_every)
        self._heldout = HeldoutSuites(config, inputs, components, directory, observers, self._attempt)
        self._beside: EvaluationBesideLearning | None = None
        self._prefetch: AsyncSampler | None = None
        self._continuous: ContinuousSampler | None = None
        self._mismatch: MismatchCheck | None = None

    def run(self, steps_done: int, position: int) -> Status:
        """Train from step ``steps_done + 1`` and a position in the stream of problems to the end.

        Whatever ends the attempt, every observer is told how it ended before an error is passed on.
        """
        self._last_step, self._position = steps_done, position
        return self._attempt.run(self._train)

    def _train(self) -> RunEnded:
        """Train until the last step, or until a stop is asked for."""
        self._start()
        with ExitStack() as open_until_end:
            batches = open_until_end.enter_context(closing(self._batches()))
            if is_engine_free(self._config, self._inputs.rewards, shares_weights=self._step.engine.shares_weights):
                self._beside = EvaluationBesideLearning(self._step.engine, self._heldout)
                self._step = replace(self._step, engine=open_until_end.enter_context(closing(self._beside)))
            train(self._attempt.steps(self._checked(batches), self._last_step), self._step, self._after_step)
        return self._end()

    def _start(self) -> None:
        """Tell of the run, and verify and measure what is due before its next step."""
        config, done = self._config, self._last_step
        facts = run_facts(config, self._inputs, self._components)
        self._observers.notify(
            RunStarted(
                config=config,
                path=self._directory.path,
                steps_done=done,
                num_steps=config.run.steps,
                facts=facts,
                warnings=(*self._inputs.warnings, *self._components.choice.warnings),
            )
        )
        self._mismatch = mismatch_check(config, self._inputs, self._components)
        seen = self._mismatch.measure() if self._mismatch else None
        if seen and done == 0:  # the rows of a resumed run are those of one that never stopped
            self._observers.notify(MetricsMeasured(step=0, metrics=seen.metrics()))
        self._require_small(seen)
        if self._schedule.evaluates_after(done):
            self._heldout.measure_now(done)

    def _batches(self) -> "Generator[Batch, None, None] | AsyncSampler | ContinuousSampler":
        """Return the batches that are left; where sampling runs ahead, a resumed run has what was sampled already."""
        steps = range(self._last_step + 1, self._config.run.steps + 1)
        match self._config.rollout.async_steps:
            case 0:
                return self._components.sampler.batches(steps, self._position)
            case 1:
                return self._next_step_ahead()
        self._continuous = self._several_steps_ahead(steps)
        return self._continuous

    def _several_steps_ahead(self, steps: range) -> ContinuousSampler:
        config, components, done = self._config, self._components, self._last_step
        engine, scorer = components.engine, components.sampler.scorer
        assert isinstance(engine, SharedEngine), "an evaluation samples while the sampler does"
        assert isinstance(scorer, AdjustedScorer), "groups are scored one by one, and a step says how often that failed"
        unlimited = replace(scorer, scorer=components.rewards.without_limit())
        state = load_buffer(self._directory.checkpoints()[done]) if done else BufferState(next_position=self._position)
        return ContinuousSampler(
            replace(components.sampler, scorer=unlimited),
            engine,
            steps=steps,
            lead=SamplingLead(
                steps=config.rollout.async_steps,
                max_staleness=config.max_staleness,
                updates_per_step=config.updates_per_step,
            ),
            state=state,
            require_scored=components.rewards.require_scored,
        )

    def _next_step_ahead(self) -> AsyncSampler:
        config, done = self._config, self._last_step
        # Where the run was over before it was made longer, nothing was sampled ahead.
        is_between = 0 < done < config.run.steps and not self._directory.manifest.was_the_end(done)
        first = load_pending(self._directory.checkpoints()[done]) if is_between else None
        sampled, position = (first.step, first.position) if first else (done, self._position)
        self._prefetch = AsyncSampler(
            self._components.sampler.batches(range(sampled + 1, config.run.steps + 1), position),
            self._components.engine,
            self._step.timer,
            first=first,
            max_staleness=config.rollout.max_staleness,
        )
        self._step = replace(self._step, engine=self._prefetch.engine)
        return self._prefetch

    def _checked(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on; report the first of the run, and refuse one that was sampled with other weights."""
        for batch in batches:
            if batch.step == 1:
                self._report(batch)
            if not self._config.rollout.async_steps:
                require_current(batch, self._components.learner.policy_version)
            yield batch

    def _report(self, batch: Batch) -> None:
        report = startup_report(batch, self._config, self._components.learner.model, self._components.tokenizer)
        warnings = [f"warning: {warning}" for warning in report.warnings]
        place = self._directory.write_startup(report.text)
        self._observers.notify(Message(text=" ".join([f"start-up report: {place}", *warnings])))

    def _after_step(self, record: StepRecord) -> None:
        """Tell of a step, and do what is due after it: the checkpoint before the evaluation, which may fail."""
        step, config = record.step, self._config
        self._last_step, self._position = step, record.batch.position
        seen = self._mismatch.measure() if self._mismatch and step % config.rollout.verify_every == 0 else None
        metrics = step_metrics(record, async_steps=config.rollout.async_steps, tasks=config.tasks)
        metrics |= seen.metrics() if seen else {}
        self._observers.notify(StepFinished(record=replace(record, metrics=metrics)))
        self._require_small(seen)
        if self._schedule.saves_after(step):
            self._save_checkpoint()
        if self._schedule.evaluates_after(step):
            self._evaluate(step)

    def _evaluate(self, step: int) -> None:
        """Measure the held-out suites, or have it done while the next step is learned, if one follows."""
        if self._beside and step < self._config.run.steps:
            self._beside.postpone(step)
        else:
            self._heldout.measure_now(step)

    def _require_small(self, seen: Mismatch | None) -> None:
        """Stop a run whose engine does not sample from the learner's policy.

        Raises:
            EngineError: it does not; the message says why.
        """
        if self._mismatch and seen and (wrong := self._mismatch.diagnose(seen)):
            again = f"To try again from the last checkpoint: reasonrl train --resume {self._directory.path}"
            raise EngineError(f"after step {self._last_step}: {wrong} {again}")

    def _save_checkpoint(self) -> None:
        """Write the whole state of the run, complete or not at all."""

        def write(folder: Path) -> None:
            self._components.learner.save_state(folder)
            self._components.tokenizer.save_pretrained(folder)
            save_rng(folder)
            if (order := self._components.sampler.order.state()) is not None:
                save_order(folder, order)
            if self._prefetch and self._prefetch.pending:
                save_pending(folder, self._prefetch.pending)
            if self._continuous:
                save_buffer(folder, self._continuous.state())

        self._attempt.save_checkpoint(self._last_step, self._position, write)

    def _end(self) -> RunEnded:
        """Say how training ended: after its last step, or before it because the user asked to stop."""
        if self._last_step == self._config.run.steps:
            told = summary(self._directory, self._config, self._inputs.suites)
            return RunEnded(status="finished", message=told)
        if self._last_step not in self._directory.checkpoints():
            self._save_checkpoint()
        return self._attempt.interrupted()
