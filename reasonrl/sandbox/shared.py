"""The sandbox that the rewards and metrics of one process share, and the tests of the problems they look at."""

import atexit
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from reasonrl.errors import ConfigError, DataError
from reasonrl.sandbox.forms import AssertTests, CallTests, FileTests, StdioTests, Tests
from reasonrl.sandbox.host import Sandbox
from reasonrl.sandbox.judge import Runner
from reasonrl.sandbox.testfile import read_tests
from reasonrl.sandbox.types import Isolation, ServerProtocol
from reasonrl.types import Problem


class Closable(Runner, Protocol):
    """A runner that ends."""

    def close(self) -> None:
        """Leave nothing running."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where programs are to run; equal places are one sandbox."""

    isolation: Isolation | Literal["auto"] = "auto"
    """The level to form, or the least that servers must have; ``auto`` takes what there is."""
    slots: int | None = None
    """Programs at once; None for the usable cores. Servers have their own."""
    preimport: tuple[str, ...] = ()
    """Packages beyond the standard library that programs may import. Servers have their own."""
    urls: tuple[str, ...] = ()
    """Servers to run programs on; none for this machine."""
    protocol: ServerProtocol = "reasonrl"
    """What the servers speak; those of SandboxFusion do not say how they hold programs."""

    def open(self) -> Closable:
        """Open it.

        Raises:
            ConfigError: a setting would be ignored, or servers of this protocol cannot have it.
            SandboxError: the isolation cannot be formed, or no server has it.
        """
        if self.protocol != "reasonrl" and not self.urls:
            raise ConfigError(f"protocol {self.protocol} is for servers: name them in urls.")
        if self.urls and (self.slots is not None or self.preimport):
            raise ConfigError("slots and preimport are for programs on this machine; servers (urls) have their own.")
        return self._open_there() if self.urls else Sandbox(self.isolation, self.slots, self.preimport)

    def _open_there(self) -> Closable:
        """Reach the servers; their token comes from the environment, because run files are copied about."""
        from reasonrl.sandbox.remote import RemoteSandbox

        require = None if self.isolation == "auto" else self.isolation
        return RemoteSandbox(self.urls, require=require, protocol=self.protocol)


_OPEN: dict[Place, Closable] = {}
_LOCK = threading.Lock()


def shared_sandbox(place: Place) -> Runner:
    """Return this process's sandbox for a place; it is opened when somebody asks, and closed when the process ends.

    Raises:
        SandboxError: it cannot be opened.
    """
    with _LOCK:
        if place not in _OPEN:
            _OPEN[place] = place.open()
        return _OPEN[place]


def close_shared(place: Place) -> None:
    """Close this process's sandbox for a place, if it is open. Whoever asks for it again gets a new one."""
    with _LOCK:
        found = _OPEN.pop(place, None)
    if found is not None:
        found.close()


def describe(sandbox: Runner) -> str:
    """Say in a line what holds the programs, and what does not."""
    report = sandbox.report()
    off = [name for name, state in report.layers.items() if not state.startswith("active")]
    held = f"{report.level} isolation" + (
        ", for clumsy programs and not for hostile ones" if report.level == "basic" else ""
    )
    return f"{held}, {sandbox.slots} at once" + (f"; off: {', '.join(off)}" if off else "")


@atexit.register
def _close_all() -> None:
    """Close what is open."""
    for place in list(_OPEN):
        close_shared(place)


# Any: a data set's column may hold anything until it is read.
def problem_tests(problem: Problem) -> Tests:
    """Return ``meta["tests"]`` of a problem: tests in any form, or what a file of tests would say (``read_tests``).

    Raises:
        DataError: there are none, or they cannot be read.
    """
    found: Any = problem.meta.get("tests")
    match found:
        case CallTests() | StdioTests() | AssertTests() | FileTests():
            return found
        case Mapping():
            return read_tests(found)
    raise DataError(f"meta['tests']: must be tests, or an object as in a file of tests, not {found!r:.40}.")
