"""What our own server and client say to each other: the types of `types.py` one to one, in JSON."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.errors import ConfigError
from reasonrl.sandbox.report import IsolationReport
from reasonrl.sandbox.types import Execution, Isolation, Program

KEY_HEADER: Final = "Idempotency-Key"
"""Header by which a request that is sent again is known; its program does not run again."""

TOKEN_VARIABLE: Final = "REASONRL_SANDBOX_TOKEN"
"""Environment variable that may hold the token, for server and client."""

WAITING: Final = 4
"""Programs that may wait on a server, for each that runs; more are refused with status 429."""


def read_token(file: Path | None = None) -> str | None:
    """Return the token in a file, or else in the environment, if any.

    Raises:
        ConfigError: the file cannot be read, or what is there is no token.
    """
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE)
        return None if text is None else as_token(text, TOKEN_VARIABLE)
    try:
        return as_token(file.read_text(encoding="utf-8"), f"--token-file {file}")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--token-file {file}: cannot be read: {error}.") from None


def as_token(text: str, source: str) -> str:
    """Return a token without the space around it, such as a line end.

    Raises:
        ConfigError: a header cannot hold it; names the source.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{source}: the sandbox's token is empty or holds something other than printable ASCII.")
    return token


class Message(BaseModel):
    """One JSON object with these members and no others; bytes travel in base64, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
    )


class RunRequest(Message):
    """Body of `POST /v1/run`."""

    programs: Annotated[tuple[Program, ...], Field(min_length=1)]
    """What to run, in any order. Expected values have no place in it."""
    require: Isolation | None = None
    """The least isolation to run them with."""


class RunReply(Message):
    """Reply of `POST /v1/run`."""

    executions: tuple[Execution, ...]
    """What came out of each program, in the order of the request."""


class ReportReply(Message):
    """Reply of `GET /v1/report`."""

    report: IsolationReport
    """What holds programs there."""
    slots: Annotated[int, Field(ge=1, le=4096)]
    """Programs that run at once."""
