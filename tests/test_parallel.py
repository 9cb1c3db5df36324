"""Two processes learn as one: each is given all samples, computes its share, and ends with the same policy."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
from gradients import relative_error
from torch.multiprocessing.spawn import spawn

SCENARIOS = [*ranks.scenarios()]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both processes found; they are started once for all tests. Any: see ``ranks.work``."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn(ranks.work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_end_with_the_parameters_of_one(name: str, pair: list[dict[str, Any]]) -> None:
    alone = ranks.run(ranks.scenarios()[name])
    for found in pair:
        assert relative_error(found["runs"][name]["parameters"], alone["parameters"]) < 1e-6
    assert torch.equal(pair[0]["runs"][name]["parameters"], pair[1]["runs"][name]["parameters"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_report_the_metrics_of_one(name: str, pair: list[dict[str, Any]]) -> None:
    alone = ranks.run(ranks.scenarios()[name])
    for found in pair:
        for got, expected in zip(found["runs"][name]["metrics"], alone["metrics"], strict=True):
            assert got.keys() == expected.keys()
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_scenarios_deal_as_they_say(pair: list[dict[str, Any]]) -> None:
    rows = {name: [found["shares"][name] for found in pair] for name in SCENARIOS}
    assert all(set(first).isdisjoint(second) for first, second in rows.values())
    assert [len(share) for share in rows["a rank without rows"]] == [6, 0]
    assert [len(share) for share in rows["a rank without rows, adaptive divergence"]] == [8, 0]
    assert sorted(len(share) for share in rows["one group is larger"])[0] < 3
    assert min(len(share) for share in rows["one group teaches nothing"]) == 0
    assert min(len(share) for share in rows["as it comes"]) > 0


def test_two_processes_learn_pairs_as_one(pair: list[dict[str, Any]]) -> None:
    alone = ranks.prefer()
    for found in pair:
        assert relative_error(found["preferred"]["parameters"], alone["parameters"]) < 1e-6
        for got, expected in zip(found["preferred"]["metrics"], alone["metrics"], strict=True):
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert torch.equal(*(found["preferred"]["parameters"] for found in pair))


def test_a_gradient_that_is_not_finite_on_one_rank_is_left_out_by_all(pair: list[dict[str, Any]]) -> None:
    for found in pair:
        assert [*found["diverged"]["measured"]] == ["policy/grad_norm"]
        assert math.isnan(found["diverged"]["measured"]["policy/grad_norm"])
        assert not found["diverged"]["moved"]
