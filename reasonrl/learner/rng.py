"""The state of every random generator of the process, kept in a checkpoint.

Sampling and data order do not use them: their seeds are pure functions of the run. Rewards and models may.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reasonrl.errors import RunError

RNG_FILE = "rng.pt"


def seed_rng(seed: int) -> None:
    """Start all generators from the seed of the run."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def save_rng(folder: Path) -> None:
    """Write the state of Python's, numpy's and torch's generators."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(state, folder / RNG_FILE)


def restore_rng(folder: Path) -> None:
    """Take up the state of all generators.

    Raises:
        RunError: the checkpoint lacks it.
    """
    if not (folder / RNG_FILE).is_file():
        raise RunError(f"{folder}: lacks {RNG_FILE}, the state of the random generators.")
    state: dict[str, Any] = torch.load(folder / RNG_FILE, weights_only=True)
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
