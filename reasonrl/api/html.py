"""What notebooks show: small HTML without scripts, in which everything that was read from a run is text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 260
HEIGHT: Final = 90
"""Size of the picture of a curve in pixels."""
MARGIN: Final = 6
"""Space around the line in pixels."""
LONG: Final = 40
"""Characters from which on a text gets a wide column."""
BOX: Final = "display:inline-block;margin:0 1.5em 1em 0;vertical-align:top"
LEFT: Final = "text-align:left;vertical-align:top;"
HEAD: Final = f"{LEFT}white-space:nowrap"
CELL: Final = f"{LEFT}white-space:pre-wrap;overflow-wrap:break-word;max-width:30em"


@dataclass(frozen=True, slots=True, repr=False)
class Html:
    """Something to look at in a notebook; its text elsewhere."""

    html: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """Return the HTML."""
        return self.html


def table_html(columns: Iterable[str], rows: Iterable[Sequence[str]], *, notes: Iterable[str] = ()) -> str:
    """Return a table of texts, with sentences under it."""
    head = "".join(f'<th scope="col" style="{HEAD}">{escape(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    under = "".join(f"<div>{escape(note)}</div>" for note in notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>{under}'


def _cell(text: str) -> str:
    width = ";min-width:20em" if len(text) > LONG else ""
    return f'<td style="{CELL}{width}">{escape(text)}</td>'


def list_html(items: Iterable[str]) -> str:
    """Return a list of texts; nothing where there are none."""
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{found}</ul>" if found else ""


def paragraph(text: str, *, strong: str = "") -> str:
    """Return a paragraph, with a part in bold type before it."""
    return f"<p>{f'<b>{escape(strong)}</b> ' if strong else ''}{escape(text)}</p>"


def progress_html(done: int, total: int) -> str:
    """Return a bar."""
    return f'<progress value="{done}" max="{max(total, 1)}" style="width:100%"></progress>'


def curves_html(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Return a small picture of each curve, steps and values by name; of a long one, points evenly spread over it."""
    return "".join(_curve(name, *map(_thinned, curve)) for name, curve in curves.items())


def _thinned(numbers: Sequence[float]) -> Sequence[float]:
    """Return the last of every so many numbers, no more than the picture has pixels."""
    stride = -(-len(numbers) // WIDTH)
    return numbers[(len(numbers) - 1) % stride :: stride]


def _curve(name: str, steps: Sequence[float], values: Sequence[float]) -> str:
    last = f"{values[-1]:.4g}"
    about = f"{name}: {values[0]:.4g} at step {steps[0]:g}, {last} at step {steps[-1]:g}"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(_scaled(steps, WIDTH), _flipped(values), strict=True))
    end_x, end_y = points.rsplit(" ", 1)[-1].split(",")
    return (
        f'<figure style="{BOX}"><figcaption>{escape(name)} <b>{last}</b></figcaption>'
        f'<svg role="img" aria-label="{escape(about)}" width="{WIDTH}" height="{HEIGHT}">'
        f'<polyline points="{points}" fill="none" stroke="#3b76c4" stroke-width="1.5"/>'
        f'<circle cx="{end_x}" cy="{end_y}" r="2.5" fill="#3b76c4"/></svg>'
        f'<div style="font-size:smaller">steps {steps[0]:g} to {steps[-1]:g}; '
        f"{min(values):.4g} to {max(values):.4g}</div></figure>"
    )


def _flipped(values: Sequence[float]) -> list[float]:
    return [HEIGHT - y for y in _scaled(values, HEIGHT)]


def _scaled(numbers: Sequence[float], size: int) -> list[float]:
    """Return places between the margins; the middle where all numbers are equal."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return [size / 2] * len(numbers)
    return [MARGIN + (number - low) / (high - low) * (size - 2 * MARGIN) for number in numbers]
