"""What holds of grading for any expression and any text."""

import time
from fractions import Fraction

import pytest
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
SCALARS = [
    "x",
    "y",
    "n",
    "z",
    "i",
    "0",
    "1",
    "2",
    "-3",
    "7.25",
    "0.33333",
    r"\frac{1}{3}",
    r"\sqrt{2}",
    r"\pi",
    r"\infty",
    "1:00",
]
FORMS = (
    "{0}+{1}", "{0}-{1}", "({0})({1})", "({0})^{{{1}}}", r"\frac{{{0}}}{{{1}}}", r"\sqrt{{{0}}}", "|{0}|", r"\sin({0})",
    r"\ln({0})", r"\lfloor {0}\rfloor", "({0})!", r"\binom{{{0}}}{{{1}}}", "({0},{1})", "[{0},{1})", r"\{{{0},{1}\}}",
    "{0}, {1}", r"{0}\text{{ or }}{1}", "{0}={1}", "{0}<{1}", r"{0}\ne {1}", r"({0},{1})\cup[{1},\infty)", "{0}:{1}",
    r"{0}\%", r"{0}\text{{ cm}}", r"{0}\equiv {1}\pmod 7", r"x={0}, y={1}", "f(x)={0}", r"\pm {0}",
    r"\begin{{pmatrix}}{0}&{1}\\{1}&{0}\end{{pmatrix}}", r"\begin{{vmatrix}}{0}&1\\2&{1}\end{{vmatrix}}",
    r"\begin{{pmatrix}}{0}&1\\1&{1}\end{{pmatrix}}^{{-1}}", r"\begin{{cases}}{0}&x>1\\{1}&x\le 1\end{{cases}}",
    r"\begin{{cases}}x={0}\\y={1}\end{{cases}}", r"\begin{{cases}}{0}x+y=1\\x-{1}y=2\end{{cases}}",
    r"\sum_{{k=1}}^{{{0}}}({1})", r"\int_0^1 ({0})\,dx", "({0})^2+y^2={1}",
)  # fmt: skip
"""What a form makes of the texts of two smaller answers."""


@st.composite
def answers(draw: st.DrawFn, depth: int = 2) -> str:
    """Return an answer of any kind, well-formed as a rule."""
    if depth == 0:
        return draw(st.sampled_from(SCALARS))
    form = draw(st.sampled_from(FORMS))
    return form.format(*(draw(answers(depth=draw(st.integers(0, depth - 1)))) for _ in range(2)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Return two answers, of one form as often as not, so that they are often nearly equal."""
    if draw(st.booleans()):
        return draw(answers()), draw(answers())
    form = draw(st.sampled_from(FORMS))
    one, other, third = (draw(answers(depth=1)) for _ in range(3))
    return form.format(one, other), form.format(*draw(st.sampled_from([(one, third), (third, other), (other, one)])))


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


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_answers_of_any_kind_are_judged_alike_in_both_directions(pair: tuple[str, str]) -> None:
    begun = time.process_time()
    one, other = compare_answers(pair[0], pair[1]), compare_answers(pair[1], pair[0])
    assert time.process_time() - begun < 2.0
    assert None in (one.right, other.right) or one.right == other.right
    assert compare_answers(pair[0], pair[0]).right in {True, None}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(pairs())
def test_what_sympy_decides_agrees_with_values_and_is_the_same_in_both_directions(pair: tuple[str, str]) -> None:
    one, other = (compare_answers(*both, symbolic=True) for both in (pair, pair[::-1]))
    by_values = compare_answers(*pair)
    assert by_values.right is None or by_values.right == one.right
    assert None in (one.right, other.right) or one.right == other.right


@given(st.text())
def test_any_text_is_graded_against_itself_and_a_number(text: str) -> None:
    assert compare_answers(text, text).right in {True, None}
    assert compare_answers(text, "7").right in {True, False}
