"""What keeps other web pages away from the server, and texts of models from doing anything in its pages."""

import re
import secrets
from hmac import compare_digest
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
"""Hosts that a page of this server has in its address, also through a tunnel. A page whose own name leads to this
machine (DNS rebinding) has that name there."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline runs, and nothing is loaded from, or sent to, anywhere else."""

REPORT_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of a report, whose scripts stand in it: they run as those of no site, and reach nothing of this server."""

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

TOKEN_HEADER: Final = "X-Reasonrl-Token"


def new_token() -> str:
    """Return what only pages of this server know."""
    return secrets.token_urlsafe(32)


class Guard:
    """Refuses requests of other origins, all methods that could change something, and adds headers to replies.

    Args:
        app: answers the requests that are let through.
        token: what a request that is no GET must show.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            raise RuntimeError(f"nothing here speaks {scope['type']}")
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refusal is None else JSONResponse({"error": refusal[1]}, refusal[0])

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", POLICY)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        return await app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Return status and cause where a request is not answered."""
        host = headers.get("host", "")
        if not LOOPBACK.fullmatch(host):
            return 421, "this server answers to 127.0.0.1 and localhost alone."
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return 405, "only GET, and POST for the reward lab."
        if headers.get("origin", "").lower() != f"http://{host.lower()}":
            return 403, "the request comes from another page."
        if not compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            return 403, "the page is of another start of this server: load it again."
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "the body must be JSON."
        return None
