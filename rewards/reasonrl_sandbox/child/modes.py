"""What a child does in each mode. A mode returns when it is done; what it raises says how the child ends."""

from collections.abc import Callable
from functools import partial

from reasonrl_sandbox.child.candidate import Candidate
from reasonrl_sandbox.child.codec import decode
from reasonrl_sandbox.child.driver import run_tests
from reasonrl_sandbox.child.entry import find, load
from reasonrl_sandbox.child.files import run_among_files
from reasonrl_sandbox.child.program import ANSWERS, CHANNEL, Body, run_as
from reasonrl_sandbox.child.records import answer, write


def run_script(body: Body) -> None:
    """Run the program; its output is the answer."""
    run_as("__main__", body["source"])


def call_function(body: Body) -> None:
    """Call the program's function once for each line of arguments."""
    calls, entry = body["calls"].split("\n"), body["entry"]
    assert entry is not None, "mode `values` calls a function"
    function = find(load(body["source"]), entry)
    for index, line in enumerate(calls):
        args, kwargs = decode(line)
        write(ANSWERS, answer(index, partial(function, *args, **kwargs)))


def serve_driver(body: Body) -> None:
    """Load the program and answer the driver's requests until it closes the channel."""
    module = load(body["source"])
    if body["entry"] is not None:
        find(module, body["entry"])  # raises NoEntryError before any test runs
    with open(CHANNEL, "rb", closefd=False) as requests:
        write(CHANNEL, '"ready"')
        Candidate(module, requests).serve()


def run_driver(body: Body) -> None:
    """Run the tests, and write down how each of them ended."""
    run_tests(body["source"])


MODES: dict[str, Callable[[Body], None]] = {
    "files": run_among_files,
    "stdio": run_script,
    "values": call_function,
    "candidate": serve_driver,
    "driver": run_driver,
}
"""Every mode by its name."""
