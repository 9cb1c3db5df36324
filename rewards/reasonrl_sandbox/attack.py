"""Runs hostile programs, each of which states how it must end; `canary` detects what they changed on the host.

A program begins with lines `# key: value`, the first of which is `expect`:

    # expect: failed | timeout       outcomes that are right; `passed` in honest programs only, `unscorable` where the
                                     tests must be refused, because they would let the program decide
    # tests: {...}                   as `reasonrl sandbox run --tests` reads them; without it, `add(a, b)` is called
    # limits: {...}                  limits that differ from the default
    # levels: full container         isolation levels at which the expectation holds; without it all
    # host: ...                      what must stay true of the host, for people

Names of the canary's parts are replaced in the whole file: CANARY_FOLDER, CANARY_PID, CANARY_PORT.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

from reasonrl.errors import ConfigError, DataError, and_known, did_you_mean
from reasonrl_sandbox.forms import Tests
from reasonrl_sandbox.judge import ProgramResult, ProgramRunner, judge
from reasonrl_sandbox.testfile import read_tests
from reasonrl_sandbox.types import ISOLATIONS, Outcome, ProgramLimits

TrialOutcome = Outcome | Literal["unscorable"]
"""How a program ended, or that its tests cannot be used."""

OUTCOMES: Final[tuple[TrialOutcome, ...]] = (*get_args(Outcome), "unscorable")

KEYS: Final = ("expect", "tests", "limits", "levels", "host")

DEFAULT_TESTS: Final = {
    "calls": {
        "entry": "add",
        "cases": [
            {"args": [2, 3], "expected": 5},
            {"args": [-4, 4], "expected": 0},
            {"args": [70, 7], "expected": 77},
        ],
    }
}
"""Tests of programs without a `tests` line."""

_HEADER: Final = re.compile(r"# ([a-z]+): (.*)")


@dataclass(frozen=True, slots=True)
class Attack:
    """One program, and how it must end."""

    name: str
    """The file's name without its ending."""
    source: str
    """The program, with empty lines in place of the header, whose tests it must not see."""
    expect: frozenset[TrialOutcome]
    """Outcomes that are as expected."""
    tests: Tests
    """What it is tested by."""
    limits: ProgramLimits
    """What it may use."""
    levels: tuple[str, ...]
    """Isolation levels at which the expectation holds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One program that was run."""

    attack: Attack
    """The program."""
    result: ProgramResult | None
    """How it did; None where its tests cannot be used."""
    refusal: str = ""
    """Why they cannot."""

    @property
    def outcome(self) -> TrialOutcome:
        """How it ended."""
        return "unscorable" if self.result is None or self.result.unscorable else self.result.outcome

    @property
    def detail(self) -> str:
        """Why it did not pass."""
        return self.refusal if self.result is None else self.result.detail

    @property
    def as_expected(self) -> bool:
        """Whether its outcome is one of those expected."""
        return self.outcome in self.attack.expect

    @property
    def is_false_pass(self) -> bool:
        """Whether it passed and must not."""
        return self.outcome == "passed" and not self.as_expected


def read_attacks(folder: Path, placeholders: Mapping[str, str] | None = None) -> list[Attack]:
    """Read the programs of a folder, in the order of their names.

    Args:
        folder: its files `*.py` are the programs.
        placeholders: replacements for the canary's names, as in `Canary.placeholders`.

    Raises:
        DataError: there are none, or a header is wrong; names file and line.
    """
    paths = sorted(folder.glob("*.py"))
    if not paths:
        raise DataError(f"{folder}: has no programs (*.py).")
    return [read_attack(path, placeholders) for path in paths]


def read_attack(path: Path, placeholders: Mapping[str, str] | None = None) -> Attack:
    """Read one program.

    Raises:
        DataError: its header is wrong; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    for name, value in (placeholders or {}).items():
        text = text.replace(name, value)
    header = _Header(path, text)
    return Attack(
        name=path.stem,
        source=header.program,
        expect=frozenset(header.words("expect", "|", OUTCOMES)),
        tests=header.tests(),
        limits=header.limits(),
        levels=tuple(header.words("levels", None, ISOLATIONS)) if header.has("levels") else ISOLATIONS,
    )


class _Header:
    """The lines `# key: value` that a program begins with."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines: dict[str, tuple[int, str]] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            found = _HEADER.fullmatch(line.rstrip())
            if found is None or not self._known(found[1], number):
                break
            if found[1] in self._lines:
                raise self._wrong(number, f"a second line {found[1]!r}.")
            self._lines[found[1]] = (number, found[2])
        lines = text.splitlines(keepends=True)
        self.program = "\n" * len(self._lines) + "".join(lines[len(self._lines) :])
        if next(iter(self._lines), None) != "expect":
            raise self._wrong(1, f"the first line must say `# expect: OUTCOME`, one of {', '.join(OUTCOMES)}.")

    def _known(self, key: str, number: int) -> bool:
        """Return whether this is a key and not a comment; what is nearly a key is a mistake."""
        if key not in KEYS and (near := did_you_mean(key, KEYS)):
            raise self._wrong(number, f"unknown key {key!r}.{near}")
        return key in KEYS

    def _wrong(self, number: int, why: str) -> DataError:
        return DataError(f"{self._path}, line {number}: {why}")

    def has(self, key: str) -> bool:
        return key in self._lines

    def words(self, key: str, separator: str | None, known: Sequence[Any]) -> list[Any]:
        """Return the words of a line, each of which must be known. Any: literals of the caller's choice."""
        number, text = self._lines[key]
        words = [word.strip() for word in text.split(separator)]
        for word in words:
            if word not in known:
                raise self._wrong(number, f"{key}: {word!r} is unknown.{and_known(word, known)}")
        return words

    def tests(self) -> Tests:
        if not self.has("tests"):
            return read_tests(DEFAULT_TESTS)
        number, _ = self._lines["tests"]
        try:
            return read_tests(self._object("tests"))
        except DataError as error:
            raise self._wrong(number, str(error)) from None

    def limits(self) -> ProgramLimits:
        if not self.has("limits"):
            return ProgramLimits()
        given, known = self._object("limits"), [field.name for field in fields(ProgramLimits)]
        for key in given:
            if key not in known:
                raise self._wrong(self._lines["limits"][0], f"limits: no {key!r}.{and_known(key, known)}")
        try:
            return ProgramLimits(**given)
        except ConfigError as error:
            raise self._wrong(self._lines["limits"][0], str(error)) from None

    def _object(self, key: str) -> dict[str, Any]:
        """Return the JSON object of a line. Any: JSON of any shape."""
        number, text = self._lines[key]
        try:
            value = json.loads(text)
        except ValueError as error:
            raise self._wrong(number, f"{key}: is not JSON: {error}.") from None
        if not isinstance(value, dict):
            raise self._wrong(number, f"{key}: must be a JSON object.")
        return value


def run_attacks(
    runner: ProgramRunner, attacks: Sequence[Attack], on_trial: Callable[[Trial], None] = lambda _: None
) -> list[Trial]:
    """Run the programs that are for the runner's level, as many at once as it has slots.

    Args:
        runner: runs them.
        attacks: the programs.
        on_trial: called with each result, in the order of the programs.

    Raises:
        DataError: no program is for this level.
    """
    level = runner.report().level
    chosen = [attack for attack in attacks if level in attack.levels]
    if not chosen:
        others = ", ".join(name for name in ISOLATIONS if any(name in attack.levels for attack in attacks))
        raise DataError(f"none of the {len(attacks)} programs is for isolation {level}; they are for: {others}.")
    trials = []
    with ThreadPoolExecutor(runner.slots, thread_name_prefix="attack") as threads:
        for trial in threads.map(partial(run_attack, runner), chosen):
            on_trial(trial)
            trials.append(trial)
    return trials


def run_attack(runner: ProgramRunner, attack: Attack) -> Trial:
    """Run one program on its tests, which may be refused."""
    try:
        return Trial(attack, judge(runner, attack.source, attack.tests, limits=attack.limits))
    except DataError as error:
        return Trial(attack, None, str(error))
