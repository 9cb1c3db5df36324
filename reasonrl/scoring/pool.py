"""Calls rewards in worker processes that can be killed: whatever a reward does costs its own call, nothing else.

A warm parent (``parent.py``) imports the rewards once and forks the workers (``worker.py``); a thread of this process
(``dispatch.py``) gives them their calls, watches the deadlines and has the parent kill what is past its own.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Self

from reasonrl.errors import PluginError
from reasonrl.scoring.dispatch import Dispatcher
from reasonrl.scoring.launch import pickled
from reasonrl.scoring.runner import Call, Functions, Reply

START_S: Final = 120.0
"""Longest time that importing the rewards may take."""


class Pool:
    """Rewards in worker processes.

    What a reward prints goes nowhere, and it reads nothing from standard input. A worker lives on between calls, with
    what a reward keeps in its module; processes that a reward starts end with their worker.

    Args:
        load: imports the rewards and returns them; pickled, and called in a fresh process.
        workers: how many calls may run at once; processes are forked when they are needed.
        memory_mib: memory that a worker may take beyond what the imported rewards take; no limit if None.
        start_timeout_s: longest time that importing the rewards may take.

    Raises:
        PluginError: the rewards cannot be imported.
    """

    def __init__(
        self,
        load: Callable[[], Functions],
        workers: int,
        memory_mib: int | None = None,
        *,
        start_timeout_s: float = START_S,
    ) -> None:
        """Start the warm parent and wait until it has imported the rewards."""
        self._dispatcher = Dispatcher(pickled(load), workers, memory_mib, start_timeout_s)
        self._thread = threading.Thread(target=self._dispatcher.run, name="scoring-pool", daemon=True)
        self._thread.start()
        if why := self._dispatcher.started.result():
            self.close()
            raise PluginError(why)

    def submit(self, call: Call) -> "Future[Reply]":
        """Begin a call, from any thread, and return at once; the future never raises.

        What is called when the future is done runs in the pool's own thread, and should be short.
        """
        return self._dispatcher.submit(call)

    def close(self) -> None:
        """Kill the workers and the parent; calls without a reply get an error. Closing twice is closing once."""
        self._dispatcher.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
