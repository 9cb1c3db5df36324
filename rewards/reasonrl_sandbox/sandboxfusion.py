"""SandboxFusion's `/run_code`, from both sides: requests that our server answers, and programs sent to their servers.

On their servers a copy of `child/` runs the program and writes its output into files that are fetched: standard output
would pass through pipes that truncate and block. Their servers do not report their isolation, and the limits of disk
and threads are not enforced.
"""

import io
import json
import math
import zipfile
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from reasonrl.errors import SandboxError
from reasonrl_sandbox.child import wire
from reasonrl_sandbox.forkserver import body_of, ending_of, output_limit
from reasonrl_sandbox.messages import Message, has_more_values
from reasonrl_sandbox.types import Execution, Program, ProgramLimits

_FILES: Final = TypeAdapter(dict[str, str])


def _inside(path: str) -> str:
    """Refuse paths that are not of a file inside of the work folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or path.endswith("/") or ".." in parts or "\0" in path:
        raise ValueError("paths must be relative, of a file, without '..'")
    return path


def _base64(text: str | None) -> str | None:
    """Refuse what is not base64."""
    try:
        b64decode(text or "", validate=True)
    except Base64Error as error:
        raise ValueError(f"not base64: {error}") from None
    return text


FilePath = Annotated[str, AfterValidator(_inside)]
"""Path of a file inside the work folder."""


class RunCode(Message):
    """Body of `POST /run_code`, with SandboxFusion's names."""

    code: str
    """The program."""
    language: str = "python"
    """Its language; ours serves only python."""
    stdin: str | None = None
    """Content of standard input."""
    run_timeout: float = 10.0
    """Seconds that it may run."""
    compile_timeout: float = 10.0
    """Seconds that the compiler of another language may take; clients add them to their own timeout."""
    memory_limit_MB: int = -1
    """Mebibytes that it may use; -1 for the server's default."""
    files: dict[FilePath, Annotated[str | None, AfterValidator(_base64)]] = Field(default_factory=dict)
    """Files put into its work folder, by path, in base64. One that is None is left out."""
    fetch_files: tuple[FilePath, ...] = ()
    """Files of its work folder to send back."""
    args: tuple[str, ...] = Field(default=(), max_length=0)
    """Arguments of test runners, which are not served."""


class CommandResult(Message):
    """How a command of `/run_code` ended. Other members are ignored."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    """Whether it ended by itself, did not run, or was killed for its time."""
    execution_time: float | None = None
    """Seconds by the clock."""
    return_code: int | None = None
    """Its exit status; None when it was killed for its time."""
    stdout: str | None = None
    """Standard output."""
    stderr: str | None = None
    """Standard error."""


class RunCodeReply(Message):
    """Reply of `/run_code`. Other members are ignored."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["Success", "Failed", "SandboxError"]
    """Success: the program ended with exit status 0. SandboxError: it was not run as asked."""
    message: str = ""
    """What went wrong, for people."""
    compile_result: CommandResult | None = None
    """Of languages that are compiled first."""
    run_result: CommandResult | None = None
    """How the program ended."""
    executor_pod_name: str | None = None
    """Which machine it ran on, where the server says so."""
    files: dict[str, str] = Field(default_factory=dict)
    """The files asked for that were there, in base64."""


def as_program(message: RunCode) -> Program:
    """Return the program of a `/run_code` request; `run_timeout` becomes its limit of CPU time."""
    # The client also waits for a compiler, which Python does not need: that time goes to the wall clock.
    limits = replace(ProgramLimits(), cpu_s=message.run_timeout, wall_s=message.run_timeout + message.compile_timeout)
    if message.memory_limit_MB > 0:
        limits = replace(limits, memory_mib=message.memory_limit_MB)
    program = Program(message.code, stdin=(message.stdin or "").encode(), limits=limits)
    files = {path: content for path, content in message.files.items() if content is not None}
    if not files and not message.fetch_files:
        return program
    return replace(program, mode="files", calls=json.dumps({"files": files, "fetch": message.fetch_files}))


def as_reply(execution: Execution, wanted: Sequence[str]) -> RunCodeReply:
    """Return what SandboxFusion would reply; `wanted` are the files that were asked for."""
    if execution.ending == "sandbox_error":
        return RunCodeReply(status="SandboxError", message=execution.detail)
    late, finished = execution.ending == "timeout", execution.ending == "finished"
    result = CommandResult(
        status="TimeLimitExceeded" if late else "Finished",
        execution_time=execution.wall_s,
        return_code=None if late else int(not finished),
        stdout=execution.stdout,
        stderr=execution.stderr,
    )
    files = _fetched(execution.answers, wanted)
    return RunCodeReply(
        status="Success" if finished else "Failed", message=execution.detail, run_result=result, files=files
    )


def _fetched(answers: bytes, wanted: Sequence[str]) -> dict[str, str]:
    """Read the files that a child sent; the program may have written anything instead."""
    if not answers or has_more_values(answers, len(wanted) + 2):
        return {}
    try:
        files = _FILES.validate_json(answers)
    except ValidationError:
        return {}
    return {name: files[name] for name in wanted if name in files}


# ---- our programs, on their servers

_CHILD: Final = Path(__file__).parent / "child"
_FETCHED: Final = ("stdout", "stderr", "answers")


def refuse_split(program: Program) -> None:
    """Refuse mode `split`, whose tests a program could read on these servers.

    Raises:
        SandboxError: the program is of that mode.
    """
    if program.mode == "split":
        raise SandboxError(
            "these tests run beside the program, which could read them on a SandboxFusion server: use one started by "
            "`reasonrl sandbox serve`, or the sandbox of this machine."
        )


def as_request(program: Program) -> RunCode:
    """Return the request that runs a program of ours."""
    limits = program.limits
    kept = [math.ceil(limits.cpu_s), limits.output_kib << 10]
    return RunCode(
        code=(_CHILD / "script.py").read_text(encoding="utf-8"),
        run_timeout=limits.deadline_s,
        memory_limit_MB=limits.memory_mib,
        files={
            "child.zip": _zipped_child(),
            "body": _encoded(json.dumps(body_of(program)).encode()),
            "limits": _encoded(json.dumps(kept).encode()),
            "stdin": _encoded(program.stdin),
        },
        fetch_files=_FETCHED,
    )


@cache
def _zipped_child() -> str:
    """Return the package `child` with an empty one above it, as a zip archive in base64."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("reasonrl_sandbox/__init__.py", "")
        for file in sorted(_CHILD.glob("*.py")):
            archive.write(file, f"reasonrl_sandbox/child/{file.name}")
    return _encoded(packed.getvalue())


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def as_execution(reply: RunCodeReply, limits: ProgramLimits) -> Execution:
    """Return the execution of a program of ours. Exit statuses say how it failed, never that it is right."""
    result = reply.run_result
    if reply.status == "SandboxError" or result is None or result.status == "Error":
        return Execution(
            "sandbox_error", detail=f"SandboxFusion: {reply.message or 'it did not run the program'}"[:300]
        )
    ending, detail = ending_of(_ended(result), limits)
    stdout, stderr, answers = (b64decode(reply.files.get(name, "")) for name in _FETCHED)
    if max(map(len, (stdout, stderr, answers))) >= limits.output_kib << 10:
        ending, detail = output_limit(limits)
    return Execution(
        ending=ending,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
        answers=answers,
        wall_s=result.execution_time or 0.0,
        detail=detail,
    )


def _ended(result: CommandResult) -> wire.ChildExit:
    """Return how the command ended. A shell reports a signal as 128 more than its number."""
    status = result.return_code or 0
    status = 128 - status if status > 128 else status
    why = wire.CLOCK if result.status == "TimeLimitExceeded" else wire.BY_ITSELF
    return wire.ChildExit(status, why, 0.0, 0.0)
