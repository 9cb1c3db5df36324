"""Reads tests from rows of HumanEval+ and MBPP+ (EvalPlus, arXiv:2305.01210), in either of their published forms.

The authors' files have ``base_input``, ``plus_input`` and a solution, whose answers are what is expected. The hub's
data sets have Python text with ``inputs`` and ``results``. That text is parsed, and runs nowhere but in the sandbox.

Simplified: a float is compared to ``max(atol, 1e-7 * the larger)``, where EvalPlus adds the two, and an int within it
is as good as a float.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from reasonrl.errors import DataError
from reasonrl_sandbox.assert_calls import NotConstantError, constant
from reasonrl_sandbox.asserts import parse_python
from reasonrl_sandbox.compare import ComparisonRules
from reasonrl_sandbox.forms import AssertTests, CallTests, Case, ReferenceTests, Tests
from reasonrl_sandbox.reference import is_floats

# Any: rows come from any file.
Row = Mapping[str, Any]

FLOAT_TOL: Final = 1e-6
"""How far a float may be off where a row sets no tolerance."""

REL_TOL: Final = 1e-7
"""How far it may be off as a share of its size, NumPy's default."""

ROOT_TOL: Final = 1e-4
"""How far from 0 a polynomial may be at what ``find_zero`` answers."""

_SAME_SET = "def agrees(args, answer, expected):\n    return set(answer) == set(expected)\n"

# Problems with more than one right answer, by their function: https://github.com/evalplus/evalplus, _special_oracle.py.
_AGREES: Final[Mapping[str, Mapping[str, str]]] = {
    "humaneval": {
        "find_zero": "def agrees(args, answer, expected):\n"
        "    total = sum(factor * float(answer) ** power for power, factor in enumerate(args[0]))\n"
        f"    return abs(total) <= {ROOT_TOL}\n"
    },
    "mbpp": {
        **dict.fromkeys(
            (
                "similar_elements",
                "find_char_long",
                "common_in_nested_lists",
                "extract_singly",
                "larg_nnum",
                "intersection_array",
                "find_dissimilar",
                "Diff",
            ),
            _SAME_SET,
        ),
        "are_equivalent": "def agrees(args, answer, expected):\n    return True\n",
        "sum_div": "def agrees(args, answer, expected):\n    return answer == expected or answer == 0\n",
        "surface_Area": "def agrees(args, answer, expected):\n"
        "    base, height = args\n"
        "    area = base**2 + 2 * base * ((base / 2) ** 2 + height**2) ** 0.5\n"
        "    return answer == expected or abs(answer - round(area)) <= 1e-6\n",
        "digit_distance_nums": "def agrees(args, answer, expected):\n"
        "    size = max(len(str(number)) for number in args)\n"
        "    first, second = (str(number).zfill(size) for number in args)\n"
        "    return answer in (expected, sum(abs(int(a) - int(b)) for a, b in zip(first, second)))\n",
    },
}

# Functions that answer what is no plain value, of which only is asked whether it is one at all.
_NOT_NONE: Final = ("check_str", "text_match_three", "text_starta_endb")
_IS_SOMETHING: Final = "value if isinstance(value, bool) else value is not None"


def humaneval_plus(row: Row) -> Tests:
    """Read a row of HumanEval+.

    Raises:
        DataError: it cannot be used.
    """
    reference = f"{_text(row, 'prompt')}{_text(row, 'canonical_solution')}"
    return _tests(row, _text(row, "entry_point"), reference, "humaneval", _as_they_are)


def mbpp_plus(row: Row) -> Tests:
    """Read a row of MBPP+; the hub's form does not name the function, which its tests call.

    Raises:
        DataError: it cannot be used.
    """
    reference = _text(row, "canonical_solution" if "canonical_solution" in row else "code")
    entry = row.get("entry_point") or _called_with_inputs(_text(row, "test"))
    if not isinstance(entry, str):
        raise DataError("test: calls no function with the items of 'inputs', as in f(*inp).")
    return _tests(row, entry, reference, "mbpp", _MAKE_TUPLES.get(_number(row), _as_they_are))


def _tests(
    row: Row, entry: str, reference: str, origin: Literal["humaneval", "mbpp"], read: Callable[[list[Any]], list[Any]]
) -> Tests:
    """Return tests by the reference, or by the row's own results."""
    if not entry.isidentifier():
        raise DataError(f"entry_point: {entry!r:.40} is no name of a function.")
    if "base_input" in row:
        inputs = [_read(args, read) for args in [*_inputs(row, "base_input"), *_inputs(row, "plus_input")]]
        return _by_reference(entry, reference, inputs, origin, row.get("atol"))
    tree = parse_python(_text(row, "test"), "test:")
    own, results, atol = _assigned(tree, "inputs"), _assigned(tree, "results"), _asserted_tolerance(tree)
    if own is None:
        return AssertTests(entry, _text(row, "test"), setup=_text(row, "prompt") if origin == "humaneval" else "")
    if results is None or entry in _AGREES[origin] or entry in _NOT_NONE:
        return _by_reference(entry, reference, own, origin, atol)
    if len(results) != len(own) or not own:
        raise DataError(f"test: {len(own)} inputs and {len(results)} results; there must be as many, and some.")
    exact, floats = _rules(atol)
    cases = (
        Case(_arguments(args), expected=value, comparison=floats if is_floats(value) else None)
        for args, value in zip(own, results, strict=True)
    )
    return CallTests(entry, tuple(cases), exact)


def _by_reference(
    entry: str, reference: str, inputs: Sequence[Any], origin: Literal["humaneval", "mbpp"], atol: object
) -> ReferenceTests:
    return ReferenceTests(
        entry,
        reference,
        tuple(map(_arguments, inputs)),
        *_rules(atol),
        shown=_IS_SOMETHING if origin == "mbpp" and entry in _NOT_NONE else "value",
        agrees=_AGREES[origin].get(entry, ""),
    )


def _rules(atol: object) -> tuple[ComparisonRules, ComparisonRules]:
    """Return how values compare, and how floats do: those have a tolerance where the row sets none, too."""
    if isinstance(atol, int | float) and math.isfinite(atol) and atol > 0:
        tolerant = ComparisonRules(numbers="python", abs_tol=float(atol), rel_tol=REL_TOL)
        return tolerant, tolerant
    return ComparisonRules(numbers="python"), ComparisonRules(numbers="python", abs_tol=FLOAT_TOL, rel_tol=REL_TOL)


def _read(args: list[Any], read: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """Return arguments with their tuples. Any: JSON, of any shape."""
    try:
        return read(args)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise DataError(f"inputs: {args!r:.40} are not the arguments of this problem: {error}.") from None


def _arguments(args: Any) -> tuple[Any, ...]:
    """Return the arguments of a call. Any: any plain values."""
    if not isinstance(args, list | tuple):
        raise DataError(f"inputs: each must be a list of arguments, not {args!r:.40}.")
    return tuple(args)


def _inputs(row: Row, key: str) -> list[Any]:
    """Return a column of inputs; where there are none, some rows have an empty object."""
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(args, list) for args in value):
        raise DataError(f"{key}: must be a list of lists of arguments, not {value!r:.40}.")
    return value


class _Infinities(ast.NodeTransformer):
    """Makes constants of `inf` and `nan`, which the results import from math."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _assigned(tree: ast.Module, name: str) -> list[Any] | None:
    """Return the constant list that is assigned to a name anywhere in a text, or None. Any: any plain values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            try:
                value = constant(_Infinities().visit(node.value))
            except (NotConstantError, RecursionError):
                return None
            return value if isinstance(value, list) else None
    return None


def _asserted_tolerance(tree: ast.Module) -> object:
    """Return the third argument of `assertion(f(*inp), exp, 0)`."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "assertion")
    last = next((call.args[2] for call in calls if len(call.args) == 3), None)
    return last.value if isinstance(last, ast.Constant) else None


def _called_with_inputs(source: str) -> str | None:
    """Return the function of `f(*inp)`, which a text calls with each of its inputs."""
    for node in ast.walk(parse_python(source, "test:")):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Starred()]) if name != "ref_func":
                return name
    return None


def _number(row: Row) -> int:
    """Return the number of a problem of MBPP, from `Mbpp/2` or 2."""
    number = str(row.get("task_id")).rpartition("/")[2]
    return int(number) if number.isdecimal() and len(number) < 6 else -1


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key}: must be text, not {value!r:.40}.")
    return value


# JSON has no tuples, sets and complex numbers. Which arguments are such was read from EvalPlus, data/mbpp.py, whose
# problems are known by number. Any: JSON.


def _as_they_are(args: list[Any]) -> list[Any]:
    return args


def _each(args: list[Any]) -> list[Any]:
    """Every argument is a tuple."""
    return [tuple(arg) for arg in args]


def _items_of_each(args: list[Any]) -> list[Any]:
    """Every argument is a list of tuples."""
    return [[tuple(item) for item in arg] for arg in args]


def _items_of_first(args: list[Any]) -> list[Any]:
    """The first argument is a list of tuples."""
    return [[tuple(item) for item in args[0]], *args[1:]]


def _second(args: list[Any]) -> list[Any]:
    """The second argument is a tuple."""
    return [args[0], tuple(args[1])]


def _first(args: list[Any]) -> list[Any]:
    """The first argument is a tuple."""
    return [tuple(args[0]), *args[1:]]


def _each_and_its_items(args: list[Any]) -> list[Any]:
    """Every argument is a tuple of tuples."""
    return [tuple(tuple(item) for item in arg) for arg in args]


def _first_and_lists_in_it(args: list[Any]) -> list[Any]:
    """The first argument is a tuple with tuples among its items."""
    return [tuple(tuple(item) if isinstance(item, list) else item for item in args[0])]


def _sets_in_first(args: list[Any]) -> list[Any]:
    """The first argument is a list of sets; an empty one stands for an empty dict."""
    return [[set(item) if isinstance(item, list) and item else {} for item in args[0]]]


def _values_of_first(args: list[Any]) -> list[Any]:
    """The values of the first argument are tuples."""
    return [{key: tuple(value) for key, value in args[0].items()}, *args[1:]]


def _deeply(value: Any) -> Any:
    """Every list is a tuple, at any depth."""
    return tuple(map(_deeply, value)) if isinstance(value, list) else value


_BY_NUMBER: Final[Mapping[Callable[[list[Any]], list[Any]], tuple[int, ...]]] = {
    _each: (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424),
        *(429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    _items_of_each: (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    _items_of_first: (75, 413, 444, 753),
    _second: (106, 750),
    _sets_in_first: (115,),
    lambda args: [float(args[0]), complex(args[1])]: (124,),
    _first: (250, 307, 405, 446, 617, 720, 763, 808),
    lambda args: [complex(args[0])]: (252,),
    _each_and_its_items: (259, 401, 445),
    _first_and_lists_in_it: (278,),
    lambda args: [_deeply(arg) for arg in args]: (580, 615, 791),
    _values_of_first: (722,),
}
_MAKE_TUPLES: Final = {number: read for read, numbers in _BY_NUMBER.items() for number in numbers}
