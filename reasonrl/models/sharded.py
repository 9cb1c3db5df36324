"""What code that runs a model must know of one whose weights may be divided among processes (FSDP2).

A divided model has its weights only while it computes. Its forward hooks gather them, so what is computed with parts of
it, such as its layers without its head, is run as one forward pass of the whole (:func:`forward_pass`).
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.utils._pytree import tree_map_only

Tensors = TypeVar("Tensors", bound=Tensor | tuple[Tensor | None, ...])

FORWARD_METHOD: Final = "run_as_forward"
"""Method of a divided model that runs a function between the hooks of its forward pass."""


def is_sharded(model: nn.Module) -> bool:
    """Say whether a model's weights are divided among processes."""
    return hasattr(model, FORWARD_METHOD)


def forward_pass(model: nn.Module, compute: Callable[[], Tensors]) -> Tensors:
    """Return what a function computes with parts of a model, as one forward pass of it, or as part of one.

    Args:
        model: the function uses parts of it.
        compute: returns a tensor that is no view, or several.
    """
    if not is_sharded(model) or getattr(model, "is_running", False):
        return compute()
    computed = _running(model, compute)
    if torch.is_grad_enabled():
        model.learns = True  # type: ignore[assignment]
    else:
        free_gathered(model)
    # Hooks on what is computed gather weights in the backward pass: who takes a gradient only down to it gets an alias.
    return cast(Tensors, tree_map_only(Tensor, lambda tensor: tensor.view_as(tensor), computed))


def _running(model: nn.Module, compute: Callable[[], Tensors]) -> Tensors:
    """Run a function between the hooks; a forward pass inside is part of it."""
    model.is_running = True  # type: ignore[assignment]
    try:
        return cast(Tensors, getattr(model, FORWARD_METHOD)(compute))
    finally:
        model.is_running = False  # type: ignore[assignment]


def free_gathered(model: nn.Module) -> None:
    """Free the weights that a divided model has gathered.

    Embeddings and head, and without resharding every layer, would stay until the next backward pass. Of a model that
    does not learn, torch's notes of its forward passes are dropped too, which only a backward pass would do.
    """
    if not hasattr(model, "learns") and hasattr(model, "reset_iter_state"):  # from torch 2.13 on
        cast(Any, model).reset_iter_state()
        return
    for part in model.modules():
        if hasattr(part, "reshard"):
            cast(Any, part).reshard()


def sum_gradients_once(model: nn.Module, earlier: Tensor, later: Tensor) -> None:
    """Let layers that ran twice sum their gradients when the backward pass is through both runs.

    Args:
        model: whole or divided; a divided one says in ``sums_gradients`` whether this backward pass sums them at all.
        earlier: what the first run returned, whose backward pass comes last.
        later: what the second run returned.
    """
    if not getattr(model, "sums_gradients", False) or not later.requires_grad:
        return
    sharded, is_over = cast(Any, model), False

    def begin_later(_: Tensor) -> None:
        sharded.set_requires_gradient_sync(is_over)

    def begin_earlier(_: Tensor) -> None:
        nonlocal is_over
        is_over = True
        sharded.set_requires_gradient_sync(True)

    later.register_hook(begin_later)  # type: ignore[no-untyped-call]  # torch
    earlier.register_hook(begin_earlier)  # type: ignore[no-untyped-call]  # torch


def shard_of(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor: its rows, or all of one that is not divided."""
    return cast(Tensor, tensor.to_local()) if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def is_shard(tensor: Tensor) -> bool:
    """Say whether a tensor is divided: torch's DTensor."""
    return hasattr(tensor, "placements")


def shard_rows(num_rows: int, num_shards: int, shard: int) -> range:
    """Return the rows of a tensor that are in one of its shards: as many in each, fewer or none in the last."""
    size = -(-num_rows // num_shards)
    return range(num_rows)[shard * size : (shard + 1) * size]


def first_element(tensor: Tensor) -> int:
    """Return where the first element of this process's part stands in the whole tensor, flattened."""
    if not is_shard(tensor):
        return 0
    mesh = tensor.device_mesh  # type: ignore[attr-defined]
    rows = shard_rows(tensor.shape[0], mesh.size(), mesh.get_local_rank())
    return rows.start * (tensor.numel() // tensor.shape[0])


@torch.no_grad()
def full_tensor(tensor: Tensor) -> Tensor:
    """Return a whole tensor; one that is divided is gathered, which all processes do together.

    It takes the memory of the tensor and no more: torch's own joins the parts.
    """
    if not is_shard(tensor):
        return tensor
    mine, mesh = shard_of(tensor), tensor.device_mesh  # type: ignore[attr-defined]
    full = mine.new_empty(tensor.shape)
    for shard in range(mesh.size()):
        rows = shard_rows(tensor.shape[0], mesh.size(), shard)
        part = full[rows.start : rows.stop]
        if shard == mesh.get_local_rank():
            part.copy_(mine)
        if rows:
            dist.broadcast(part, group=mesh.get_group(), group_src=shard)
    return full
