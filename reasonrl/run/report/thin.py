"""Curves with fewer points that look the same."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

MAX_POINTS: Final = 400
"""Most points of one curve in a report."""


def kept(values: Sequence[float], limit: int = MAX_POINTS) -> list[int]:
    """Return the positions of at most ``limit`` values: the first, the last, and the extremes of every stretch."""
    count = len(values)
    if count <= limit:
        return list(range(count))
    num_stretches = (limit - 2) // 2
    edges = [1 + index * (count - 2) // num_stretches for index in range(num_stretches + 1)]
    extremes = {
        extreme
        for start, end in pairwise(edges)
        for extreme in (min(range(start, end), key=values.__getitem__), max(range(start, end), key=values.__getitem__))
    }
    return sorted({0, count - 1, *extremes})


def rounded(value: float) -> float:
    """Return a number with six digits: more cannot be seen, and files hold many."""
    return float(f"{value:.6g}")
