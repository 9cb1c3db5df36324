"""What a new run is asked for: which model learns, on what, and how it is rewarded."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from reasonrl.errors import ConfigError, DataError, ModelError
from reasonrl.models import NAMED, locate
from reasonrl.plugins.lookup import Plugins

NEW: Final = "new"
"""The reward is a function that is to be written."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a run may be called."""

QUESTIONS: Final = ("question", "prompt", "problem", "instruction", "input", "query")
ANSWERS: Final = ("answer", "solution", "ground_truth", "final_answer", "target", "output", "label")
CONVERSATIONS: Final = ("messages", "conversation", "prompt")
"""Columns of a file of problems, those first that are taken first."""

ROWS_READ: Final = 200
"""Of a file, to see what its columns hold."""

_CUT_ANSWER: Final = r"####\s*(.+)"
"""Where GSM8K and files like it have the answer within its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What to train."""

    name: str
    """Of the run and its files."""
    model: str
    """As in a run file."""
    problems: str
    """The name of a task, or a file of problems with one JSON object a line."""
    reward: str
    """The name of a reward, or ``new``."""

    @property
    def module(self) -> str:
        """The name of the new reward's module."""
        return re.sub(r"\W", "_", self.name) + "_reward"

    @property
    def is_file(self) -> bool:
        """Whether the problems are those of a file."""
        return is_problem_file(self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFile:
    """A file of problems: which columns to read, and whether all answers are numbers."""

    params: Mapping[str, str]
    """Of the task that reads it."""
    has_numbers: bool


def is_problem_file(problems: str) -> bool:
    """Tell a file of problems from the name of a task."""
    return problems.endswith((".jsonl", ".json", ".parquet")) or (Path(problems).is_file() and ":" not in problems)


def check_name(name: str) -> None:
    """Refuse what cannot name a run.

    Raises:
        ConfigError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"a run cannot be called {name!r}: use letters, digits, '.', '_' and '-', such as my-run.")


def check_model(model: str) -> None:
    """Refuse a model that is neither known, nor a folder, nor a name of the hub; it need not be fetched yet.

    Raises:
        ModelError: it is none.
    """
    if not model.strip():
        raise ModelError(f"name a model: {', '.join(NAMED)}, a folder, or OWNER/NAME of the Hugging Face hub.")
    if model not in NAMED:
        locate(model)


def check_problems(problems: str, plugins: Plugins) -> None:
    """Refuse what is neither an installed task nor a file of problems that can be read.

    Raises:
        PluginError: there is no such task.
        DataError: the file has no columns of a question and an answer.
    """
    if is_problem_file(problems):
        problem_file(problems)
    else:
        plugins.find("tasks", problems)


def check_reward(reward: str, plugins: Plugins) -> None:
    """Refuse what is neither ``new`` nor a reward.

    Raises:
        PluginError: there is no such reward.
    """
    if reward != NEW:
        plugins.find("rewards", reward)


def problem_file(path: str) -> ProblemFile:
    """Find out which columns of a file of problems to read.

    Raises:
        DataError: it is no file of one JSON object a line, or lacks a question or an answer.
    """
    rows = list(islice(_rows(Path(path)), ROWS_READ))
    if not rows:
        raise DataError(f"{path}: has no rows; write one JSON object a line, with a question and an answer.")
    answer = _column(path, rows[0], ANSWERS, "an answer", str | int | float)
    cut = {"answer_pattern": _CUT_ANSWER} if all("####" in str(row.get(answer)) for row in rows) else {}
    given = [re.search(_CUT_ANSWER, str(row.get(answer))) if cut else None for row in rows]
    answers = [match[1] if match else str(row.get(answer)) for match, row in zip(given, rows, strict=True)]
    columns = {**_asked(path, rows[0]), "answer": answer, **cut}
    return ProblemFile(params={"path": path, **columns}, has_numbers=all(map(_is_number, answers)))


def _asked(path: str, row: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the column of the question or of the conversation. Any: JSON values."""
    for name in CONVERSATIONS:
        if isinstance(row.get(name), list):
            return {"messages": name}
    return {"question": _column(path, row, QUESTIONS, "a question", str)}


def _column(path: str, row: Mapping[str, Any], names: Sequence[str], what: str, kind: Any) -> str:
    """Return the first column of a row that has a value of a kind. Any: JSON values, and a type or several."""
    for name in names:
        if isinstance(row.get(name), kind):
            return name
    raise DataError(
        f"{path}: the first row has no column with {what} (one of {', '.join(names)}); it has "
        f"{', '.join(map(repr, row)) or 'none'}. Rename one, or write the run file by hand (docs/plugins/tasks.md)."
    )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file. Any: JSON values."""
    if path.suffix == ".parquet":
        raise DataError(f"{path}: its columns are not read here. Write the run file by hand, with the task parquet.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path}: cannot be read: {cause}.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: is not JSON: {error}. Write one object a line.") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: is a {type(row).__name__}, not an object. Write one object a line.")
        yield row


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\$?\d[\d,]*(\.\d+)?\s*", text) is not None
