"""Write a model's folder as transformers does; one that is divided among processes tensor by tensor."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import SAFE_WEIGHTS_NAME

from reasonrl.distributed.collectives import rank
from reasonrl.models.lora import adapter_of
from reasonrl.models.quiet import without_bars
from reasonrl.models.safetensors_file import TensorSpec, write_safetensors
from reasonrl.models.sharded import full_tensor, is_sharded


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model, or its adapter alone where it has one; called on all processes, written by rank 0.

    Args:
        model: whole or divided.
        folder: to write into.
    """
    with without_bars():
        if is_sharded(model):
            _save_sharded(model, folder)
        elif rank() == 0:
            model.save_pretrained(folder)


def _save_sharded(model: PreTrainedModel, folder: Path) -> None:
    tensors = _saved_tensors(model)
    gathered = _gathered(tensors)
    if rank() != 0:
        for _ in gathered:
            pass
    elif adapter_of(model) is not None or not _is_converted_one_by_one(model, tensors):
        # An adapter is small, and the few architectures that join tensors of theirs in one of their files need all.
        model.save_pretrained(folder, state_dict={name: tensor.cpu() for name, tensor in gathered})
    else:
        model.save_pretrained(folder, state_dict={})  # what a folder has beside the weights
        _write_weights(model, tensors, gathered, folder)


def _saved_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return what is saved of a model, by its own names; of tied weights the one that transformers expects."""
    left_out = {*model.all_tied_weights_keys, *(model._keys_to_ignore_on_save or ())}
    of_adapter_alone = adapter_of(model) is not None
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in left_out and (tensor.requires_grad or not of_adapter_alone)
    }


def _is_converted_one_by_one(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> bool:
    """Say whether each tensor of the files is made of one of the model's: transformers joins some on saving."""
    together = revert_weight_conversion(model, _described(tensors))
    apart = [each for item in tensors.items() for each in revert_weight_conversion(model, _described(dict([item])))]
    return sorted(together) == sorted(apart)


def _described(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in tensors.items()}


def _write_weights(
    model: PreTrainedModel, tensors: Mapping[str, Tensor], gathered: Iterable[tuple[str, Tensor]], folder: Path
) -> None:
    """Write the weights as they are gathered, under the names that files of this architecture have."""
    described = revert_weight_conversion(model, _described(tensors))
    specs = [TensorSpec.of(name, tensor) for name, tensor in described.items()]
    write_safetensors(folder / SAFE_WEIGHTS_NAME, specs, _converted(model, gathered))


def _converted(model: PreTrainedModel, gathered: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of the files; none is held while the next is gathered."""
    for name, tensor in gathered:
        of_file = revert_weight_conversion(model, {name: tensor})
        del tensor
        while of_file:
            yield of_file.popitem()


def _gathered(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield whole tensors one at a time, on all processes in step."""
    for name, tensor in tensors.items():
        yield name, full_tensor(tensor.detach())
