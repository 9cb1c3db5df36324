"""Points at which expressions in variables are compared."""

import zlib
from functools import lru_cache
from typing import Final

from flint import acb, fmpq

from reasonrl_grading.balls import Value

INTEGER_POINTS: Final = range(6, 18)
"""Points of positive integers, in which every variable takes every residue modulo 12."""

NUM_POINTS: Final = 23
"""Points of `sample_value`."""

COMPLEX_NAMES: Final = frozenset("zw")
"""Variables with complex values where the imaginary unit occurs."""


class Point(dict[str, Value]):
    """Values of the variables in one evaluation, each made when it is first needed."""

    def __init__(self, index: int, is_log_natural: bool = True, is_complex: bool = False) -> None:
        super().__init__()
        self.index = index
        self.is_log_natural = is_log_natural
        self.is_complex = is_complex
        self.steps = 0
        self.total_steps = 0
        self.num_absorbed = 0  # terms too small to change a sum at this precision
        self.leaves_reals = False  # whether a root, a power or a logarithm of real numbers was not real

    def __missing__(self, name: str) -> Value:
        """Set and return the value of a variable."""
        value: Value = sample_value(name, self.index)
        if self.is_complex and name in COMPLEX_NAMES and self.index not in INTEGER_POINTS:
            value = acb(value, sample_value(name + "'", self.index))
        self[name] = value
        return value


@lru_cache(maxsize=8192)
def sample_value(name: str, index: int) -> fmpq:
    """Return the value of a variable at a point: a fixed pseudo-random number.

    Points 0 to 2 are positive fractions of three sizes, 3 and 4 have mixed signs, 5 is negative. Points 6 to 17 are
    positive integers, 18 and 19 negative ones, 20 is a large fraction, 21 a large negative one, 22 a large integer.
    """
    noise = zlib.crc32(f"{name}/{index}".encode("utf-8", "surrogatepass"))
    if index in INTEGER_POINTS:
        return fmpq(2 + _shuffled(name)[index - INTEGER_POINTS.start])
    part = fmpq(noise % 1000003 + 1, 1000033)
    if index >= 18:
        return (fmpq(-1 - noise % 9), fmpq(-2 - noise % 9), 1000 + 9000 * part, -300 - 500 * part, fmpq(10**6 + noise))[
            index - 18
        ]
    size = (part + 1, part, 5 + 40 * part, 3 * part, part, 1 + 4 * part)[index]
    is_negative = index == 5 or (index in {3, 4} and noise >> 20 & 1)
    return -size if is_negative else size


@lru_cache(maxsize=1024)
def _shuffled(name: str) -> tuple[int, ...]:
    """Return the numbers below 12 in an order of the variable's own, so that parities of variables are mixed."""
    return tuple(sorted(range(12), key=lambda number: zlib.crc32(f"{number}/{name}".encode("utf-8", "surrogatepass"))))
