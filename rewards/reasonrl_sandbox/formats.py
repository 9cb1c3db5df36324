"""Reads tests from rows of published code data sets: HumanEval, MBPP, APPS, TACO, CodeContests and LiveCodeBench.

Nothing in a row is executed to read it, and nothing is unpickled: a pickle of one text and nothing else, which
is how LiveCodeBench is published, is read opcode by opcode.
"""

import ast
import base64
import builtins
import json
import pickletools
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from reasonrl.errors import DataError
from reasonrl_sandbox.asserts import parse_python
from reasonrl_sandbox.compare import ComparisonRules
from reasonrl_sandbox.forms import AssertTests, CallTests, Case, StdioCase, StdioTests, Tests

MAX_UNPACKED = 256 << 20
"""Bytes that a compressed column may unpack to."""

# LiveCodeBench and APPS compare values read from JSON, which has no tuples and writes 2.0 as 2.
_JSON_VALUES = ComparisonRules(numbers="python", tuple_is_list=True)

# The opcodes of a pickle of one text; a long text is outside of frames.
_ONE_TEXT = (["PROTO", "FRAME", "TEXT", "MEMOIZE", "STOP"], ["PROTO", "TEXT", "MEMOIZE", "STOP"])
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")

# Any: rows come from any file.
Row = Mapping[str, Any]


def humaneval(row: Row) -> AssertTests:
    """Read a row of HumanEval. Helper functions of the prompt become `setup`: the tests must not call the program's."""
    return AssertTests(_text(row, "entry_point"), _text(row, "test"), setup=_text(row, "prompt"))


def mbpp(row: Row) -> AssertTests:
    """Read a row of MBPP, plain or sanitized; the function is the one that its asserts call."""
    setup = _text(row, "test_setup_code") if "test_setup_code" in row else ""
    imports = _lines(row, "test_imports") if "test_imports" in row else []
    source = "\n".join([*imports, setup, *_lines(row, "test_list")])
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
    if data.get("fn_name") not in (None, ""):
        return _calls(_text(data, "fn_name"), inputs, _unwrapped(outputs))
    given = [_joined(lines, f"input_output: inputs[{index}]") for index, lines in enumerate(inputs)]
    wanted = [_joined(lines, f"input_output: outputs[{index}]") for index, lines in enumerate(outputs)]
    return StdioTests(tuple(map(StdioCase, given, wanted)))


def codecontests(row: Row, kinds: Sequence[str] = ("public", "private", "generated")) -> StdioTests:
    """Read a row of CodeContests: the test cases of these kinds together."""
    if row.get("input_file") or row.get("output_file"):
        raise DataError("input_file: the program is to read and write files, which is not supported.")
    cases = [case for kind in kinds for case in _pairs(row, f"{kind}_tests")]
    if not cases:
        raise DataError(f"{kinds[0]}_tests: no test cases in the row.")
    return StdioTests(tuple(cases))


def _pairs(row: Row, key: str) -> list[StdioCase]:
    """Return the cases of one column: an object with lists `input` and `output`, or a list of such pairs."""
    column = row.get(key)
    if column is None or column == "":
        return []
    found = _json(column, key) if isinstance(column, str) else column
    if isinstance(found, list) and all(isinstance(case, Mapping) for case in found):
        return [StdioCase(_text(case, "input"), _text(case, "output")) for case in found]
    if not isinstance(found, Mapping):
        raise DataError(f"{key}: must be an object with lists 'input' and 'output'.")
    inputs, outputs = _lines(found, "input"), _lines(found, "output")
    if len(inputs) != len(outputs):
        raise DataError(f"{key}: {len(inputs)} inputs and {len(outputs)} outputs; there must be as many.")
    return [StdioCase(*pair) for pair in zip(inputs, outputs, strict=True)]


def livecodebench(row: Row) -> Tests:
    """Read a row of LiveCodeBench: public and private test cases together."""
    cases = [case for key in ("public_test_cases", "private_test_cases") for case in _cases(row, key)]
    if not cases:
        raise DataError("public_test_cases: no test cases in the row.")
    types = [case.get("testtype", "stdin") for case in cases]
    if types == ["stdin"] * len(cases):
        return StdioTests(tuple(StdioCase(_text(case, "input"), _text(case, "output")) for case in cases))
    if types != ["functional"] * len(cases):
        raise DataError("testtype: must be 'stdin' in all test cases of a row, or 'functional' in all.")
    inputs = [[_json(line, "input") for line in _text(case, "input").splitlines() if line.strip()] for case in cases]
    return _calls(_function(row), inputs, [_json(_text(case, "output"), "output") for case in cases])


def _function(row: Row) -> str:
    """Return the function that a row of LiveCodeBench asks for."""
    column = row.get("metadata")
    metadata = _json(column, "metadata") if isinstance(column, str) else column
    if not isinstance(metadata, Mapping):
        raise DataError("metadata: must be an object with 'func_name', or that as JSON text.")
    return _text(metadata, "func_name")


def _cases(row: Row, key: str) -> list[Row]:
    """Return the test cases of one column: a list, JSON, or JSON compressed and in base64."""
    column = row.get(key)
    if column is None or column == "":
        return []
    cases = _unpacked(column, key) if isinstance(column, str) else column
    if not isinstance(cases, list) or not all(isinstance(case, Mapping) for case in cases):
        raise DataError(f"{key}: must be a list of objects with 'input' and 'output'.")
    return cases


def _unpacked(column: str, key: str) -> Any:
    """Parse JSON text, after decompressing it where it is compressed. Any: JSON of any shape, checked by the caller."""
    if column.lstrip()[:1] in "[{":
        return _json(column, key)
    try:
        data = _decompressed(base64.b64decode(column, validate=True), key)
    except (ValueError, zlib.error):
        raise DataError(f"{key}: is neither JSON nor JSON compressed by zlib in base64.") from None
    return _json(_only_text(data, key) if data.startswith(b"\x80") else data, key)


def _decompressed(data: bytes, key: str) -> bytes:
    """Decompress a column, up to a limit."""
    reader = zlib.decompressobj()
    unpacked = reader.decompress(data, MAX_UNPACKED)
    if not reader.eof and len(unpacked) == MAX_UNPACKED:
        raise DataError(f"{key}: unpacks to more than {MAX_UNPACKED >> 20} MiB.")
    if not reader.eof:
        raise DataError(f"{key}: is cut off: its compressed data has no end.")
    return unpacked


def _only_text(pickled: bytes, key: str) -> str:
    """Return the one text that a pickle consists of. Its opcodes are read, and none of them is executed.

    Raises:
        DataError: It consists of anything else.
    """
    names, text, end = list[str](), "", 0
    try:
        for opcode, argument, position in islice(pickletools.genops(pickled), len(_ONE_TEXT[0])):
            names.append("TEXT" if opcode.name in _TEXTS else opcode.name)
            text, end = str(argument) if opcode.name in _TEXTS else text, (position or 0) + 1
    except ValueError:  # an unknown opcode, or a part of one
        names.clear()
    if names not in _ONE_TEXT or end != len(pickled):
        raise DataError(
            f"{key}: is a pickle that is not one text alone, and unpickling runs whatever its author wrote. Write the "
            "column as JSON (a list of objects with 'input' and 'output') where you trust the data, and use that."
        )
    return text


def _calls(entry: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> CallTests:
    for index, args in enumerate(inputs):
        if not isinstance(args, list):
            raise DataError(f"input_output: inputs[{index}]: must be a list of arguments, not {args!r:.40}.")
    cases = tuple(Case(tuple(args), expected=output) for args, output in zip(inputs, outputs, strict=True))
    return CallTests(entry, cases, _JSON_VALUES)


def _unwrapped(outputs: list[Any]) -> list[Any]:
    """Return the expected values of calls, which APPS wraps each into a list of its own."""
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    return [output[0] for output in outputs] if wrapped else outputs


def _joined(lines: Any, where: str) -> str:
    """Return an input or output, which some rows give as a number or a list of lines."""
    listed = lines if isinstance(lines, list) else [lines]
    if not all(type(line) in (str, int, float) for line in listed):
        raise DataError(f"{where}: must be text or a list of lines, not {lines!r:.40}.")
    return "\n".join(map(str, listed))


def _called_in(source: str) -> str:
    """Return the name of the function that asserts call; a built-in one's only if there is no other."""
    tree = parse_python(source, "test_list:")
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


def _lines(row: Row, key: str) -> list[str]:
    """Return a list of texts."""
    lines = _listed(row, key)
    for index, line in enumerate(lines):
        if not isinstance(line, str):
            raise DataError(f"{key}[{index}]: must be text, not {line!r:.40}.")
    return lines


def _json(text: str | bytes, key: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{key}: is not JSON: {error}.") from None
