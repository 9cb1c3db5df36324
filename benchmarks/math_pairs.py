"""Pairs of math answers whose equality is known because of how they are made.

A maker draws one value and writes it down: as the wanted answer, in other ways that denote the same value, and in ways
that denote another one. Equal forms follow by a rewriting (an expanded product, a split root, a scaled equation).
Unequal forms differ by a fact: other digits, other coefficients of a polynomial, or other rational coefficients of
1, sqrt(d) and pi, which are independent over the rationals.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, gcd
from random import Random

UNKNOWNS = "xyzabnt"
SQUARE_FREE = (2, 3, 5, 6, 7, 10, 11, 13, 15, 17, 19, 21)
UNITS = {
    "length": ("cm", "m", "km", "inches", "feet"),
    "time": ("seconds", "minutes", "hours"),
    "mass": ("kg", "g"),
    "area": ("cm^2", "m^2"),
}
WORDS = ("Monday", "Tuesday", "Friday", "Evelyn", "Carla", "odd", "even", "ellipse", "parabola", "Yes", "No", "red")
LETTERS = "ABCDEF"
DECIMAL_PLACES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers and whether the second is right."""

    kind: str
    """Class of the wanted answer."""
    wanted: str
    given: str
    right: bool


@dataclass(frozen=True, slots=True)
class Forms:
    """One value written down, and others."""

    wanted: str
    equal: Sequence[str]
    """Other ways to write the same."""
    unequal: Sequence[str]
    """What is not the same."""


Maker = Callable[[Random], Forms]


def pairs(count: int, seed: int) -> list[Pair]:
    """Return pairs with the classes in their shares, half of them right."""
    rng = Random(seed)
    kinds = rng.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    return [draw(rng, kind, right=index % 2 == 0) for index, kind in enumerate(kinds)]


def draw(rng: Random, kind: str, *, right: bool) -> Pair:
    """Return one pair of a class."""
    forms = rng.choice(MAKERS[kind])(rng)
    given = rng.choice(forms.equal if right else forms.unequal)
    return Pair(kind=kind, wanted=forms.wanted, given=dressed(rng, given), right=right)


def dressed(rng: Random, text: str) -> str:
    """Return an answer with other spacing or another size of fractions: nothing that changes its value."""
    dresses = (
        text.replace(r"\frac", r"\dfrac"),
        text.replace(r"\frac", r"\tfrac"),
        f" {text} ",
        rf"\displaystyle {text}",
        text.replace("+", " + "),
    )
    return rng.choice((*dresses, *(text for _ in dresses)))


def forms(wanted: str, equal: str, unequal: str, **values: object) -> Forms:
    """Return forms from templates, one a line, in which ``<name>`` stands for a value."""

    def filled(template: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: str(values[found[1]]), template.strip())

    return Forms(filled(wanted), *([filled(line) for line in lines.strip().splitlines()] for lines in (equal, unequal)))


# Numbers


def some_fraction(rng: Random) -> Fraction:
    """Return a fraction that is no integer."""
    while True:
        value = Fraction(rng.randrange(1, 100), rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 25, 36, 99, 216)))
        if value.denominator > 1:
            return value * rng.choice((1, 1, 1, -1))


def tex(value: Fraction | int) -> str:
    r"""Write a rational number as ``\frac``."""
    value = Fraction(value)
    sign, over = "-" if value < 0 else "", abs(value.numerator)
    return f"{sign}{over}" if value.denominator == 1 else rf"{sign}\frac{{{over}}}{{{value.denominator}}}"


def written_out(value: Fraction) -> str:
    """Write a rational number as a decimal where that ends soon, else as a fraction."""
    if 10**DECIMAL_PLACES % value.denominator:
        return f"{value.numerator}/{value.denominator}"
    digits = f"{abs(value.numerator) * 10**DECIMAL_PLACES // value.denominator:0{DECIMAL_PLACES + 1}d}"
    point = len(digits) - DECIMAL_PLACES
    return ("-" if value < 0 else "") + f"{digits[:point]}.{digits[point:]}".rstrip("0").rstrip(".")


def integer(rng: Random) -> Forms:
    """An integer of the sizes that answers have, never 0."""
    number = rng.randrange(1, rng.choice((10, 100, 100, 1000, 1000, 10_000, 1_000_000)))
    number *= -1 if rng.random() < 0.1 else 1
    return forms(
        "<n>",
        r"""
        <n>
        <n>
        <n>.0
        <grouped>
        <braced>
        x = <n>
        \text{<n>}
        \frac{<double>}{2}
        <n>.
        <less>+7
        <signed>
        """,
        r"""
        <other>
        <other>
        <n>0
        <negative>
        <n>.5
        x = <other>
        \frac{<n>}{<beyond>}
        <n>\%
        <n> + 3
        """,
        n=number,
        grouped=f"{number:,}",
        braced=f"{number:,}".replace(",", "{,}"),
        double=2 * number,
        less=number - 7,
        signed=f"{number:+d}",
        other=number + rng.choice((-100, -10, -2, -1, 1, 2, 10, 100)),
        negative=-number,
        beyond=abs(number) + 1,
    )


def fraction(rng: Random) -> Forms:
    """A fraction, in lowest terms."""
    value, times = some_fraction(rng), rng.randrange(2, 9)
    a, b = value.numerator, value.denominator
    return forms(
        tex(value),
        r"""
        <tex>
        <a>/<b>
        \frac{<a>}{<b>}
        \frac{<ta>}{<tb>}
        <a>\div <b>
        {<a> \over <b>}
        x = <tex>
        \frac{<na>}{-<b>}
        \left(<tex>\right)
        <decimal>
        """,
        r"""
        <other_a>
        <other_b>
        <negative>
        <one_more>
        <ten_times>
        <hundredth>
        <a>.<b>
        <decimal_more>
        """,
        tex=tex(value),
        a=a,
        b=b,
        ta=times * a,
        tb=times * b,
        na=-a,
        decimal=written_out(value),
        other_a=tex(Fraction(a + 1, b)),
        other_b=tex(Fraction(a, b + 1)),
        negative=tex(-value),
        one_more=tex(value + 1),
        ten_times=tex(10 * value),
        hundredth=tex(value / 100),
        decimal_more=written_out(value + 1),
    )


def decimal(rng: Random) -> Forms:
    """A decimal of two to five places."""
    places = rng.randrange(2, 6)
    digits = rng.randrange(1, 10 ** (places + 1)) * 10 + rng.randrange(1, 10)
    value = Fraction(digits, 10**places)
    text = f"{digits // 10**places}.{digits % 10**places:0{places}d}"
    return forms(
        text,
        r"""
        <text>
        <text>0
        <tex>
        <digits>/<scale>
        \text{<text>}
        x = <text>
        <digits> \times 10^{-<places>}
        <digits>e-<places>
        """,
        r"""
        <above>
        <ten_times>
        <hundredth>
        -<text>
        <one_more>
        <digits>
        """,
        text=text,
        tex=tex(value),
        digits=digits,
        scale=10**places,
        places=places,
        above=written_out(value + Fraction(10, 10**places)),
        ten_times=written_out(10 * value),
        hundredth=written_out(value / 100),
        one_more=tex(value + 1),
    )


def tiny_decimal(rng: Random) -> Forms:
    """A decimal that absolute rounding makes 0."""
    digit, power = rng.randrange(1, 9), rng.randrange(7, 20)
    return forms(
        "0.<zeros><digit>",
        r"""
        0.<zeros><digit>
        <digit> \times 10^{-<power>}
        \frac{<digit>}{10^{<power>}}
        <digit>e-<power>
        """,
        r"""
        0.<zeros><next>
        0.0<zeros><digit>
        <next> \times 10^{-<power>}
        <digit>e-<less>
        0
        """,
        zeros="0" * (power - 1),
        digit=digit,
        power=power,
        next=digit + 1,
        less=power - 1,
    )


def with_unit(rng: Random, number: str) -> Forms:
    """A number with a unit."""
    family = rng.choice(list(UNITS))
    return forms(
        r"<n> \text{ <unit>}",
        r"""
        <n>
        <n> <unit>
        <n>\text{ <unit>}
        <n> \, \mathrm{<unit>}
        """,
        r"""
        1<n> <unit>
        1<n>
        1<n>\text{ <unit>}
        <n> <strange>
        <n>\text{ <strange>}
        """,
        n=number,
        unit=rng.choice(UNITS[family]),
        strange=rng.choice([unit for name, units in UNITS.items() if name != family for unit in units]),
    )


def integer_with_unit(rng: Random) -> Forms:
    """An integer with a unit."""
    return with_unit(rng, str(rng.randrange(2, 1000)))


def decimal_with_unit(rng: Random) -> Forms:
    """A decimal with a unit."""
    return with_unit(rng, f"{rng.randrange(1, 100)}.{rng.randrange(1, 10)}")


def mixed(rng: Random) -> Forms:
    """A mixed number."""
    whole, under = rng.randrange(1, 30), rng.randrange(2, 12)
    over = rng.choice([over for over in range(1, under) if gcd(over, under) == 1])
    return forms(
        r"<whole>\frac{<over>}{<under>}",
        r"""
        <whole> <over>/<under>
        <whole>\frac{<over>}{<under>}
        <whole> + <over>/<under>
        \frac{<all>}{<under>}
        """,
        r"""
        \frac{<more>}{<under>}
        <over>/<under>
        <next>\frac{<over>}{<under>}
        <whole>
        """,
        whole=whole,
        over=over,
        under=under,
        all=whole * under + over,
        more=whole * under + over + 1,
        next=whole + 1,
    )


def percent(rng: Random) -> Forms:
    """A percentage."""
    number = rng.randrange(2, 100)
    value = Fraction(number, 100)
    return forms(
        r"<n>\%",
        r"""
        <n>%
        <n>\%
        <n> \text{ percent}
        <tex>
        <decimal>
        """,
        r"""
        <n>
        <next>\%
        <ten_times>
        0.<n>\%
        1<n>\%
        """,
        n=number,
        tex=tex(value),
        decimal=written_out(value),
        next=number + 1,
        ten_times=tex(10 * value),
    )


def degrees(rng: Random) -> Forms:
    """An angle."""
    return forms(
        r"<n>^\circ",
        r"""
        <n>
        <n>^\circ
        <n>^{\circ}
        <n>°
        <n> \text{ degrees}
        """,
        r"""
        1<n>^\circ
        -<n>^\circ
        <n>0
        <n>.5°
        """,
        n=rng.randrange(1, 360),
    )


def counted(rng: Random) -> Forms:
    """A number of choices."""
    total, chosen = rng.randrange(6, 16), rng.randrange(2, 5)
    return forms(
        "<value>",
        r"""
        <value>
        \binom{<n>}{<k>}
        \binom{<n>}{<rest>}
        \frac{<n>!}{<k>! \cdot <rest>!}
        <less>+4!
        """,
        r"""
        \binom{<more>}{<k>}
        <k>!+<value>
        \frac{<n>!}{<rest>!}
        <value>0
        """,
        value=comb(total, chosen),
        n=total,
        k=chosen,
        rest=total - chosen,
        less=comb(total, chosen) - 24,
        more=total + 1,
    )


# Closed forms


def surd(rng: Random) -> Forms:
    """An integer times a root."""
    times, root = rng.randrange(2, 12), rng.choice(SQUARE_FREE)
    return forms(
        r"<a>\sqrt{<d>}",
        r"""
        <a>\sqrt{<d>}
        \sqrt{<aad>}
        \sqrt{<d>} \cdot <a>
        <a>*sqrt(<d>)
        \frac{<ad>}{\sqrt{<d>}}
        <a> \cdot <d>^{1/2}
        <a>√<d>
        <less>\sqrt{<d>}+\sqrt{<d>}
        """,
        r"""
        <more>\sqrt{<d>}
        <a>\sqrt{<other>}
        -<a>\sqrt{<d>}
        <a>+\sqrt{<d>}
        <a>\sqrt[3]{<d>}
        <ad>
        """,
        a=times,
        d=root,
        aad=times * times * root,
        ad=times * root,
        less=times - 1,
        more=times + 1,
        other=rng.choice([other for other in SQUARE_FREE if other != root]),
    )


def quadratic_number(rng: Random) -> Forms:
    """A root of a quadratic equation."""
    a, b, c, d = rng.randrange(1, 20), rng.randrange(2, 9), rng.randrange(2, 9), rng.choice(SQUARE_FREE)
    return forms(
        r"\frac{<a>+<b>\sqrt{<d>}}{<c>}",
        r"""
        \frac{<a>+<b>\sqrt{<d>}}{<c>}
        \frac{<b>\sqrt{<d>}+<a>}{<c>}
        \frac{<a>}{<c>}+\frac{<b>}{<c>}\sqrt{<d>}
        \frac{<aa>+<bb>\sqrt{<d>}}{<cc>}
        (<a>+<b>\sqrt{<d>})/<c>
        \frac{1}{<c>}\left(<a>+\sqrt{<bbd>}\right)
        (<a>+<b>√<d>)/<c>
        \frac{<norm>}{<ac>-<bc>\sqrt{<d>}}
        """,
        r"""
        \frac{<a>-<b>\sqrt{<d>}}{<c>}
        \frac{<more_a>+<b>\sqrt{<d>}}{<c>}
        \frac{<a>+<more_b>\sqrt{<d>}}{<c>}
        \frac{<a>+<b>\sqrt{<d>}}{<more_c>}
        <a>+\frac{<b>\sqrt{<d>}}{<c>}
        """,
        a=a,
        b=b,
        c=c,
        d=d,
        aa=2 * a,
        bb=2 * b,
        cc=2 * c,
        bbd=b * b * d,
        norm=a * a - b * b * d,
        ac=a * c,
        bc=b * c,
        more_a=a + 1,
        more_b=b + 1,
        more_c=c + 1,
    )


def pi_multiple(rng: Random) -> Forms:
    """A rational multiple of pi."""
    a, b = rng.randrange(2, 30), rng.choice((2, 3, 4, 5, 6, 8, 12))
    return forms(
        r"\frac{<a>\pi}{<b>}",
        r"""
        \frac{<a>\pi}{<b>}
        \frac{<a>}{<b>}\pi
        \pi \cdot \frac{<a>}{<b>}
        <a>*pi/<b>
        <a>π/<b>
        \frac{<sum>\pi}{<b>}-\pi
        """,
        r"""
        \frac{<more>\pi}{<b>}
        -\frac{<a>\pi}{<b>}
        \frac{<a>}{<b>}
        \frac{<a>}{<b>}+\pi
        \frac{<a>\pi^2}{<b>}
        """,
        a=a,
        b=b,
        sum=a + b,
        more=a + 1,
    )


def pi_and_one(rng: Random) -> Forms:
    """An integer less an integer times pi."""
    a, b = rng.randrange(2, 60), rng.randrange(2, 40)
    return forms(
        r"<a>-<b>\pi",
        r"""
        <a>-<b>\pi
        -<b>\pi+<a>
        <a> - <b>*pi
        <common>(<rest_a>-<rest_b>\pi)
        <a>-<b>π
        """,
        r"""
        <a>+<b>\pi
        <b>\pi-<a>
        <a>-<more_b>\pi
        <more_a>-<b>\pi
        <a>
        """,
        a=a,
        b=b,
        common=gcd(a, b),
        rest_a=a // gcd(a, b),
        rest_b=b // gcd(a, b),
        more_a=a + 1,
        more_b=b + 1,
    )


def power(rng: Random) -> Forms:
    """A power that no float holds."""
    base, first, second = rng.randrange(2, 12), rng.randrange(20, 60), rng.randrange(2, 20)
    return forms(
        "<b>^{<n>}",
        r"""
        <b>^{<n>}
        <b>^{<first>} \cdot <b>^{<second>}
        <b>**<n>
        \frac{<b>^{<more>}}{<b>}
        <value>
        """,
        r"""
        <b>^{<more>}
        <other>^{<n>}
        <b>^{<n>}+1
        <next>
        """,
        b=base,
        n=first + second,
        first=first,
        second=second,
        more=first + second + 1,
        other=base + 1,
        value=base ** (first + second),
        next=base ** (first + second) + 1,
    )


def logarithm(rng: Random) -> Forms:
    """An integer times the logarithm of an integer."""
    times, inner = rng.randrange(2, 6), rng.randrange(2, 14)
    return forms(
        r"<t>\ln <n>",
        r"""
        <t>\ln <n>
        \ln <power>
        <t>\ln(<n>)
        \ln <n>+\ln <rest>
        -<t>\ln\frac{1}{<n>}
        """,
        r"""
        <more>\ln <n>
        <t>\ln <other>
        \ln <next>
        -<t>\ln <n>
        """,
        t=times,
        n=inner,
        power=inner**times,
        rest=inner ** (times - 1),
        more=times + 1,
        other=inner + 1,
        next=inner**times + 1,
    )


def complex_number(rng: Random) -> Forms:
    """A complex number."""
    a, b = rng.randrange(1, 20), rng.randrange(2, 20)
    return forms(
        "<a>+<b>i",
        r"""
        <a>+<b>i
        <b>i+<a>
        <a>+<b>\mathrm{i}
        <a>-(-<b>i)
        i(<b>-<a>i)
        \frac{-<b>+<a>i}{i}
        """,
        r"""
        <a>-<b>i
        <more_a>+<b>i
        <a>+<more_b>i
        -<a>+<b>i
        <sum>
        """,
        a=a,
        b=b,
        more_a=a + 1,
        more_b=b + 1,
        sum=a + b,
    )


# Expressions and relations


def polynomial(coefficients: Sequence[int], unknown: str) -> str:
    """Write a polynomial, the highest power first; its coefficients begin with the lowest."""
    text = ""
    for degree, times in reversed(list(enumerate(coefficients))):
        if times:
            size = "" if abs(times) == 1 and degree else str(abs(times))
            letter = "" if degree == 0 else unknown if degree == 1 else f"{unknown}^{degree}"
            text += ("-" if times < 0 else "+" if text else "") + size + letter
    return text or "0"


def multiplied(one: Sequence[int], two: Sequence[int]) -> list[int]:
    """Return the coefficients of a product."""
    product = [0] * (len(one) + len(two) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(two):
            product[i + j] += a * b
    return product


def product_of_factors(rng: Random) -> Forms:
    """A polynomial that is a product of linear ones."""
    unknown = rng.choice(UNKNOWNS)
    factors = [[rng.choice((-9, -5, -3, -2, -1, 1, 2, 4, 7)), rng.randrange(1, 5)] for _ in range(rng.randrange(2, 4))]
    expanded = [1]
    for factor in factors:
        expanded = multiplied(expanded, factor)
    changed = list(expanded)
    changed[rng.randrange(len(changed))] += rng.choice((-2, -1, 1, 2))
    written = [f"({polynomial(factor, unknown)})" for factor in factors]
    return forms(
        "<p>",
        r"""
        <p>
        <stars>
        <factors>
        <reversed>
        <dots>
        """,
        r"""
        <changed>
        -(<p>)
        <p>+1
        <factor>
        <double>
        """,
        p=polynomial(expanded, unknown),
        stars=polynomial(expanded, unknown).replace("^", "**"),
        factors="".join(written),
        reversed="".join(reversed(written)),
        dots=r" \cdot ".join(written),
        changed=polynomial(changed, unknown),
        factor=written[0],
        double=polynomial([2 * times for times in expanded], unknown),
    )


def polynomial_of_two(rng: Random) -> Forms:
    """A quadratic form."""
    x, y = rng.sample(UNKNOWNS, 2)
    a, b, c = (rng.randrange(2, 12) for _ in range(3))
    return forms(
        "<a><x>^2+<b><x><y>-<c><y>^2",
        """
        <a><x>^2+<b><x><y>-<c><y>^2
        <b><x><y>-<c><y>^2+<a><x>^2
        <x>(<a><x>+<b><y>)-<c><y>^2
        <a><x>^{2}+<b><y><x>-<c><y>^{2}
        """,
        """
        <a><x>^2+<b><x><y>+<c><y>^2
        <more><x>^2+<b><x><y>-<c><y>^2
        <a><x>^2+<b><x><y>^2-<c><y>^2
        <a><x>^2-<c><y>^2
        """,
        x=x,
        y=y,
        a=a,
        b=b,
        c=c,
        more=a + 1,
    )


def rational_function(rng: Random) -> Forms:
    """A quotient of polynomials."""
    a, b = rng.randrange(2, 9), rng.randrange(2, 9)
    return forms(
        r"\frac{<a><x>+<b>}{<x>^2+<b>}",
        r"""
        \frac{<a><x>+<b>}{<x>^2+<b>}
        (<a><x>+<b>)/(<x>^2+<b>)
        \frac{2(<a><x>+<b>)}{2<x>^2+<bb>}
        (<a><x>+<b>)(<x>^2+<b>)^{-1}
        \frac{<b>}{<x>^2+<b>}+\frac{<a><x>}{<x>^2+<b>}
        """,
        r"""
        \frac{<a><x>+<b>}{<x>^2-<b>}
        \frac{<a><x>+<b>+1}{<x>^2+<b>}
        <a><x>+<b>/<x>^2+<b>
        -\frac{<a><x>+<b>}{<x>^2+<b>}
        """,
        x=rng.choice(UNKNOWNS),
        a=a,
        b=b,
        bb=2 * b,
    )


def exponential(rng: Random) -> Forms:
    """A power with the unknown above."""
    base, shift = rng.randrange(2, 8), rng.randrange(2, 4)
    return forms(
        "<b>^{n+<k>}",
        r"""
        <b>^{n+<k>}
        <b>^{<k>+n}
        <value> \cdot <b>^n
        <b>^{n} \cdot <b>^{<k>}
        """,
        r"""
        <b>^{n-<k>}
        <b>^n+<k>
        <other>^{n+<k>}
        <next> \cdot <b>^n
        <b>^{<k>n}
        """,
        b=base,
        k=shift,
        value=base**shift,
        next=base**shift + 1,
        other=base + 1,
    )


def line(rng: Random) -> Forms:
    """A line in the plane."""
    a, b, c = rng.randrange(2, 9), rng.randrange(2, 9), rng.randrange(1, 20)
    return forms(
        "<a>x+<b>y=<c>",
        """
        <a>x+<b>y=<c>
        <b>y+<a>x=<c>
        <aa>x+<bb>y=<cc>
        <a>x+<b>y-<c>=0
        <c>=<a>x+<b>y
        <a>x=<c>-<b>y
        -<a>x-<b>y=-<c>
        """,
        r"""
        <a>x-<b>y=<c>
        <more_a>x+<b>y=<c>
        <a>x+<b>y=<more_c>
        <a>x+<b>y=-<c>
        <aa>x+<b>y=<cc>
        <a>x+<b>y \le <c>
        """,
        a=a,
        b=b,
        c=c,
        aa=2 * a,
        bb=2 * b,
        cc=2 * c,
        more_a=a + 1,
        more_c=c + 1,
    )


def function_of_x(rng: Random) -> Forms:
    """A linear function."""
    slope, shift = rng.randrange(2, 12), rng.randrange(1, 20)
    return forms(
        "y=<a>x-<b>",
        """
        y=<a>x-<b>
        y=-<b>+<a>x
        <a>x-y=<b>
        y+<b>=<a>x
        <a>x-<b>
        <a>x-<b>=y
        """,
        """
        y=<a>x+<b>
        y=-<a>x-<b>
        x=<a>y-<b>
        y=<more>x-<b>
        y><a>x-<b>
        z=<a>x-<b>
        """,
        a=slope,
        b=shift,
        more=slope + 1,
    )


def circle(rng: Random) -> Forms:
    """A circle in the plane."""
    a, b, radius = rng.randrange(1, 9), rng.randrange(1, 9), rng.randrange(2, 12)
    return forms(
        "(x-<a>)^2+(y+<b>)^2=<rr>",
        """
        (x-<a>)^2+(y+<b>)^2=<rr>
        (y+<b>)^2+(x-<a>)^2=<rr>
        x^2+y^2-<aa>x+<bb>y<rest>=0
        (x-<a>)^2=<rr>-(y+<b>)^2
        <rr>=(x-<a>)^2+(y+<b>)^2
        """,
        """
        (x+<a>)^2+(y+<b>)^2=<rr>
        (x-<a>)^2+(y+<b>)^2=<more>
        (x-<a>)^2-(y+<b>)^2=<rr>
        x^2+y^2-<aa>x+<bb>y<rest>=1
        """,
        a=a,
        b=b,
        rr=radius**2,
        aa=2 * a,
        bb=2 * b,
        rest=f"{a * a + b * b - radius * radius:+d}",
        more=radius**2 + 1,
    )


def inequality(rng: Random) -> Forms:
    """A bound."""
    bound = rng.randrange(1, 60)
    return forms(
        r"x \ge <b>",
        r"""
        x \ge <b>
        x \geq <b>
        <b> \le x
        [<b>,\infty)
        x >= <b>
        2x \ge <double>
        x - <b> \ge 0
        """,
        r"""
        x > <b>
        x \le <b>
        x \ge <more>
        y \ge <b>
        (<b>,\infty)
        x \ge -<b>
        x = <b>
        """,
        b=bound,
        double=2 * bound,
        more=bound + 1,
    )


# Collections


def elements(rng: Random, count: int) -> list[str]:
    """Return different numbers, at most one of them no integer."""
    numbers = [str(number) for number in rng.sample(range(-20, 60), count)]
    special = (tex(some_fraction(rng)), rf"{rng.randrange(2, 7)}\sqrt{{3}}", r"\frac{\pi}{3}", r"-\sqrt{5}")
    return [rng.choice((numbers[0], *special)), *numbers[1:]]


def changed(rng: Random, items: Sequence[str]) -> list[str]:
    """Return the items with one replaced by a number that :func:`elements` never draws."""
    spot = rng.randrange(len(items))
    return [str(rng.randrange(61, 90)) if index == spot else item for index, item in enumerate(items)]


def number_set(rng: Random) -> Forms:
    """A set of numbers."""
    items = elements(rng, rng.randrange(2, 5))
    return forms(
        r"\{<tight>\}",
        r"""
        \{<tight>\}
        \{<shuffled>\}
        \left\{ <shuffled> \right\}
        <shuffled>
        x \in \{<items>\}
        """,
        r"""
        \{<changed>\}
        \{<items>, 99\}
        (<items>)
        <items>, 99
        <first>
        <changed>
        """,
        tight=",".join(items),
        items=", ".join(items),
        shuffled=", ".join(rng.sample(items, len(items))),
        changed=", ".join(changed(rng, items)),
        first=items[0],
    )


def number_list(rng: Random) -> Forms:
    """A bare list of numbers."""
    items = elements(rng, rng.randrange(2, 4))
    return forms(
        "<items>",
        r"""
        <items>
        <shuffled>
        \{<shuffled>\}
        <most> \text{ and } <last>
        <equations>
        """,
        r"""
        <changed>
        (<items>)
        <first>
        <items>, 99
        """,
        items=", ".join(items),
        shuffled=", ".join(rng.sample(items, len(items))),
        most=", ".join(items[:-1]),
        last=items[-1],
        equations=", ".join(f"x={item}" for item in items),
        changed=", ".join(changed(rng, items)),
        first=items[0],
    )


def number_tuple(rng: Random) -> Forms:
    """A point of the plane or of space."""
    items = elements(rng, rng.randrange(2, 4))
    return forms(
        "(<items>)",
        r"""
        (<items>)
        \left(<items>\right)
        (<tight>)
        (<names>)=(<items>)
        \left( <first> , <rest> \right)
        \begin{pmatrix} <column> \end{pmatrix}
        """,
        r"""
        (<reversed>)
        (<changed>)
        (<items>, 0)
        \{<items>\}
        (<rest>, <first>)
        <items>
        """,
        items=", ".join(items),
        tight=",".join(items),
        names="x,y,z"[: 2 * len(items) - 1],
        first=items[0],
        rest=", ".join(items[1:]),
        column=r" \\ ".join(items),
        reversed=", ".join(reversed(items)),
        changed=", ".join(changed(rng, items)),
    )


def interval(rng: Random) -> Forms:
    """A bounded interval."""
    low = rng.randrange(-20, 20)
    high = low + rng.randrange(1, 20)
    return forms(
        "[<a>,<b>)",
        r"""
        [<a>,<b>)
        [<a>, <b>)
        \left[<a>, <b>\right)
        <a> \le x < <b>
        x \in [<a>,<b>)
        [<a>.0,<b>)
        """,
        r"""
        (<a>,<b>]
        [<a>,<b>]
        (<a>,<b>)
        [<a>,<more>)
        [<less>,<b>)
        <a> < x \le <b>
        """,
        a=low,
        b=high,
        less=low - 1,
        more=high + 1,
    )


def union(rng: Random) -> Forms:
    """What is left of the line without an interval."""
    low = rng.randrange(-20, 20)
    high = low + rng.randrange(1, 20)
    return forms(
        r"(-\infty,<a>)\cup(<b>,\infty)",
        r"""
        (-\infty,<a>)\cup(<b>,\infty)
        (<b>,\infty)\cup(-\infty,<a>)
        \left(-\infty, <a>\right) \cup \left(<b>, \infty\right)
        x < <a> \text{ or } x > <b>
        """,
        r"""
        (-\infty,<a>]\cup(<b>,\infty)
        (-\infty,<a>)\cup(<more>,\infty)
        (<a>,<b>)
        (-\infty,<a>)
        (<b>,\infty)
        """,
        a=low,
        b=high,
        more=high + 1,
    )


def system(rng: Random) -> Forms:
    """Two linear equations."""
    first, second, third = rng.sample(range(2, 10), 3)
    return forms(
        r"\begin{cases} <first>x+y=<second> \\ x-y=<third> \end{cases}",
        r"""
        \begin{cases} x-y=<third> \\ <first>x+y=<second> \end{cases}
        \begin{cases} y=<second>-<first>x \\ 2x-2y=<double> \end{cases}
        \begin{aligned} <first>x+y&=<second> \\ x&=y+<third> \end{aligned}
        """,
        r"""
        \begin{cases} <first>x+y=<next> \\ x-y=<third> \end{cases}
        \begin{cases} <first>x+y=<second> \\ x-y=<double> \end{cases}
        x-y=<third>
        <third>
        """,
        first=first,
        second=second,
        third=third,
        double=2 * third,
        next=second + 1,
    )


def by_cases(rng: Random) -> Forms:
    """A function by cases that is an absolute value."""
    place, factor = rng.randrange(1, 10), rng.randrange(2, 10)
    return forms(
        r"\begin{cases} <factor>(x-<place>) & x\ge <place> \\ <factor>(<place>-x) & x<<place> \end{cases}",
        r"""
        \begin{cases} <factor>(<place>-x) & x\le <place> \\ <factor>(x-<place>) & x><place> \end{cases}
        \begin{cases} <factor>x-<product> & x\ge <place> \\ <product>-<factor>x & \text{otherwise} \end{cases}
        <factor>|x-<place>|
        """,
        r"""
        \begin{cases} <factor>(x-<place>) & x<<place> \\ <factor>(<place>-x) & x\ge <place> \end{cases}
        \begin{cases} <place> & x\ge <place> \\ <factor>(<place>-x) & x<<place> \end{cases}
        <factor>(<place>-x)
        <factor>|x+<place>|
        """,
        place=place,
        factor=factor,
        product=place * factor,
    )


def matrix(rng: Random) -> Forms:
    """A matrix of integers, with one other number at most."""
    rows, columns = rng.choice(((2, 2), (2, 3), (3, 3), (3, 1)))
    cells = [[str(rng.randrange(-9, 10)) for _ in range(columns)] for _ in range(rows)]
    cells[0][0] = rng.choice((cells[0][0], tex(some_fraction(rng)), r"\sqrt{2}"))
    other, first = ([list(row) for row in cells] for _ in range(2))
    other[-1][-1] += "1" if other[-1][-1] != "0" else ".1"
    first[0][0] += "+1"
    return forms(
        r"\begin{pmatrix} <cells> \end{pmatrix}",
        r"""
        \begin{pmatrix} <cells> \end{pmatrix}
        \begin{bmatrix} <cells> \end{bmatrix}
        \begin{pmatrix}<tight>\end{pmatrix}
        """,
        r"""
        \begin{pmatrix} <other> \end{pmatrix}
        \begin{bmatrix} <other> \end{bmatrix}
        \begin{pmatrix} <first> \end{pmatrix}
        \begin{pmatrix} <cells> \\ <cells> \end{pmatrix}
        <last>
        """,
        cells=r" \\ ".join(" & ".join(row) for row in cells),
        tight=r"\\".join("&".join(row) for row in cells),
        other=r" \\ ".join(" & ".join(row) for row in other),
        first=r" \\ ".join(" & ".join(row) for row in first),
        last=cells[-1][-1],
    )


def word(rng: Random) -> Forms:
    """A word."""
    one, two = rng.sample(WORDS, 2)
    return forms(
        r"\text{<w>}",
        r"""
        <w>
        \text{<w>}
        <lower>
        \textbf{<w>}
        \mathrm{<w>}
        """,
        r"""
        <other>
        \text{<other>}
        <w> or <other>
        0
        """,
        w=one,
        lower=one.lower(),
        other=two,
    )


def letter(rng: Random) -> Forms:
    """A letter that stands for a choice."""
    one, two = rng.sample(LETTERS, 2)
    return forms(
        r"\text{(<c>)}",
        r"""
        <c>
        (<c>)
        \text{<c>}
        \textbf{(<c>)}
        \mathrm{<c>}
        """,
        r"""
        <other>
        (<other>)
        \text{<other>}
        <c><other>
        <c> or <other>
        """,
        c=one,
        other=two,
    )


CLOSED_FORMS = (surd, quadratic_number, pi_multiple)
MAKERS: dict[str, Sequence[Maker]] = {
    "integer": (integer,),
    "fraction": (fraction,),
    "closed form": (*CLOSED_FORMS, *CLOSED_FORMS, pi_and_one, power, logarithm, complex_number),
    "expression": (product_of_factors, product_of_factors, polynomial_of_two, rational_function, exponential),
    "decimal": (decimal, decimal, decimal_with_unit, tiny_decimal),
    "list or set": (number_set, number_list),
    "tuple or interval": (number_tuple, number_tuple, interval, union),
    "relation": (line, function_of_x, circle, inequality, system, by_cases),
    "integer with unit": (integer_with_unit,),
    "other number": (percent, degrees, counted),
    "matrix": (matrix,),
    "text or letter": (word, letter),
    "mixed number": (mixed,),
}
SHARES = {
    "integer": 68.8,
    "fraction": 8.4,
    "closed form": 6.5,
    "expression": 3.1,
    "decimal": 3.1,
    "list or set": 2.6,
    "tuple or interval": 2.5,
    "relation": 1.8,
    "integer with unit": 1.2,
    "other number": 0.9,
    "matrix": 0.6,
    "text or letter": 0.5,
    "mixed number": 0.1,
}
"""Per cent of each class among the answers of MATH, OlympiadBench, GSM8K, Minerva and AIME together."""
