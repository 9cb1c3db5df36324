"""Which levels of isolation this machine can form."""

from functools import cache

import pytest

from reasonrl.sandbox import Isolation
from reasonrl.sandbox.forkserver import ForkServer, LevelError


@cache
def missing(level: Isolation) -> str:
    """Return what keeps a level from being formed here, or nothing."""
    try:
        ForkServer(level).close()
    except LevelError as error:
        return error.missing
    return ""


def needs(level: Isolation) -> None:
    """Skip the test where the level cannot be formed."""
    if missing(level):
        pytest.skip(f"level {level} cannot be formed here: {missing(level)}")
