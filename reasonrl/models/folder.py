"""Whether a local folder can be a model at all: its files, looked at without torch or transformers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reasonrl.errors import ModelError
from reasonrl.models import locate

CONFIG: Final = "config.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
TOKENIZER_FILES: Final = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"),
    *("tekken.json", "sentencepiece.bpe.model"),
)
"""At least one of them is there where transformers can make a tokenizer."""
WEIGHTS: Final = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")
NO_POLICIES: Final = (
    *("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"),
    *("ForMultipleChoice", "ForImageClassification"),
)
"""Ends of names of architectures that write no completions."""
_HEADER_BYTES: Final = 8
_LARGEST_HEADER: Final = 100_000_000
"""Bytes; the format's own limit."""


def context_length(name: str) -> int | None:
    """Return how many tokens a local model can see; None where that is not known here.

    Raises:
        ModelError: the name leads nowhere, or its configuration cannot be read.
    """
    folder = Path(locate(name))
    if not (folder / CONFIG).is_file():
        return None
    config = _config(name, folder)
    inner = config.get("text_config")
    limit = (inner if isinstance(inner, dict) else config).get("max_position_embeddings")
    return limit if isinstance(limit, int) else None


def require_model_folder(name: str, *, writes: bool = True, tokenizer: bool = True) -> None:
    """Refuse a local model that lacks something, or whose files are damaged; what is on the hub is not looked at.

    Args:
        name: as in a run file: ``tiny``, a known name, a folder, or a hub name.
        writes: the model must be one that writes completions.
        tokenizer: it must have one of its own.

    Raises:
        ModelError: there is no such folder, or what is wrong with it.
    """
    folder = Path(locate(name))
    if not folder.is_dir():
        return
    if (folder / ADAPTER_CONFIG).is_file():
        return _require_weights(name, folder)
    config = _config(name, folder)
    _require_architecture(name, config, writes=writes)
    if tokenizer and not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"model {name!r}: {folder} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}). Copy the tokenizer's "
            "files of the model that it was made from into it."
        )
    _require_weights(name, folder)


def _config(name: str, folder: Path) -> Mapping[str, Any]:
    """Read config.json. Any: JSON values."""
    path = folder / CONFIG
    if not path.is_file():
        found = ", ".join(sorted(each.name for each in folder.iterdir())[:8]) or "nothing"
        is_run = " A run's model is one of its checkpoints: RUN/checkpoints/step_N." if "manifest.json" in found else ""
        raise ModelError(f"model {name!r}: {folder} has no {CONFIG}, so it is no model (it holds {found}).{is_run}")
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"model {name!r}: {path} cannot be read: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"model {name!r}: {path} names no model_type, so transformers cannot tell what model it is.")
    return config


def _require_architecture(name: str, config: Mapping[str, Any], *, writes: bool) -> None:
    """Refuse a model that writes no completions. Any: JSON values."""
    named = [each for each in config.get("architectures") or () if isinstance(each, str)]
    other = next((each for each in named if each.endswith(NO_POLICIES)), None)
    if config.get("is_encoder_decoder"):
        other = f"an encoder-decoder ({', '.join(named) or config['model_type']})"
    if writes and other is not None:
        raise ModelError(f"model {name!r}: is {other}, and not a causal language model such as Qwen2ForCausalLM.")


def _require_weights(name: str, folder: Path) -> None:
    """Refuse a folder without weights, and files of weights that are damaged or cut short."""
    if not any(found for pattern in WEIGHTS for found in folder.glob(pattern)):
        raise ModelError(f"model {name!r}: {folder} has no weights (no {' or '.join(WEIGHTS[:2])} file).")
    for path in sorted(folder.glob("*.safetensors.index.json")):
        for part in sorted(_parts(name, path)):
            if not (folder / part).is_file():
                raise ModelError(f"model {name!r}: {folder} lacks {part}, which {path.name} names.")
    for path in sorted(folder.glob("*.safetensors")):
        if wrong := _damage(path):
            raise ModelError(f"model {name!r}: {path} is damaged: {wrong}. Copy or download it again.")


def _parts(name: str, index: Path) -> set[str]:
    try:
        return set(map(str, json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"model {name!r}: {index} cannot be read: {error}.") from None


def _damage(path: Path) -> str:
    """Say what is wrong with a file of safetensors, as far as its header and its length tell."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(_HEADER_BYTES), "little")
            if not 0 < size <= min(_LARGEST_HEADER, path.stat().st_size - _HEADER_BYTES):
                return "its header is not one of safetensors"
            ends = list(_ends(json.loads(file.read(size))))
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "its header is not one of safetensors"
    needed = _HEADER_BYTES + size + max(ends, default=0)
    return "" if path.stat().st_size == needed else f"it has {path.stat().st_size} bytes and should have {needed}"


def _ends(header: Any) -> Iterator[int]:
    """Yield where each tensor ends. Any: JSON values."""
    for name, tensor in header.items():
        if name != "__metadata__":
            yield int(tensor["data_offsets"][1])
