"""Calls that all ranks make together: rank 0 runs the program, the others make the calls that it names.

Every rank has the same objects under the same names. What a call needs travels once, from rank 0 to all; what it
returns on the other ranks is dropped, so a method that has something to say on every rank gathers it.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import RLock
from typing import Any, Final

from torch import distributed as dist

from reasonrl.distributed.collectives import num_ranks

IDLE: Final = timedelta(days=365)
"""How long a rank waits for the next call: rank 0 samples, measures and saves in between. That rank 0 is still there is
seen to by :mod:`reasonrl.distributed.lifeline`."""


@dataclass(frozen=True, slots=True)
class Call:
    """A method of an object that every rank has. Any: what the method takes."""

    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def made_on(self, objects: Mapping[str, Any]) -> Any:
        """Make the call on this rank's object. Any: what it returns."""
        return getattr(objects[self.target], self.method)(*self.args, **self.kwargs)


class Ranks:
    """All ranks of a run; rank 0 has one to call them, and the others follow it.

    Args:
        objects: this rank's, by name; may grow while calls are made. Any: whatever is called.
    """

    def __init__(self, objects: MutableMapping[str, Any]) -> None:
        self.objects = objects
        self._lock = RLock()  # sampling ahead calls from a thread of its own
        self._channel = dist.new_group(backend="gloo", timeout=IDLE) if num_ranks() > 1 else None

    def call(self, target: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Have all ranks call a method, and return what it returned here. Any: as the method has it."""
        call = Call(target, method, args, kwargs)
        with self._lock:
            self._send(call)
            return call.made_on(self.objects)

    def iterate(self, target: str, method: str) -> Iterator[Any]:
        """Have all ranks iterate over what a method returns, in step; yield what is yielded here. Any: as it has it.

        Nothing is called until the first value is asked for. Where it is left early, the rest is passed over, because
        the others go to the end.
        """
        with self._lock:
            call = Call(target, method)
            self._send(call)
            values = iter(call.made_on(self.objects))
            try:
                yield from values
            finally:
                for _ in values:
                    pass

    def end(self) -> None:
        """Let the other ranks return from :meth:`follow`."""
        with self._lock:
            self._send(None)

    def follow(self) -> None:
        """Make the calls that rank 0 names, until it ends this; on every rank but 0."""
        while (call := self._received()) is not None:
            result = call.made_on(self.objects)
            if isinstance(result, Iterator):
                for _ in result:
                    pass
            del call, result  # else samples and weights would stay until the next call

    def _send(self, call: Call | None) -> None:
        if self._channel is not None:
            dist.broadcast_object_list([call], src=0, group=self._channel)

    def _received(self) -> Call | None:
        received: list[Call | None] = [None]
        dist.broadcast_object_list(received, src=0, group=self._channel)
        return received[0]
