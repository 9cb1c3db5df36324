"""Sandboxes that the rewards and metrics of one process share, and the tests of problems."""

import atexit
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from reasonrl.errors import ConfigError, DataError
from reasonrl.types import Problem
from reasonrl_sandbox.forms import AssertTests, CallTests, FileTests, ReferenceTests, StdioTests, Tests
from reasonrl_sandbox.host import Sandbox
from reasonrl_sandbox.judge import ProgramRunner
from reasonrl_sandbox.testfile import read_tests
from reasonrl_sandbox.types import Isolation, ProgramLimits, ServerProtocol


class ClosableRunner(ProgramRunner, Protocol):
    """A runner that can be closed."""

    def close(self) -> None:
        """End everything that it runs."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """Where and how programs run; equal ones share a sandbox."""

    isolation: Isolation | Literal["auto"] = "auto"
    """The level to form, or the weakest that servers may have; ``auto`` takes the strongest available."""
    slots: int | None = None
    """Programs at once; None for the usable cores. Servers have their own."""
    preimport: tuple[str, ...] = ()
    """Packages beyond the standard library that programs may import. Servers have their own."""
    urls: tuple[str, ...] = ()
    """Servers to run programs on; none for this machine."""
    protocol: ServerProtocol = "reasonrl"
    """Protocol of the servers; SandboxFusion's do not report their isolation."""

    def open(self) -> ClosableRunner:
        """Open the sandbox.

        Raises:
            ConfigError: a setting would be ignored, or does not go with the protocol.
            SandboxError: the isolation cannot be formed, or no server has it.
        """
        if self.protocol != "reasonrl" and not self.urls:
            raise ConfigError(f"protocol {self.protocol} is for servers: name them in urls.")
        if self.urls and (self.slots is not None or self.preimport):
            raise ConfigError("slots and preimport are for programs on this machine; servers (urls) have their own.")
        return self._connect() if self.urls else Sandbox(self.isolation, self.slots, self.preimport)

    def _connect(self) -> ClosableRunner:
        """Connect to the servers; their token comes from the environment, because run files are shared and logged."""
        # Here, because its HTTP library takes longer to import than the rest of this package.
        from reasonrl_sandbox.remote import RemoteSandbox

        require = None if self.isolation == "auto" else self.isolation
        return RemoteSandbox(self.urls, require=require, protocol=self.protocol)


_OPEN: dict[SandboxSpec, ClosableRunner] = {}
_LOCK = threading.Lock()


def shared_sandbox(spec: SandboxSpec) -> ProgramRunner:
    """Return this process's sandbox for a spec: opened on first use, closed by `close_shared` or when the process ends.

    Raises:
        SandboxError: it cannot be opened.
    """
    with _LOCK:
        if spec not in _OPEN:
            _OPEN[spec] = spec.open()
        return _OPEN[spec]


def close_shared(spec: SandboxSpec) -> None:
    """Close this process's sandbox for a spec, if it is open."""
    with _LOCK:
        found = _OPEN.pop(spec, None)
    if found is not None:
        found.close()


def summarize_isolation(sandbox: ProgramRunner) -> str:
    """Return one line about the isolation in use and the layers that are off."""
    report = sandbox.report()
    off = [name for name, state in report.layers.items() if not state.startswith("active")]
    level = f"{report.level} isolation" + (", not for hostile programs" if report.level == "basic" else "")
    return f"{level}, {sandbox.slots} at once" + (f"; off: {', '.join(off)}" if off else "")


@atexit.register
def _close_shared_sandboxes() -> None:
    for spec in list(_OPEN):
        close_shared(spec)


# Any: a data set's column may be anything until it is read.
def problem_tests(problem: Problem) -> Tests:
    """Return ``meta["tests"]`` of a problem: tests in any form, or JSON as in a file of tests (``read_tests``).

    Raises:
        DataError: there are none, or they cannot be read.
    """
    found: Any = problem.meta.get("tests")
    match found:
        case CallTests() | StdioTests() | AssertTests() | FileTests() | ReferenceTests():
            return found
        case Mapping():
            return read_tests(found)
    raise DataError(f"meta['tests']: must be tests, or an object as in a file of tests, not {found!r:.40}.")


def problem_limits(problem: Problem, usual: ProgramLimits, *, fixed: Collection[str] = ()) -> ProgramLimits:
    """Return limits with those that a problem has of its own, in ``meta["limits"]``: ``cpu_s`` and ``memory_mib``.

    Args:
        problem: the problem.
        usual: what holds where it has none.
        fixed: names of those that hold whatever it has.

    Raises:
        DataError: they are no limits.
    """
    own = problem.meta.get("limits")
    if own is None:
        return usual
    if not isinstance(own, Mapping) or not own.keys() <= {"cpu_s", "memory_mib"}:
        raise DataError(f"meta['limits']: must be an object with 'cpu_s' or 'memory_mib', not {own!r:.60}.")
    try:
        return replace(usual, **{name: value for name, value in own.items() if name not in fixed})
    except ConfigError as error:
        raise DataError(f"meta['limits']: {error}") from None
