"""Nothing in a micro-batch, an optimizer step or a decode step waits for the device.

On the ``meta`` device there are no values: whatever asks for one (``.item()``, ``bool()``, ``.tolist()``, boolean
masks) raises, where it would make the host wait for a GPU.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from builders import run_config, small_llama, training_samples
from torch import nn

from reasonrl.config.settings import OptimizerSettings
from reasonrl.engines import SamplingParams
from reasonrl.engines.sampling import DrawParams, draw
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import collate
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.logprobs import LogprobModel, OutputHead
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.learner.optimizer import decayed_groups, make_optimizer
from reasonrl.models.fast.decode import SlotDecoder
from reasonrl.models.fast.family import Family, family_of
from reasonrl.models.fast.forward import FlatModel
from reasonrl.models.fast.weights import CastWeights
from reasonrl.plugins.lookup import installed_plugins

META = torch.device("meta")
DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture
def family() -> Family:
    found = family_of(nn.Module.to(small_llama(), META))
    assert found is not None
    return found


def logprobs_of(family: Family, dtype: torch.dtype) -> LogprobModel:
    flat = FlatModel(family, CastWeights(family, dtype))
    return LogprobModel(family.model, OutputHead(family.model.lm_head, 1.0, None), dtype, 1.0, flat=flat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "algorithm",
    [
        "grpo",
        "dapo",
        {"preset": "gspo", "importance": "sequence"},
        {"preset": "grpo", "importance": "band"},
        {"preset": "grpo", "kl_coefficient": 0.1},
        {"preset": "dapo", "entropy_coefficient": 0.1},
    ],
    ids=str,
)
def test_a_micro_batch_is_learned_without_waiting(family: Family, dtype: torch.dtype, algorithm: object) -> None:
    config = run_config(algorithm=algorithm)
    policy = logprobs_of(family, dtype)
    objective = PolicyObjective(
        algorithm=config.method,
        loss=installed_plugins().function("losses", config.method.loss),
        policy=policy,
        max_new_tokens=16,
        controller=KLController(config.method),
        entropy=EntropyController(config.method),
        reference=policy if config.method.kl_coefficient else None,
    )
    rows = objective.rows(training_samples())
    old = [torch.zeros(row.sample.num_loss_tokens, device=META) for row in rows]
    measured = MetricAccumulator()
    for each in (rows, [replace(row, old_logprobs_T=old_T) for row, old_T in zip(rows, old, strict=True)]):
        torch.autograd.backward(objective.losses(collate(each, META), measured).sum())
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in family.model.parameters())


def test_the_optimizer_steps_without_waiting(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch knows of no fused kernel for a device without values, though its operator is one there.
    of_torch = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(of_torch, "_get_fused_kernels_supported_devices", lambda: [META.type])
    for parameter in family.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(decayed_groups(family.model.parameters(), 0.1), OptimizerSettings())
    for _ in range(2):
        optimizer.step()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_join_and_are_decoded_and_drawn_without_waiting(family: Family, dtype: torch.dtype) -> None:
    decoder = SlotDecoder(family, CastWeights(family, dtype))
    decoder.add([(1, 2, 3), (1, 2, 3), (4,)], [9, 9, 9])
    decoder.add([(5, 6)], [9])
    chosen = [SamplingParams(max_new_tokens=8), SamplingParams(max_new_tokens=8, temperature=0.0)] * 2
    params = DrawParams.of(chosen, META)
    tokens_N = torch.zeros(4, dtype=torch.long, device=META)
    uniforms_N = torch.zeros(4, dtype=torch.float64, device=META)
    for _ in range(3):
        tokens_N, logprobs_N = draw(decoder.step(tokens_N), uniforms_N, params)
        assert tokens_N.is_meta
        assert logprobs_N.is_meta
    decoder.keep([3, 1])


def test_the_test_sees_what_waits() -> None:
    value = torch.zeros(3, device=META)
    asks: list[Callable[[], object]] = [
        value.sum().item,
        value.tolist,
        lambda: bool(value[0]),
        lambda: value[value > 0],
        value.nonzero,
    ]
    for ask in asks:
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()
