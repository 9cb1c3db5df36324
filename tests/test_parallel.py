"""Several processes learn as one: each is given all samples, computes its share, and ends with the same policy."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import rank_cases
import torch
from gradients import METHODS, relative_error
from safetensors.torch import load_file
from torch.multiprocessing.spawn import spawn

from reasonrl.config.learner import ParallelSettings
from reasonrl.errors import ConfigError
from reasonrl.learner.strategies import SINGLE, choose_strategy

both = pytest.mark.parametrize("name", rank_cases.STRATEGIES[:2])
Found = Sequence[Mapping[str, Any]]
"""By process what it found. Any: see ``ranks``."""


def start(world: int, folder: Path, *, is_thorough: bool) -> Found:
    """What so many processes found."""
    spawn(rank_cases.work, (world, str(folder), is_thorough), nprocs=world)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(world)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What both of two processes found; they are started once for all tests."""
    return start(2, tmp_path_factory.mktemp("pair"), is_thorough=False)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """The folder of three processes, among which nothing is even, and what they found.

    They continue a checkpoint of one, and write more.
    """
    folder: Path = tmp_path_factory.mktemp("several")
    rank_cases.begun(SINGLE, folder / "one")
    return folder, start(3, folder, is_thorough=True)


def assert_alike(found: Sequence[Mapping[str, Any]], alone: Mapping[str, Any], tolerance: float = 1e-6) -> None:
    """The processes have the weights and metrics of one, and equal ones among themselves."""
    for one in found:
        assert relative_error(one["parameters"], alone["parameters"]) < tolerance
        assert torch.equal(one["parameters"], found[0]["parameters"])
        assert one["metrics"] == found[0]["metrics"]
        for got, expected in zip(one["metrics"], alone["metrics"], strict=True):
            assert got == pytest.approx(expected, rel=tolerance, abs=tolerance)


# Two processes.


@pytest.mark.slow
@both
@pytest.mark.parametrize("scenario", rank_cases.FIRST)
def test_two_processes_end_with_the_weights_and_metrics_of_one(name: str, scenario: str, pair: Found) -> None:
    alone = rank_cases.run(SINGLE, rank_cases.core()[scenario])
    assert_alike([found[name]["runs"][scenario] for found in pair], alone)


@pytest.mark.slow
def test_the_scenarios_deal_as_they_say(pair: Found) -> None:
    rows = {name: [found["shares"][name] for found in pair] for name in rank_cases.core()}
    assert all(set(first).isdisjoint(second) for first, second in rows.values())
    assert [len(share) for share in rows["a rank without rows"]] == [6, 0]
    assert [len(share) for share in rows["a rank without rows, adaptive divergence"]] == [8, 0]
    assert sorted(len(share) for share in rows["one group is larger"])[0] < 3
    assert min(len(share) for share in rows["one group teaches nothing"]) == 0
    assert min(len(share) for share in rows["as it comes"]) > 0


@pytest.mark.slow
@both
def test_a_gradient_that_is_not_finite_on_one_rank_is_left_out_by_all(name: str, pair: Found) -> None:
    for found in pair:
        assert [*found[name]["diverged"]["measured"]] == ["policy/grad_norm"]
        assert math.isnan(found[name]["diverged"]["measured"]["policy/grad_norm"])
        assert not found[name]["diverged"]["moved"]


@pytest.mark.slow
def test_ddp_sums_the_gradient_by_one_communication(pair: Found) -> None:
    for found in pair:
        seen = found["ddp"]["traffic"]
        large = [size for sizes in seen["bytes"].values() for size in sizes if size > 1000]
        assert len(large) == 1
        assert 4 * seen["parameters"] <= large[0] < 4.1 * seen["parameters"]


@pytest.mark.slow
def test_fsdp2_sums_the_gradient_of_each_part_once_whatever_the_number_of_micro_batches(pair: Found) -> None:
    for found in pair:
        seen = found["fsdp2"]["traffic"]
        sizes = seen["bytes"]["_reduce_scatter_base_.default"]
        assert seen["passes"] > 2
        assert len(sizes) == 2 + 1  # layers, and the rest
        assert 4 * seen["parameters"] <= sum(sizes) < 4.1 * seen["parameters"]


# Settings.


@pytest.mark.parametrize("asked", ["auto", "ddp", "fsdp2"])
def test_one_process_shares_nothing(asked: Any) -> None:
    assert choose_strategy(ParallelSettings(strategy=asked), rank_cases.CPU, 10) is SINGLE


def test_weights_are_not_moved_to_the_memory_that_they_are_in() -> None:
    with pytest.raises(ConfigError, match="cpu_offload: true would be ignored, because the model computes on the CPU"):
        choose_strategy(ParallelSettings(strategy="fsdp2", cpu_offload=True), rank_cases.CPU, 10)


# Several processes.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scenario"), [(name, each) for name in rank_cases.STRATEGIES for each in rank_cases.scenarios(name)]
)
def test_several_processes_end_with_the_weights_and_metrics_of_one(
    name: str, scenario: str, several: tuple[Path, Found]
) -> None:
    alone = rank_cases.run(SINGLE, (rank_cases.core() | rank_cases.further())[scenario])
    assert_alike([found[name]["runs"][scenario] for found in several[1]], alone)


@pytest.mark.slow
@both
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_gradient_of_one(name: str, method: str, several: tuple[Path, Found]) -> None:
    alone = rank_cases.gradient(SINGLE, METHODS[method])
    for found in several[1]:
        assert relative_error(found[name]["gradients"][method], alone) < 1e-5


@pytest.mark.slow
@both
def test_products_in_bfloat16_cost_what_they_cost_one(name: str, several: tuple[Path, Found]) -> None:
    exact = rank_cases.gradient(SINGLE, METHODS["grpo"])
    rounded = relative_error(rank_cases.gradient(SINGLE, METHODS["grpo"], torch.bfloat16), exact)
    for found in several[1]:
        assert 0.5 * rounded < relative_error(found[name]["bfloat16"], exact) < 2 * rounded


@pytest.mark.slow
@both
def test_other_objectives_are_learned_as_by_one(name: str, several: tuple[Path, Found]) -> None:
    assert_alike([found[name]["preferred"] for found in several[1]], rank_cases.prefer(SINGLE))
    assert_alike([found[name]["scored"] for found in several[1]], rank_cases.score(SINGLE))
    assert_alike([found[name]["valued"] for found in several[1]], rank_cases.value(SINGLE))


@pytest.mark.slow
@both
def test_heads_of_reward_models_compute_in_float32(name: str, several: tuple[Path, Found]) -> None:
    alone = rank_cases.score(SINGLE, torch.bfloat16)
    for found in several[1]:
        assert relative_error(found[name]["scored in bfloat16"]["parameters"], alone["parameters"]) < 1e-3


@pytest.mark.slow
@both
def test_a_gathered_model_computes_without_the_others(name: str, several: tuple[Path, Found]) -> None:
    with torch.no_grad():
        expected = rank_cases.even()(input_ids=torch.arange(1, 9)[None]).logits
    once = rank_cases.policy(SINGLE, rank_cases.core()["as it comes"])
    once.update(rank_cases.core()["as it comes"].samples)
    for found in several[1]:
        assert not found[name]["gathered"]["bytes"]
        torch.testing.assert_close(found[name]["gathered"]["logits"], expected)
        assert relative_error(found[name]["gathered"]["parameters"], rank_cases.weights(once)) < 1e-6


# Checkpoints.


of_each_kind = pytest.mark.parametrize("kind", ["checkpoints", "checkpoints of an adapter"])


@pytest.mark.slow
@both
@of_each_kind
def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    name: str, kind: str, several: tuple[Path, Found]
) -> None:
    for found in several[1]:
        after = found[name][kind]
        assert torch.equal(after[name]["parameters"], after["straight"]["parameters"])
        assert after[name] | {"parameters": None} == after["straight"] | {"parameters": None}


@pytest.mark.slow
@both
@of_each_kind
def test_a_checkpoint_is_continued_under_another_strategy_and_by_one_process(
    name: str, kind: str, several: tuple[Path, Found]
) -> None:
    folder, processes = several
    for found in processes:
        after = found[name][kind]
        for other in rank_cases.STRATEGIES[:2]:
            assert relative_error(after[other]["parameters"], after["straight"]["parameters"]) < 1e-6
    alone = rank_cases.continued(SINGLE, folder / (name if kind == "checkpoints" else f"{name} adapter"))
    assert_alike([found[name][kind][name] for found in processes], alone)
    assert alone["version"] == alone["steps"] == 3


@pytest.mark.slow
@both
def test_a_checkpoint_of_one_process_is_continued_by_several(name: str, several: tuple[Path, Found]) -> None:
    alone = rank_cases.continued(SINGLE, several[0] / "one")
    assert_alike([found[name]["from one"] for found in several[1]], alone)


@pytest.mark.slow
@both
def test_the_folder_is_the_one_that_transformers_writes(name: str, several: tuple[Path, Found], tmp_path: Path) -> None:
    folder, _ = several
    rank_cases.begun(SINGLE, tmp_path, rank_cases.adapted(SINGLE, folder / "one"))
    for one, other in ((folder / "one", folder / name), (tmp_path, folder / f"{name} adapter")):
        assert {path.name for path in other.iterdir()} == {path.name for path in one.iterdir()}
        for path in one.glob("*.json"):
            assert read(other / path.name) == read(path)
        for path in one.glob("*.safetensors"):
            mine, theirs = load_file(path), load_file(other / path.name)
            assert mine.keys() == theirs.keys()
            assert all(torch.allclose(mine[key], theirs[key], atol=1e-6) for key in mine)


def read(path: Path) -> dict[str, Any]:
    """A JSON object; peft lists the layers of an adapter in any order. Any: JSON values."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found | {"target_modules": sorted(found.get("target_modules", ()))}
