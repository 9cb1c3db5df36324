"""AdamW with weights or moments of fewer bits: what rounding does to updates, and that a resumed run rounds alike."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from builders import run_config, training_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from reasonrl.config.settings import OptimizerSettings, RunConfig
from reasonrl.errors import ConfigError
from reasonrl.learner.optimizer import ParameterGroup, make_optimizer, stochastically_rounded
from reasonrl.learner.rng import save_rng
from reasonrl.learner.strategies import Strategy
from reasonrl.models.compute import Compute
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.learning import Learning, _refuse_to_divide, build_learning
from reasonrl.system.extras import MissingExtraError

DRAWS = 20_000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(number=st.floats(-(2.0**100), 2.0**100, width=32), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_number_becomes_one_of_its_neighbors_and_the_mean_is_the_number(number: float, seed: int) -> None:
    exact = torch.full((DRAWS,), number)
    rounded = stochastically_rounded(exact, seeded(seed)).double()
    below = (exact[:1].view(torch.int32) & -(2**16)).view(torch.float32).double()
    distance = ((exact[:1].view(torch.int32) & -(2**16)) + 2**16).view(torch.float32).double() - below
    assert set(rounded.tolist()) <= {float(below), float(below + distance)}
    # Five standard errors of the mean of draws that are each at most half the distance off it.
    assert abs(float(rounded.mean()) - number) <= 5 * abs(float(distance)) / 2 / DRAWS**0.5 + 1e-45


def test_what_bfloat16_has_stays_what_it_is() -> None:
    numbers = torch.tensor([0.0, -0.0, 1.0, -2.5, 3e38, torch.inf, -torch.inf])
    assert torch.equal(stochastically_rounded(numbers, seeded(0)), numbers.bfloat16())
    assert stochastically_rounded(torch.tensor([torch.nan]), seeded(0)).isnan().all()


def stepped(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor, updates: range) -> None:
    for update in updates:
        for group in optimizer.param_groups:
            group["update"] = update
        parameter.grad = gradient.to(parameter.dtype)
        optimizer.step()


def test_updates_below_half_a_bfloat16_move_the_weights_as_far_as_in_float32() -> None:
    chosen = OptimizerSettings(learning_rate=1e-4)  # at 1.0 half the distance of two bfloat16 is 4e-3 or 2e-3
    start, gradient = torch.ones(64, 64), torch.ones(64, 64)
    parameters = {dtype: nn.Parameter(start.to(dtype, copy=True)) for dtype in (torch.float32, torch.bfloat16)}
    for parameter in parameters.values():
        optimizer = make_optimizer([ParameterGroup(parameters=[parameter])], chosen, seed=1)
        stepped(optimizer, parameter, gradient, range(20))
    moved = {dtype: float((start - parameter.detach().float()).mean()) for dtype, parameter in parameters.items()}
    nearest = nn.Parameter(start.bfloat16())
    stepped(torch.optim.AdamW([nearest], lr=1e-4, weight_decay=0.0), nearest, gradient, range(20))
    assert torch.equal(nearest, start.bfloat16()), "rounded to the nearest, every one of them is lost"
    assert moved[torch.float32] == pytest.approx(20e-4, rel=1e-3)
    assert moved[torch.bfloat16] == pytest.approx(20e-4, rel=0.1)


def test_the_rounding_is_a_function_of_seed_update_and_parameter() -> None:
    def after(seed: int, *, others: int = 0) -> list[Tensor]:
        torch.manual_seed(others)
        parameters = [nn.Parameter(torch.ones(8, 8, dtype=torch.bfloat16)) for _ in range(2)]
        optimizer = make_optimizer(
            [ParameterGroup(parameters=parameters)], OptimizerSettings(learning_rate=1e-3), seed=seed
        )
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        return [parameter.detach() for parameter in parameters]

    assert all(map(torch.equal, after(0), after(0, others=5)))
    assert not torch.equal(after(0)[0], after(1)[0])
    assert not torch.equal(*after(0))


def learning_of(config: RunConfig, checkpoint: Path | None = None) -> Learning:
    dtype = torch.bfloat16 if config.model.weights_dtype == "bfloat16" else torch.float32
    compute = Compute(dtype=dtype)
    return build_learning(config, installed_plugins(), checkpoint=checkpoint, rate_factor=1.0, compute=compute)


def weights(learning: Learning) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in learning.actor.model.named_parameters()}


def require_exact_resumption(config: RunConfig, folder: Path) -> tuple[dict[str, Tensor], Learning]:
    """Learn two steps, and the second again from the checkpoint of the first: equal to the last bit."""
    learning = learning_of(config)
    start = weights(learning)
    learning.actor.update(training_samples(seed=1))
    learning.actor.save_state(folder)
    learning.tokenizer.save_pretrained(folder)
    save_rng(folder)
    again = learning_of(config, folder)
    for each in (learning, again):
        each.actor.update(training_samples(seed=2))
    assert all(torch.equal(weights(learning)[name], weight) for name, weight in weights(again).items())
    return start, again


def test_weights_in_bfloat16_learn_and_a_resumed_run_rounds_alike(tmp_path: Path) -> None:
    config = run_config(model={"name": "tiny", "weights_dtype": "bfloat16"}, learner={"learning_rate": 1e-4})
    before, learning = require_exact_resumption(config, tmp_path)
    after = weights(learning)
    assert {weight.dtype for weight in after.values() if weight.ndim >= 2} == {torch.bfloat16}
    assert {weight.dtype for weight in after.values() if weight.ndim < 2} == {torch.float32}
    assert all(not torch.equal(before[name], weight) for name, weight in after.items())


def test_moments_in_8_bits_learn_and_are_resumed(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="moments in 8 bits need it: pip install 'reasonrl[adamw-8bit]'")
    config = run_config(learner={"learning_rate": 1e-4, "optimizer": "adamw_8bit"})
    before, learning = require_exact_resumption(config, tmp_path)
    assert all(not torch.equal(before[name], weight) for name, weight in weights(learning).items())
    kept = [value for state in learning.actor._optimizer.state.values() for value in state.values()]
    assert torch.uint8 in {value.dtype for value in kept if isinstance(value, Tensor)}


def test_moments_in_8_bits_move_weights_nearly_as_those_in_float32() -> None:
    pytest.importorskip("bitsandbytes", reason="moments in 8 bits need it: pip install 'reasonrl[adamw-8bit]'")
    moved = {}
    for kind in ("adamw", "adamw_8bit"):
        parameter = nn.Parameter(torch.ones(64, 64))
        chosen = OptimizerSettings(learning_rate=1e-3, optimizer=kind)
        optimizer = make_optimizer([ParameterGroup(parameters=[parameter])], chosen)
        stepped(optimizer, parameter, torch.randn(64, 64, generator=seeded(0)), range(10))
        moved[kind] = 1 - parameter.detach()
    assert float((moved["adamw"] - moved["adamw_8bit"]).abs().mean()) < 2e-4


def test_without_its_package_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(MissingExtraError, match=r"learner.optimizer: adamw_8bit needs .*'reasonrl\[adamw-8bit\]'"):
        make_optimizer([], OptimizerSettings(optimizer="adamw_8bit"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "tiny", "weights_dtype": "bfloat16", "compute_dtype": "float32"}}, "compute_dtype float32"),
        ({"model": {"name": "tiny", "weights_dtype": "bfloat16", "lora": {}}}, "with lora an adapter learns"),
        (
            {"model": {"name": "tiny", "weights_dtype": "bfloat16"}, "learner": {"optimizer": "adamw_8bit"}},
            "adamw_8bit rounds to the nearest",
        ),
    ],
)
def test_what_weights_in_bfloat16_do_not_go_with_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        run_config(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"model": {"name": "tiny", "weights_dtype": "bfloat16"}}, {"learner": {"optimizer": "adamw_8bit"}}],
)
def test_neither_is_divided_among_processes(changes: dict[str, Any]) -> None:
    class Divided:
        name = "fsdp2"

    with pytest.raises(ConfigError, match=r"learner.parallel.strategy is fsdp2"):
        _refuse_to_divide(run_config(**changes), cast(Strategy, Divided()))
    _refuse_to_divide(run_config(), cast(Strategy, Divided()))
