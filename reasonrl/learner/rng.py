"""The state of every random generator of the process, kept in a checkpoint.

Sampling and data order do not use them: their seeds are pure functions of the run. Rewards and models may.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
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
    torch.save(_state(), folder / RNG_FILE)


def restore_rng(folder: Path) -> None:
    """Take up the state of all generators.

    Raises:
        RunError: the checkpoint lacks it.
    """
    if not (folder / RNG_FILE).is_file():
        raise RunError(f"{folder}: lacks {RNG_FILE}, the state of the random generators.")
    _set_state(torch.load(folder / RNG_FILE, weights_only=True))


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave all generators as they were: an evaluation may not decide what training does next.

    A run that is resumed from a checkpoint written before an evaluation does not repeat it.
    """
    state = _state()
    try:
        yield
    finally:
        _set_state(state)


def _state() -> dict[str, Any]:
    """Return the state of all generators. Any: each library's own."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        # Where CUDA is not in use, nothing was drawn there, and to ask would be to start it.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
    }


def _set_state(state: dict[str, Any]) -> None:
    """Give all generators a state. Any: each library's own."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
