"""The main curves of runs as SVG, drawn without a browser: for documentation, and for pages without scripts."""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

from reasonrl.run.history import History
from reasonrl.run.report.charts import Chart, Line, main_charts, pictured_charts
from reasonrl.run.report.names import run_names
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors
from reasonrl.system.printable import visible

COLORS: Final = ("#1932b2", "#ce55ab", "#13975f", "#a08f11", "#561a00", "#230d2b")
"""Of the series, as ``base.css`` has them on a light page."""
DASHES: Final = ("", "7 4", "2 3", "10 3 2 3")
INK, QUIET, GRID, PAGE = "#16191f", "#535a66", "#e6e8ed", "#ffffff"

PANEL_WIDTH, PANEL_HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 30
"""Margins of the axes in a panel."""
COLUMNS: Final = 2
NUM_CHARTS: Final = 4
LEGEND_ROW: Final = 18
LEGEND_CHARACTERS: Final = 40
MAX_TICKS: Final = 6

Scale: TypeAlias = tuple[float, float]
"""Least and greatest value of an axis."""


def write_picture(runs: Sequence[Path], file: Path) -> None:
    """Draw the main curves of runs.

    Args:
        runs: their directories.
        file: the SVG file to write.

    Raises:
        RunError: one is no run directory, or the file cannot be written.
    """
    opened = [History.open(path) for path in runs]
    with disk_errors(file, "then draw the picture again."):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, picture_of(opened).encode())


def picture_of(runs: Sequence[History]) -> str:
    """Return the picture of runs as SVG."""
    names = run_names(runs)
    return picture(pictured_charts(main_charts(runs, names), NUM_CHARTS), ", ".join(names))


def picture(charts: Sequence[Chart], title: str) -> str:
    """Return charts side by side as SVG; without any, a picture that says so."""
    columns = min(COLUMNS, max(len(charts), 1))
    heights = [PANEL_HEIGHT + LEGEND_ROW * _legend_rows(chart) for chart in charts] or [PANEL_HEIGHT]
    rows = [max(heights[start : start + columns]) for start in range(0, len(heights), columns)]
    width, height = columns * PANEL_WIDTH, sum(rows)
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "font-family": "system-ui, sans-serif",
            "font-size": "12",
        },
    )
    ET.SubElement(root, "title").text = visible(title)
    ET.SubElement(root, "rect", {"width": str(width), "height": str(height), "fill": PAGE})
    for index, chart in enumerate(charts):
        left, top = index % columns * PANEL_WIDTH, sum(rows[: index // columns])
        _panel(ET.SubElement(root, "g", {"transform": f"translate({left} {top})"}), chart)
    if not charts:
        _text(root, "No step has been taken yet.", LEFT, TOP, fill=QUIET)
    return ET.tostring(root, encoding="unicode")


def _panel(parent: ET.Element, chart: Chart) -> None:
    """Draw one chart at the origin of its parent."""
    steps, values = _scales(chart.lines)
    _text(parent, chart.title, LEFT, 20, weight="600")
    _text(parent, chart.unit, PANEL_WIDTH - RIGHT, 20, anchor="end", fill=QUIET)
    for tick in _ticks(*values):
        y = _y(tick, values)
        ET.SubElement(parent, "line", _ends(LEFT, y, PANEL_WIDTH - RIGHT, y) | {"stroke": GRID})
        _text(parent, f"{tick:.4g}", LEFT - 6, y + 4, anchor="end", fill=QUIET)
    for tick in _ticks(*steps):
        _text(parent, f"{tick:.0f}", _x(tick, steps), PANEL_HEIGHT - BOTTOM + 16, anchor="middle", fill=QUIET)
    for line in chart.lines:
        _band(parent, line, steps, values)
    for line in chart.lines:
        _curve(parent, line, steps, values)
    for row, line in enumerate(chart.lines if _legend_rows(chart) else ()):
        y = PANEL_HEIGHT + LEGEND_ROW * row
        ET.SubElement(parent, "line", _ends(LEFT, y, LEFT + 26, y) | _stroke(line))
        _text(parent, line.label[:LEGEND_CHARACTERS], LEFT + 34, y + 4)


def _legend_rows(chart: Chart) -> int:
    """Return the lines of a legend; a single curve is named by the title."""
    return len(chart.lines) if len(chart.lines) > 1 else 0


def _band(parent: ET.Element, line: Line, steps: Scale, values: Scale) -> None:
    if not line.low:
        return
    edge = [*zip(line.x, line.high, strict=True), *reversed(list(zip(line.x, line.low, strict=True)))]
    ET.SubElement(parent, "polygon", {"points": _points(edge, steps, values), "fill": _color(line), "opacity": "0.18"})


def _curve(parent: ET.Element, line: Line, steps: Scale, values: Scale) -> None:
    points = list(zip(line.x, line.y, strict=True))
    ET.SubElement(parent, "polyline", {"points": _points(points, steps, values), "fill": "none"} | _stroke(line))
    for step, value in points if line.points or len(points) == 1 else ():
        place = {"cx": _number(_x(step, steps)), "cy": _number(_y(value, values))}
        ET.SubElement(parent, "circle", place | {"r": "3", "fill": _color(line)})


def _points(points: Sequence[tuple[float, float]], steps: Scale, values: Scale) -> str:
    return " ".join(f"{_number(_x(step, steps))},{_number(_y(value, values))}" for step, value in points)


def _stroke(line: Line) -> dict[str, str]:
    dash = DASHES[(line.dash + line.color // len(COLORS)) % len(DASHES)]
    return {"stroke": _color(line), "stroke-width": "2"} | ({"stroke-dasharray": dash} if dash else {})


def _color(line: Line) -> str:
    return COLORS[line.color % len(COLORS)]


def _text(
    parent: ET.Element, text: str, x: float, y: float, *, anchor: str = "start", fill: str = INK, weight: str = "400"
) -> None:
    look = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "fill": fill, "font-weight": weight}
    ET.SubElement(parent, "text", look).text = visible(text)


def _ends(x1: float, y1: float, x2: float, y2: float) -> dict[str, str]:
    return {"x1": _number(x1), "y1": _number(y1), "x2": _number(x2), "y2": _number(y2)}


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _x(step: float, steps: Scale) -> float:
    return LEFT + (step - steps[0]) / (steps[1] - steps[0]) * (PANEL_WIDTH - LEFT - RIGHT)


def _y(value: float, values: Scale) -> float:
    return PANEL_HEIGHT - BOTTOM - (value - values[0]) / (values[1] - values[0]) * (PANEL_HEIGHT - TOP - BOTTOM)


def _scales(lines: Sequence[Line]) -> tuple[Scale, Scale]:
    """Return the ranges of steps and of values, bands included."""
    values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    low, high = _widened(min(values), max(values))
    room = 0.05 * (high - low)
    return _widened(min(line.x[0] for line in lines), max(line.x[-1] for line in lines)), (low - room, high + room)


def _widened(low: float, high: float) -> Scale:
    """Give a range of one value some width."""
    if high > low:
        return low, high
    width = abs(low) / 2 or 1.0
    return low - width, high + width


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yield round numbers in a range, about :data:`MAX_TICKS` of them at most."""
    rough = (high - low) / MAX_TICKS
    power = 10.0 ** floor(log10(rough))
    distance = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for index in range(ceil(low / distance), floor(high / distance) + 1):
        yield index * distance
