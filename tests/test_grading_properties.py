"""What holds of grading for any expression and any text."""

import time
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl_grading import compare_answers

COMMANDS = (
    r"\frac \sqrt \pi \pm \cup \in \{ \} \infty \text{cm} \text{or} \sin \log \begin{pmatrix} \end{pmatrix} \\ & "
    r"\le \left( \right) \sum \int \lfloor \rfloor \langle \rangle \overline{3} "
    r"\mathbb{R} \setminus \pmod \equiv \angle ^\circ and or cm"
)
PIECES = [*"0123456789xyabieU+-*/^_(){}[],.|=<>!%$ :;'√½²π", *COMMANDS.split()]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
NUMBERS = st.integers(-50, 50)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """Return an expression in x and y with brackets around every operation."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["x", "y", "2", "3", "7", r"\frac{1}{3}", r"\sqrt{2}", r"\pi"]))
    one, other = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    return draw(st.sampled_from([f"({one}+{other})", f"({one}-{other})", f"({one})({other})", f"({one})^2"]))


@given(expressions(), expressions(), expressions())
def test_reordered_and_expanded_expressions_are_equal(a: str, b: str, c: str) -> None:
    assert compare_answers(f"({a})({b}+{c})", f"{c}({a})+({b})({a})").right
    assert compare_answers(f"({a}+{b})^2", f"({a})^2+2({a})({b})+({b})^2").right
    assert compare_answers(f"({a})-({b})", f"-(({b})-({a}))").right


@given(expressions(), NUMBERS.filter(bool), st.integers(1, 40))
def test_an_expression_that_is_changed_a_little_is_another_one(a: str, top: int, bottom: int) -> None:
    assert compare_answers(f"{a}+\\frac{{{top}}}{{{bottom}}}", a).right is False
    assert compare_answers(f"{a}+\\frac{{{top}}}{{{bottom}}}x^3y^5", a).right is False


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_are_equal_exactly_when_their_values_are(one: Fraction, other: Fraction) -> None:
    written = rf"\frac{{{one.numerator * 3}}}{{{one.denominator * 3}}}"
    assert compare_answers(written, str(one)).right
    assert compare_answers(written, str(other)).right is (one == other)


@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_sets_have_no_order_and_tuples_have_one(items: list[int]) -> None:
    turned = items[1:] + items[:1]
    one, other = (", ".join(map(str, numbers)) for numbers in (items, turned))
    assert compare_answers(rf"\{{{one}\}}", rf"\{{{other}\}}").right
    assert compare_answers(one, other).right
    assert compare_answers(f"({one})", f"({other})").right is (items == turned)


@given(NUMBERS, NUMBERS)
def test_an_inequality_is_its_interval(low: int, high: int) -> None:
    if low < high:
        assert compare_answers(f"{low}<x\\le {high}", f"({low},{high}]").right
        assert compare_answers(f"{low}<x\\le {high}", f"({low},{high})").right is False
    assert compare_answers(f"x>{low}", rf"({low},\infty)").right
    assert compare_answers(f"x>{low}", f"x>{high}").right is (low == high)


@settings(max_examples=500)
@given(TEXTS, TEXTS)
def test_no_text_raises_or_takes_long(given_text: str, wanted: str) -> None:
    begun = time.process_time()
    comparison, turned = compare_answers(given_text, wanted), compare_answers(wanted, given_text)
    assert time.process_time() - begun < 2.0
    if comparison.right is not None and turned.right is not None:
        assert comparison.right == turned.right


@given(st.text())
def test_any_text_is_graded_against_itself_and_a_number(text: str) -> None:
    assert compare_answers(text, text).right in {True, None}
    assert compare_answers(text, "7").right in {True, False}
