"""Weights, gradients and optimizer divided among processes: torch's ``fully_shard``, layer by layer.

A layer's weights are gathered while it computes; gradients are summed in the backward pass of an update's last
micro-batch, each process keeping its part. Between the micro-batches of an update every process has the gradient of its
own rows whole. What does not belong to the model, such as an objective's own head, is whole on every process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, is_tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from transformers import PreTrainedModel

from reasonrl.distributed.collectives import num_ranks, rank
from reasonrl.learner.strategies.protocol import Gradients, LoadModel
from reasonrl.learner.strategies.replicated import SummedGradients
from reasonrl.models.hardware import return_freed_memory
from reasonrl.models.sharded import FORWARD_METHOD, free_gathered, is_shard, shard_of

NORM_EPSILON: Final = 1e-6
"""Added to the norm that gradients are divided by, as torch's ``clip_grad_norm_`` does."""


class FSDP2:
    """Several processes, each with its part of the model.

    Args:
        device: that this process computes on.
        reshard_after_forward: free a layer's gathered weights between forward and backward pass.
        cpu_offload: keep weights, gradients and optimizer in the host's memory.
    """

    name: Literal["fsdp2"] = "fsdp2"

    def __init__(self, device: torch.device, *, reshard_after_forward: bool = True, cpu_offload: bool = False) -> None:
        self._device = device
        self._reshard_after_forward = reshard_after_forward
        self._offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
        self._mesh = init_device_mesh(device.type, (num_ranks(),))

    @torch.no_grad()
    def load(self, load: LoadModel, dtype: torch.dtype) -> PreTrainedModel:
        """Return the model with this process's part of its weights.

        Rank 0 alone reads the weights, and sends them one by one; of the others none ever holds more than a layer.
        """
        return_freed_memory()
        source = load(torch.device("cpu")) if rank() == 0 else None
        model = load(torch.device("meta"))
        weights = _Weights(model, source, self._device)
        weights.share_constants()
        for part, reshards in self._parts(model):
            weights.share_parameters(part)
            self._shard(part, dtype if part is not getattr(model, "score", None) else torch.float32, reshards)
        _run_between_hooks(model)
        _compute_on(model, self._device)
        # What transformers renames in files. Any: it notes it on models that were read.
        cast(Any, model)._weight_conversions = getattr(source, "_weight_conversions", None)
        return model

    @contextmanager
    def gathered(self, model: nn.Module) -> Iterator[None]:
        """Hold the whole model inside, in the type that it computes in."""
        root, *_ = parts = _sharded_parts(model)
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.set_reshard_after_forward(self._reshard_after_forward and part is not root, recurse=False)
            free_gathered(model)

    def gradients(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return gradients that are summed in the last backward pass of an update."""
        return ShardedGradients(cast(FSDPModule, model), parameters)

    def _parts(self, model: PreTrainedModel) -> Iterator[tuple[nn.Module, bool]]:
        """Yield what is gathered at once, inner parts first, and whether it is freed between forward and backward pass.

        The head of a reward model or critic computes in float32 whatever the backbone does. What is left, embeddings
        and output head, is needed at the beginning and the end of both passes.
        """
        layers = set(model._no_split_modules or ())
        for part in list(model.modules()):
            if type(part).__name__ in layers:
                yield part, self._reshard_after_forward
        if isinstance(score := getattr(model, "score", None), nn.Linear):
            yield score, self._reshard_after_forward
        yield model, False

    def _shard(self, part: nn.Module, dtype: torch.dtype, reshards: bool) -> None:
        """Divide a part of the model, whose weights are whole; gradients of its processes are summed, not averaged."""
        low = None if dtype == torch.float32 else dtype
        policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False)
        fully_shard(
            part, mesh=self._mesh, reshard_after_forward=reshards, mp_policy=policy, offload_policy=self._offload
        )
        sharded = cast(FSDPModule, part)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other


class ShardedGradients:
    """The gradients of a divided model, and of parameters that are whole on every process.

    Args:
        model: the root of what is divided.
        parameters: that are updated.
    """

    def __init__(self, model: FSDPModule, parameters: Sequence[nn.Parameter]) -> None:
        self._model = model
        self._sharded = [parameter for parameter in parameters if is_shard(parameter)]
        self._others = [parameter for parameter in parameters if not is_shard(parameter)]
        self._of_others = SummedGradients(self._others)

    def before_backward(self, *, is_last: bool) -> None:
        """Let the backward pass of the last micro-batch sum the gradients of all of them."""
        self._model.set_requires_gradient_sync(is_last)
        cast(Any, self._model).sums_gradients = is_last
        self._of_others.before_backward(is_last=is_last)

    def sum_over_ranks(self) -> None:
        """Add up the gradients that the backward pass did not."""
        self._of_others.sum_over_ranks()

    def clip(self, max_norm: float) -> float:
        """Scale a gradient of greater norm down to it; return the norm before."""
        shards = [shard_of(parameter.grad) for parameter in self._sharded if parameter.grad is not None]
        others = [parameter.grad for parameter in self._others if parameter.grad is not None]
        squares = nn.utils.get_total_norm(shards).double().square()
        dist.all_reduce(squares)
        norm = (squares + nn.utils.get_total_norm(others).double().square().to(squares.device)).sqrt()
        scale = (max_norm / (norm + NORM_EPSILON)).clamp(max=1.0).float()
        for gradients in filter(None, (shards, others)):
            torch._foreach_mul_(gradients, scale)
        return float(norm)

    def clear(self) -> None:
        """Free the gradients."""
        for parameter in self._sharded:
            parameter.grad = None
        self._of_others.clear()


class _Weights:
    """Takes a model's weights from rank 0 to every process.

    Args:
        model: without weights.
        source: with them; on rank 0. Loses each that was sent.
        device: where a weight is put.
    """

    def __init__(self, model: PreTrainedModel, source: PreTrainedModel | None, device: torch.device) -> None:
        self._model = model
        self._source = source
        self._device = device
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._owners: dict[int, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            for attribute, parameter in module._parameters.items():
                self._owners.setdefault(id(parameter), []).append((module, attribute))

    def share_parameters(self, part: nn.Module) -> None:
        """Give a part of the model those of its parameters that it lacks, each wherever it is used."""
        for parameter in [each for each in part.parameters() if id(each) in self._names]:
            twin = None if self._source is None else self._source.get_parameter(self._names[id(parameter)])
            whole = nn.Parameter(self._shared(parameter, twin), requires_grad=parameter.requires_grad)
            for module, attribute in self._owners[id(parameter)]:
                setattr(module, attribute, whole)
            if twin is not None:
                twin.data = torch.empty(0)  # else rank 0 would hold the model until all of it is divided

    def share_constants(self) -> None:
        """Give the model its buffers, and the tensors that its modules hold as plain attributes."""
        for path, module in self._model.named_modules():
            twins = None if self._source is None else self._source.get_submodule(path)
            for name in [*module._buffers, *(name for name, value in vars(module).items() if is_tensor(value))]:
                if (constant := getattr(module, name)) is not None:
                    setattr(module, name, self._shared(constant, None if twins is None else getattr(twins, name)))

    def _shared(self, tensor: Tensor, twin: Tensor | None) -> Tensor:
        """Return rank 0's values of a tensor that has none."""
        values = torch.empty_like(tensor, device=self._device, requires_grad=False)
        if twin is not None:
            values.copy_(twin)
        dist.broadcast(values, src=0)
        return values


def _run_between_hooks(model: PreTrainedModel) -> None:
    """Give a divided model the method with which any computation is a forward pass of it."""

    def run(self: PreTrainedModel, compute: Callable[[], Any]) -> Any:  # Any: tensors, one or several
        return compute()

    setattr(model, FORWARD_METHOD, MethodType(run, model))
    register_fsdp_forward_method(model, FORWARD_METHOD)


def _compute_on(model: PreTrainedModel, device: torch.device) -> None:
    """Let a model's device be the one that it computes on, though its weights may wait in the host's memory.

    ``fully_shard`` has given the model a class of its own.
    """
    type(model).device = property(lambda _: device)  # type: ignore[method-assign, assignment]


def _sharded_parts(model: nn.Module) -> list[FSDPModule]:
    return [part for part in model.modules() if isinstance(part, FSDPModule)]
