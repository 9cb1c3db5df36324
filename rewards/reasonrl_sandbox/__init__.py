"""Runs untrusted programs in a sandbox, and judges their answers outside of it.

`Sandbox` sends a program to a fork server (`child/`), which forks one process for it and confines that in layers:
limits, namespaces, seccomp, Landlock. What comes back is data, and `judge` compares it to the tests on the host.
"""

from typing import TYPE_CHECKING

from reasonrl_sandbox import evalplus, formats
from reasonrl_sandbox.assert_calls import as_calls
from reasonrl_sandbox.compare import ComparisonRules
from reasonrl_sandbox.forms import (
    AssertTests,
    CallTests,
    Case,
    FileTests,
    ReferenceTests,
    StdioCase,
    StdioTests,
    Tests,
)
from reasonrl_sandbox.host import Sandbox
from reasonrl_sandbox.judge import ProgramResult, ProgramRunner, judge, judge_many
from reasonrl_sandbox.report import IsolationReport, describe_isolation
from reasonrl_sandbox.shared import (
    SandboxSpec,
    close_shared,
    problem_limits,
    problem_tests,
    shared_sandbox,
    summarize_isolation,
)
from reasonrl_sandbox.testfile import read_tests
from reasonrl_sandbox.types import (
    ISOLATIONS,
    Ending,
    Execution,
    Isolation,
    Outcome,
    Program,
    ProgramLimits,
    ServerProtocol,
)

if TYPE_CHECKING:
    from reasonrl_sandbox.remote import RemoteSandbox
else:

    def __getattr__(name: str) -> object:
        """Import the client on first use: its HTTP library takes longer to import than the rest of this package."""
        if name != "RemoteSandbox":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from reasonrl_sandbox.remote import RemoteSandbox

        return RemoteSandbox


__all__ = [
    "ISOLATIONS",
    "AssertTests",
    "CallTests",
    "Case",
    "ComparisonRules",
    "Ending",
    "Execution",
    "FileTests",
    "Isolation",
    "IsolationReport",
    "Outcome",
    "Program",
    "ProgramLimits",
    "ProgramResult",
    "ProgramRunner",
    "ReferenceTests",
    "RemoteSandbox",
    "Sandbox",
    "SandboxSpec",
    "ServerProtocol",
    "StdioCase",
    "StdioTests",
    "Tests",
    "as_calls",
    "close_shared",
    "describe_isolation",
    "evalplus",
    "formats",
    "judge",
    "judge_many",
    "problem_limits",
    "problem_tests",
    "read_tests",
    "shared_sandbox",
    "summarize_isolation",
]
