"""A whole training run around the loop: evaluations, files, checkpoints, the terminal, and how it ends."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from reasonrl.assembly import Machinery, Material
from reasonrl.config import RunConfig
from reasonrl.errors import ReasonRLError, RunError
from reasonrl.evaluation.compare import compare, render_comparison
from reasonrl.evaluation.files import read_result, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.interrupt import Interrupt
from reasonrl.loop import train
from reasonrl.rollouts import DataOrder, rollouts
from reasonrl.runs.directory import RunDirectory
from reasonrl.types import StepRecord, Suite
from reasonrl.view import View

INTERRUPTED = 130
"""Exit code of a run that was stopped by the user and can be resumed."""


class Session:
    """One attempt at a run, from some step to its end or to Ctrl-C."""

    def __init__(
        self, config: RunConfig, directory: RunDirectory, material: Material, machinery: Machinery, view: View
    ) -> None:
        """Keep the parts; :meth:`run` does the work."""
        self._config = config
        self._directory = directory
        self._material = material
        self._machinery = machinery
        self._view = view

    def run(self, done: int) -> int:
        """Train from step ``done + 1`` to the end; return the exit code.

        Whatever stops the run is written to its manifest before it is passed on.
        """
        self._view.start(self._config, self._facts())
        for warning in self._material.warnings:
            self._view.note(f"warning: {warning}")
        try:
            return self._train(done)
        except KeyboardInterrupt:
            return self._interrupted()
        except ReasonRLError as error:
            self._view.stop("")
            with suppress(RunError):  # a full disk stops the run; that it cannot be noted is not the news
                self._directory.set_status("failed", str(error))
            raise

    def _train(self, done: int) -> int:
        """Measure, train, measure; a first Ctrl-C ends after its step with a checkpoint."""
        with Interrupt() as interrupt:
            if done == 0:
                self._evaluate(0)
            self._last_step = done
            batches = rollouts(
                DataOrder(self._material.problems, self._config.seed),
                self._machinery.renderer,
                self._machinery.engine,
                self._config.rollout,
                seed=self._config.seed,
                steps=range(done + 1, self._config.run.steps + 1),
            )
            train(interrupt.until_asked(batches), self._machinery.parts, self._after_step)
        if self._last_step < self._config.run.steps:
            if self._last_step not in self._directory.checkpoints():
                self._checkpoint(self._last_step)
            return self._interrupted()
        self._directory.set_status("finished")
        self._view.stop(self._summary())
        return 0

    def _after_step(self, record: StepRecord) -> None:
        """Write a step down, show it, and do what is due after it."""
        self._last_step, is_last = record.step, record.step == self._config.run.steps
        self._directory.append_metrics(record.step, record.metrics)
        if record.step % self._config.run.rollouts_every == 0:
            self._directory.write_rollouts(record)
        self._view.step(record)
        if is_last or record.step % self._config.evaluation.every == 0:
            self._evaluate(record.step)
        if is_last or record.step % self._config.run.checkpoint_every == 0:
            self._checkpoint(record.step)

    def _evaluate(self, step: int) -> None:
        """Measure every held-out suite and write the results."""
        shown = {suite.name: self._evaluate_suite(step, suite) for suite in self._material.suites}
        if shown:
            self._view.evaluated(step, shown)

    def _evaluate_suite(self, step: int, suite: Suite) -> str:
        """Measure one suite; return its figure as a line. Every step of a run uses the same seeds."""
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
        return f"{suite.name} {estimate.value:.1%} [{estimate.lower:.1%}, {estimate.upper:.1%}]"

    def _checkpoint(self, step: int) -> None:
        """Write the policy, the tokenizer and the optimizer's state, complete or not at all."""

        def write(folder: Path) -> None:
            self._machinery.learner.save(folder)
            self._machinery.tokenizer.save_pretrained(folder)

        self._directory.save_checkpoint(step, write, self._config.run.keep_checkpoints)

    def _interrupted(self) -> int:
        """Say how to go on."""
        self._directory.set_status("interrupted")
        self._view.stop(f"Stopped. Go on with: reasonrl train --resume {self._directory.path}")
        return INTERRUPTED

    def _facts(self) -> Mapping[str, str]:
        """Return what the head of the terminal shows."""
        parameters = sum(p.numel() for p in self._machinery.learner.model.parameters())
        return {
            "model": f"{self._config.model.name} ({parameters / 1e6:.1f} M parameters)",
            "device": f"{self._machinery.device}, {str(self._machinery.dtype).removeprefix('torch.')} products",
            "data": f"{len(self._material.problems)} training problems",
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
