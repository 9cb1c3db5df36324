"""Values on their way between processes: what is written is what is read, and nothing else gets through."""

import collections
import datetime
import decimal
import enum
import fractions
import json
import math
import pickle
import types
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl_sandbox.child.codec import MAX_DEPTH, MalformedError, NotPlainError, TooLargeError, decode, encode
from reasonrl_sandbox.child.records import answer, read

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(max_size=20)
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8)
PLAIN = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner, inner) | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("ifcbytdszokvm") | st.text(max_size=2), inner, max_size=2)
    ),
)


@given(PLAIN)
def test_a_plain_value_comes_back_with_every_type_as_it_was(value: Any) -> None:
    assert same_in_every_type(decode(encode(value)), value)


def same_in_every_type(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same_in_every_type, left, right))
    if isinstance(left, dict):
        return same_in_every_type(list(left), list(right)) and all(
            map(same_in_every_type, left.values(), right.values())
        )
    if isinstance(left, set | frozenset):
        return sorted(map(shape, left)) == sorted(map(shape, right))
    return repr(left) == repr(right)


def shape(value: Any) -> str:
    if isinstance(value, frozenset):
        return "frozenset" + str(sorted(map(shape, value)))
    if isinstance(value, tuple):
        return "tuple" + str([shape(item) for item in value])
    return repr(value)


@given(JSON)
def test_text_from_anybody_is_read_or_refused_and_never_anything_else(tree: Any) -> None:
    try:
        value = decode(json.dumps(tree))
    except MalformedError:
        return
    assert same_in_every_type(decode(encode(value)), value)


@pytest.mark.parametrize(
    "number", [2**53, -(2**53) - 1, 10**5000, -(7**9000)], ids=["2^53", "-2^53-1", "10^5000", "-7^9000"]
)
def test_integers_of_any_size_travel(number: int) -> None:
    assert decode(encode(number)) == number


class Color(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Liar(int):
    """A five that says it is anything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __index__(self) -> int:
        return 42

    def __repr__(self) -> str:
        return "42"


class LyingList(list[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([42])

    def __len__(self) -> int:
        return 1


class LyingText(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "the expected answer"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, 1),
        (Point(1, 2), (1, 2)),
        (numpy.int64(3), 3),
        (numpy.bool_(True), True),
        (numpy.float64(0.5), 0.5),
        (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (int, int),
        (LyingList([1, 2]), [1, 2]),
        (LyingText("mine"), "mine"),
        ([{Color.RED: LyingText("mine")}], [{1: "mine"}]),
    ],
)
def test_what_is_built_on_a_plain_value_becomes_that_value(value: object, plain: object) -> None:
    assert same_in_every_type(decode(encode(value)), plain)


class Anything:
    """Equal to everything, and of every type by its own account."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as a class with such an __eq__ has it

    @property  # type: ignore[misc]  # the lie is the point
    def __class__(self) -> type:
        return int


@pytest.mark.parametrize(
    "value",
    [
        Anything(),
        object(),
        [Anything()],
        lambda: 1,
        Anything,
        collections,
        Liar(5),
        iter([1]),
        (x for x in "ab"),
        map(str, []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_of_a_class_of_its_own_does_not_travel(value: object) -> None:
    with pytest.raises(NotPlainError):
        encode(value)


ZONE = datetime.timezone(datetime.timedelta(hours=2))
STANDARD = [
    decimal.Decimal("1.50"),
    decimal.Decimal("1E+50"),
    fractions.Fraction(-3, 4),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, ZONE, fold=1),
    datetime.time(1, 2),
    datetime.timedelta(-1, 5),
    ZONE,
    datetime.timezone(datetime.timedelta(hours=1), "Here"),
    uuid.UUID(int=5),
    range(1, 9, 2),
    slice(1, None, 2),
    bytearray(b"ab"),
    collections.deque([1, (2,)], 3),
    collections.Counter("aab"),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(int, a=1),
    types.MappingProxyType({"a": 1}),
    types.SimpleNamespace(a=[1]),
    Path("a/b"),
    PurePosixPath("x"),
    {1: 2}.keys(),
    {1: 2}.items(),
    ...,
    NotImplemented,
]


@pytest.mark.parametrize("value", STANDARD, ids=lambda value: type(value).__name__)
def test_a_value_of_the_standard_library_comes_back_as_what_it_was(value: Any) -> None:
    again = decode(encode([value]))[0]
    assert type(again) is type(value)
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize("kind", [collections.Counter, collections.OrderedDict, dict])
def test_a_dict_of_another_type_may_be_written_as_the_dict_that_it_equals(kind: Any) -> None:
    assert type(decode(encode(kind({"a": 1}), as_dict=True))) is dict


def test_a_value_that_holds_itself_is_refused() -> None:
    knot: list[Any] = [1]
    knot.append({"me": knot})
    with pytest.raises(NotPlainError, match="contains itself"):
        encode(knot)


def test_a_value_that_holds_another_many_times_is_no_knot() -> None:
    shared = [1]
    assert decode(encode([shared, shared])) == [[1], [1]]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def doubled(times: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize("value", [nested(MAX_DEPTH + 1), doubled(30), "x" * (1 << 21)])
def test_too_much_is_refused_soon(value: object) -> None:
    with pytest.raises(TooLargeError):
        encode(value)


def test_what_may_be_written_may_be_read() -> None:
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(MalformedError):
        decode("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "text",
    [
        pickle.dumps([1, 2]),
        b"\xff\xfe",
        "",
        "[" * 100_000,
        '{"t": [1], "l": [2]}',
        '{"unknown": 1}',
        '{"i": 5}',
        '{"f": "1e400"}',
        '{"y": "__import__"}',
        '{"s": [[1]]}',
        '{"d": [[1]]}',
        '{"c": [1, 2]}',
        '{"o": 1}',
        '{"m": [1, []]}',
        '{"k": "print"}',
        '{"v": []}',
        '{"v": ["Path", "a"]}',
        '{"v": ["range", 1, 2, 0]}',
        '{"v": ["range", 1, 2, "x"]}',
        '{"v": ["date", 2024, 2, 30]}',
        '{"v": ["Decimal", "1E999999"]}',
        '{"v": ["Decimal", "1_0"]}',
        '{"v": ["Fraction", 1, 0]}',
        '{"v": ["ZoneInfo", "../../etc/passwd"]}',
        '{"v": ["Counter", []]}',
        '{"v": ["defaultdict", 5, {"d": []}]}',
        '{"v": ["SimpleNamespace", {"d": [[1, 2]]}]}',
        '{"v": ["dict_keys", [1]]}',
        "NaN",
        "9" * 5000,
    ],
)
def test_text_that_no_writer_wrote_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedError):
        decode(text)


@pytest.mark.parametrize("tag", ["s", "z", "d"])
def test_keys_that_were_chosen_to_collide_are_refused(tag: str) -> None:
    keys = [{"i": hex(1 + n * (2**61 - 1))} for n in range(20_000)]
    with pytest.raises(MalformedError, match="one hash"):
        decode(json.dumps({tag: [[key, 0] for key in keys] if tag == "d" else keys}))


def test_a_record_is_a_value_or_a_failure_and_never_says_that_it_passed() -> None:
    assert read(answer(3, lambda: (1, "a")).encode()) == (3, (1, "a"), None, "", ())
    assert read(answer(0, lambda: 1 / 0).encode()).outcome == "runtime_error"
    passed = '{"i": 0, "outcome": "passed", "detail": "", "raised": []}'
    for forged in (passed, '{"i": 0, "v": 1, "passed": true}', "1"):
        with pytest.raises(MalformedError):
            read(forged.encode())


def test_nan_and_infinity_are_written_as_json() -> None:
    tree = json.loads(encode([math.inf, -math.inf, math.nan]), parse_constant=pytest.fail)
    assert tree == [{"f": "inf"}, {"f": "-inf"}, {"f": "nan"}]
