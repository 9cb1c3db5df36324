"""FSDP2 in a group of one process: the way that several take, on one GPU."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

from collections.abc import Iterator
from pathlib import Path

import pytest
import rank_cases
import torch
from gradients import relative_error
from torch import distributed as dist

from reasonrl.learner.strategies import SINGLE
from reasonrl.learner.strategies.fsdp2 import FSDP2


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[torch.device]:
    """A device, with a process group of this process alone."""
    backend = {"cpu": "gloo", "cuda": "cuda:nccl,cpu:gloo"}[request.param]
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield torch.device(request.param)
    dist.destroy_process_group()


@pytest.mark.parametrize("scenario", ["as it comes", "one group is larger"])
def test_one_process_with_shards_ends_with_the_weights_of_one_without(device: torch.device, scenario: str) -> None:
    case, how = rank_cases.core()[scenario], FSDP2(device)
    model = rank_cases.even()
    model.to(device)  # type: ignore[arg-type]
    alone = rank_cases.policy(SINGLE, case, model=model)
    sharded = rank_cases.policy(how, case, model=rank_cases.loaded(how, rank_cases.even))
    for _ in range(2):
        expected, got = alone.update(case.samples), sharded.update(case.samples)
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert next(sharded.model.parameters()).device.type == device.type
    assert relative_error(rank_cases.weights(sharded), rank_cases.weights(alone)) < 1e-4
