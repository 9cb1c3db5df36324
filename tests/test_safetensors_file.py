"""A safetensors file that is written tensor by tensor is the file that others read."""

# safetensors is untyped.
# mypy: disallow-untyped-calls=False

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from reasonrl.models.safetensors_file import DTYPES, TensorSpec, write_safetensors

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def filled(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """A tensor of any bits: those of a number that is none must come back too."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.Size(shape).numel() * dtype.itemsize
    bits = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), generator=generator, dtype=torch.uint8)
    return bits.view(dtype).reshape(shape)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@settings(deadline=None, max_examples=50)
@given(
    described=st.dictionaries(
        names.filter(lambda name: name != "__metadata__"), st.tuples(st.sampled_from([*DTYPES]), shapes), max_size=6
    ),
    seed=st.integers(0, 2**31),
)
def test_what_is_written_in_any_order_is_read_back(
    described: dict[str, tuple[torch.dtype, tuple[int, ...]]], seed: int
) -> None:
    tensors = {name: filled(dtype, shape, seed + i) for i, (name, (dtype, shape)) in enumerate(described.items())}
    specs = [TensorSpec.of(name, tensor) for name, tensor in tensors.items()]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_safetensors(path, specs, Random(seed).sample([*tensors.items()], len(tensors)))
        found = load_file(path)
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(bits(found[name]), bits(tensor))


def test_a_part_of_a_larger_tensor_is_written_as_it_is_seen(tmp_path: Path) -> None:
    tensor = torch.arange(24.0).reshape(4, 6).T[1:3]
    write_safetensors(tmp_path / "w", [TensorSpec.of("a", tensor)], [("a", tensor)])
    assert torch.equal(load_file(tmp_path / "w")["a"], tensor)


def test_a_tensor_that_was_not_announced_as_it_is_or_never_comes_is_noticed(tmp_path: Path) -> None:
    spec = TensorSpec("a", torch.float32, (2,))
    for tensors in ([("a", torch.zeros(3))], [("a", torch.zeros(2).double())], []):
        with pytest.raises(AssertionError):
            write_safetensors(tmp_path / "w", [spec], tensors)
