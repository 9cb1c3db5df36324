"""Reads what a checkpoint holds of an optimizer."""

from pathlib import Path
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from reasonrl.learner.state import OPTIMIZER_FOLDER


def optimizer_state(folder: Path) -> dict[str, Tensor]:
    """Every tensor that an optimizer keeps, whole, by what it is and its parameter's name."""
    source = folder / OPTIMIZER_FOLDER
    stored = FileSystemReader(source).read_metadata().state_dict_metadata
    found = {key: torch.zeros(one.size, dtype=one.properties.dtype) for key, one in stored.items()}  # type: ignore[union-attr]
    with catch_warnings():
        simplefilter("ignore")  # that this is one process
        load(found, checkpoint_id=source)
    return found
