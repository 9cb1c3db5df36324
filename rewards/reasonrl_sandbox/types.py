"""What is sent into the sandbox, and what comes back: an execution is data, which the host judges."""

from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Final, Literal, get_args

from reasonrl.errors import ConfigError

Isolation = Literal["full", "container", "basic"]
"""Level of isolation, strongest first; `probes.py` has what each level promises."""

ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)

ReportedIsolation = Literal["full", "container", "basic", "unverified"]
"""Level of isolation where a program ran; `unverified` on SandboxFusion servers, which do not report theirs."""

ServerProtocol = Literal["reasonrl", "sandboxfusion"]
"""Protocol of a server: our own, or SandboxFusion's `/run_code`."""


def is_at_least(level: ReportedIsolation, required: Isolation) -> bool:
    """Return whether a level is the required one or stronger."""
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
"""How a program did on its tests, or on one of them."""

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
"""How a program ended. `finished` says that it ran to its end, not that its output is right."""

Mode = Literal["stdio", "values", "split", "files"]
"""What the child does with the program: run it, call its entry, serve calls of tests in a second process, or run it
with files in its work folder."""


_WEEK_S: Final = 604_800
_MAX_LIMITS: Final = {
    "cpu_s": _WEEK_S,
    "wall_s": _WEEK_S,
    "memory_mib": (1 << 43) - 1,
    "output_kib": (1 << 53) - 1,
    "disk_mib": (1 << 43) - 1,
    "num_files": (1 << 31) - 1,
    "num_threads": (1 << 31) - 1,
}
"""The largest limits that fit into the messages of `child/wire.py` and into poll(2), which has 32-bit milliseconds."""


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What one program may use. CPU time counts first, so that a busy machine does not change an outcome.

    Raises:
        ConfigError: A value cannot be a limit.
    """

    cpu_s: float = 2.0
    """CPU seconds."""
    wall_s: float | None = None
    """Seconds by the clock; by default three times `cpu_s`, and at least two seconds more than it."""
    memory_mib: int = 512
    """Address space."""
    output_kib: int = 1024
    """Maximum size of standard output, of standard error, of the answers, and of any one file."""
    disk_mib: int = 16
    """All files in the work folder together."""
    num_files: int = 64
    """Descriptors open at once."""
    num_threads: int = 32
    """Threads at once."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if not ((value is None and name == "wall_s") or _is_limit(name, value)):
                kind = "number of seconds" if name.endswith("_s") else "whole number"
                raise ConfigError(f"limits: {name} is {value!r}: use a {kind} above 0, at most {_MAX_LIMITS[name]}.")

    @property
    def deadline_s(self) -> float:
        """Seconds by the clock after which the program is killed."""
        return self.wall_s if self.wall_s is not None else max(3 * self.cpu_s, self.cpu_s + 2)


def _is_limit(name: str, value: object) -> bool:
    """Return whether a value can be the limit of this name; seconds may have fractions."""
    kinds = int | float if name.endswith("_s") else int
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= _MAX_LIMITS[name]


@dataclass(frozen=True, slots=True)
class Program:
    """One program as the sandbox runs it. It carries no expected values: those stay on the host."""

    source: str
    """Its text, which only the child compiles."""
    mode: Mode = "stdio"
    """What the child does with it."""
    entry: str | None = None
    """The function that is called, or a method of a class `Solution`; None in mode `stdio`."""
    stdin: bytes = b""
    """Content of standard input."""
    calls: str = ""
    """Mode `values`: the arguments of every call, encoded by `child/codec.py`. Mode `files`: see `child/files.py`."""
    driver: str = ""
    """Mode `split`: the source of the tests, which run in a second process of their own."""
    limits: ProgramLimits = field(default_factory=ProgramLimits)
    """What it may use; in mode `split` each of the two processes has all of it."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What one run of a program left: how it ended, its output and its answers."""

    ending: Ending
    """How it ended. In mode `split` that of the program, or of the driver where the program finished."""
    stdout: str = ""
    """Standard output, cut at the limit; what is not UTF-8 is replaced."""
    stderr: str = ""
    """Standard error, the same way."""
    answers: bytes = b""
    """What the child wrote as answers. The program could have written them itself, except in mode `split`, where they
    are the driver's."""
    cpu_s: float = 0.0
    """CPU seconds used."""
    wall_s: float = 0.0
    """Seconds by the clock, from fork to reaped."""
    max_rss_mib: float = 0.0
    """Peak resident memory."""
    detail: str = ""
    """One line about how it ended, for people."""


def completed(execution: Execution) -> Future[Execution]:
    """Return a future that is done, for a program that was not run."""
    future: Future[Execution] = Future()
    future.set_result(execution)
    return future
