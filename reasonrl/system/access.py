"""Who may use a server of ours: loopback alone, or whoever shows a token."""

import hmac
import os
from ipaddress import ip_address
from pathlib import Path

from reasonrl.errors import ConfigError


def require_token_beyond_loopback(host: str, token: str | None, variable: str, *, risk: str) -> None:
    """Refuse an address that other machines can reach, if there is no token.

    Args:
        host: address to listen on.
        token: what clients must show, if anything.
        variable: environment variable that may hold the token.
        risk: what others could do; begins a sentence with "others could".

    Raises:
        ConfigError: it is one.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others could {risk}. Write a token into a file and give --token-file FILE, or set "
            f"{variable}; `openssl rand -hex 32` makes one. Or serve 127.0.0.1 only."
        )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address. Names other than localhost may resolve to anything."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(file: Path | None, variable: str, *, setting: str = "--token-file") -> str | None:
    """Return the token in a file, or else in the environment, if any.

    Args:
        file: holds the token, with white space around it or not.
        variable: environment variable that may hold it.
        setting: what names the file; begins a message.

    Raises:
        ConfigError: the file cannot be read, or an HTTP header cannot hold what is in it.
    """
    if file is None:
        text = os.environ.get(variable)
        return None if text is None else as_token(text, variable)
    try:
        return as_token(file.read_text(encoding="utf-8"), f"{setting} {file}")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting} {file}: cannot be read: {error}.") from None


def as_token(text: str, source: str) -> str:
    """Return a token without white space around it.

    Raises:
        ConfigError: an HTTP header cannot hold it; ``source`` begins the message.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{source}: the token is empty or holds something other than printable ASCII.")
    return token


def shows_token(header: str, token: str) -> bool:
    """Say whether an Authorization header is the bearer of a token, in a time that does not tell how much is right."""
    scheme, _, given = header.partition(" ")
    shown = given.strip() if scheme.lower() == "bearer" else ""
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), token.encode())
