"""Whose terminal it is: rank 0 has it, and what the others or their libraries print goes nowhere."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

WITNESSED: Final = "REASONRL_WITNESSED"
"""Names the file that is written where somebody tells how rank 0 ends if it is killed; else its launcher does."""
_errors: Final[list[int]] = []
"""Standard error as it was before this process was silenced."""


def silence() -> None:
    """Let nothing that this process prints be seen: every rank would print it."""
    _errors.append(os.dup(2))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def speak(text: str) -> None:
    """Print a line on standard error all the same: that which rank 0 cannot say."""
    witnessed()
    with suppress(OSError):
        os.write(_errors[-1] if _errors else 2, f"{text}\n".encode())


def witnessed() -> None:
    """Note that somebody tells how rank 0 ends, if it is killed."""
    with suppress(KeyError, OSError):
        Path(os.environ[WITNESSED]).touch()
