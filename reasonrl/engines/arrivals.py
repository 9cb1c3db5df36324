"""Completions in the order in which they are finished, and in the order in which they were asked for."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from reasonrl.engines import Arrived, Request
from reasonrl.types import Completion


class Place(NamedTuple):
    """Where a completion belongs among those that were asked for."""

    request_index: int
    sample_index: int
    """Position among the completions of the request."""
    seed: int


def places(requests: Sequence[Request]) -> list[Place]:
    """Return the place of every completion, in the order of requests and seeds."""
    return [
        Place(request_index, sample_index, seed)
        for request_index, request in enumerate(requests)
        for sample_index, seed in enumerate(request.seeds)
    ]


class Arrivals:
    """Keeps what is finished, and tells of it at once.

    Args:
        requests: what is sampled.
        arrived: who is told; None where nobody is.
    """

    def __init__(self, requests: Sequence[Request], arrived: Arrived | None) -> None:
        """Wait for a completion of every seed."""
        self.places = places(requests)
        self._requests = requests
        self._arrived = arrived
        self._found: dict[Place, Completion] = {}

    def add(self, place: Place, completion: Completion) -> None:
        """Keep a completion, and tell of it."""
        assert place not in self._found, "a completion is finished once"
        self._found[place] = completion
        if self._arrived is not None:
            self._arrived(place.request_index, completion)

    def in_order(self) -> list[tuple[Completion, ...]]:
        """Return, for each request in order, one completion for each of its seeds in order."""
        found = (self._found[place] for place in self.places)
        return [tuple(islice(found, len(request.seeds))) for request in self._requests]
