"""Reading mathematics: every notation as a tree that accounts for all of the text, or not at all."""

import json
from pathlib import Path

import pytest
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl_grading.layout import clean
from reasonrl_grading.nodes import (
    Call,
    Choice,
    Clock,
    Collection,
    Matrix,
    Node,
    Number,
    Piecewise,
    Quantity,
    Ratio,
    Relation,
    Symbol,
    Table,
    Words,
)
from reasonrl_grading.parser import parse
from reasonrl_grading.source import MAX_DEPTH

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
X, Y, N = Symbol("x"), Symbol("y"), Symbol("n")


def read(text: str) -> Node | None:
    return parse(clean(text))


def num(value: int) -> Number:
    return Number(fmpq(value))


def rel(left: Node, sign: str, right: Node) -> Relation:
    return Relation((left, right), (sign,))


def system(*relations: Relation) -> Collection:
    return Collection("system", relations)


def grid(*rows: tuple[int, ...]) -> tuple[tuple[Node, ...], ...]:
    return tuple(tuple(map(num, row)) for row in rows)


SQUARE = Matrix(grid((1, 2), (3, 4)))
ONE_AND_TWO = system(rel(X, "=", num(1)), rel(Y, "=", num(2)))
ABSOLUTE = Piecewise(((X, rel(X, ">=", num(0))), (read("-x") or X, None)))

ENVIRONMENTS = [
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", SQUARE),
    (r"\begin{bmatrix}1&2\\3&4\\\end{bmatrix}", SQUARE),
    (r"\begin{Bmatrix}1&2\\3&4\end{Bmatrix}", SQUARE),
    (r"\begin{pmatrix}1&2\cr 3&4\end{pmatrix}", SQUARE),
    (r"\begin{pmatrix}1&2\\[2pt] 3&4\end{pmatrix}", SQUARE),
    (r"\left(\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right)", SQUARE),
    (r"\left[\begin{array}{@{}cc@{}} 1 & 2 \\ 3 & 4 \end{array}\right]", SQUARE),
    (r"\bigl(\begin{smallmatrix} 1 & 2 \\ 3 & 4 \end{smallmatrix}\bigr)", SQUARE),
    (r"\left[\begin{array}{c|c} 1 & 2 \\ 3 & 4 \end{array}\right]", Matrix(SQUARE.rows, (1,))),
    (r"\begin{bmatrix}[c|c] 1 & 2 \\ 3 & 4 \end{bmatrix}", Matrix(SQUARE.rows, (1,))),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", Call("det", (SQUARE,))),
    (r"\left|\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right|", Call("det", (SQUARE,))),
    (r"\left|\begin{matrix} 1 & 2 \\ 3 & 4 \end{matrix}\right|", Call("det", (SQUARE,))),
    (r"\det\begin{pmatrix}1&2\\3&4\end{pmatrix}", Call("det", (SQUARE,))),
    (r"\det\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", Call("det", (SQUARE,))),
    (r"\begin{Vmatrix}1&2\\3&4\end{Vmatrix}", Call("norm", (SQUARE,))),
    (r"\left\|\begin{matrix}1&2\\3&4\end{matrix}\right\|", Call("norm", (SQUARE,))),
    (r"\begin{array}{cc} 1 & -2 \\ 3 & 4 \end{array}", Table(grid((1, -2), (3, 4)))),
    (r"\begin{tabular}{|c|c|} \hline 1 & 2 \\ \hline 3 & 4 \\ \hline \end{tabular}", Table(SQUARE.rows, (1,))),
    (r"\begin{cases} x=1 \\ y=2 \end{cases}", ONE_AND_TWO),
    (r"\begin{cases} x=1, \\ y=2. \end{cases}", ONE_AND_TWO),
    (r"\begin{cases} x &= 1 \\ y &= 2 \end{cases}", ONE_AND_TWO),
    (r"\left\{ \begin{array}{l} x=1 \\ y=2 \end{array} \right.", ONE_AND_TWO),
    (r"\left\{\begin{aligned} x&=1 \\ y&=2 \end{aligned}\right.", ONE_AND_TWO),
    (r"\left.\begin{matrix} x=1 \\ y=2 \end{matrix}\right\}", ONE_AND_TWO),
    (r"\begin{array}{rcl} x &=& 1 \\ y &=& 2 \end{array}", ONE_AND_TWO),
    (r"\begin{eqnarray*} x &=& 1 \\ y &=& 2 \end{eqnarray*}", ONE_AND_TWO),
    (r"\begin{align*} x &= 1 \\ y &= 2 \end{align*}", ONE_AND_TWO),
    (r"\begin{aligned} x &= 1 & y &= 2 \end{aligned}", ONE_AND_TWO),
    (r"\begin{gathered} x=1 \\ y=2 \end{gathered}", ONE_AND_TWO),
    (r"\begin{aligned} x &= y \\ &= 2 \end{aligned}", Relation((X, Y, num(2)), ("=", "="))),
    (r"\begin{split} x &= y \\ &= 2 \end{split}", Relation((X, Y, num(2)), ("=", "="))),
    (r"\begin{aligned} x &= y \\ &\quad + 2 \end{aligned}", rel(X, "=", read("y+2") or X)),
    (r"\begin{equation} x = 1 \end{equation}", rel(X, "=", num(1))),
    (r"\begin{cases} x & \text{if } x \ge 0, \\ -x & \text{otherwise.} \end{cases}", ABSOLUTE),
    (r"\begin{cases} x, & x \ge 0 \\ -x, & \text{else} \end{cases}", ABSOLUTE),
    (r"\begin{cases} x, x \ge 0 \\ -x, \text{otherwise} \end{cases}", ABSOLUTE),
    (r"\begin{cases} x \text{ if } x \ge 0 \\ -x \text{ otherwise} \end{cases}", ABSOLUTE),
    (r"\begin{dcases} x & \text{for $x \ge 0$} \\ -x & \text{otherwise} \end{dcases}", ABSOLUTE),
    (r"\left\{\begin{array}{ll} x & \mbox{when } x\ge 0 \\ -x & \mbox{otherwise} \end{array}\right.", ABSOLUTE),
    (r"f(x)=\begin{cases} x & x \ge 0 \\ -x & \text{otherwise} \end{cases}", rel(Symbol("f(x)"), "=", ABSOLUTE)),
    (
        r"\begin{cases} 1 & n \text{ even} \\ 0 & n = 3 \end{cases}",
        Piecewise(((num(1), Words("n even")), (num(0), rel(N, "=", num(3))))),
    ),
]


@pytest.mark.parametrize(("text", "node"), ENVIRONMENTS)
def test_an_environment_is_read_as_what_it_states(text: str, node: Node) -> None:
    assert read(text) == node


SAME = [
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    (r"10{,}000", "10000"),
    (r"10\,000", "10000"),
    ("10~000", "10000"),
    ("10\u202f000", "10000"),
    ("10\u00a0000", "10000"),
    ("10\u2009000", "10000"),
    (r"2^6 3^5 5^4", r"2^6 \cdot 3^5 \cdot 5^4"),
    (r"2^6\, 300", r"2^6 \cdot 300"),
    (r"\text{B. } 5", "(B) 5"),
    (r"\text{B.} 5", "(B) 5"),
    ("**B.** 5", "(B) 5"),
    (r"\mathbf{(B)}\ 5", "(B) 5"),
    (r"\boxed{{B}}", "B"),
    (r"(C) \text{ 5 cm}", "(C) 5 cm"),
    ("Area: 5", r"\text{Area} = 5"),
    (r"\text{Total cost: } \$5", r"\text{Total cost} = \$5"),
    ("{{5}}", "5"),
    (r"\mathrm{(B)}", "B"),
    (r"5 cm^2", r"5 \text{ square centimeters}"),
    (r"5\,\mathrm{m/s^2}", r"5 \text{ m}\cdot\text{s}^{-2}"),
    (r"5 \text{ units}^2", "5"),
    ("5!=120", "5! = 120"),
    (r"\sin 30 degrees", r"\sin 30^\circ"),
    (r"-\log_2 3", r"-\log_{2}{3}"),
    (r"-\sqrt[3]{5}", r"-\cbrt{5}"),
    (r"\color{red}{5}", "5"),
    (r"{\color{red}5}", "5"),
    (r"\textcolor{blue}{\frac12}", "1/2"),
    (r"\color{red}{10,080}", "10080"),
    (r"{\color{red}10,080}", "10080"),
    (r"\boxed{{10,\!080}}", "10080"),
    (r"\boldsymbol{90^\circ}", r"90^\circ"),
    (r"(B) .5", r"\textbf{(B)} .5"),
    (r"N = 52_8", "N = 52_{8}"),
    (r"5 \ ", "5"),
    (r"\textcolor[rgb]{1,0,0}{5}", "5"),
    (r"\nicefrac{1}{2}", "1/2"),
    (r"\sfrac12", "1/2"),
    (r"\boldsymbol{\frac{1}{2}}", "1/2"),
    (r"\mathbf{12.5}", "12.5"),
    ("π", r"\pi"),
    ("2𝜋𝑥", r"2\pi x"),
    ("x⁻¹ − √2", r"x^{-1}-\sqrt{2}"),
    ("2½", "5/2"),
    ("2ixy", "2 i x y"),
    (r"x \equiv 3 \text{ (mod } 7)", r"x \equiv 3 \pmod 7"),
    (r"x ≡ 3 (mod 7)", r"x \equiv 3 \pmod{7}"),
    (r"x \equiv 3 \bmod 7", r"x \equiv 3 \mod 7"),
    (r"x \equiv 1 \text{ or } 3 \pmod 8", r"x \equiv 1 \pmod 8 \text{ or } x \equiv 3 \pmod 8"),
    (r"x \not= 5", r"x \ne 5"),
    (r"x<1 \cup x>3", r"(x<1) \cup (x>3)"),
    ("5 thirds", "5/3"),
    ("2 lakh", "200000"),
    ("5 per mille", "0.005"),
    ("5‰", "1/200"),
    ("5 dozen", "60"),
    ("2 and a half", "5/2"),
    ("two and a half hours", "2.5 hours"),
    ("negative five", "-5"),
    ("5 percentage points", "5%"),
    ("50% of the students", "50%"),
    ("15 cups of flour", "15 cups"),
    ("$5.50 per hour", "5.50 dollars per hour"),
    ("noon", "12:00 PM"),
    ("3:30 in the afternoon", r"3\!:\!30 \text{ p.m.}"),
    ("x = 2πk, k ∈ ℤ", r"x = 2\pi k"),
    ("x=1, y=2 or x=2, y=1", r"x=1 \text{ and } y=2; x=2 \text{ and } y=1"),
    (r"\mathbb{R}^+", r"(0,\infty)"),
    (r"\therefore x = 5", "x = 5"),
    (r"5 \blacksquare", "5"),
    (r"\max\{1,2\}", r"\max(1,2)"),
    ("[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
]


@pytest.mark.parametrize(("text", "other"), SAME)
def test_writings_of_one_answer_are_read_alike(text: str, other: str) -> None:
    node, twin = read(text), read(other)
    assert node is not None
    assert not isinstance(node, Words)
    assert _exact(node) == _exact(twin)


def _exact(node: Node | None) -> Node | None:
    """Return a number without how many digits it was written with."""
    match node:
        case Number(value, _, _):
            return Number(value)
        case Quantity(value, unit):
            return Quantity(_exact(value) or value, unit)
    return node


UNREAD = [
    r"\begin{cases} 1 \\ 2 \end{cases}",
    r"\begin{cases} x & x>0 \\ -x \end{cases}",
    r"\begin{cases} x & \text{otherwise} \\ -x & x>0 \end{cases}",
    r"\begin{cases} x & x>0 \\ y=2 \end{cases}",
    r"\begin{cases} x=1 \text{ or } x=2 \\ y=2 \end{cases}",
    r"\begin{cases} x=1 \\ y=\qux{2} \end{cases}",
    r"x + \begin{cases} x=1 \\ y=2 \end{cases}",
    r"\begin{aligned} x &= 1 \\ 7 \end{aligned}",
    r"\begin{aligned} x &= 1 \\ \foo{3} \end{aligned}",
    r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} 5",
    r"\left|\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right)",
    r"\left\langle\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right\rangle",
    r"\begin{foo} 7 \end{foo}",
    r"\begin{pmatrix} 7",
    r"7 \end{pmatrix}",
    r"(-\infty,1), 2 \cup 3",
    r"2 \cup 3",
    "2 3",
    "2{5}",
    "{2}{5}",
    "{5}3",
    "5--7",
    "5!!",
    "1.2.3",
    r"\log_{-}",
    r"\cancel{5}6",
    r"\overset{?}{5}",
    r"\underbrace{5}_{2}",
    r"\textcolor{5}{3}",
    r"(1,= 7)",
    r"3 \equiv 5",
    r"x \equiv 3 \pmod",
    "5+",
    "(5",
    r"\frac{1}{2",
    "5m 20s",
    "(5]",
    "[5)",
    r"x \square",
]


@pytest.mark.parametrize("text", UNREAD)
def test_what_cannot_be_read_in_full_is_not_read_in_part(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "at least 5", "5 at least", "5 or so", "5 or more", "5 more", "5 less", "5 fewer", "5 plus", "5 minus",
        "5 half", "5 gross", "5 score", "5 ones", "5 quarters",
        "5 squared", "5 factorial", "5 square", "5 root", "5 below zero",
        "5 negative", "5 years ago", "5 not", "not 5", "5 of 7", "5 out of 7", "5 percent increase", "5 basis points",
        "5 ppm", "5 maybe", "5 false", "5 approximately", "about 5", "no more than 5", "5 times 3", "5 divided by 2",
        "5 over 2", "5 to the power 2", "5 or less", "5 and counting", "5 apple", "5ish", "5-fold", "50% of 20",
        "5 students in the class", "7 for no integer", "7 with integer parts 5", "5 is the answer",
        "Not: 5", "lambda: 5", "Anything but: 5", "At least: 5", "5 cm-", "5 cm per", "5 a", "5 of the",
        "five six", "five and six", "five-six", "-five", "twenty eleven", "two million million", "not five", "5 mod 7",
        r"7, 8 \in \mathbb{Z}", r"7, x \in \mathbb{R}", "5 thirds", "5 tens", "5 hundredths", "5 million",
    ],
)  # fmt: skip
def test_words_after_a_number_that_change_it_are_never_dropped(text: str) -> None:
    """Neither five nor seven is what these say: they are text, a list, another number, or not read."""
    node = read(text)
    value = node.value if isinstance(node, Quantity) else node
    assert value not in {num(5), num(7), num(11), num(-5), num(31)}


@pytest.mark.parametrize(
    "text",
    [
        "5 apples", "5 ways", "5 cards left", "5 red marbles", "5 people", "5 tickets in total", "5 of the marbles",
        "5 each", "5 square units", "5 units", "5 times",
        "5 years old", "5 feet tall", "5 meters of rope", "5 children per family",
        "5 rupees", "5th", "5 kilowatt-hours", r"5\text{ boxes}", "five apples", "5 dollar bills", "5 only",
    ],
)  # fmt: skip
def test_units_and_counted_things_leave_the_number_as_it_is(text: str) -> None:
    node = read(text)
    assert (node.value if isinstance(node, Quantity) else node) == num(5)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("1:00", Clock(1, 0)),
        ("12:30 PM", Clock(12, 30, None, "pm")),
        ("12:30 a.m.", Clock(0, 30, None, "am")),
        ("7:45 a.m.", Clock(7, 45, None, "am")),
        ("24:00", Clock(24, 0)),
        ("1:02:03", Clock(1, 2, 3)),
        ("3 p.m.", Clock(15, 0, None, "pm")),
        ("5 o'clock", Clock(5, 0)),
        ("15:30 PM", Clock(15, 30, None, "pm")),
        ("0:5", Ratio((num(0), num(5)))),
        ("3:4", Ratio((num(3), num(4)))),
        ("3 to 4", Ratio((num(3), num(4)))),
        ("AB : BC", Ratio((Symbol("AB"), Symbol("BC")))),
        ("25:30", Ratio((num(25), num(30)))),
        ("1:60", Ratio((num(1), num(60)))),
        ("1:2:3", Ratio((num(1), num(2), num(3)))),
        ("1:100", Ratio((num(1), num(100)))),
    ],
)
def test_two_digits_after_a_colon_are_minutes_and_all_else_is_a_ratio(text: str, node: Node) -> None:
    assert read(text) == node


@pytest.mark.parametrize("text", ["13 AM", "0:30 PM", "3 noon", "3:30 a.m. in the evening", "25:30 PM"])
def test_a_time_that_is_none_is_neither_a_time_nor_a_number(text: str) -> None:
    assert isinstance(read(text), Words | None)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("Yes", Words("Yes")),
        (r"\text{No}", Words("No")),
        ("True", Words("True")),
        (r"\text{B}", Symbol("B")),
        (r"\textbf{(B)}\ 5", Choice("B", num(5))),
        ("f(x)=5", rel(Symbol("f(x)"), "=", num(5))),
        ("p(x) = 5", rel(Symbol("p(x)"), "=", num(5))),
        (r"f^{-1}(x) = 5", rel(Symbol("f^-1(x)"), "=", num(5))),
        ("x != 5", rel(X, "!=", num(5))),
        ("n!=5", rel(N, "!=", num(5))),
    ],
)
def test_words_labels_and_heads_keep_their_meaning(text: str, node: Node) -> None:
    assert read(text) == node


def test_a_unit_of_one_letter_is_no_article() -> None:
    ampere, volt = read("5 A"), read("5 V")
    assert isinstance(ampere, Quantity)
    assert isinstance(volt, Quantity)
    assert ampere.unit != volt.unit


# -- nothing is dropped

SAMPLES = [text for text, _ in ENVIRONMENTS] + [
    r"\frac{1}{2}", r"2\sqrt{3}", "x^2+3x+1", r"(1,\infty)", r"\{1,2,3\}", r"5 \text{ cm}", "12 apples", "3:30 PM",
    "3:4", r"x \equiv 3 \pmod 7", r"(-\infty,1) \cup (2,3)", "a=3, b=4", r"\log_2 3", r"5^\circ", "50%", "2 1/3",
    "1,234,567",
    r"\pm 3", "1011_2", r"\lfloor x \rfloor", "|x-1|", r"\binom{5}{2}", r"\text{Monday}", "(B) 5", r"e^{i\pi}",
]  # fmt: skip
SPECIFICATION = [r"{cc}", r"{@{}cc@{}}", r"{c|c}", r"[c|c]", r"{|c|c|}", r"{l}", r"{ll}", r"{rcl}", r"[2pt]"]


@pytest.mark.parametrize("text", SAMPLES)
def test_whatever_is_put_into_an_answer_changes_what_is_read(text: str) -> None:
    node = read(text)
    assert node is not None
    layout = {at for part in SPECIFICATION for start in _places(text, part) for at in range(start, start + len(part))}
    for added in ("7", " or 8", r"\qux{3}"):
        unchanged = [at for at in range(len(text) + 1) if read(text[:at] + added + text[at:]) == node]
        assert set(unchanged) <= layout, [text[:at] + added + text[at:] for at in unchanged]


def _places(text: str, part: str) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(part, at)]


def test_and_binds_closer_than_or() -> None:
    one, two, five = (rel(X, sign, num(value)) for sign, value in ((">", 1), ("<", 2), (">", 5)))
    assert read("x>1 and x<2 or x>5") == Collection("or", (Collection("and", (one, two)), five))
    assert read("1, 2 or 3") == Collection("or", (num(1), num(2), num(3)))
    assert read("1 and 2 or 3") == Words("1 and 2 or 3")


def test_an_expression_that_is_kept_as_text_keeps_its_groups() -> None:
    assert read(r"\lim_{x\to 0} \frac{1}{23}x") != read(r"\lim_{x\to 0} \frac{12}{3}x")
    assert read(r"\lim_{x\to 0} x^{2}3") != read(r"\lim_{x\to 0} x^{23}")
    assert read(r"f(12)") != read(r"f(1 2)")
    assert read(r"\lim_{x\to{0}} {x}") == read(r"\lim_{x \to 0} x")


# -- no text raises, or takes more than its limits

COMMANDS = (
    r"\frac \sqrt[3] \pi \pm \cup \in \{ \} \infty \text{cm} \text{or} \text{if} \sin \log \\ \le \left( \right) "
    r"\left\{ \right. \sum_{k=1}^{3} \int_0^1 \lfloor \rfloor \langle \rangle \overline{3} \mathbb{R} \setminus "
    r"\pmod \equiv \angle ^\circ and or cm mod \begin{cases} \end{cases} \begin{array}{cc} \end{array} "
    r"\begin{pmatrix} \end{pmatrix} \begin{aligned} \end{aligned} \begin{vmatrix} \end{vmatrix} \color{red} "
    r"\textcolor{blue}{ \boxed{ \mathbf{ \det \hline \not p.m. thirds dozen half at least per squared of the \over "
    r"\choose \binom \, \! {,} | \| "
)
FRAGMENTS = [*"0123456789xyabienABU+-*/^_(){}[],.|=<>!%$&':;~ \n√½²π∞−×≤∪‖°₹①ß漢", *COMMANDS.split()]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda space: space.join(pieces))
)


def test_no_two_fragments_of_latex_make_the_reader_raise() -> None:
    for one in FRAGMENTS:
        for other in FRAGMENTS:
            read(one + other)
            read(f"x{one}{other}1")


@settings(max_examples=600, deadline=None)
@given(TEXTS)
def test_no_fragments_of_latex_make_the_reader_raise(text: str) -> None:
    node = read(text)
    assert node == read(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    read(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from(["cases", "aligned", "pmatrix", "vmatrix", "gathered", "align*"]))
def test_anything_in_an_environment_is_read_in_full_or_not_at_all(inside: str, name: str) -> None:
    node = read(rf"\begin{{{name}}}{inside}\end{{{name}}}")
    assert node is None or read(rf"\begin{{{name}}}{inside}\\ \qux \end{{{name}}}") is None


DEEP = [
    "(" * 3000 + "1" + ")" * 3000,
    "{" * 2000 + "1" + "}" * 2000,
    r"\begin{cases}" * 60 + "x=1" + r"\end{cases}" * 60,
    r"\begin{pmatrix}" * 60 + "1" + r"\end{pmatrix}" * 60,
    r"\begin{aligned} x &= " * 60 + "1" + r"\end{aligned}" * 60,
    r"\left\{\begin{array}{l}" * 60 + "x=1" + r"\end{array}\right." * 60,
    r"\sqrt{" * 600 + "2" + "}" * 600,
    r"\text{" * 600 + "2" + "}" * 600,
    "x^" * 1000 + "2",
    r"\det" * 700 + "2",
    r"\sin" * 700 + "2",
    r"\frac" * 700 + "12",
    "-" * 4000 + "1",
    "|" * 4000,
    "!" * 4000,
    "A. " * 1300 + "5",
    "(A) " * 1000 + "5",
    "B: " * 1300,
]


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:20])
def test_what_nests_deeper_than_the_limit_is_not_read(text: str) -> None:
    assert MAX_DEPTH < 60
    assert read(text) is None or isinstance(read(text), Symbol | Words)


LONG = [
    r"\begin{cases}" + r"x & x>0 \\" * 300 + r"\end{cases}",
    r"\begin{aligned}" + r"x &= 1 \\" * 300 + r"\end{aligned}",
    r"\begin{pmatrix}" + r"1 & 2 \\" * 400 + r"\end{pmatrix}",
    r"\begin{cases}" * 300,
    r"\left\{\begin{array}{l}" * 170,
    r"\color{red}" * 350,
    "5 " + "apples " * 500,
    "5 " + "million " * 500,
    "one hundred and " * 250,
    "1 000 " * 600,
    "1:00:" * 800,
    "5!=" * 1300,
    "x \\cup " * 500 + "x",
    "(mod 7)" * 500,
    "{" + "a," * 2000 + "}",
    "\\text{ and }" * 340,
    "of the " * 580,
    "a_" * 2000,
    "12," * 1300,
]


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:20])
def test_long_texts_are_read_in_bounded_work(text: str) -> None:
    """Twice as much text takes less than eight times the steps of the interpreter, so no text takes over."""
    steps = [_steps(text[: len(text) // 2]), _steps(text)]
    assert steps[1] < 8 * steps[0] + 20_000
    assert steps[1] < 2_000_000


def _steps(text: str) -> int:
    """Return how many calls and returns reading a text takes."""
    import sys

    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(counted)
    try:
        read(text)
    finally:
        sys.setprofile(None)
    return count


# -- real answers


@pytest.mark.skipif(not DATA.is_dir(), reason="no data sets beside the checkout")
def test_every_answer_of_math_500_is_read() -> None:
    answers = [json.loads(line)["answer"] for line in (DATA / "math500.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer for answer in answers if read(answer) is None] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="no data sets beside the checkout")
def test_all_but_four_answers_of_math_are_read() -> None:
    rows = json.loads((DATA / "math_train.json").read_text(encoding="utf-8"))
    unread = {row["answer"] for row in rows if read(row["answer"] or "") is None}
    assert unread <= {None, "", r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}"}
