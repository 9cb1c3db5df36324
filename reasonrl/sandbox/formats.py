"""Tests as published code data sets have them: rows of HumanEval, MBPP, APPS, TACO and LiveCodeBench.

Nothing in a row is executed to read it, and nothing is unpickled.
"""

import ast
import base64
import builtins
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from reasonrl.errors import DataError
from reasonrl.sandbox.compare import Comparison
from reasonrl.sandbox.forms import AssertTests, CallTests, Case, StdioCase, StdioTests, Tests

MAX_UNPACKED = 64 << 20
"""Bytes that a compressed column may unpack to."""

# LiveCodeBench and APPS compare what JSON holds: it has no tuples, and writes 2.0 as 2.
_JSON_VALUES = Comparison(numbers="python", tuple_is_list=True)

# Any: rows come from files of any making.
Row = Mapping[str, Any]


def humaneval(row: Row) -> AssertTests:
    """Read a row of HumanEval. The tests get the helper functions of the prompt from here, not from the program."""
    return AssertTests(_text(row, "entry_point"), _text(row, "test"), setup=_text(row, "prompt"))


def mbpp(row: Row) -> AssertTests:
    """Read a row of MBPP, plain or sanitized; the function is the one that its asserts call."""
    asserts = [*row.get("test_imports", []), row.get("test_setup_code", ""), *_listed(row, "test_list")]
    source = "\n".join(asserts)
    return AssertTests(_called_in(source), source)


def apps(row: Row) -> Tests:
    """Read a row of APPS or TACO: its column `input_output`, with `fn_name` where a function is asked for."""
    packed = row.get("input_output")
    data = _json(packed, "input_output") if isinstance(packed, str) else packed
    if not isinstance(data, Mapping):
        raise DataError("input_output: must be an object with 'inputs' and 'outputs', or that as JSON text.")
    inputs, outputs = _listed(data, "inputs"), _listed(data, "outputs")
    if len(inputs) != len(outputs) or not inputs:
        raise DataError(
            f"input_output: {len(inputs)} inputs and {len(outputs)} outputs; there must be as many, and some."
        )
    if data.get("fn_name"):
        return _calls(_text(data, "fn_name"), inputs, _unwrapped(outputs))
    return StdioTests(
        tuple(StdioCase(_joined(given), _joined(wanted)) for given, wanted in zip(inputs, outputs, strict=True))
    )


def livecodebench(row: Row) -> Tests:
    """Read a row of LiveCodeBench: public and private test cases together."""
    cases = [case for key in ("public_test_cases", "private_test_cases") for case in _cases(row, key)]
    if not cases:
        raise DataError("public_test_cases: no test cases in the row.")
    if all(case.get("testtype", "stdin") == "stdin" for case in cases):
        return StdioTests(tuple(StdioCase(_text(case, "input"), _text(case, "output")) for case in cases))
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _json(metadata, "metadata")
    inputs = [[_json(line, "input") for line in _text(case, "input").splitlines() if line.strip()] for case in cases]
    return _calls(_text(metadata, "func_name"), inputs, [_json(_text(case, "output"), "output") for case in cases])


def _cases(row: Row, key: str) -> list[Row]:
    """Return the test cases of one column: a list, JSON, or JSON compressed and in base64."""
    column = row.get(key) or []
    cases = _unpacked(column, key) if isinstance(column, str) else column
    if not isinstance(cases, list) or not all(isinstance(case, Mapping) for case in cases):
        raise DataError(f"{key}: must be a list of objects with 'input' and 'output'.")
    return cases


def _unpacked(column: str, key: str) -> Any:
    """Parse JSON text, after decompressing it where it is compressed. Any: JSON of any shape, checked by the caller."""
    if column.lstrip()[:1] in "[{":
        return _json(column, key)
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(column, validate=True), MAX_UNPACKED)
    except (ValueError, zlib.error):
        raise DataError(f"{key}: is neither JSON nor JSON compressed by zlib in base64.") from None
    if reader.unconsumed_tail:
        raise DataError(f"{key}: unpacks to more than {MAX_UNPACKED >> 20} MiB.")
    if data[:1] == b"\x80":
        raise DataError(
            f"{key}: is a pickle, and unpickling data runs whatever its author wrote. Write the column as JSON "
            "(a list of objects with 'input' and 'output') where you trust the data, and use that."
        )
    return _json(data, key)


def _calls(entry: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> CallTests:
    cases = tuple(Case(tuple(args), expected=output) for args, output in zip(inputs, outputs, strict=True))
    return CallTests(entry, cases, _JSON_VALUES)


def _unwrapped(outputs: list[Any]) -> list[Any]:
    """Return the expected values of calls, which APPS wraps each into a list of its own."""
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    return [output[0] for output in outputs] if wrapped else outputs


def _joined(lines: Any) -> str:
    """Return an input or output, which some rows give as a list of lines."""
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)


def _called_in(source: str) -> str:
    """Return the name of the function that asserts call; one that hides a built-in one only if there is no other."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise DataError(f"test_list: is no Python: {error}.") from None
    calls = (node for statement in tree.body if isinstance(statement, ast.Assert) for node in ast.walk(statement))
    names = [call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    if not names:
        raise DataError("test_list: no assert in it calls a function by its name.")
    return next((name for name in names if not hasattr(builtins, name)), names[0])


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key}: must be text, not {value!r:.40}.")
    return value


def _listed(row: Row, key: str) -> list[Any]:
    value = row.get(key)
    if not isinstance(value, list):
        raise DataError(f"{key}: must be a list, not {value!r:.40}.")
    return value


def _json(text: str | bytes, key: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{key}: is no JSON: {error}.") from None
