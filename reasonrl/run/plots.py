"""Small plots of text: curves of Braille dots, which every terminal with a usual font has."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final

DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character's dots, by row and column."""
EMPTY: Final = 0x2800
"""The Braille character without dots."""


def plot(steps: Sequence[int], values: Sequence[float], *, width: int, height: int) -> list[str]:
    """Draw a curve, with its range at the left and its steps below.

    Where there are more values than columns of dots, a column has the mean of its own.

    Args:
        steps: at least one, ascending.
        values: one for each step, finite.
        width: of the curve, in characters.
        height: of the curve, in lines.
    """
    low, high = min(values), max(values)
    labels = [""] * height
    labels[0], labels[-1] = (f"{high:.4g}", f"{low:.4g}") if high > low else ("", "")
    labels[height // 2] = labels[height // 2] if high > low else f"{low:.4g}"
    margin = max(map(len, labels))
    curve = _canvas(_columns(steps, values, 2 * width), low, high, width, height)
    lines = [f"{label:>{margin}} {line}" for label, line in zip(labels, curve, strict=True)]
    first, last = str(steps[0]), str(steps[-1])
    return [*lines, f"{'':>{margin}} {first}{last:>{max(width - len(first), len(last) + 1)}}"]


def _columns(steps: Sequence[int], values: Sequence[float], count: int) -> dict[int, float]:
    """Return the height of the curve in each column of dots that has a value."""
    found: dict[int, list[float]] = {}
    span = max(steps[-1] - steps[0], 1)
    for step, value in zip(steps, values, strict=True):
        found.setdefault((step - steps[0]) * (count - 1) // span, []).append(value)
    return {column: fmean(of) for column, of in found.items()}


def _canvas(columns: dict[int, float], low: float, high: float, width: int, height: int) -> list[str]:
    bits = [[0] * width for _ in range(height)]
    for column, row in _dots(columns, low, high, 4 * height):
        bits[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(EMPTY + cell) for cell in line).rstrip(chr(EMPTY)) for line in bits]


def _dots(columns: dict[int, float], low: float, high: float, num_rows: int) -> Iterator[tuple[int, int]]:
    """Yield column and row of each dot, the first row on top; neighbors are joined by a line."""
    rows = {
        column: round((high - value) / (high - low) * (num_rows - 1)) if high > low else num_rows // 2
        for column, value in columns.items()
    }
    yield from rows.items()
    for (left, top), (right, bottom) in pairwise(rows.items()):
        for column in range(left + 1, right):
            yield column, round(top + (bottom - top) * (column - left) / (right - left))
        for row in range(min(top, bottom) + 1, max(top, bottom)):
            if right - left == 1:
                yield right, row
