"""What a process keeps of the memory that it frees."""

import platform
import subprocess
import sys

import pytest

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
