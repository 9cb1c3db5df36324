"""Weights on their way to vLLM: one tensor at a time, all of them or none."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reasonrl.engines.vllm.weight_file import WeightFile, in_layout
from reasonrl.engines.vllm.weight_sync import DeviceWeightSync
from reasonrl.errors import EngineError
from reasonrl.models.safetensors_file import TensorSpec

WEIGHTS = {"b": torch.randn(3, 4), "a": torch.randn(5), "c": torch.randn(2, 2, 2)}
LAYOUT = {name: TensorSpec.of(name, weight) for name, weight in WEIGHTS.items()}


@pytest.mark.parametrize("order", ["bac", "cab"])
def test_a_file_has_the_weights_in_whatever_order_they_come(tmp_path: Path, order: str) -> None:
    file = WeightFile(LAYOUT, str(tmp_path))
    file.write((name, WEIGHTS[name]) for name in order)
    found = load_file(file.path)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], weight) for name, weight in WEIGHTS.items())
    file.close()
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_folder_has_no_name_and_can_be_read_until_it_is_replaced() -> None:
    file = WeightFile(LAYOUT, None)
    file.write(WEIGHTS.items())
    assert torch.equal(load_file(file.path)["a"], WEIGHTS["a"])
    file.write((name, 2 * weight) for name, weight in WEIGHTS.items())
    assert torch.equal(load_file(file.path)["a"], 2 * WEIGHTS["a"])
    file.close()
    assert file.path == ""


def test_a_weight_is_dropped_before_the_next_is_asked_for(tmp_path: Path) -> None:
    def weights() -> Iterator[tuple[str, Tensor]]:
        for name in WEIGHTS:
            weight = WEIGHTS[name].clone()
            earlier = weakref.ref(weight)
            yield name, weight
            del weight
            assert earlier() is None

    WeightFile(LAYOUT, str(tmp_path)).write(weights())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": None}, r"1 of the weights for the engine are missing: a\. None was loaded\."),
        ({"d": torch.zeros(1)}, r"1 of the weights for the engine are not the model's: d\. None was loaded\."),
        ({"a": torch.zeros(4)}, r"weight a for the engine came with shape \[4\], not \[5\]"),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_one_error_and_leave_no_file(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    given = {name: weight for name, weight in {**WEIGHTS, **changes}.items() if weight is not None}
    file = WeightFile(LAYOUT, str(tmp_path))
    with pytest.raises(EngineError, match=message):
        file.write(given.items())
    assert not list(tmp_path.iterdir())
    assert file.path == ""


def test_a_weight_that_comes_twice_is_refused() -> None:
    with pytest.raises(EngineError, match=r"weight b .* twice"):
        list(in_layout([*WEIGHTS.items(), ("b", WEIGHTS["b"])], LAYOUT))


def test_weights_that_go_from_device_to_device_are_handed_on_one_by_one() -> None:
    sync, got = DeviceWeightSync("nccl", LAYOUT), list[str]()

    def load() -> None:
        assert sync._given is not None
        got.extend(name for name, _ in sync._given)

    sync.send(WEIGHTS.items(), load)
    assert got == [*WEIGHTS]


def test_what_makes_the_weights_may_fail_while_they_are_taken_and_who_takes_them_may_be_gone() -> None:
    sync = DeviceWeightSync("nccl", LAYOUT)

    def load() -> None:
        assert sync._given is not None
        for _ in sync._given:
            pass

    with pytest.raises(EngineError, match="missing: a, c"):
        sync.send([("b", WEIGHTS["b"])], load)
    left = iter(WEIGHTS.items())
    sync.send(left, lambda: None)
    assert next(left, None) is None, "other ranks take part in making them"
