"""Which values and texts count as equal, and that no answer makes the host work for long to find out."""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl_sandbox import ComparisonRules
from reasonrl_sandbox.child import codec
from reasonrl_sandbox.child.codec import MalformedError, decode, encode
from reasonrl_sandbox.compare import matches, same_lines, same_tokens

EXACT = ComparisonRules()
PYTHON = ComparisonRules(numbers="python")
NEAR = ComparisonRules(abs_tol=1e-6)
NEAR_PYTHON = ComparisonRules(numbers="python", rel_tol=1e-6)
JSON = ComparisonRules(tuple_is_list=True)
ALL = (EXACT, PYTHON, NEAR, NEAR_PYTHON, JSON)

KEYS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([-0.0, 0.5, 1.0, 2.0]) | st.text(max_size=2)
LEAVES = KEYS | st.floats() | st.complex_numbers() | st.binary(max_size=2) | st.integers()
HASHABLE = st.recursive(KEYS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    LEAVES | st.sets(HASHABLE, max_size=3) | st.frozensets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)


# ---- values


@given(VALUES, st.sampled_from(ALL))
def test_a_value_that_travelled_equals_itself(value: Any, rules: ComparisonRules) -> None:
    assert matches(decode(encode(value)), value, rules)


@given(VALUES, VALUES, st.sampled_from(ALL))
@settings(max_examples=150)
def test_being_equal_does_not_depend_on_which_is_expected(left: Any, right: Any, rules: ComparisonRules) -> None:
    assert matches(left, right, rules) is matches(right, left, rules)


ONES: tuple[Any, ...] = (
    1,
    1.0,
    True,
    1 + 0j,
    "1",
    b"1",
    "\uff11",
    [1],
    (1,),
    {1},
    frozenset({1}),
    {1: 1},
    {1.0: 1},
    {"1": 1},
    None,
)
NOTHINGS: tuple[Any, ...] = (0, 0.0, False, 0j, "", b"", [], (), set(), frozenset(), {}, None)
WRAPPED: dict[str, Callable[[Any], object]] = {
    "itself": lambda value: value,
    "in a list": lambda value: [value],
    "in a tuple": lambda value: (0, value),
    "in a dict": lambda value: {"a": value},
}
AS_KEY: dict[str, Callable[[Any], object]] = {
    "as a key": lambda value: {value: 0},
    "in a set": lambda value: {value},
    "in a key": lambda value: {(0, value): 0},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("values", [ONES, NOTHINGS], ids=["ones", "nothings"])
def test_values_of_different_types_differ_wherever_they_stand(values: tuple[Any, ...], wrapped: str) -> None:
    for left, right in combinations(map(WRAPPED[wrapped], values), 2):
        assert not matches(left, right, EXACT), (left, right)


@pytest.mark.parametrize("wrapped", AS_KEY)
def test_numbers_of_different_types_are_different_keys(wrapped: str) -> None:
    for left, right in combinations(map(AS_KEY[wrapped], (1, 1.0, True, 1 + 0j, "1", b"1")), 2):
        assert not matches(left, right, EXACT), (left, right)


NUMBERS = [
    # answer, expected: equal exactly, in Python's way, within a tolerance, within one in Python's way
    ((1, 1), (True, True, True, True)),
    ((1.0, 1), (False, True, True, True)),
    ((True, 1), (False, True, False, False)),
    ((True, 1.0), (False, True, False, False)),
    ((1 + 0j, 1.0), (False, False, False, False)),
    ((1 + 0j, 1 + 0j), (True, True, True, True)),
    ((1.0000001, 1), (False, False, True, True)),
    ((1 + 1e-7j, 1 + 0j), (False, False, True, True)),
    ((True, False), (False, False, False, False)),
    ((-0.0, 0.0), (True, True, True, True)),
    ((float("nan"), float("nan")), (True, True, True, True)),
    ((float("nan"), 1.0), (False, False, False, False)),
    ((float("inf"), float("inf")), (True, True, True, True)),
    ((float("inf"), 1e308), (False, False, False, False)),
    ((10**400, 10.0**300), (False, False, False, False)),
    ((2**53 + 1, float(2**53)), (False, False, True, True)),
    ((Decimal("0.5"), 0.5), (False, True, False, False)),
    ((Decimal("0.5"), Decimal("0.50")), (True, True, True, True)),
    ((Decimal("0.1"), 0.1), (False, False, False, False)),
    ((Decimal("0.1"), Decimal("0.1000000001")), (False, False, False, False)),
    ((Decimal("NaN"), Decimal("NaN")), (True, True, True, True)),
    ((Decimal("sNaN"), Decimal("sNaN")), (False, False, False, False)),
    ((Decimal("sNaN"), 1), (False, False, False, False)),
    ((Fraction(1, 2), 0.5), (False, True, False, False)),
    ((Fraction(4, 2), 2), (False, True, False, False)),
    ((Fraction(1, 3), 1 / 3), (False, False, False, False)),
    (("1", 1), (False, False, False, False)),
    ((None, 0), (False, False, False, False)),
]


@pytest.mark.parametrize(("pair", "equal"), NUMBERS)
def test_which_numbers_are_equal(pair: tuple[Any, Any], equal: tuple[bool, ...]) -> None:
    rules = (EXACT, PYTHON, NEAR, NEAR_PYTHON)
    for wrapped in WRAPPED.values():
        answer, expected = map(wrapped, pair)
        assert tuple(matches(answer, expected, each) for each in rules) == equal


def test_numbers_that_no_order_holds_for_do_not_stop_the_judge() -> None:
    for odd in ([Decimal("NaN"), Decimal(1)], [Decimal("sNaN"), Decimal(1)], [1j, 2]):
        for conversion in ("sorted", "set", "list", "int", "bool"):
            matches(odd, [1], ComparisonRules(conversions=(conversion,)))
            matches(odd[0], 1, ComparisonRules("truthy", conversions=(conversion,)))


def test_the_order_of_keys_and_of_items_of_a_set_is_free_and_that_of_a_list_is_not() -> None:
    assert matches({"a": 1, "b": 2}, {"b": 2, "a": 1}, EXACT)
    assert not matches(["a", "b"], ["b", "a"], EXACT)
    assert not matches({"a": 1}, {"a": 1, "b": 2}, EXACT)
    assert not matches([1, 2, 3], [1, 2], EXACT)


# ---- texts


@pytest.mark.parametrize(
    ("printed", "equal"),
    [
        ("12 5\n", True),
        ("  12\t5\r\n\r\n", True),
        ("12\n5", True),
        ("12\f5\v", True),
        ("12\u00a05", False),
        ("12\u20285", False),
        ("12\u20035", False),
        ("12\x1c5", False),
        ("12\x855", False),
        ("\ufeff12 5", False),
        ("12\u200b 5", False),
        ("\uff11\uff12 5", False),
        ("\u0661\u0662 5", False),
        ("\x1b[1m12\x1b[0m 5", False),
        ("12\0 5", False),
        ("+12 5", False),
        ("12.0 5", False),
        ("012 5", False),
        ("1_2 5", False),
        ("12 5 ", True),
        ("12 5 0", False),
        ("12", False),
    ],
)
def test_which_outputs_are_the_words_12_and_5(printed: str, equal: bool) -> None:
    assert same_tokens(printed, "12 5\n") is equal


@pytest.mark.parametrize(
    ("printed", "equal"),
    [
        *[(word, True) for word in ("1000", "+1000", "1000.0", "1e3", "1E+3", "01000.", "1000.0000001")],
        *[(word, False) for word in ("1_000", "1,000", "0x3e8", "1000+0j", "2000/2", "1000L", "1000%", "--1000", "1e")],
        *[(word, False) for word in ("nan", "inf", "1e999", "\uff11000", "\u0661e3", "\u00bd", "1000\0", ".")],
    ],
)
def test_which_words_are_the_number_1000_within_a_tolerance(printed: str, equal: bool) -> None:
    for rules in ({"abs_tol": 1e-6}, {"rel_tol": 1e-9}):
        assert same_tokens(printed, "1000", **rules) is equal
        assert same_tokens("1000", printed, **rules) is equal


def test_words_that_are_no_finite_numbers_are_compared_as_text_also_within_a_tolerance() -> None:
    for word in ("nan", "inf", "-inf", "1e999", "x", "\uff11"):
        assert same_tokens(word, word, abs_tol=1.0)
    assert not same_tokens("NaN", "nan", abs_tol=1.0)
    assert not same_tokens("Infinity", "inf", abs_tol=1.0)


@pytest.mark.parametrize(
    ("printed", "equal"),
    [
        ("a b\nc", True),
        ("a b \t\r\nc\n\n \n", True),
        ("a b\u00a0\nc", False),
        ("a b\nc\n\u2003\n", False),
        ("a b\u2028c", False),
        ("a b\rc", False),
        ("a  b\nc", False),
        ("\na b\nc", False),
    ],
)
def test_which_outputs_are_the_lines_a_b_and_c(printed: str, equal: bool) -> None:
    assert same_lines(printed, "a b\nc\n") is equal


@given(st.text(alphabet="a1 .e+-\n\t\u00a0\u2028\uff11e\u0301\u00e9", max_size=12))
def test_characters_that_look_alike_are_different_words(text: str) -> None:
    for same in (same_tokens, same_lines):
        assert same(text, text)
        assert not same(text + "\u00e9", text + "e\u0301")


# ---- time

CPU_S = 10.0
"""CPU seconds that reading and comparing any answer takes at most, on a slow and busy machine; each takes under 2."""

PRIME = 2**61 - 1
"""Integers that are equal modulo this have one hash."""


def nested(sizes: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """Return the tree of a set of sets that differ in one item each, whose hashes are all equal."""
    first, *rest = sizes
    items = [*range(1, first), 1000 + seed]
    return {"z": [nested(tuple(rest), item) if rest else {"i": hex(item * PRIME)} for item in items]}


@cache
def crowded_table() -> list[int]:
    """Return keys of different hashes; after the first ones, each look-up goes through most of a dict's table."""
    mask, place, filled, keys, number = 2**15 - 1, 1, dict[int, int](), list[int](), 2**15
    for step in range(20_000):
        place = (5 * place + 1) & mask
        filled[place] = step
    while len(keys) < 400:
        number += 1237
        here, rest = number & mask, number
        while rest and here in filled:
            rest >>= 5
            here = (5 * here + rest + 1) & mask
        if not rest and filled.get(here, 20_000) < 2_500:
            keys.append(number)
    return [*filled, *keys]


SLOW: dict[str, Callable[[], object]] = {
    "sets of sets of sets": lambda: nested((32, 32, 32)),
    "sets in four levels": lambda: nested((12, 12, 12, 12)),
    "long tuples of one hash": lambda: {
        "s": [{"t": [*[{"t": list(range(300))}], {"i": hex(number * PRIME)}]} for number in range(60)]
    },
    "integers of one hash": lambda: {"s": [{"i": hex(number * PRIME)} for number in range(40_000)]},
    "floats of one hash": lambda: {"d": [[float(2**61 * 2 ** (61 * number)), 0] for number in range(15)] * 2000},
    "a crowded table": lambda: {"d": [[key, 0] for key in crowded_table()]},
    "deep lists": lambda: json.loads("[" * 60 + "1" * 1000 + "]" * 60),
    "a huge integer": lambda: {"i": "0x" + "f" * 1_000_000},
    "many items": lambda: [[0] * 400] * 400,
}


@pytest.mark.parametrize("what", SLOW)
def test_no_answer_keeps_the_host_busy(what: str) -> None:
    text = json.dumps(SLOW[what](), separators=(",", ":"))
    began_s = time.thread_time()
    try:
        answer = decode(text)
        for rules in (EXACT, ComparisonRules(conversions=("list", "set")), ComparisonRules(conversions=("sorted",))):
            matches(answer, {1: 2}, rules)
            matches(answer, answer, rules)
    except MalformedError:
        pass
    assert time.thread_time() - began_s < CPU_S


def test_keys_that_take_too_long_to_look_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = encode(set(range(1000)))
    assert decode(text) == set(range(1000))
    monkeypatch.setattr(codec, "MAX_KEYS_S", 0.0)
    with pytest.raises(MalformedError, match="in one part of a table"):
        decode(text)


ITEMS: dict[str, Callable[[], list[Any]]] = {
    "one hash": lambda: [number * PRIME for number in range(50_000)],
    "one hash, repeated": lambda: [number * PRIME for number in range(60)] * 5_000,
    "a crowded table": crowded_table,
    "long tuples": lambda: [(tuple(range(200)), number % 60 * PRIME) for number in range(5_000)],
}


@pytest.mark.parametrize("what", ITEMS)
def test_a_set_that_a_test_makes_of_an_answer_does_not_keep_the_host_busy(what: str) -> None:
    items, began_s = ITEMS[what](), time.thread_time()
    matches(items, {0}, ComparisonRules(conversions=("set",)))
    assert time.thread_time() - began_s < CPU_S


def test_long_outputs_are_compared_in_linear_time() -> None:
    began_s = time.thread_time()
    for part in ("9", "1e", " ", "\n", "0 ", "1.", "\u00a0"):
        text = part * 500_000
        same_tokens(text, text + "1", abs_tol=1e-6)
        same_lines(text, text + "1")
    assert time.thread_time() - began_s < CPU_S


HONEST = {
    "a grid": {(x, y, z) for x, y, z in product(range(-12, 12), repeat=3)},
    "powers of two": {2**number for number in range(1000)},
    "primes": {number: number for number in range(3, 60_001, 2)},
    "negative numbers": [{-1, -2}, {-1: 1, -2: 2}] * 2000,
    "sets of sets": {frozenset({number, -number}) for number in range(3000)},
    "words": {str(number): [number] for number in range(30_000)},
    "repeated items": [-1, -2] * 50_000,
}


@pytest.mark.parametrize("what", HONEST)
def test_ordinary_sets_and_dicts_of_any_size_are_read(what: str) -> None:
    value = HONEST[what]
    assert matches(decode(encode(value, 1 << 22)), value, EXACT)
    assert what != "repeated items" or matches(value, {-1, -2}, ComparisonRules(conversions=("set",)))
