"""``reasonrl`` in which one rank meets with an accident: ``FAULT=rank:place:count:what faulty_ranks.py train ...``.

Also what ``--processes`` starts, where this program is what asks for it.
"""

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

from reasonrl.commands import main
from reasonrl.distributed import launch

PLACES = {
    "starting": ("reasonrl.run.learning", "", "load_model"),
    "sampling": ("reasonrl.engines.local", "LocalEngine", "_sample"),
    "learning": ("reasonrl.learner", "Learner", "_step"),
    "checkpointing": ("reasonrl.learner", "Learner", "save_state"),
}
"""Where it may happen: a module, a class or none, and the function that is not entered."""


def fail(what: str) -> None:
    """What happens."""
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise MemoryError("no memory left")
        case "exit":
            os._exit(3)


def arm(place: str, count: int, what: str) -> None:
    """Let it happen at the ``count``-th visit to a place."""
    module, owner, name = PLACES[place]
    holder: Any = importlib.import_module(module)  # Any: a module or a class
    holder = getattr(holder, owner) if owner else holder
    original: Callable[..., Any] = getattr(holder, name)
    visits = 0

    def visited(*args: Any, **kwargs: Any) -> Any:
        nonlocal visits
        visits += 1
        if visits == count:
            fail(what)
        return original(*args, **kwargs)

    setattr(holder, name, visited)


if __name__ == "__main__":
    launch._python = lambda: [__file__]  # in place of -m reasonrl
    rank, place, count, what = os.environ.get("FAULT", "-:::").split(":")
    if os.environ.get("RANK") == rank:
        arm(place, int(count), what)
    main()
