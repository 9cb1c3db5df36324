"""`Sandbox`: runs programs in fork servers, one a slot, and hands back what came out of them."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Literal, Self

from reasonrl.cores import usable_cores
from reasonrl.errors import ConfigError, SandboxError, and_known
from reasonrl.sandbox.forkserver import ForkServer, LevelError
from reasonrl.sandbox.report import IsolationReport, report_of, what_to_do
from reasonrl.sandbox.types import ISOLATIONS, Execution, Isolation, Program
from reasonrl.sandbox.witness import examine

MAX_PROGRAMS: Final = 2000
"""Programs after which a fork server is replaced by a fresh one."""

_CLOSED: Final = Execution("sandbox_error", detail="the sandbox was closed before it ran")


class Sandbox:
    """Runs programs that nobody trusts; a context manager.

    Args:
        isolation: The level to form, or `auto` for the strongest that this machine can.
        slots: Programs at once; by default the usable cores.
        preimport: Packages beyond the standard library that programs may import, e.g. `numpy`.

    Raises:
        ConfigError: There are no slots.
        SandboxError: The level cannot be formed here, a witness program broke out of it, or a package is not one that
            can be imported.
    """

    def __init__(
        self,
        isolation: Isolation | Literal["auto"] = "auto",
        slots: int | None = None,
        preimport: Sequence[str] = (),
    ) -> None:
        """Start one fork server and try it; the other slots start theirs when they are first needed."""
        if slots is not None and slots < 1:
            raise ConfigError(f"slots is {slots}: use 1 or more, or leave it out for the usable cores.")
        self._preimport = tuple(preimport)
        self._closing = False
        self._lock = threading.Lock()
        self._live: set[ForkServer] = set()
        first, refused = self._strongest(isolation)
        self._level = first.level
        try:
            verified, failure = examine(first.run, first.level)
            if failure:
                raise SandboxError(f"isolation: {first.level!r} did not hold: {failure}")
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
        """Run one program to its end. Never raises on what the program does."""
        return self.submit(program).result()

    def submit(self, program: Program) -> Future[Execution]:
        """Queue one program; any thread may call it. Once the sandbox is closed, it comes back as `sandbox_error`."""
        with self._lock:
            if not self._closing:
                return self._threads.submit(self._run, program)
        refused: Future[Execution] = Future()
        refused.set_result(_CLOSED)
        return refused

    def report(self) -> IsolationReport:
        """Say what holds the programs."""
        return self._report

    def close(self) -> None:
        """End every fork server and wait until nothing of it is left.

        What still runs or waits comes back as `sandbox_error`.
        """
        with self._lock:
            self._closing = True
            for server in self._live:
                server.hang_up()
        self._threads.shutdown()
        for server in list(self._live):
            self._end(server)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close."""
        self.close()

    # ---- one program

    def _run(self, program: Program) -> Execution:
        """Run a program; what is the sandbox's fault gets a second try, in another server."""
        if self._closing:
            return _CLOSED
        execution = self._attempt(program)
        if execution.ending == "sandbox_error" and not self._closing:
            execution = self._attempt(program)
        return execution

    def _attempt(self, program: Program) -> Execution:
        """Run a program in a free server, and replace the server if it is worn or was at fault."""
        server = self._free.get()
        try:
            server = server or self._start(self._level)
            execution = server.run(program)
            if execution.ending == "sandbox_error" or server.num_programs >= MAX_PROGRAMS:
                worn, server = server, None
                self._end(worn)
        except (SandboxError, OSError) as error:  # no server, or no descriptors for what goes to it
            return Execution("sandbox_error", detail=str(error))
        finally:
            self._free.put(server)
        return execution

    # ---- servers

    def _strongest(self, isolation: Isolation | Literal["auto"]) -> tuple[ForkServer, dict[Isolation, str]]:
        """Start a server of the level, or of the strongest; also say why stronger ones could not be formed."""
        if isolation not in ("auto", *ISOLATIONS):
            raise SandboxError(f"isolation: no level {isolation!r}.{and_known(isolation, ('auto', *ISOLATIONS))}")
        refused: dict[Isolation, str] = {}
        for level in ISOLATIONS if isolation == "auto" else (isolation,):
            try:
                return self._start(level), refused
            except LevelError as error:
                refused[level] = error.missing
        raise SandboxError(" ".join(what_to_do(level, missing) for level, missing in refused.items()))

    def _start(self, level: Isolation) -> ForkServer:
        server = ForkServer(level, self._preimport)
        with self._lock:
            self._live.add(server)
            if self._closing:
                server.hang_up()
        return server

    def _end(self, server: ForkServer) -> None:
        server.close()
        with self._lock:
            self._live.discard(server)
