"""What a child does in each mode. A mode returns when it is done; `program.NoEntryError` and whatever else it raises
say how the child ends."""

from collections.abc import Callable
from functools import partial

from reasonrl.sandbox.child.candidate import Candidate
from reasonrl.sandbox.child.codec import decode
from reasonrl.sandbox.child.driver import drive
from reasonrl.sandbox.child.entry import find, load
from reasonrl.sandbox.child.files import run_among_files
from reasonrl.sandbox.child.program import ANSWERS, CHANNEL, Body, run_as
from reasonrl.sandbox.child.records import answer, write


def stdio(body: Body) -> None:
    """Run the program; its output is the answer."""
    run_as("__main__", body["source"])


def values(body: Body) -> None:
    """Call the program's function once for each line of arguments."""
    calls, entry = body["calls"].split("\n"), body["entry"]
    assert entry is not None, "mode `values` calls a function"
    function = find(load(body["source"]), entry)
    for index, line in enumerate(calls):
        args, kwargs = decode(line)
        write(ANSWERS, answer(index, partial(function, *args, **kwargs)))


def candidate(body: Body) -> None:
    """Load the program and serve the driver until it hangs up."""
    module = load(body["source"])
    if body["entry"] is not None:
        find(module, body["entry"])
    held = Candidate(module)
    with open(CHANNEL, "rb", closefd=False) as requests:
        write(CHANNEL, '"ready"')
        for line in requests:
            write(CHANNEL, held.reply(line))


def driver(body: Body) -> None:
    """Run the tests, and write down how each of them ended."""
    drive(body["source"])


MODES: dict[str, Callable[[Body], None]] = {
    "files": run_among_files,
    "stdio": stdio,
    "values": values,
    "candidate": candidate,
    "driver": driver,
}
"""Every mode by its name."""
