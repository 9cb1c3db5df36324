"""What our own server and client say to each other: the types of `types.py` one to one, in JSON."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.sandbox.report import IsolationReport
from reasonrl.sandbox.types import Execution, Isolation, Program

KEY_HEADER = "Idempotency-Key"
"""Header by which a request that is sent again is known; its program does not run again."""

TOKEN_VARIABLE = "REASONRL_SANDBOX_TOKEN"
"""Environment variable that may hold the token, for server and client."""


class Message(BaseModel):
    """One JSON object with these members and no others; bytes travel in base64."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


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
    slots: int
    """Programs that run at once."""
