"""Runs programs that nobody trusts, and judges what comes out of them.

`host.Sandbox` sends a program to a fork server (`child/`), which forks one process for it and holds that in layers:
limits, namespaces, seccomp, Landlock. What comes back is data; the verdict on it is made out here.
"""

from typing import TYPE_CHECKING

from reasonrl.sandbox import formats
from reasonrl.sandbox.asserts import as_calls
from reasonrl.sandbox.forms import AssertTests, CallTests, Case, FileTests, StdioCase, StdioTests, Tests
from reasonrl.sandbox.host import Sandbox
from reasonrl.sandbox.judge import Result, Runner, judge, judge_many
from reasonrl.sandbox.report import IsolationReport
from reasonrl.sandbox.shared import Place, close_shared, describe, problem_tests, shared_sandbox
from reasonrl.sandbox.testfile import read_tests
from reasonrl.sandbox.types import ISOLATIONS, Ending, Execution, Isolation, Limits, Outcome, Program, ServerProtocol

if TYPE_CHECKING:
    from reasonrl.sandbox.remote import RemoteSandbox
else:

    def __getattr__(name: str) -> object:
        """Load the client when it is asked for: its HTTP library takes longer to load than all of this."""
        if name != "RemoteSandbox":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from reasonrl.sandbox.remote import RemoteSandbox

        return RemoteSandbox


__all__ = [
    "ISOLATIONS",
    "AssertTests",
    "CallTests",
    "Case",
    "Ending",
    "Execution",
    "FileTests",
    "Isolation",
    "IsolationReport",
    "Limits",
    "Outcome",
    "Place",
    "Program",
    "RemoteSandbox",
    "Result",
    "Runner",
    "Sandbox",
    "ServerProtocol",
    "StdioCase",
    "StdioTests",
    "Tests",
    "as_calls",
    "close_shared",
    "describe",
    "formats",
    "judge",
    "judge_many",
    "problem_tests",
    "read_tests",
    "shared_sandbox",
]
