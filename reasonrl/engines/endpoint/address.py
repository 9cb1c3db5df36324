"""The address of an endpoint and its key."""

import os
from typing import Final

from yarl import URL

from reasonrl.errors import ConfigError
from reasonrl.system.access import as_token

KEY_VARIABLES: Final = ("REASONRL_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first that is set counts."""

ROUTES: Final = ("/chat/completions", "/completions", "/models")
"""Ends of addresses that are no bases."""


def api_url(text: str) -> URL:
    """Return the base of an API, to which routes such as ``models`` are added; ``/v1`` stands for no path at all.

    Raises:
        ConfigError: the text is no address, or carries something that results would repeat.
    """
    try:
        url = URL(text.rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError(f"--engine: {text!r} is no address of an API: write http://HOST:PORT/v1.")
    if url.user is not None or url.password is not None:
        raise ConfigError(
            f"--engine: the address has a name or password in it, and results name it: set {KEY_VARIABLES[0]}."
        )
    if url.path.endswith(ROUTES):
        raise ConfigError(f"--engine: {text!r} is one route of an API: give its base, such as http://HOST:PORT/v1.")
    return url / "v1" if url.path in ("", "/") else url


def api_key() -> str | None:
    """Return the key that the environment holds, if any.

    Raises:
        ConfigError: no HTTP header can hold it.
    """
    for variable in KEY_VARIABLES:
        if value := os.environ.get(variable, "").strip():
            return as_token(value, variable)
    return None
