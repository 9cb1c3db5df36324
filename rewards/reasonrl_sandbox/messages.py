"""Messages between our own server and client: the types of `types.py` in JSON, and the token."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.system import access
from reasonrl_sandbox.report import IsolationReport
from reasonrl_sandbox.types import Execution, Isolation, Program

KEY_HEADER: Final = "Idempotency-Key"
"""Header that identifies a request: one that is sent again does not run its programs again."""

TOKEN_VARIABLE: Final = "REASONRL_SANDBOX_TOKEN"
"""Environment variable that may hold the token, for server and client."""

MAX_WAITING: Final = 4
"""Programs that may wait on a server for each slot; more are refused with status 429."""


def read_token(file: Path | None = None) -> str | None:
    """Return the token in a file, or else in the environment, if any.

    Raises:
        ConfigError: the file cannot be read, or holds no token.
    """
    return access.read_token(file, TOKEN_VARIABLE)


_STRING_OR_SEPARATOR: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)

MAX_PROGRAMS: Final = 1024
"""Programs in one request; how many run and wait is bounded by the server's slots."""


class Message(BaseModel):
    """One JSON object with these members and no others; bytes are in base64, numbers finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
    )


class RunRequest(Message):
    """Body of `POST /v1/run`."""

    programs: Annotated[tuple[Program, ...], Field(min_length=1, max_length=MAX_PROGRAMS)]
    """What to run, in any order. Expected values are never sent."""
    require: Isolation | None = None
    """The weakest isolation to run them with."""


class RunReply(Message):
    """Reply of `POST /v1/run`."""

    executions: tuple[Execution, ...]
    """One for each program, in the order of the request."""


class ReportReply(Message):
    """Reply of `GET /v1/report`."""

    report: IsolationReport
    """The isolation in use there."""
    slots: Annotated[int, Field(ge=1, le=4096)]
    """Programs that run at once."""


def has_more_values(body: bytes, limit: int) -> bool:
    """Return whether JSON text has more values than a limit, counted by what separates them outside of strings.

    It is fast, and soon done where there are many: to read them takes a JSON parser much longer.
    """
    num_values = 1
    for found in _STRING_OR_SEPARATOR.finditer(body):
        num_values += body[found.start()] != 0x22
        if num_values > limit:
            return True
    return False
