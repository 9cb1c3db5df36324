"""Metrics may do anything: each completion has a result that says what they did, and too many failures are an error."""

import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import metric_cases
import pytest
from builders import group

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.errors import PluginError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Measurement, SharedResource, Suite, keeps_open
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import bind
from reasonrl.scoring.metrics import MetricFailures, MetricResult, MetricRunner, start_metrics
from reasonrl.types import Rollout

ROLLOUTS = group(["A: 2", "A: 3"], id="p").rollouts()


def suite(metric: Any, name: str = "sums") -> Suite:
    """Any: a metric, or what should be one."""
    return Suite(name=name, problems=[ROLLOUTS[0].problem], metric=metric, template="plain", max_new_tokens=8)


def results(metric: Any, rollouts: Sequence[Rollout] = ROLLOUTS, **settings: Any) -> list[MetricResult]:
    """What a metric gives, run as in an evaluation. Any: as above, and settings of ``scoring``."""
    with start_metrics([suite(metric)], ScoringSettings(workers=1, **settings)) as metrics:
        return list(metrics.measure(suite(metric), rollouts))


def measured(metric: Any) -> list[float]:
    """The values that a metric gives. Any: as above."""
    return [one.value for one in results(metric)]


CASES = {
    "raises": (metric_cases.raises, r"error: ValueError: no digits \(metric_cases.py:\d+\)"),
    "exits": (metric_cases.exits, r"error: its worker process exited with code 3"),
    "leaves": (metric_cases.leaves, r"error: SystemExit: 3 \(metric_cases.py:\d+\)"),
    "raises_later": (metric_cases.raises_later, r"error: KeyError: 'verdict' \(metric_cases.py:\d+\)"),
    "returns": (
        partial(metric_cases.returns, value=1.0),
        "error: returned a value of type float, where a metric returns a Measurement",
    ),
}


@pytest.fixture(scope="module")
def metrics() -> Iterator[MetricRunner]:
    """All of them, in one pool."""
    values = {"nan": math.nan, "two": 2.0, "text": "1"}
    bad = {name: partial(metric_cases.returns, value=Measurement(value)) for name, value in values.items()}  # type: ignore[arg-type]
    unread = partial(metric_cases.returns, value=Measurement(1.0, 7))  # type: ignore[arg-type]
    suites = [suite(metric, name) for name, (metric, _) in CASES.items()]
    suites += [suite(metric, name) for name, metric in bad.items()] + [suite(unread, "unread")]
    suites += [suite(metric_cases.sum_is_right)]
    with start_metrics(suites, ScoringSettings(workers=1)) as running:
        yield running


@pytest.mark.parametrize("case", CASES)
def test_what_a_metric_does_is_a_typed_outcome_with_its_place(metrics: MetricRunner, case: str) -> None:
    metric, why = CASES[case]
    found = metrics.measure(suite(metric, case), ROLLOUTS)
    assert [(one.outcome, one.value, one.parsed) for one in found] == [("error", 0.0, None)] * 2
    assert re.fullmatch(why, found[0].why), found[0].why
    assert [one.value for one in metrics.measure(suite(metric_cases.sum_is_right), ROLLOUTS)] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nan", "measured nan"),
        ("two", "measured 2.0"),
        ("text", "measured '1'"),
        ("unread", "parsed a value of type int"),
    ],
)
def test_a_measurement_that_no_figure_can_rest_on_is_an_error(metrics: MetricRunner, name: str, why: str) -> None:
    (found, _) = metrics.measure(suite(metric_cases.returns, name), ROLLOUTS)
    assert (found.outcome, found.value, found.parsed) == ("error", 0.0, None)
    assert found.why.startswith(f"error: {why}")


def test_a_metric_that_never_returns_is_stopped() -> None:
    (found, _) = results(metric_cases.hangs, metric_timeout_s=0.5)
    assert (found.outcome, found.value, found.why) == ("timeout", 0.0, "timeout: ran longer than 0.5 s")


def test_parameters_may_be_bound_and_a_metric_may_be_an_object() -> None:
    assert measured(partial(metric_cases.returns, value=Measurement(0.25))) == [0.25, 0.25]
    assert measured(metric_cases.Threshold(4)) == [1.0, 1.0]


def test_a_metric_of_a_users_own_file_runs_in_a_worker_too(in_folder: Path) -> None:
    (in_folder / "my_metric.py").write_text(
        "import os\nfrom reasonrl import Measurement\n\n"
        "def mine(rollout, *, pid):\n    return Measurement(float(os.getpid() != pid))\n"
    )
    mine = Plugins().find("suites", "./my_metric.py:mine").value
    assert measured(partial(mine, pid=os.getpid())) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["lambda", "main"])
def test_a_metric_that_only_this_process_has_is_refused_with_a_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric: Any = lambda rollout: Measurement(1.0)  # noqa: E731
    if name == "main":
        metric = metric_cases.half
        monkeypatch.setattr(metric_cases.half, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "half", metric, raising=False)
    with pytest.raises(PluginError, match=r"suite 'sums': metric .* cannot be sent to a worker .*functools.partial"):
        measured(metric)


def test_an_async_metric_runs_in_this_process_with_what_it_keeps_open() -> None:
    events: list[str] = []

    @contextmanager
    def judge(url: str) -> Iterator[SharedResource]:
        events.append(f"open {url}")
        yield SharedResource(slots=2)
        events.append("close")

    @keeps_open(judge)
    async def judged(rollout: Rollout, *, url: str = "here") -> Measurement:
        return Measurement(float(rollout.text == "A: 2"))

    assert measured(partial(judged, url="there")) == [1.0, 0.0]
    assert events == ["open there", "close"]


def test_an_ordinary_metric_that_keeps_something_open_is_refused() -> None:
    @contextmanager
    def nothing() -> Iterator[SharedResource]:
        yield SharedResource()

    with pytest.raises(PluginError, match=r"keeps_open, which is for async metrics"):
        measured(keeps_open(nothing)(metric_cases.returns))
    del metric_cases.returns.__dict__["opening"]


def test_a_reward_and_a_metric_of_one_name_run_in_the_same_processes() -> None:
    reward = bind(RewardRef(name="sums"), metric_cases.worker_of)
    scorer = RewardScorer([reward], ScoringSettings(workers=1), [suite(metric_cases.Threshold(1))])
    try:
        (results,) = scorer.score([group(["A: 2", "A: 3"])], 1)
        found = scorer.metrics.measure(suite(metric_cases.Threshold(1)), ROLLOUTS)
    finally:
        scorer.close()
    assert {one.parsed for one in found} == {str(int(result.rewards["sums"].parts["pid"])) for result in results}


FAILED = MetricResult(outcome="error", failures={"": "error: ValueError: no digits"})


def count(results: str, num_completions: int, max_rate: float) -> None:
    """Count results, ``x`` for a failure, of a suite with so many completions."""
    failures = MetricFailures(suite(metric_cases.raises), num_completions, max_rate)
    for one in results:
        failures.count(FAILED if one == "x" else MetricResult(value=1.0))


@pytest.mark.parametrize(
    ("results", "num_completions", "max_rate"),
    [("x" * 8, 1000, 0.5), ("xx", 2, 0.5), (".x" * 11, 100, 0.1), ("." * 90 + "x" * 11, 1000, 0.01), ("x", 1, 0.0)],
)
def test_a_metric_that_fails_too_often_is_one_error_that_names_it(
    results: str, num_completions: int, max_rate: float
) -> None:
    with pytest.raises(RunError, match=r"suite 'sums': metric 'raises' .* failed on .*: error: ValueError: no digits"):
        count(results, num_completions, max_rate)
    count(results[:-1], num_completions, max_rate)


@pytest.mark.parametrize(
    ("results", "num_completions", "max_rate"),
    [("." + "x" * 50, 100, 0.5), ("x" * 100, 100, 1.0), (".x" * 5, 100, 0.1)],
)
def test_some_failures_are_rows_of_their_own(results: str, num_completions: int, max_rate: float) -> None:
    count(results, num_completions, max_rate)
