"""Which model a folder holds: one value that stands for its weights and its configuration."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from reasonrl.models.folder import ADAPTER_CONFIG, CONFIG

WEIGHTS: Final = ("*.safetensors", "*.bin")
MAX_WHOLE_BYTES: Final = 8 << 30
"""Weights up to this size are read whole, at about a gigabyte a second; of larger files a part."""
BLOCK_BYTES: Final = 1 << 20
EVERY: Final = 64
"""Of larger weights one block in so many is read, beside the sizes of all: training changes every tensor."""


def weights_identity(folder: Path) -> str:
    """Return what stands for a model: ``sha256:`` of its files, ``sha256-of-blocks:`` where a part was read.

    The files are the weights, the configuration, and an adapter's configuration, each by name, size and content.

    Args:
        folder: a model as transformers reads it.
    """
    files = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    every = 1 if sum(path.stat().st_size for path in files) <= MAX_WHOLE_BYTES else EVERY
    files += [path for name in (CONFIG, ADAPTER_CONFIG) if (path := folder / name).is_file()]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        digests = threads.map(lambda path: _digest(path, every), files)
        lines = [f"{path.name} {path.stat().st_size} {digest}" for path, digest in zip(files, digests, strict=True)]
    kind = "sha256" if every == 1 else "sha256-of-blocks"
    return f"{kind}:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def _digest(path: Path, every: int) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path, every):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path, every: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        for position in range(0, path.stat().st_size, every * BLOCK_BYTES):
            file.seek(position)
            yield file.read(BLOCK_BYTES)
