"""Metrics may do anything: what they did ends the evaluation with one error that names suite, metric and problem."""

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
from reasonrl.errors import PluginError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Measurement, SharedResource, Suite, keeps_open
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import bind
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import Rollout

ROLLOUTS = group(["A: 2", "A: 3"], id="p").rollouts()


def suite(metric: Any, name: str = "sums") -> Suite:
    """Any: a metric, or what should be one."""
    return Suite(name=name, problems=[ROLLOUTS[0].problem], metric=metric, template="plain", max_new_tokens=8)


def measured(metric: Any, rollouts: Sequence[Rollout] = ROLLOUTS, timeout_s: float = 60.0) -> list[float]:
    """The values that a metric gives, run as in an evaluation. Any: as above."""
    with start_metrics([suite(metric)], ScoringSettings(workers=1), timeout_s=timeout_s) as metrics:
        return [one.value for one in metrics.measure(suite(metric), rollouts)]


CASES = {
    "raises": (metric_cases.raises, r"ValueError: no digits \(metric_cases.py:\d+\)\. A metric returns .*: 0 where .*"),
    "exits": (metric_cases.exits, r"its worker process exited with code 3\. A metric returns .*"),
    "leaves": (metric_cases.leaves, r"SystemExit: 3 \(metric_cases.py:\d+\)\. .*"),
    "raises_later": (metric_cases.raises_later, r"KeyError: 'verdict' \(metric_cases.py:\d+\)\. .*"),
    "returns": (partial(metric_cases.returns, value=1.0), "returned a value of type float; a metric returns a .*"),
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
def test_what_a_metric_does_is_one_error_that_names_suite_metric_problem_place_and_remedy(
    metrics: MetricRunner, case: str
) -> None:
    metric, why = CASES[case]
    with pytest.raises(PluginError) as caught:
        metrics.measure(suite(metric, case), ROLLOUTS)
    begin = rf"suite '{case}': metric '{case}' \(metric_cases.py:\d+\), on problem p: "
    assert re.fullmatch(begin + why, str(caught.value)), str(caught.value)
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
def test_a_measurement_that_no_figure_can_rest_on_is_refused(metrics: MetricRunner, name: str, why: str) -> None:
    with pytest.raises(PluginError, match=f"on problem p: {why}"):
        metrics.measure(suite(metric_cases.returns, name), ROLLOUTS)


def test_a_metric_that_never_returns_is_stopped() -> None:
    with pytest.raises(PluginError, match=r"metric 'hangs' .*on problem p: ran longer than 0.5 s. Make it faster"):
        measured(metric_cases.hangs, timeout_s=0.5)


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
