"""Problems in the row schemas of other toolkits: TRL, verl (and PRIME), open-instruct, verifiers (and prime-rl).

Columns that do not become the problem stay in ``meta``, those that say which reward a row wants among them:
``data_source`` and ``ability`` of verl, ``dataset`` of open-instruct, ``task`` of verifiers. The parameter ``only``
takes the rows with some of their values, so that a mixture can give each its own rewards.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from reasonrl import DataError, Problem, Split, TaskFn
from reasonrl.errors import and_known
from reasonrl_sandbox import Tests, formats
from reasonrl_tasks.answers import box_or_whole, whole
from reasonrl_tasks.columns import Row, asked_in, column_of, of_one_split, problem_id, question_key
from reasonrl_tasks.messages import Message, conversation, last_question, prompt_messages, refuse_other_media
from reasonrl_tasks.program_rows import question_id, stub_of
from reasonrl_tasks.published import UnusableRowError, named
from reasonrl_tasks.sources import HubSource, read_source

Keyed: TypeAlias = tuple[str, Problem]
"""A problem after what decides its split."""

ANY_DATA: Final = HubSource("")
"""What is read where neither ``config`` nor ``hub_split`` is set."""
TRL_ANSWERS: Final = ("answer", "ground_truth", "solution", "completion")
PROGRAM_SOURCES: Final = ("apps", "taco", "codecontests", "codeforces", "livecodebench", "primeintellect")
"""Values of ``data_source`` whose ground truth is tests."""


def trl_problem(task: str, row: Row) -> Keyed:
    r"""Make a problem of a row of TRL: ``prompt``, a text or messages, and a column with the answer.

    Of a solution in words the last ``\boxed{}`` is the answer, as TRL's own ``accuracy_reward`` reads it.

    Raises:
        DataError: the row cannot be used.
    """
    where, columns = row
    refuse_other_media(where, columns)
    prompt, messages = _prompt(where, "prompt", column_of(where, columns, "prompt"))
    column = _first(where, columns, TRL_ANSWERS)
    answer = box_or_whole(where, column, _said(where, column, columns[column]))
    used = {"prompt", *({column} if columns[column] == answer else ())}
    return _text_problem(task, prompt, messages, answer, _others(columns, used))


def verl_problem(task: str, row: Row, *, plain: Callable[[str], str] | None = None) -> Keyed:
    """Make a problem of a row of verl or PRIME: with an answer, or with tests where a program is asked for.

    Args:
        task: name of the task.
        row: the row.
        plain: gives the question alone, without the instructions around it; the messages are then left out. None keeps
            all as it is.

    Raises:
        DataError: the row cannot be used.
        UnusableRowError: its answer or tests cannot be used.
    """
    where, columns = row
    refuse_other_media(where, columns)
    _refuse_tools(where, columns)
    prompt, messages = _prompt(where, "prompt", column_of(where, columns, "prompt"))
    if plain is not None:
        prompt, messages = plain(prompt), None
    truth = _ground_truth(where, columns)
    meta = _others(columns, {"prompt"})
    if is_program(columns):
        return _program_problem(task, prompt, messages, _program_tests(where, truth), meta)
    try:
        answer = whole(where, "reward_model.ground_truth", truth)
    except DataError as error:
        raise UnusableRowError(str(error)) from None
    return _text_problem(task, prompt, messages, answer, meta)


def open_instruct_problem(task: str, row: Row) -> Keyed:
    """Make a problem of a row of open-instruct: ``messages``, ``ground_truth`` and ``dataset``, the verifier's name.

    An assistant's message at the end is an answer, and left out, as open-instruct does.

    Raises:
        DataError: the row cannot be used, or asks for several verifiers.
    """
    where, columns = row
    refuse_other_media(where, columns)
    messages = conversation(where, "messages", column_of(where, columns, "messages"))
    messages = messages[:-1] if len(messages) > 1 and messages[-1]["role"] == "assistant" else messages
    messages = prompt_messages(where, "messages", [dict(message) for message in messages])
    verifier = whole(where, "dataset", column_of(where, columns, "dataset"))
    truth = column_of(where, columns, "ground_truth")
    meta = {**_others(columns, {"messages"}), "dataset": verifier}
    prompt = last_question(where, messages)
    if verifier.lower() in ("code", "code_stdio"):
        tests = _listed_tests(where, truth, of_stdio=verifier.lower() == "code_stdio")
        return _program_problem(task, prompt, messages, tests, meta)
    return _text_problem(task, prompt, messages, whole(where, "ground_truth", truth), meta)


def verifiers_problem(task: str, row: Row) -> Keyed:
    """Make a problem of a row of verifiers: ``question`` or ``prompt``, ``answer``, and ``info``, also as JSON text.

    Raises:
        DataError: the row cannot be used; it has neither ``answer`` nor ``info``.
    """
    where, columns = row
    refuse_other_media(where, columns)
    column = _first(where, columns, ("prompt", "question"))
    prompt, messages = _prompt(where, column, columns[column])
    info = _info(where, columns.get("info"))
    has_answer = columns.get("answer") not in (None, "")
    if not has_answer and not info:
        raise DataError(f"{where}: columns 'answer' and 'info' are empty: nothing says what is right.")
    answer = whole(where, "answer", columns["answer"]) if has_answer else ""
    meta = {**_others(columns, {column, "answer"}), **({"info": info} if info else {})}
    return _text_problem(task, prompt, messages, answer, meta)


def is_program(row: Mapping[str, Any]) -> bool:
    """Say whether a row of verl asks for a program, by its source or ability. Any: columns hold whatever they do."""
    return row.get("data_source") in PROGRAM_SOURCES or str(row.get("ability")).lower() in ("code", "coding")


def _text_problem(
    task: str, prompt: str, messages: tuple[Message, ...] | None, answer: str, meta: Mapping[str, Any]
) -> Keyed:
    """Return a problem with an answer. Any: columns hold whatever they do, here and below."""
    asked = asked_in(messages) if messages else prompt
    id = problem_id(asked, answer)
    problem = Problem(id=id, task=task, prompt=prompt, answer=answer, messages=messages, meta=meta)
    return question_key(asked), problem


def _program_problem(
    task: str, prompt: str, messages: tuple[Message, ...] | None, tests: Tests, meta: Mapping[str, Any]
) -> Keyed:
    asked = asked_in(messages) if messages else prompt
    meta = {**meta, "tests": tests, **stub_of(tests)}
    problem = Problem(id=question_id(asked), task=task, prompt=prompt, answer="", messages=messages, meta=meta)
    return question_key(asked), problem


def _prompt(where: str, column: str, value: object) -> tuple[str, tuple[Message, ...] | None]:
    """Return a prompt, and its messages where it has some."""
    if isinstance(value, str) and value.strip():
        return value.strip(), None
    if isinstance(value, str) or value is None:
        raise DataError(f"{where}: column {column!r} is empty.")
    messages = prompt_messages(where, column, value)
    return last_question(where, messages), messages


def _said(where: str, column: str, value: object) -> object:
    """Return what a completion of messages says; other values as they are."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        messages = conversation(where, column, value)
        if [message["role"] for message in messages] != ["assistant"]:
            raise DataError(f"{where}: column {column!r} must be one message of role 'assistant'.")
        return messages[0]["content"]
    return value


def _first(where: str, row: Mapping[str, Any], names: Sequence[str]) -> str:
    found = next((name for name in names if row.get(name) not in (None, "")), None)
    if found is None:
        lacks = "is empty" if any(name in row for name in names) else "is not there"
        raise DataError(f"{where}: column {' or '.join(map(repr, names))} {lacks}.{and_known(names[0], row)}")
    return found


def _others(row: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in used}


def _ground_truth(where: str, row: Mapping[str, Any]) -> object:
    model = column_of(where, row, "reward_model")
    if not isinstance(model, Mapping) or "ground_truth" not in model:
        raise DataError(f"{where}: column 'reward_model' is no object with 'style' and 'ground_truth'.")
    return model["ground_truth"]


def _refuse_tools(where: str, row: Mapping[str, Any]) -> None:
    extra = row.get("extra_info")
    if isinstance(extra, Mapping) and (extra.get("need_tools_kwargs") or extra.get("tools_kwargs")):
        raise DataError(f"{where}: extra_info asks for tools, and problems are answered without: remove such rows.")


def _program_tests(where: str, truth: object) -> Tests:
    """Read the tests of PRIME: inputs and outputs as in APPS, or a list of cases as in LiveCodeBench."""
    try:
        found = json.loads(truth) if isinstance(truth, str) else truth
        if isinstance(found, list):
            return formats.livecodebench({"public_test_cases": found})
        return formats.apps({"input_output": found})
    except (ValueError, RecursionError) as error:
        raise UnusableRowError(f"{where}: reward_model.ground_truth is not JSON: {error}.") from None
    except DataError as error:
        raise UnusableRowError(f"{where}: reward_model.ground_truth: {error}") from None


def _listed_tests(where: str, truth: object, *, of_stdio: bool) -> Tests:
    """Read the tests of open-instruct: asserts, or inputs and outputs."""
    try:
        found = json.loads(truth) if isinstance(truth, str) else truth
        if of_stdio:
            return formats.livecodebench({"public_test_cases": found})
        return formats.mbpp({"test_list": found})
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: ground_truth is not JSON: {error}.") from None
    except DataError as error:
        raise DataError(f"{where}: ground_truth: {error}") from None


def _info(where: str, value: object) -> Mapping[str, Any]:
    """Return the object of a column ``info``; empty where there is none."""
    try:
        found = json.loads(value) if isinstance(value, str) and value.strip() else value
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: column 'info' is not JSON: {error}.") from None
    if found in (None, ""):
        return {}
    if not isinstance(found, dict):
        raise DataError(f"{where}: column 'info' must be an object, or one as JSON text, not {found!r:.40}.")
    return found


def _rows(data: str | None, source: HubSource, revision: str | None) -> Iterator[Row]:
    """Yield the rows of a file or folder, or of a data set of the hub."""
    if (data is None) != bool(source.name):
        raise DataError("give either data, a file or folder, or hub_name, a data set of the hub.")
    if data is not None and Path(data).expanduser().is_file():
        for name, given in (("config", source.config), ("hub_split", source.split)):
            if given != getattr(ANY_DATA, name.removeprefix("hub_")):
                raise DataError(f"{name} is {given!r}, but {data} is one file, which has none.")
        source = replace(source, files=("*",))
    return read_source(source, data=data, revision=revision)


def _only(rows: Iterator[Row], only: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Yield the rows whose columns have one of the wanted values each; a value that no row has is refused."""
    seen: dict[str, set[str]] = {name: set() for name in only}
    for where, row in rows:
        values = {name: _values(where, row, name) for name in only}
        for name, found in values.items():
            seen[name] |= found
        if all(values[name] & set(wanted) for name, wanted in only.items()):
            yield where, row
    for name, wanted in only.items():
        for value in wanted:
            if value not in seen[name]:
                raise DataError(f"only: no row has {value!r} in column {name!r}.{and_known(value, seen[name])}")


def _values(where: str, row: Mapping[str, Any], name: str) -> set[str]:
    value = column_of(where, row, name)
    return set(map(str, value)) if isinstance(value, list) else {str(value)}


def _task(name: str, whose: str, make: Callable[[str, Row], Keyed]) -> TaskFn:
    """Return the task that reads rows of one schema."""

    def task(
        *,
        split: Split,
        seed: int,
        data: str | None = None,
        hub_name: str | None = None,
        config: str | None = None,
        hub_split: str = "train",
        revision: str | None = None,
        only: dict[str, list[str]] | None = None,
        heldout_share: float = 0.0,
    ) -> Sequence[Problem]:
        del seed
        with named(name):
            rows = _only(_rows(data, HubSource(hub_name or "", config, hub_split), revision), only or {})
            keyed = (make(name, row) for row in rows)
            where = str(data or hub_name)
            return of_one_split(keyed, split=split, heldout_share=heldout_share, where=where)

    task.__name__ = task.__qualname__ = name
    task.__doc__ = f"""Read problems from rows of {whose}; other columns go to ``meta``.

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: the data is fixed, so there is nothing to draw.
        data: a file (.parquet, .jsonl, .json, .csv) or a folder.
        hub_name: a data set of the hub, in place of ``data``.
        config: its configuration, or the part of a folder that is named so.
        hub_split: its own split to read, or the files of a folder that are named so.
        revision: commit, tag or branch on the hub.
        only: values of columns that a row must have one of, such as ``data_source: [openai/gsm8k]``.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        DataError: the data cannot be read, or a row cannot be used: it has images, tools or several answers.
    """
    return task


trl = _task("trl", "TRL", trl_problem)
verl = _task("verl", "verl or PRIME", verl_problem)
open_instruct = _task("open_instruct", "open-instruct", open_instruct_problem)
verifiers = _task("verifiers", "verifiers or prime-rl", verifiers_problem)
