"""What tests of the sandbox share: which levels this machine can form, and the object that every test likes."""

from functools import cache

import pytest

from reasonrl_sandbox import Isolation
from reasonrl_sandbox.forkserver import ForkServer, IsolationUnavailableError

ALWAYS_EQUAL = """
class AlwaysEqual:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __len__(self): return 1
    def __iter__(self): return iter(())
    def __bool__(self): return True
    def __hash__(self): return 0
    def __getattr__(self, name): return lambda *args: True
"""
"""A class whose objects pass every test that asks them."""


@cache
def missing(level: Isolation) -> str:
    """Return what keeps a level from being formed here, or nothing."""
    try:
        ForkServer(level).close()
    except IsolationUnavailableError as error:
        return error.missing
    return ""


def needs(level: Isolation) -> None:
    """Skip the test where the level cannot be formed."""
    if missing(level):
        pytest.skip(f"level {level} cannot be formed here: {missing(level)}")
