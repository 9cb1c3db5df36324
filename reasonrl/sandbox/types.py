"""What is sent into the sandbox, and what comes back out of it: data, never a verdict."""

from dataclasses import dataclass, field, fields
from typing import Final, Literal, get_args

from reasonrl.errors import ConfigError

Isolation = Literal["full", "container", "basic"]
"""How strongly programs are held, strongest first; `witness.py` says what each level promises."""

ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)

Level = Literal["full", "container", "basic", "unverified"]
"""How strongly programs are held where they run; unverified on servers of others, which do not say."""

ServerProtocol = Literal["reasonrl", "sandboxfusion"]
"""What servers speak: ours, or SandboxFusion's `/run_code`."""


def at_least(level: Level, required: Isolation) -> bool:
    """Say whether a level is the required one or stronger."""
    return level in ISOLATIONS[: ISOLATIONS.index(required) + 1]


Outcome = Literal[
    "passed",
    "failed",
    "runtime_error",
    "compile_error",
    "timeout",
    "memory_limit",
    "output_limit",
    "no_entry",
    "sandbox_error",
]
"""The verdict on a program, or on one test of it."""

Ending = Literal[
    "finished",
    "runtime_error",
    "compile_error",
    "timeout",
    "memory_limit",
    "output_limit",
    "no_entry",
    "sandbox_error",
]
"""How a program ended. `finished` says that it ran to its end, not that it is right."""

Mode = Literal["stdio", "values", "split", "files"]
"""What the child does with the program: run it, call its entry, serve calls of a driver in a second process,
or run it among files."""


_WEEK_S: Final = 604_800
_MOST: Final = {
    "cpu_s": _WEEK_S,
    "wall_s": _WEEK_S,
    "memory_mib": (1 << 43) - 1,
    "output_kib": (1 << 53) - 1,
    "disk_mib": (1 << 43) - 1,
    "num_files": (1 << 31) - 1,
    "num_threads": (1 << 31) - 1,
}
"""The largest limits that reach a fork server: sizes are 64-bit bytes there, counts and milliseconds 32-bit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use. CPU time decides, so that a busy machine does not change a verdict.

    Raises:
        ConfigError: A value is no limit, and every program would fail under it.
    """

    cpu_s: float = 2.0
    """CPU seconds."""
    wall_s: float | None = None
    """Seconds by the clock; by default three times `cpu_s`, and at least two seconds more than it."""
    memory_mib: int = 512
    """Address space."""
    output_kib: int = 1024
    """The most that each of standard output, standard error, the answers, and any one file may hold."""
    disk_mib: int = 16
    """All files in the work folder together."""
    num_files: int = 64
    """Descriptors open at once."""
    num_threads: int = 32
    """Threads at once."""

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if not ((value is None and name == "wall_s") or _is_limit(name, value)):
                kind = "number of seconds" if name.endswith("_s") else "whole number"
                raise ConfigError(f"limits: {name} is {value!r}: use a {kind} above 0, at most {_MOST[name]}.")

    @property
    def deadline_s(self) -> float:
        """Seconds by the clock after which the program is killed."""
        return self.wall_s if self.wall_s is not None else max(3 * self.cpu_s, self.cpu_s + 2)


def _is_limit(name: str, value: object) -> bool:
    """Say whether a value can be the limit of this name; seconds may have fractions."""
    kinds = int | float if name.endswith("_s") else int
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= _MOST[name]


@dataclass(frozen=True, slots=True)
class Program:
    """One program as the sandbox runs it. Expected values have no place here."""

    source: str
    """Its text. It is compiled in the child only."""
    mode: Mode = "stdio"
    """What the child does with it."""
    entry: str | None = None
    """The function that is called, or a method of a class `Solution`; None in mode `stdio`."""
    stdin: bytes = b""
    """What standard input holds."""
    calls: str = ""
    """Mode `values`: the arguments of every call, as the codec wrote them. Mode `files`: see `child/files.py`."""
    driver: str = ""
    """Mode `split`: the source of the tests, which run in a second process of their own."""
    limits: Limits = field(default_factory=Limits)
    """What it may use; in mode `split` each of the two processes has all of it."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What came out of one program."""

    ending: Ending
    """How it ended. In mode `split` that of the program, or of the driver where the program did nothing wrong."""
    stdout: str = ""
    """Standard output, cut at the limit; what is not UTF-8 is replaced."""
    stderr: str = ""
    """Standard error, the same way."""
    answers: bytes = b""
    """What the child wrote as answers (mode `split`: the driver's). The program could have written it itself,
    except in mode `split`, where it has no way to."""
    cpu_s: float = 0.0
    """CPU seconds used."""
    wall_s: float = 0.0
    """Seconds by the clock, from fork to reaped."""
    max_rss_mib: float = 0.0
    """Most resident memory."""
    detail: str = ""
    """One line about how it ended, for people."""
