"""What a plan says in figures: what is expected, and the most that it can be."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

GIB: Final = 2**30

WRITTEN_PER_S: Final = 500e6
"""Bytes of a checkpoint that are written in a second: a guess at a local disk, whose part of a run is small."""

OPENING_S: Final = 1.0
"""What a command takes before it loads anything, and to end."""

Record = dict[str, Any]
"""Any: JSON values."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity of a run: what is expected, and the most that it can be where that depends on what is learned."""

    expected: float
    most: float

    @classmethod
    def of(cls, value: float) -> Self:
        """Return what depends on nothing that is learned."""
        return cls(value, value)

    @classmethod
    def total(cls, parts: "Iterable[Estimate]") -> Self:
        """Return the sum of parts."""
        listed = list(parts)
        return cls(sum(each.expected for each in listed), sum(each.most for each in listed))

    def times(self, factor: float) -> "Estimate":
        """Return it so many times."""
        return Estimate(factor * self.expected, factor * self.most)

    def record(self) -> Record:
        """Return it as JSON has it."""
        return {"expected": self.expected, "most": self.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run is expected to take on this machine."""

    seconds: Mapping[str, Estimate]
    """By part of the run, in the order in which they begin; their sum is the run's time."""
    memory: Estimate
    """Bytes of resident memory at the greatest, of the run's process and all that it starts."""
    device_memory: Estimate | None = None
    """Bytes on the GPU at the greatest; None where there is none."""
    bound: str = ""
    """When the most is reached."""

    @property
    def time(self) -> Estimate:
        """Seconds from the command to its end."""
        return Estimate.total(self.seconds.values())

    def line(self) -> str:
        """Return the total in one line."""
        expected, most = self._sizes("expected"), self._sizes("most")
        return f"total      about {expected}" + (f"; at most {most}{self.bound}" if most != expected else "")

    def record(self) -> Record:
        """Return all of it as JSON has it."""
        parts = {name: each.record() for name, each in self.seconds.items()}
        on_device = {} if self.device_memory is None else {"device_memory_bytes": self.device_memory.record()}
        time = {"time_s": {**self.time.record(), "parts": parts}}
        return {**time, "memory_bytes": self.memory.record(), **on_device}

    def _sizes(self, which: str) -> str:
        memory = f"{getattr(self.memory, which) / GIB:.2f} GiB of memory"
        if self.device_memory is not None:
            memory += f" and {getattr(self.device_memory, which) / GIB:.2f} GiB on the GPU"
        return f"{duration(getattr(self.time, which))}, {memory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do and cost."""

    path: str
    """Where it would be."""
    steps: int
    """In all; 0 where that is not known."""
    lines: tuple[str, ...]
    """What it would do, in words."""
    measured: Measured | None = None
    """None where this machine cannot load the run."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Bytes of memory by what holds them, by formula."""
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the plan for a terminal."""
        total = [self.measured.line()] if self.measured else []
        warned = [f"warning    {warning}" for warning in self.warnings] or ["warnings   none"]
        return "\n".join([*self.lines, *total, *warned])

    def record(self) -> Record:
        """Return the figures as JSON has them."""
        estimates = self.measured.record() if self.measured else {"time_s": None, "memory_bytes": None}
        parts = {name: round(size) for name, size in self.parts.items()}
        return {
            "run": self.path,
            "steps": self.steps,
            **estimates,
            "memory_parts_bytes": parts,
            "warnings": list(self.warnings),
        }


def on_line(first_s: float, second_s: float, first: float, second: float, whole: float) -> float:
    """Return the time of a whole from those of two parts of it: on their line, and at most in proportion."""
    if second >= whole:
        return second_s
    slope = max(0.0, second_s - first_s) / (second - first) if second > first else math.inf
    return second_s + (whole - second) * min(slope, second_s / second)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def memory_line(parts: Mapping[str, float]) -> str:
    """Return what holds memory, by formula."""
    return "memory     " + ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items()) + " GiB"


def times_line(seconds: Mapping[str, Estimate]) -> str:
    """Return the time by part of the run."""
    return "time       " + ", ".join(f"{name} {duration(each.expected)}" for name, each in seconds.items())
