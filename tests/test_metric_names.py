"""Every metric has one declaration, with unit and meaning."""

import pytest

from reasonrl.run.metric_names import METRICS, describe


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("reward/mean", "reward/mean"),
        ("reward/numeric_answer", "reward/{reward}"),
        ("reward/math/exact", "reward/{reward}/{part}"),
        ("outcome/judge/timeout", "outcome/{reward}/{outcome}"),
        ("scoring/./file.py:short/run_p95_s", "scoring/{reward}/run_p95_s"),
        ("seconds/weight_sync", "seconds/weight_sync"),
        ("heldout/gsm8k", "heldout/{suite}"),
    ],
)
def test_a_name_that_a_run_writes_is_found_in_its_family(written: str, declared: str) -> None:
    found = describe(written)
    assert found is not None
    assert found.name == declared


def test_names_are_declared_once_and_what_nobody_declared_is_not_found() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert describe("reword/mean") is None
