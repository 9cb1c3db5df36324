"""What a process keeps of the memory that it frees, and products on a CPU."""

import platform
import subprocess
import sys

import pytest
import torch

from reasonrl.models.hardware import pack_weight, packed_product, unrounded_product

FREEING = """
import resource
import torch
from reasonrl.models.hardware import keep_freed_memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20

keep_freed_memory()
before = resident_mib()
for mib, count in ((64, 4), (4, 64)):
    tensors = [torch.ones(mib * 2**18) for _ in range(count)]
    used = resident_mib() - before
    del tensors
    print(used, resident_mib() - before)
"""
"""Print what 256 MiB of large tensors, and then of smaller ones, take while they are there and afterwards."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_of_freed_tensors_is_kept_where_they_are_small_and_handed_back_where_they_are_large() -> None:
    output = subprocess.run([sys.executable, "-c", FREEING], capture_output=True, text=True, check=True).stdout
    (large, after_large), (small, after_small) = (map(int, line.split()) for line in output.splitlines())
    assert min(large, small) >= 250
    assert after_large < 30
    assert after_small > 200


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no product with packed bfloat16")
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_product_of_bfloat16_can_be_had_without_its_rounding(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight = (torch.randn(size, 96, generator=generator).bfloat16() for size in (rows, 640))
    exact, packed = x.double() @ weight.double().t(), pack_weight(weight, 64)
    assert float((packed_product(x, packed) - exact).abs().max()) > 0.02
    found = unrounded_product(x, packed)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 2**-16 * float(exact.abs().max())
