"""Calls functions in worker processes that can be killed: whatever a function does costs its own call, nothing else.

A fork server (``fork_server.py``) imports the functions once and forks the workers (``worker.py``); a thread of this
process (``dispatch.py``) sends them their calls and has the fork server kill what is past its deadline.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Self

from reasonrl.errors import PluginError
from reasonrl.scoring.runner import CallResult, FunctionCall, Functions
from reasonrl.scoring.workers.dispatch import Dispatcher
from reasonrl.scoring.workers.launch import pickled

START_S: Final = 120.0
"""Longest time that importing the functions may take."""


class WorkerPoolRunner:
    """Runs functions in worker processes.

    What a function prints goes nowhere, and it reads nothing from standard input. A worker lives on between calls,
    with what a function keeps in its module; processes that a function starts end with their worker.

    Args:
        load: imports the functions and returns them; pickled, and called in a fresh process.
        workers: how many calls may run at once; processes are forked when they are needed.
        memory_mib: memory that a worker may take beyond what the imported functions take; no limit if None.
        start_timeout_s: longest time that importing the functions may take.

    Raises:
        PluginError: the functions cannot be imported.
    """

    def __init__(
        self,
        load: Callable[[], Functions],
        workers: int,
        memory_mib: int | None = None,
        *,
        start_timeout_s: float = START_S,
    ) -> None:
        self._dispatcher = Dispatcher(pickled(load), workers, memory_mib, start_timeout_s)
        self._thread = threading.Thread(target=self._dispatcher.run, name="scoring-pool", daemon=True)
        self._thread.start()
        if why := self._dispatcher.started.result():
            self.close()
            raise PluginError(why)

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Begin a call, from any thread, and return at once; the future never raises.

        What is called when the future is done runs in the pool's own thread, and should be short.
        """
        return self._dispatcher.submit(call)

    def close(self) -> None:
        """Kill the workers and the fork server; calls without a result get an error. Closing twice is closing once."""
        self._dispatcher.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
