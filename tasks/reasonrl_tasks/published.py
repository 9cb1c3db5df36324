"""The tasks over published sets of mathematical problems, made from :data:`reasonrl_tasks.math_sets.SETS`.

Which parameters a task has depends on its set: see :data:`PARAMETERS`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from reasonrl import DataError, Problem, Split, TaskFn
from reasonrl.errors import and_known
from reasonrl_tasks.columns import Row, of_one_split, problem_id, question_key
from reasonrl_tasks.math_sets import SETS, MathSet
from reasonrl_tasks.messages import Message, conversation, last_question, refuse_other_media
from reasonrl_tasks.sources import HubSource, read_source, source_of

Unusable: TypeAlias = Literal["refuse", "skip"]
Wording: TypeAlias = Literal["question", "published"]
"""``question``: what is asked, alone, so that the run's template says where the answer goes. ``published``: with the
instructions and the system message that the rows have."""


PARAMETERS: Final[Mapping[str, str]] = {
    "split": "``train`` or ``heldout``.",
    "seed": "not used: the data is fixed, so there is nothing to draw.",
    "data": "a file or folder with the data, in place of the hub.",
    "revision": "commit, tag or branch on the hub; a commit fixes the data for good.",
    "hub_name": "another of the known copies on the hub.",
    "unusable": "what becomes of a row to train on that has no answer to compare with.",
    "wording": "the ``question`` alone, or as ``published``, with its instructions.",
    "heldout_share": "share of the problems that is held out; 0 returns all for either split.",
}
"""What the parameters of the tasks mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a published set is read from."""

    data: str | None
    """A file or folder with the data; None is the hub."""
    revision: str | None
    """Commit, tag or branch on the hub."""
    hub_name: str | None
    """Which of the known copies on the hub; None is the first."""


class UnusableRowError(DataError):
    """A row without an answer to compare with, which ``unusable: skip`` passes over."""


def load_set(
    name: str,
    found: MathSet,
    copies: Sequence[HubSource],
    *,
    split: Split,
    place: Place,
    unusable: Unusable | None = None,
    wording: Wording = "question",
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    """Return the problems of one side of a published set; ``unusable`` is as for :func:`usable`.

    Raises:
        DataError: the data cannot be read, or a row cannot be used; the message names the task, the file and the row.
    """
    with named(name):
        rows, known = rows_of(copies, place), found.num_unanswered if copies == found.train else 0
        keyed = usable((lambda row: math_problem(name, found, row, wording)), rows, unusable, num_known=known)
        where = place.data or place.hub_name or copies[0].name
        return of_one_split(keyed, split=split, heldout_share=heldout_share, where=where)


def rows_of(copies: Sequence[HubSource], place: Place) -> Iterator[Row]:
    """Yield the rows of one of the copies, or of the same data at another place."""
    source = source_of(copies, hub_name=place.hub_name, data=place.data)
    return read_source(source, data=place.data, revision=place.revision)


def math_problem(task: str, found: MathSet, row: Row, wording: Wording) -> tuple[str, Problem]:
    """Return what decides the split of a row, and its problem.

    Raises:
        DataError: the row has no question, none of the known columns, or holds images.
        UnusableRowError: it has no answer to compare with.
    """
    where, columns = row
    refuse_other_media(where, columns)
    asked_in, answered_in = _first(where, columns, found.question), _first(where, columns, tuple(found.answer))
    messages, published = _asked(where, columns, asked_in)
    prompt = without(published, found.around)
    answer = _answer(found, where, answered_in, columns[answered_in])
    is_published = wording == "published"
    left_out = {asked_in, *found.left_out, *({answered_in} if columns[answered_in] == answer else ())}
    problem = Problem(
        id=problem_id(prompt, answer),
        task=task,
        prompt=published if is_published else prompt,
        answer=answer,
        messages=messages if is_published else None,
        meta={key: value for key, value in columns.items() if key not in left_out},
    )
    return question_key(prompt), problem


def without(text: str, around: Sequence[tuple[str, str]]) -> str:
    """Remove known instructions before and after a question, as a whole or not at all."""
    for before, after in around:
        if text.startswith(before.strip()) and text.endswith(after.strip()):
            text = text.removeprefix(before.strip()).removesuffix(after.strip()).strip()
    return text


def usable(
    make: Callable[[Row], tuple[str, Problem]], rows: Iterator[Row], unusable: Unusable | None, *, num_known: int = 0
) -> Iterator[tuple[str, Problem]]:
    """Yield the problems of rows, each after what decides its split; unusable ones are refused or passed over.

    Args:
        make: makes a problem of a row.
        rows: the rows.
        unusable: what becomes of a row without an answer; None refuses it where there is no choice, as among held-out
            problems.
        num_known: so many such rows are passed over even so.

    Raises:
        DataError: a row cannot be used.
    """
    num_unusable = 0
    for row in rows:
        try:
            yield make(row)
        except UnusableRowError as error:
            num_unusable += 1
            if unusable != "skip" and num_unusable > num_known:
                hint = " The parameter unusable: skip passes over such rows." if unusable == "refuse" else ""
                raise DataError(f"{error}{hint}") from None


@contextmanager
def named(task: str) -> Iterator[None]:
    """Begin the message of an error about data with the task."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"task {task!r}: {error}") from None


def _first(where: str, row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first of several columns that a row has. Any: columns hold whatever they do."""
    found = next((name for name in names if row.get(name) is not None), None)
    found = found or next((name for name in names if name in row), None)
    if found is None:
        raise DataError(f"{where}: no column {' or '.join(map(repr, names))}.{and_known(names[0], row)}")
    return found


def _asked(where: str, row: Mapping[str, Any], column: str) -> tuple[tuple[Message, ...] | None, str]:
    """Return the messages of a row, where it has some, and what it asks. Any: as above."""
    value = row[column]
    if isinstance(value, list):
        messages = conversation(where, column, value)
        return messages, last_question(where, messages)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {column!r} must be a question, not {value!r:.40}.")
    context = row.get("context")
    is_given = isinstance(context, str) and context.strip()
    return None, f"{context.strip()}\n{value.strip()}" if isinstance(context, str) and is_given else value.strip()


def _answer(found: MathSet, where: str, column: str, value: object) -> str:
    try:
        return found.answer[column](where, column, value)
    except DataError as error:
        raise UnusableRowError(str(error)) from None


def _heldout(name: str, found: MathSet) -> TaskFn:
    """Return the task over a set of which all is held out."""

    def task(
        *, split: Split, seed: int, data: str | None = None, revision: str | None = None, hub_name: str | None = None
    ) -> Sequence[Problem]:
        del seed
        if split == "train":
            raise DataError(
                f"task {name!r}: all of {found.entry.source.partition(';')[0]} is held out: it is there to be measured "
                "on. Train on another task, or name the data to task 'hub' or 'jsonl' where this is meant."
            )
        place = Place(data=data, revision=revision, hub_name=hub_name)
        return load_set(name, found, found.heldout, split=split, place=place)

    return _documented(task, name, found)


def _own_splits(name: str, found: MathSet) -> TaskFn:
    """Return the task over a set whose authors divided it."""

    def task(
        *,
        split: Split,
        seed: int,
        data: str | None = None,
        revision: str | None = None,
        hub_name: str | None = None,
        unusable: Unusable = "refuse",
    ) -> Sequence[Problem]:
        del seed
        place = Place(data=data, revision=revision, hub_name=hub_name)
        if split == "heldout":
            return load_set(name, found, found.heldout, split=split, place=place)
        return load_set(name, found, found.train, split=split, place=place, unusable=unusable)

    return _documented(task, name, found)


def _to_train_on(name: str, found: MathSet) -> TaskFn:
    """Return the task over a set that has no held-out part of its own."""

    def task(
        *,
        split: Split,
        seed: int,
        data: str | None = None,
        revision: str | None = None,
        hub_name: str | None = None,
        unusable: Unusable = "refuse",
        heldout_share: float = 0.0,
    ) -> Sequence[Problem]:
        del seed
        place = Place(data=data, revision=revision, hub_name=hub_name)
        return load_set(
            name, found, found.train, split=split, place=place, unusable=unusable, heldout_share=heldout_share
        )

    return _documented(task, name, found)


def _with_instructions(name: str, found: MathSet) -> TaskFn:
    """Return the task over a set whose rows say where the answer goes."""

    def task(
        *,
        split: Split,
        seed: int,
        data: str | None = None,
        revision: str | None = None,
        hub_name: str | None = None,
        unusable: Unusable = "refuse",
        wording: Wording = "question",
        heldout_share: float = 0.0,
    ) -> Sequence[Problem]:
        del seed
        return load_set(
            name,
            found,
            found.train,
            split=split,
            place=Place(data=data, revision=revision, hub_name=hub_name),
            unusable=unusable,
            wording=wording,
            heldout_share=heldout_share,
        )

    return _documented(task, name, found)


def _documented(task: TaskFn, name: str, found: MathSet) -> TaskFn:
    """Give a task its name, and say what it asks and takes."""
    entry = found.entry
    taken = [f"    {key}: {PARAMETERS[key]}" for key in inspect.signature(task).parameters]
    about = f"Ask the problems of {entry.source.partition(';')[0]} ({entry.paper}): {entry.size}."
    task.__name__ = task.__qualname__ = name
    task.__doc__ = "\n".join([about, "", "Args:", *taken])
    return task


def _task(name: str, found: MathSet) -> TaskFn:
    if found.heldout:
        return (_own_splits if found.train else _heldout)(name, found)
    return (_with_instructions if found.around else _to_train_on)(name, found)


TASKS: Final[Mapping[str, TaskFn]] = {name: _task(name, found) for name, found in SETS.items()}
"""The tasks by name."""
