"""Tests by a reference solution: what is run, and how its answers become expected values; `judge.py` runs it."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from reasonrl.errors import DataError
from reasonrl_sandbox.child.records import Record
from reasonrl_sandbox.forms import CallTests, Case, ReferenceTests
from reasonrl_sandbox.types import Program, ProgramLimits

REFERENCE_CPU_S: Final = 60.0
"""CPU seconds that a reference may take, where its programs have less."""

MAX_SHOWN: Final = 20_000
"""Characters of the longest `repr` of a value that leaves the sandbox; of a longer one its hash does."""

MAX_KEPT: Final = 2_000
"""References whose answers are kept."""

# A program can change what this function does, and gains nothing by it: it is the program's own answer that it changes.
_OBSERVER = """

def observed_{entry}(*args):
    import hashlib
    value = {entry}(*args)
    value = {shown}
    try:
        text = repr(value)
    except ValueError:  # an integer of many digits
        return value
    if len(text) <= {max_shown}:
        return value
    return (type(value).__name__, len(text), hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest())
"""

_CHECK_ENTRY = "agrees"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a reference answered."""

    values: tuple[Any, ...]
    """For each input. Any: any plain values."""
    cpu_s: float
    """CPU seconds that it took for all of them."""


class ExpectedCache:
    """Answers of references, or why there are none, by the text of the reference and its inputs; for all threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Expected | DataError] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Expected | DataError | None:
        """Return what is known."""
        with self._lock:
            return self._known.get(key)

    def put(self, key: str, expected: Expected | DataError) -> None:
        """Keep it; beyond ``MAX_KEPT`` the oldest is given up."""
        with self._lock:
            self._known[key] = expected
            while len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)


def unjudged_calls(tests: ReferenceTests) -> CallTests:
    """Return the calls, with nothing expected yet.

    Raises:
        DataError: there are none.
    """
    if not tests.inputs:
        raise DataError(f"reference tests: no inputs for {tests.entry!r}.")
    return CallTests(f"observed_{tests.entry}", tuple(Case(args) for args in tests.inputs))


def observed(source: str, tests: ReferenceTests) -> str:
    """Return a program followed by a function that calls the one under test and shortens long answers."""
    return source + _OBSERVER.format(entry=tests.entry, shown=tests.shown, max_shown=MAX_SHOWN)


def reference_program(tests: ReferenceTests, calls: str, limits: ProgramLimits) -> Program:
    """Return the reference as a program, with time enough."""
    cpu_s = max(limits.cpu_s, REFERENCE_CPU_S)
    source = observed(tests.reference, tests)
    generous = replace(limits, cpu_s=cpu_s, wall_s=None)
    return Program(source, mode="values", entry=f"observed_{tests.entry}", calls=calls, limits=generous)


def key_of(program: Program) -> str:
    """Return what stands for a reference and its inputs."""
    return hashlib.sha256(f"{program.source}\0{program.calls}".encode(errors="surrogatepass")).hexdigest()


def expected_of(records: Mapping[int, Record], tests: ReferenceTests, cpu_s: float, ended: str) -> Expected | DataError:
    """Return what a reference answered, or what to raise where it has no answer to one of the inputs."""
    for number in range(len(tests.inputs)):
        record = records.get(number)
        if record is None or record.outcome is not None:
            why = f"{record.outcome}: {record.detail}" if record else ended
            return DataError(
                f"reference tests: the reference {tests.entry!r} has no answer to inputs[{number}]: {why}."
            )
    return Expected(tuple(records[number].value for number in range(len(tests.inputs))), cpu_s)


def expecting(tests: ReferenceTests, expected: Expected) -> CallTests:
    """Return the calls with what is expected of each."""
    cases = (
        Case(args, expected=value, comparison=tests.float_comparison if is_floats(value) else None)
        for args, value in zip(tests.inputs, expected.values, strict=True)
    )
    return CallTests(f"observed_{tests.entry}", tuple(cases), tests.comparison)


def with_time(limits: ProgramLimits, tests: ReferenceTests, expected: Expected) -> ProgramLimits:
    """Return the limits of a program: no less than a multiple of the reference's time."""
    return replace(limits, cpu_s=max(limits.cpu_s, tests.slowdown * expected.cpu_s))


def agreement_calls(tests: ReferenceTests, expected: Expected, records: Mapping[int, Record]) -> CallTests:
    """Return the calls of ``agrees``, one for each answer, in the order of the inputs."""
    answered = [number for number in range(len(tests.inputs)) if _has_answer(records, number)]
    cases = (Case((tests.inputs[n], records[n].value, expected.values[n]), expected=True) for n in answered)
    return CallTests(_CHECK_ENTRY, tuple(cases))


def with_agreement(records: Mapping[int, Record], agreed: Mapping[int, Record], num_inputs: int) -> dict[int, Record]:
    """Return the records with, for each answer, what ``agrees`` says of it in place of the answer."""
    answered = [number for number in range(num_inputs) if _has_answer(records, number)]
    said = {number: agreed[place]._replace(number=number) for place, number in enumerate(answered) if place in agreed}
    return {number: record for number, record in {**records, **said}.items() if number in said or record.outcome}


def _has_answer(records: Mapping[int, Record], number: int) -> bool:
    return number in records and records[number].outcome is None


def is_floats(value: object) -> bool:
    """Say whether a value is a float, or a list or tuple of floats with one at least."""
    if isinstance(value, list | tuple) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)
