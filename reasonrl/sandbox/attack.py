"""Programs that try to do harm, each of which says how it must end, and a canary that shows whether one has done it.

A program begins with lines `# key: value`, the first of which is `expect`:

    # expect: failed | timeout       outcomes that are right; `passed` in honest programs only
    # tests: {...}                   as `reasonrl sandbox run --tests` reads them; without it, `add(a, b)` is called
    # limits: {...}                  limits that differ from the default
    # levels: full container         isolation levels at which the expectation holds; without it all
    # host: ...                      what must stay true of the host, for people

Words that stand for the canary are replaced in the whole file: CANARY_FOLDER, CANARY_PID, CANARY_PORT.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, get_args

from reasonrl.errors import DataError, and_known, did_you_mean
from reasonrl.sandbox.forms import Tests
from reasonrl.sandbox.judge import Result, Runner, judge
from reasonrl.sandbox.testfile import read_tests
from reasonrl.sandbox.types import ISOLATIONS, Limits, Outcome

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

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
"""What a program without tests of its own is tested by."""

_SECRET: Final = "do not touch"
_HEADER: Final = re.compile(r"# ([a-z]+): (.*)")


@dataclass(frozen=True, slots=True)
class Attack:
    """One program, and how it must end."""

    name: str
    """The file's name without its ending."""
    source: str
    """The program, with empty lines for its header: that holds what the program must not know."""
    expect: frozenset[Outcome]
    """Outcomes that are right."""
    tests: Tests
    """What it is tested by."""
    limits: Limits
    """What it may use."""
    levels: tuple[str, ...]
    """Isolation levels at which the expectation holds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One program that was run."""

    attack: Attack
    """The program."""
    result: Result
    """What became of it."""

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must."""
        return self.result.outcome in self.attack.expect


def read_attacks(folder: Path, words: Mapping[str, str] | None = None) -> list[Attack]:
    """Read the programs of a folder, in the order of their names.

    Args:
        folder: holds them, as files `*.py`.
        words: what stands for the canary, as `Canary.words`.

    Raises:
        DataError: there are none, or one does not say rightly how it must end; names file and line.
    """
    paths = sorted(folder.glob("*.py"))
    if not paths:
        raise DataError(f"{folder}: holds no programs (*.py).")
    return [read_attack(path, words) for path in paths]


def read_attack(path: Path, words: Mapping[str, str] | None = None) -> Attack:
    """Read one program.

    Raises:
        DataError: it does not say rightly how it must end; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    for word, meaning in (words or {}).items():
        text = text.replace(word, meaning)
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
        """Tell keys from comments that look like one; what is nearly a key is a mistake."""
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
                raise self._wrong(number, f"{key}: {word!r} is none.{and_known(word, known)}")
        return words

    def tests(self) -> Tests:
        if not self.has("tests"):
            return read_tests(DEFAULT_TESTS)
        number, _ = self._lines["tests"]
        try:
            return read_tests(self._object("tests"))
        except DataError as error:
            raise self._wrong(number, str(error)) from None

    def limits(self) -> Limits:
        if not self.has("limits"):
            return Limits()
        given, known = self._object("limits"), [field.name for field in fields(Limits)]
        for key, value in given.items():
            if key not in known:
                raise self._wrong(self._lines["limits"][0], f"limits: no {key!r}.{and_known(key, known)}")
            if not isinstance(value, int | float) or value <= 0:
                raise self._wrong(self._lines["limits"][0], f"limits: {key!r} must be a number above 0.")
        return Limits(**given)

    def _object(self, key: str) -> dict[str, Any]:
        """Return the JSON object of a line. Any: whatever JSON holds."""
        number, text = self._lines[key]
        try:
            value = json.loads(text)
        except ValueError as error:
            raise self._wrong(number, f"{key}: is no JSON: {error}.") from None
        if not isinstance(value, dict):
            raise self._wrong(number, f"{key}: must be a JSON object.")
        return value


def run_attacks(
    runner: Runner, attacks: Sequence[Attack], seen: Callable[[Trial], None] = lambda _: None
) -> list[Trial]:
    """Run programs, as many at once as there are slots, and leave out those of other levels.

    Args:
        runner: what holds them.
        attacks: the programs.
        seen: told of each in their order.
    """
    level = runner.report().level

    def run(attack: Attack) -> Trial:
        return Trial(attack, judge(runner, attack.source, attack.tests, limits=attack.limits))

    trials = []
    with ThreadPoolExecutor(runner.slots, thread_name_prefix="attack") as threads:
        for trial in threads.map(run, [attack for attack in attacks if level in attack.levels]):
            seen(trial)
            trials.append(trial)
    return trials


class Canary:
    """Something of the host's that programs must leave alone: a folder, a process and a port."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", listener: socket.socket) -> None:
        """Take note of how all of it is now."""
        self._folder, self._process, self._listener = folder, process, listener
        self._before = _contents(folder)
        self.words = {
            "CANARY_FOLDER": str(folder),
            "CANARY_PID": str(process.pid),
            "CANARY_PORT": str(listener.getsockname()[1]),
        }

    def harm(self) -> list[str]:
        """Return what was done to it."""
        done = []
        if _contents(self._folder) != self._before:
            done.append(f"the folder that nobody may touch holds {_contents(self._folder)}, not {self._before}")
        if self._process.poll() is not None:
            done.append(f"the process that nobody may end has ended with status {self._process.returncode}")
        elif (state := _state(self._process.pid)) in ("T", "t"):
            done.append(f"the process that nobody may stop has been stopped: {state}")
        try:
            self._listener.accept()[0].close()
            done.append("somebody knocked at the port")
        except BlockingIOError:
            pass
        return done


@contextmanager
def planted_canary() -> Iterator[Canary]:
    """Make a canary, and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="canary-"))
    (folder / "secret").write_text(_SECRET, encoding="utf-8")
    (folder / "secret").chmod(0o666)
    folder.chmod(0o777)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            yield Canary(folder, process, listener)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _contents(folder: Path) -> dict[str, str]:
    """Return mode and content of everything in a folder, and of the folder."""
    found = {".": oct(folder.lstat().st_mode)}
    for path in sorted(folder.rglob("*")):
        text = path.read_bytes().decode(errors="replace") if path.is_file() and not path.is_symlink() else ""
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {text[:200]}".strip()
    return found


def _state(pid: int) -> str:
    """Return the state of a process, or nothing where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]
