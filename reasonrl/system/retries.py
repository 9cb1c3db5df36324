"""Retries of calls to a service: when one may help, how long to wait, and when to leave a service alone."""

import socket
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from tenacity import RetryCallState, wait_random_exponential

BACK_OFF: Final = wait_random_exponential(multiplier=0.5, max=30.0)
"""Seconds before the next try: at random below a limit that doubles from one try to the next."""

CONNECTION_ERRORS: Final = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "TransportError",  # httpx
        "APIConnectionError",  # openai, anthropic
    }
)
"""Names of the classes by which HTTP libraries say that no answer came."""


class CircuitBreaker:
    """Keeps calls from a service that is down.

    Args:
        failures: calls in a row failed by the service after which it is taken to be down.
        pause_s: time for which a service that is down is asked nothing; then one call tries it.
    """

    def __init__(self, failures: int, pause_s: float) -> None:
        self._limit, self._pause_s = failures, pause_s
        self._failed, self._why = 0, ""
        self._until = 0.0
        self._trying = False

    def refusal(self) -> str:
        """Return why no call may be made now, or nothing."""
        if self._failed < self._limit or (time.monotonic() >= self._until and not self._trying):
            return ""
        return f"not asked, because {self._failed} calls in a row failed, the last one with: {self._why}"

    def begin(self) -> None:
        """A call begins; while the service is down, it is the only one."""
        self._trying = self._failed >= self._limit

    def note(self, why: str) -> None:
        """A call ended: the service failed it, or (with no reason given) it did not."""
        self._trying = False
        self._failed, self._why = (self._failed + 1, why) if why else (0, "")
        self._until = time.monotonic() + self._pause_s


def failure(state: RetryCallState) -> BaseException:
    """Return what the last try raised, to a function that decides how long to wait for the next."""
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None, "only what failed is tried again"
    return error


def is_transient(error: BaseException) -> bool:
    """Say whether the next try may find the service in a better state: no connection, HTTP 429 or 5xx."""
    status = _status(error)
    if status is not None:
        return status == 429 or 500 <= status < 600
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError | socket.gaierror) or bool(names & CONNECTION_ERRORS)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, as any of the usual libraries puts it there."""
    for holder in (error, _attribute(error, "response")):
        for name in ("status", "status_code"):
            status = _attribute(holder, name)
            if isinstance(status, int):
                return status
    return None


def _attribute(holder: object, name: str) -> Any:
    """Return an attribute, or None. Any: anybody's classes."""
    try:
        return getattr(holder, name, None)
    except Exception:  # some classes of errors raise when they are looked at, as httpx's do without a response
        return None


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the service asked to be left alone, if it did."""
    headers = _attribute(error, "headers") or _attribute(_attribute(error, "response"), "headers")
    text = str(headers.get("Retry-After", "")) if hasattr(headers, "get") else ""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):  # no date either, or one without a time zone or far off
        return None
