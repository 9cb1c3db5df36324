"""Reads the bodies of requests to a sandbox server, within limits, and without keeping its event loop busy.

Order of checks: the headers (type, encoding, length), then bytes and time as the body comes, then how many values its
JSON has, and only then the message itself. The last two run in a thread, where other requests go on: a body of many
small values takes minutes to validate, and one call into a JSON parser cannot be interrupted.
"""

import asyncio
import hashlib
from typing import Final, TypeVar

from aiohttp import web
from pydantic import ValidationError

from reasonrl_sandbox.admission import RequestRefusedError
from reasonrl_sandbox.messages import MAX_PROGRAMS, Message, has_more_values

DEFAULT_MAX_BODY_MIB: Final = 8
"""Mebibytes of the longest request, unless the server was started with another limit."""

BODY_S: Final = 30.0
"""Longest time for a client to send the body of a request."""

MAX_HELD_BODIES: Final = 32
"""Bodies of the largest size that fit into what all requests under way may hold."""

MAX_VALUES: Final = 20_000
"""Values in the JSON of a request; a program with all of its limits has about a dozen."""

M = TypeVar("M", bound=Message)


class BodyReader:
    """Reads bodies.

    Args:
        max_mib: mebibytes of the longest one.
    """

    def __init__(self, max_mib: int = DEFAULT_MAX_BODY_MIB) -> None:
        self._max_mib, self._max_bytes = max_mib, max_mib << 20
        self._num_held = 0

    async def message(self, request: web.Request, kind: type[M]) -> tuple[M, str]:
        """Return the message of a request, and the digest of its body.

        Raises:
            RequestRefusedError: it is none, or beyond a limit.
        """
        self.check_headers(request)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.content.iter_any():
                    self._hold(len(chunk), len(body))
                    body += chunk
            return await asyncio.to_thread(_validated, bytes(body), kind)
        except TimeoutError:
            raise RequestRefusedError(408, f"the body did not come within {BODY_S:g} seconds.") from None
        finally:
            self._num_held -= len(body)

    def check_headers(self, request: web.Request) -> None:
        """Refuse a body by what its headers say of it."""
        if request.content_type != "application/json":  # browsers let any web page send other types to any server
            raise RequestRefusedError(415, "send Content-Type: application/json.")
        if "Content-Encoding" in request.headers:
            raise RequestRefusedError(415, "send the body as it is, without Content-Encoding.")
        if (request.content_length or 0) > self._max_bytes:
            raise self._too_long()

    def _hold(self, num_bytes: int, num_before: int) -> None:
        """Count bytes that have come, unless they are too many for this request or for all."""
        if num_before + num_bytes > self._max_bytes:
            raise self._too_long()
        if self._num_held + num_bytes > MAX_HELD_BODIES * self._max_bytes:
            raise RequestRefusedError(429, "other requests hold as much as this server takes; come back later.")
        self._num_held += num_bytes

    def _too_long(self) -> RequestRefusedError:
        return RequestRefusedError(
            413,
            f"the request is longer than {self._max_mib} MiB, the limit of this server: send fewer programs at once, "
            "or start the server with a larger --max-body-mib.",
        )


def _validated(body: bytes, kind: type[M]) -> tuple[M, str]:
    """Return the message in a body, and the digest of the body."""
    if has_more_values(body, MAX_VALUES):
        raise RequestRefusedError(
            413, f"the request has more than {MAX_VALUES} values in JSON; send at most {MAX_PROGRAMS} programs at once."
        )
    try:
        return kind.model_validate_json(body), hashlib.sha256(body).hexdigest()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"] if step != "[key]") or "the request"
        why = first["msg"].removeprefix("Value error, ").removesuffix(".")
        raise RequestRefusedError(400, f"{where}: {why}.") from None
