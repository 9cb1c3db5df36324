"""Measure any model on held-out suites, outside a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reasonrl.errors import ReasonRLError, StoppedError
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.files import RESULTS, read_result, read_summary, write_result
from reasonrl.evaluation.measure import measure_all
from reasonrl.evaluation.report import render_result
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.suite_run import SuitePlan, SuiteProgress
from reasonrl.evaluation.touches import count_touches, record_touch
from reasonrl.evaluation.variants import Variants
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.evaluation_request import CheckedRequest, Entry, EvaluationRequest, check_request
from reasonrl.run.evaluation_source import open_source
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import Scorer

GO_ON: Final = "The same command goes on from there"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSuite:
    """A suite's result on disk."""

    folder: Path
    text: str
    """The figures as a person reads them, with warnings and the count of looks at a test suite."""


def evaluate_model(
    request: EvaluationRequest, plugins: Plugins, *, tell: Callable[[SuiteProgress], None] = lambda told: None
) -> tuple[MeasuredSuite, ...]:
    """Measure a model, write the results and return where they are, in the order of the suites.

    All that can be wrong is found before the model is loaded, the place of the results included. What is measured is
    kept as it comes, so the same request goes on where it was ended.

    Args:
        request: what to measure.
        plugins: where suites, templates, engines and rewards come from.
        tell: is told of every completion.

    Raises:
        RunError: the folder holds something else, cannot be written, a metric fails too often, or the run has no such
            checkpoint.
        StoppedError: Ctrl-C was pressed; says what is kept.
        ReasonRLError: whatever else is wrong with the model, a suite or a reward.
    """
    checked = check_request(request, plugins)
    evaluation = _Evaluation(checked, plugins, tell)
    evaluation.run()
    return tuple(MeasuredSuite(folder=entry.folder, text=evaluation.told(entry)) for entry in checked.entries)


class _Evaluation:
    """One call: what is still to be measured, and the results as they come."""

    def __init__(self, checked: CheckedRequest, plugins: Plugins, tell: Callable[[SuiteProgress], None]) -> None:
        self._checked, self._request, self._model = checked, checked.request, checked.model
        self._plugins, self._tell = plugins, tell
        self._results: dict[tuple[str, str], SuiteResult] = {}
        self._engine: dict[str, object] = {}
        self._touched: set[str] = set()
        self._progress: dict[tuple[str, str], SuiteProgress] = {}

    def run(self) -> None:
        """Measure what is not measured yet, with one model for all suites, and write each result."""
        plans = []
        for entry in self._checked.entries:
            for template, journal in entry.journals.items():
                if journal.is_finished:
                    self._results[entry.suite.name, template] = read_result(journal.folder)
                else:
                    plans.append(self._plan(entry, template))
        if plans:
            self._measure(plans)
        for entry in self._checked.entries:
            if self._becomes_final(entry):
                self._touch(entry)
                self._write_suite(entry)

    def _plan(self, entry: Entry, template: str) -> SuitePlan:
        return SuitePlan(
            suite=entry.with_template(template),
            journal=entry.journals[template],
            num_problems_in_suite=entry.num_problems_in_suite,
            begun=lambda: self._touch(entry),
        )

    def _measure(self, plans: Sequence[SuitePlan]) -> None:
        request = self._request
        with self._scoring([entry.suite for entry in self._checked.entries]) as (metrics, scorer):
            source = open_source(
                self._model.place,
                request.engine,
                [plan.suite for plan in plans],
                plugins=self._plugins,
                device=request.device,
                dtype=request.dtype,
                max_concurrent=request.max_concurrent,
                vllm=request.vllm,
            )
            with closing(source), self._kept():
                self._engine = {"name": source.name, **source.facts}
                measure_all(
                    plans,
                    source,
                    metrics=metrics,
                    seed=request.seed,
                    max_concurrent=request.max_concurrent,
                    scorer=scorer,
                    progress=self._count,
                    finished=self._finished,
                )

    @contextmanager
    def _scoring(self, suites: Sequence[Suite]) -> Iterator[tuple[MetricRunner, Scorer | None]]:
        """Start what runs metrics and rewards, before the model: one that cannot be used is refused at once."""
        rewards, settings = self._checked.rewards, self._request.scoring
        if not rewards:
            with start_metrics(suites, settings) as metrics:
                yield metrics, None
            return
        with closing(RewardScorer(rewards, settings, suites, device=self._request.device)) as scorer:
            yield scorer.metrics, scorer

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Say of whatever ends the measurement what is kept."""
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(f"stopped: {self._left()}") from None
        except ReasonRLError as error:
            if any(progress.done for progress in self._progress.values()):
                error.args = (f"{error}\n{self._left()}",)
            raise

    def _left(self) -> str:
        done, total = (sum(getattr(one, name) for one in self._progress.values()) for name in ("done", "total"))
        without = " without --overwrite" if self._request.overwrite else ""
        return f"{done} of {total} completions are measured and kept in {self._checked.folder}. {GO_ON}{without}."

    def _count(self, progress: SuiteProgress) -> None:
        self._progress[progress.suite.name, progress.suite.template] = progress
        self._tell(progress)

    def _touch(self, entry: Entry) -> None:
        """Note that a test suite is looked at, once in a call."""
        if entry.suite.name not in self._touched:
            self._touched.add(entry.suite.name)
            record_touch(
                self._checked.touches_folder,
                entry.suite,
                model=self._model.name,
                step=self._model.step,
                final=self._request.final,
                limit=len(entry.suite.problems) if entry.num_problems_in_suite else None,
            )

    def _finished(self, plan: SuitePlan, result: SuiteResult) -> None:
        """Write a variant's result; that of a suite when its variants are complete too."""
        (entry,) = (entry for entry in self._checked.entries if entry.suite.name == plan.suite.name)
        self._results[result.name, result.template] = result
        if result.template != entry.suite.template:
            self._write(entry, result, {})
        if all((entry.suite.name, template) in self._results for template in entry.journals):
            self._write_suite(entry)

    def _write_suite(self, entry: Entry) -> None:
        """Write a suite's result, with what its variants gave."""
        written = self._written(entry)
        about = {key: written[key] for key in ("variants",) if key in written}
        if entry.is_test:
            count = count_touches(self._checked.touches_folder, entry.suite.name)
            about["touches"] = {"count": count, "final": self._request.final or _is_final(written)}
        if (variants := self._variants(entry)) is not None:
            about["variants"] = variants.to_json()
        self._write(entry, self._results[entry.suite.name, entry.suite.template], about)

    def _becomes_final(self, entry: Entry) -> bool:
        """Whether a result that was not for the record is asked for again, for the record."""
        return self._request.final and entry.is_test and not _is_final(self._written(entry))

    def _written(self, entry: Entry) -> Mapping[str, Any]:
        """Return the result of a suite that stands in its folder; nothing where there is none. Any: JSON values."""
        return read_summary(entry.folder) if (entry.folder / RESULTS).exists() else {}

    def _variants(self, entry: Entry) -> Variants | None:
        """Return what the suite's templates gave, where several were measured."""
        if len(entry.journals) == 1:
            return None
        values = {name: self._results[entry.suite.name, name].estimate().value for name in entry.journals}
        return Variants(primary=entry.suite.template, values=values)

    def _write(self, entry: Entry, result: SuiteResult, about: Mapping[str, object]) -> None:
        folder = entry.journals[result.template].folder
        written = read_summary(folder) if (folder / RESULTS).exists() else {}
        engine = self._engine or written.get("engine", {})
        suite_ref = entry.ref.model_dump(mode="json", exclude_unset=True)
        about = {"engine": engine, "suite_ref": suite_ref, **about}
        write_result(result, folder, model=self._model.record(), about=about, ks=self._request.ks)

    def told(self, entry: Entry) -> str:
        """Return the result of a suite as text."""
        variants = self._variants(entry)
        return "\n".join(
            [
                *(f"warning: {warning}" for warning in cluster_warnings(entry.suite)),
                render_result(
                    self._results[entry.suite.name, entry.suite.template], self._model.name, self._request.ks
                ),
                *([f"  {variants.render()}"] if variants else []),
                *([f"  {self._told_touches(entry)}"] if entry.is_test else []),
                *([] if self._was_measured(entry) else ["  measured before: nothing was sampled"]),
                f"Results: {entry.folder}",
            ]
        )

    def _was_measured(self, entry: Entry) -> bool:
        return any(name == entry.suite.name for name, _ in self._progress)

    def _told_touches(self, entry: Entry) -> str:
        is_final = _is_final(self._written(entry))
        how = "measured for the record" if is_final else "not final (--final measures for the record)"
        count, where = count_touches(self._checked.touches_folder, entry.suite.name), self._checked.touches_folder
        return f"test suite, {how}; looked at {count} time{'s' * (count != 1)} in {where}"


def _is_final(written: Mapping[str, Any]) -> bool:
    """Say whether a result was measured for the record. Any: JSON values."""
    return bool(written.get("touches", {}).get("final"))
