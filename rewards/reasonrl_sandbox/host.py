"""`Sandbox`: runs programs in fork servers, one for each slot."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Literal, Self

from reasonrl.errors import ConfigError, SandboxError, and_known
from reasonrl.system.cores import usable_cores
from reasonrl_sandbox.forkserver import ForkServer, IsolationUnavailableError
from reasonrl_sandbox.probes import run_probes
from reasonrl_sandbox.report import IsolationReport, report_of, what_to_do
from reasonrl_sandbox.types import ISOLATIONS, Execution, Isolation, Program, completed

MAX_PROGRAMS: Final = 2000
"""Programs after which a fork server is replaced, so that whatever it accumulated is gone."""

_CLOSED: Final = Execution("sandbox_error", detail="the sandbox was closed before it ran")


class Sandbox:
    """Runs untrusted programs; a context manager.

    Args:
        isolation: The level to form, or `auto` for the strongest that this machine can.
        slots: Programs at once; by default the usable cores.
        preimport: Packages beyond the standard library that programs may import, e.g. `numpy`.

    Raises:
        ConfigError: There are no slots.
        SandboxError: The level cannot be formed here, a probe broke out of it, or a package cannot be imported.
    """

    def __init__(
        self,
        isolation: Isolation | Literal["auto"] = "auto",
        slots: int | None = None,
        preimport: Sequence[str] = (),
    ) -> None:
        """Start one fork server and probe it; the other slots start theirs when they are first needed."""
        if slots is not None and slots < 1:
            raise ConfigError(f"slots is {slots}: use 1 or more, or leave it out for the usable cores.")
        self._preimport = tuple(preimport)
        self._closing = False
        self._lock = threading.Lock()
        self._live: set[ForkServer] = set()
        first, refused = self._strongest(isolation)
        self._level = first.level
        try:
            verified, failure = run_probes(first.run, first.level)
            if failure:
                raise SandboxError(f"isolation: {first.level!r} does not hold: a probe broke out: {failure}")
        except BaseException:
            self._end(first)
            raise
        self._report = report_of(first.level, first.layers, verified, refused, first.uid)
        self.slots: Final = usable_cores() if slots is None else slots
        """How many programs run at once."""
        self._free: queue.LifoQueue[ForkServer | None] = queue.LifoQueue()
        for server in [*[None] * (self.slots - 1), first]:
            self._free.put(server)
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="sandbox")

    def run(self, program: Program) -> Execution:
        """Run one program to its end. Nothing that the program does raises here."""
        return self.submit(program).result()

    def submit(self, program: Program) -> Future[Execution]:
        """Queue one program; any thread may call it. Once the sandbox is closed, it ends as `sandbox_error`."""
        with self._lock:
            if not self._closing:
                return self._threads.submit(self._run, program)
        return completed(_CLOSED)

    def report(self) -> IsolationReport:
        """Return the isolation in use."""
        return self._report

    def close(self) -> None:
        """End every fork server and wait until all of its processes are gone.

        Programs that still run or wait end as `sandbox_error`.
        """
        with self._lock:
            self._closing = True
            for server in self._live:
                server.disconnect()
        self._threads.shutdown()
        for server in list(self._live):
            self._end(server)

    def __enter__(self) -> Self:
        """Return the sandbox."""
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close."""
        self.close()

    # ---- one program

    def _run(self, program: Program) -> Execution:
        """Run a program; after a failure of the sandbox, once more in another server."""
        if self._closing:
            return _CLOSED
        execution = self._attempt(program)
        if execution.ending == "sandbox_error" and not self._closing:
            execution = self._attempt(program)
        return execution

    def _attempt(self, program: Program) -> Execution:
        """Run a program in a free server; replace the server if it failed or has run many programs."""
        server = self._free.get()
        try:
            server = server or self._start(self._level)
            execution = server.run(program)
            if execution.ending == "sandbox_error" or server.num_programs >= MAX_PROGRAMS:
                used_up, server = server, None
                self._end(used_up)
        except (SandboxError, OSError) as error:  # no server could be started, or there are no descriptors left
            return Execution("sandbox_error", detail=str(error))
        finally:
            self._free.put(server)
        return execution

    # ---- servers

    def _strongest(self, isolation: Isolation | Literal["auto"]) -> tuple[ForkServer, dict[Isolation, str]]:
        """Start a server of the level, or of the strongest; also return why stronger ones could not be formed."""
        if isolation not in ("auto", *ISOLATIONS):
            raise SandboxError(f"isolation: no level {isolation!r}.{and_known(isolation, ('auto', *ISOLATIONS))}")
        refused: dict[Isolation, str] = {}
        for level in ISOLATIONS if isolation == "auto" else (isolation,):
            try:
                return self._start(level), refused
            except IsolationUnavailableError as error:
                refused[level] = error.missing
        raise SandboxError(" ".join(what_to_do(level, missing) for level, missing in refused.items()))

    def _start(self, level: Isolation) -> ForkServer:
        server = ForkServer(level, self._preimport)
        with self._lock:
            self._live.add(server)
            if self._closing:
                server.disconnect()
        return server

    def _end(self, server: ForkServer) -> None:
        server.close()
        with self._lock:
            self._live.discard(server)
