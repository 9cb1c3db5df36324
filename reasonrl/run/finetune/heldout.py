"""The held-out suites of a run of SFT, DPO or KTO: measured with the model that learns, and told of."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.settings import ScoringSettings
from reasonrl.engines import Engine, EngineInputs
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.touches import record_touch
from reasonrl.learner.rng import preserved_rng
from reasonrl.models.compute import dtype_name
from reasonrl.models.lora import adapter_of, exported_weights
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.events import EvaluationFinished, SuiteEvaluated
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.guarded_engine import GuardedEngine
from reasonrl.run.heldout import RunSource
from reasonrl.run.observers import Observers
from reasonrl.run.reward_beside_metric import heldout_metrics
from reasonrl.scoring import RewardScorer

if TYPE_CHECKING:
    from reasonrl.finetune.training import Finetuning


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSuites:
    """The suites with what samples and judges them; to be closed."""

    config: FinetuneConfig
    suites: Sequence[Suite]
    tuned: "Finetuning"
    source: RunSource
    scorer: RewardScorer
    """Applies the metrics; there are no rewards."""

    @classmethod
    def open(
        cls, config: FinetuneConfig, suites: Sequence[Suite], tuned: "Finetuning", plugins: Plugins
    ) -> "FinetuneSuites | None":
        """Start the engine, and what applies the metrics; None where there are no suites.

        Raises:
            EngineError: the engine does not start.
            PluginError: a metric could not be started.
        """
        if not suites:
            return None
        with ExitStack() as started:
            scorer = RewardScorer((), ScoringSettings(), suites, device=str(tuned.device))
            started.enter_context(closing(scorer))
            source = RunSource(
                name=config.evaluation.engine.name,
                engine=started.enter_context(closing(_engine(config, tuned, plugins))),
                facts={"dtype": dtype_name(tuned.compute.dtype), "device": str(tuned.device)},
                renderers={
                    suite.name: Renderer(
                        tuned.tokenizer,
                        find_template(suite.template, plugins),
                        timeout_s=config.plugins.timeout_s,
                    )
                    for suite in suites
                },
            )
            started.pop_all()
        return cls(config=config, suites=suites, tuned=tuned, source=source, scorer=scorer)

    def close(self) -> None:
        """End the engine and the metrics' workers."""
        with closing(self.source.engine), closing(self.scorer):
            pass

    def measure_now(self, step: int, directory: RunDirectory, observers: Observers) -> None:
        """Measure the suites that were not measured after this step yet; random generators stay as they were."""
        done = directory.evaluated_suites(step)
        missing = [suite for suite in self.suites if suite.name not in done]
        if not missing:
            return
        with preserved_rng(), self.ready(step):
            told = [self._measured(suite, step, directory, observers) for suite in missing]
        metrics = {name: value for event in told for name, value in event.metrics.items()}
        observers.notify(EvaluationFinished(step=step, results=tuple(event.result for event in told), metrics=metrics))

    def measure(self, suite: Suite, step: int = 0) -> SuiteResult:
        """Measure a suite and tell nobody."""
        return measure(
            suite,
            self.source,
            metrics=self.scorer.metrics,
            seed=self.config.seed,
            max_concurrent=self.config.evaluation.max_concurrent,
            step=step,
        )

    @contextmanager
    def ready(self, step: int) -> Iterator[None]:
        """Give the engine the weights as they are, and afterwards the memory to who learns."""
        model = self.tuned.model
        model.train(False)
        self.source.engine.load_weights(exported_weights(model), step)
        yield
        self.source.engine.sleep()

    def _measured(self, suite: Suite, step: int, directory: RunDirectory, observers: Observers) -> SuiteEvaluated:
        """Measure one suite and tell of it; every step of a run uses the same seeds."""
        record_touch(directory.path, suite, model=self.config.name, step=step, final=False)
        result = self.measure(suite, step)
        event = SuiteEvaluated(step=step, result=result, about=self._about(suite), metrics=heldout_metrics(result))
        observers.notify(event)
        return event

    def _about(self, suite: Suite) -> Mapping[str, object]:
        """Return what results record beside the figures: the engine, and what loads the suite."""
        ref = self.config.evaluation.suites[list(self.suites).index(suite)]
        return {
            "engine": {"name": self.source.name, **self.source.facts},
            "suite_ref": ref.model_dump(mode="json", exclude_defaults=True),
        }


def _engine(config: FinetuneConfig, tuned: "Finetuning", plugins: Plugins) -> Engine:
    """Return what samples: the model that learns, or an engine that is given its weights."""
    ref, model = config.evaluation.engine, tuned.model
    inputs = EngineInputs(
        model=model,
        tokenizer=tuned.tokenizer,
        compute=tuned.compute,
        device=tuned.device,
        weight_names=frozenset(name for name, _ in exported_weights(model)),
        adapter=adapter_of(model),
        vllm=config.vllm,
    )
    engine: Engine = plugins.call("engines", ref, inputs)
    return engine if ref.name == SHARING_ENGINE else GuardedEngine(engine, ref.name, config.plugins.timeout_s)
