"""The held-out suites of a run: measured with its own engine, metric and rewards side by side, and told of."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from reasonrl.config.settings import RunConfig
from reasonrl.engines import Engine
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.sources import sampling_params
from reasonrl.evaluation.touches import record_touch
from reasonrl.learner.rng import preserved_rng
from reasonrl.plugins.types import Suite
from reasonrl.rollout.environment import SingleTurn
from reasonrl.rollout.templates import Renderer
from reasonrl.run.attempt import Attempt
from reasonrl.run.build import RunComponents
from reasonrl.run.disagreements import disagreement_report
from reasonrl.run.events import EvaluationFinished, SuiteEvaluated
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.inputs import RunInputs
from reasonrl.run.observers import Observers
from reasonrl.run.reward_beside_metric import HeldoutScorer, heldout_metrics, scores_heldout, seen_range
from reasonrl.types import RewardResult

PHASE: Final = "evaluation"
"""What the loop's time is counted as while it waits for an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A suite's result, and what each reward said of its completions, by the rollout's id."""

    result: SuiteResult
    rewards: Mapping[str, RewardResult]


@dataclass(frozen=True, slots=True)
class RunSource:
    """A run's own engine as what an evaluation samples with: a :class:`~reasonrl.evaluation.sources.SampleSource`."""

    name: str
    engine: Engine
    facts: Mapping[str, object]
    renderers: Mapping[str, Renderer]
    """Make the prompts of each suite."""

    def environment(self, suite: Suite, template: str) -> SingleTurn:
        """Return what makes the prompts of one of the run's suites, with its own template."""
        return SingleTurn(renderer=self.renderers[suite.name], params=sampling_params(suite))

    def close(self) -> None:
        """Close nothing: the run needs its engine."""


class HeldoutSuites:
    """The held-out suites of one attempt at a run, measured and told of.

    Args:
        config: the run.
        inputs: has the suites.
        components: has the engine, and the timer that counts what the loop spends here.
        directory: says what was measured already.
        observers: are told of every result.
        attempt: is told what a stop would wait for.
    """

    def __init__(
        self,
        config: RunConfig,
        inputs: RunInputs,
        components: RunComponents,
        directory: RunDirectory,
        observers: Observers,
        attempt: Attempt,
    ) -> None:
        self._config, self._suites, self._components = config, inputs.suites, components
        self._directory, self._observers, self._attempt = directory, observers, attempt
        dtype = str(components.dtype).removeprefix("torch.")
        self._source = RunSource(
            name=config.rollout.engine.name,
            engine=components.engine,
            facts={"dtype": dtype, "device": str(components.device)},
            renderers=components.suite_renderers,
        )
        self._scorer = components.rewards.without_limit() if scores_heldout(config, inputs.rewards) else None

    def measure_now(self, step: int) -> None:
        """Measure every suite that was not measured after this step yet; random generators stay as they were."""
        told = []
        for suite in self.missing(step):
            with self.waiting(step), preserved_rng():
                measured = self.measure(suite, step)
            told.append(self._tell(step, measured))
        self._tell_end(step, told)

    def missing(self, step: int) -> list[Suite]:
        """Return the suites that were not measured after this step yet."""
        done = self._directory.evaluated_suites(step)
        return [suite for suite in self._suites if suite.name not in done]

    def measure(self, suite: Suite, step: int) -> Measured:
        """Measure one suite and tell nobody; every step of a run uses the same seeds."""
        record_touch(self._directory.path, suite, model=self._config.name, step=step, final=False)
        scorer = HeldoutScorer(self._scorer, step) if self._scorer else None
        result = measure(
            suite,
            self._source,
            metrics=self._components.rewards.metrics,
            seed=self._config.seed,
            max_concurrent=self._config.evaluation.max_concurrent,
            scorer=scorer,
            step=step,
        )
        return Measured(result=result, rewards=scorer.results if scorer else {})

    def tell(self, step: int, measured: Iterable[Measured]) -> None:
        """Tell of everything that was measured after a step."""
        self._tell_end(step, [self._tell(step, one) for one in measured])

    @contextmanager
    def waiting(self, step: int) -> Iterator[None]:
        """Count the time of the body as the evaluation's; it is what a stop waits for."""
        with self._attempt.evaluating(step), self._components.step.timer.phase(PHASE):
            yield

    def _tell(self, step: int, measured: Measured) -> SuiteEvaluated:
        """Tell of one suite; what the reward was in earlier evaluations stands in the directory."""
        result = measured.result
        seen = seen_range(self._directory.read_metrics(), result.name)
        event = SuiteEvaluated(
            step=step,
            result=result,
            about=self._about(result.name),
            metrics=heldout_metrics(result, seen),
            disagreements=disagreement_report(result, measured.rewards, seen, step),
        )
        self._observers.notify(event)
        return event

    def _about(self, name: str) -> Mapping[str, object]:
        """Return what results record beside the figures: the engine, and what loads the suite."""
        refs = zip(self._suites, self._config.evaluation.suites, strict=True)
        (ref,) = (ref.model_dump(mode="json", exclude_defaults=True) for suite, ref in refs if suite.name == name)
        return {"engine": {"name": self._source.name, **self._source.facts}, "suite_ref": ref}

    def _tell_end(self, step: int, told: list[SuiteEvaluated]) -> None:
        if told:
            metrics = {name: value for event in told for name, value in event.metrics.items()}
            results = tuple(event.result for event in told)
            self._observers.notify(EvaluationFinished(step=step, results=results, metrics=metrics))
