r"""Units: their names, dimensions, and phrases such as ``\text{ km}/\text{h}^2`` and ``miles per hour``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flint import fmpq

from reasonrl_grading.spelled import is_part_or_scale, multiple

Dimensions = tuple[tuple[str, int], ...]

MAX_PHRASE = 120
"""Characters of a phrase that is read as a unit."""

MAX_SCALE_BITS = 100
"""Bits of the product of words such as million."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement, or the kind of thing that is counted."""

    factor: fmpq
    """How many base units it is."""
    dimensions: Dimensions
    """Base dimensions and their powers, in alphabetical order; none for a bare ``units``."""


PERCENT = Unit(fmpq(1, 100), (("percent", 1),))
DEGREE = Unit(fmpq(1, 180), (("half_turn", 1),))
DOLLAR = Unit(fmpq(1), (("dollar", 1),))

_TABLE: Final[tuple[tuple[Dimensions, str], ...]] = (
    # dimensions, then the names of their units with their size
    (
        (("length", 1),),
        "nm=1e-9 um=1e-6 μm=1e-6 mm=1e-3 millimeter=1e-3 millimetre=1e-3 cm=1e-2 centimeter=1e-2 centimetre=1e-2 "
        "dm=1e-1 m=1 meter=1 metre=1 km=1e3 kilometer=1e3 kilometre=1e3 in=254e-4 inch=254e-4 inches=254e-4 "
        "ft=3048e-4 foot=3048e-4 feet=3048e-4 yd=9144e-4 yard=9144e-4 mi=1609344e-3 mile=1609344e-3",
    ),
    (
        (("mass", 1),),
        "mg=1e-3 milligram=1e-3 g=1 gram=1 kg=1e3 kilogram=1e3 ton=1e6 tonne=1e6 lb=45359237e-5 lbs=45359237e-5 "
        "pound=45359237e-5 oz=28349523125e-9 ounce=28349523125e-9",
    ),
    (
        (("time", 1),),
        "ns=1e-9 us=1e-6 ms=1e-3 millisecond=1e-3 s=1 sec=1 second=1 min=60 minute=60 h=3600 hr=3600 hour=3600 "
        "day=86400 week=604800",
    ),
    ((("month", 1),), "month=1 yr=12 year=12 decade=120 century=1200 centuries=1200"),
    ((("dollar", 1),), "$=1 dollar=1 usd=1 USD=1 buck=1 cent=1e-2 ¢=1e-2"),
    ((("euro", 1),), "€=1 euro=1 eur=1 EUR=1"),
    ((("sterling", 1),), "£=1 GBP=1"),
    ((("rupee", 1),), "₹=1 INR=1 rupee=1 Rs=1 paise=1e-2"),
    ((("yen", 1),), "¥=1 JPY=1 yen=1"),
    ((("half_turn", 1),), "°=1/180 deg=1/180 degree=1/180"),
    ((("radian", 1),), "rad=1 radian=1"),
    ((("percent", 1),), "%=1e-2 percent=1e-2 pct=1e-2"),
    ((("celsius", 1),), "degC=1 degc=1 celsius=1"),
    ((("fahrenheit", 1),), "degF=1 degf=1 fahrenheit=1"),
    ((("kelvin", 1),), "K=1 kelvin=1"),
    ((("current", 1),), "mA=1e-3 A=1 amp=1 ampere=1"),
    ((("amount", 1),), "mmol=1e-3 mol=1 mole=1"),
    (
        (("length", 3),),
        "mL=1e-6 ml=1e-6 milliliter=1e-6 millilitre=1e-6 cc=1e-6 L=1e-3 l=1e-3 liter=1e-3 litre=1e-3 "
        "cl=1e-5 dl=1e-4 gal=3785411784e-12 gallon=3785411784e-12 quart=946352946e-12 pint=473176473e-12",
    ),
    ((("length", 2),), "ha=1e4 hectare=1e4 acre=40468564224e-7"),
    ((("length", 1), ("time", -1)), "mph=44704e-5 kph=5/18 kmh=5/18 kmph=5/18"),
    ((("length", 1), ("mass", 1), ("time", -2)), "N=1e3 newton=1e3 kN=1e6"),
    ((("length", 2), ("mass", 1), ("time", -2)), "J=1e3 joule=1e3 kJ=1e6 MJ=1e9 kWh=36e8"),
    ((("length", 2), ("mass", 1), ("time", -3)), "W=1e3 watt=1e3 kW=1e6 MW=1e9"),
    ((("length", -1), ("mass", 1), ("time", -2)), "Pa=1e3 kPa=1e6 MPa=1e9 pascal=1e3"),
    ((("current", -1), ("length", 2), ("mass", 1), ("time", -3)), "V=1e3 volt=1e3 mV=1 kV=1e6"),
    ((("current", -2), ("length", 2), ("mass", 1), ("time", -3)), "Ω=1e3 ohm=1e3 kΩ=1e6"),
    ((("current", 1), ("time", 1)), "C=1 coulomb=1"),
    ((("time", -1),), "Hz=1 hertz=1 kHz=1e3 MHz=1e6 GHz=1e9"),
)
_NEUTRAL_NAMES = "unit units of the a an total whole only exactly them st nd rd th cdot times"
_NEUTRAL = frozenset(_NEUTRAL_NAMES.split())
_NOT_COUNTED_NAMES = (
    # numbers, parts and multiples of one
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety half quarter gross score "
    "fold double triple twice thrice mil mille permille ppm percentage percentile basis "
    # more, less or about the number
    "more less fewer greater larger smaller bigger higher lower least most minimum maximum max min almost nearly "
    "about approximately approx around roughly circa plus minus over under above below beyond between within up "
    "down odd even "
    # negations, alternatives, conditions
    "no not none never non neither nor without except excluding but or and either both if when where while unless "
    "then than as so because whether maybe perhaps possibly false true wrong yes else instead "
    # statements, references, connections
    "is are was were be been has have had do does did can could will would may might must shall should it they we "
    "you he she this that these those there which what who how anything something everything nothing others other "
    "at in on by from to for with into out off via until since "
    # operations
    "squared cubed factorial modulo mod negative positive inverse reciprocal root power log times divided "
    "multiplied exponent base digit place "
)
_NOT_COUNTED = frozenset(_NOT_COUNTED_NAMES.split())
"""Words that make a phrase neither a unit nor the name of counted things: they change or question the number."""
_PLURAL_NAMES = (
    "people children men women mice geese teeth oxen dice fish sheep deer cattle police salmon trout shrimp vertices "
    "indices matrices axes radii foci data media criteria cacti fungi bacteria alumni series species pence"
)
_IRREGULAR_PLURALS = frozenset(_PLURAL_NAMES.split())
_ENDING = re.compile(r"\s+(?:in (?:total|all)|altogether|overall|each|left|remaining|total)$")
_EXTENT = re.compile(r"(?<=\w)\s+(?:long|tall|wide|high|deep|thick|old|apart|away)$")
_PREFIXES: Mapping[str, int] = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SUFFIXES: Mapping[str, int] = {"squared": 2, "cubed": 3}
_TEXT_COMMAND = re.compile(r"\\(?:text[a-z]*|mathrm|mbox|rm|operatorname)(?![a-zA-Z])")
_PERCENT = re.compile(r"per\s*cent(?:age)?(?:[\s-]+points?)?\b")
_PERMILLE = re.compile(r"\bper\s*mill?e\b")
_TEMPERATURE = re.compile(r"(?:°|deg|degrees?)\s*([CF])(?:elsius|ahrenheit)?\b", re.IGNORECASE)
_DANGLING = re.compile(r"(?:[-/*·^]|\b(?:per|of|an?|the)|\\(?:cdot|times))[\s{}()]*(?:$|[-/*·^](?!\d)|per\b)")
_PIECE = re.compile(r"\\?[^\W\d_]+|[°%$€£¢₹¥]|\^|-?\d+|[/*·.]|\s+|[{}()\\,]|-")


def _size(text: str) -> fmpq:
    """Return a size of the table: ``3``, ``5/18`` or ``254e-4``."""
    if "/" in text:
        top, bottom = text.split("/")
        return fmpq(int(top), int(bottom))
    digits, _, exponent = text.partition("e")
    return fmpq(int(digits)) * fmpq(10) ** int(exponent or 0)


def _table() -> dict[str, Unit]:
    entries = [(entry.partition("="), dimensions) for dimensions, names in _TABLE for entry in names.split()]
    return {name: Unit(_size(size), dimensions) for (name, _, size), dimensions in entries}


UNITS: Final[Mapping[str, Unit]] = _table()
"""Units by name, in the singular."""


def named_unit(word: str) -> Unit | None:
    """Return the unit of a name in the singular or the plural; symbols keep their case, longer names do not."""
    if word in UNITS:
        return UNITS[word]
    lower = word.lower()
    for name in (lower, lower.removesuffix("s")):
        if len(name) > 1 and name in UNITS:
            return UNITS[name]
    return None


def _is_no_noun(word: str) -> bool:
    singular = word.removesuffix("s")
    return word in _NOT_COUNTED or singular in _NOT_COUNTED or is_part_or_scale(word)


@lru_cache(maxsize=1024)
def read_unit(phrase: str, is_one: bool = False) -> Unit | None:
    """Return the unit that a phrase names, or None where it names none.

    A unit is a product of named units, or the name of counted things, which is a unit of its own, as in ``5 apples``:
    a noun in the plural, or, of at most one thing, in the singular, with any adjectives. A phrase with a number, a
    comparison, a negation, an alternative or an operation among its words is no unit: it would change the value.

    Args:
        phrase: what stands after a value.
        is_one: whether the value is not greater than one, so that a noun may be in the singular.
    """
    phrase = _TEXT_COMMAND.sub(" ", phrase) if len(phrase) <= MAX_PHRASE else ""
    phrase = _TEMPERATURE.sub(r"deg\1", _PERCENT.sub("percent", phrase))
    if not phrase or _PIECE.sub("", phrase) or _DANGLING.search(phrase) or phrase.count("(") != phrase.count(")"):
        return None
    pieces = [piece for piece in _PIECE.findall(phrase) if piece.strip() and piece not in "{}()\\,"]
    words = _EXTENT.sub("", _ENDING.sub("", " " + " ".join(pieces))).split()
    return _Phrase(words, is_one).unit()


def read_scaled_unit(phrase: str, value: fmpq | None) -> tuple[fmpq, Unit] | None:
    """Return what the words after a value multiply it by, such as million or thirds, and the unit after them.

    Args:
        phrase: what stands after a value.
        value: the value, where it is a plain number: after one, and after fractions, nouns may be in the singular.
    """
    is_one = value is not None and (abs(value) <= 1 or value.q != 1)
    bare = _TEXT_COMMAND.sub(" ", phrase[: MAX_PHRASE + 1]).replace("{", " ").replace("}", " ")
    words = " ".join(_PERMILLE.sub("permille", bare).split())
    scale = fmpq(1)
    while words:
        first, _, rest = words.partition(" ")
        size = multiple(first.lower(), value == 1)
        if size is None:
            unit = read_unit(words if scale != 1 else phrase, is_one)
            return None if unit is None else (scale, unit)
        scale, words = scale * size, rest
    return (scale, Unit(fmpq(1), ())) if scale.height_bits() < MAX_SCALE_BITS else None


class _Phrase:
    """Reads a phrase from left to right and multiplies its units."""

    def __init__(self, pieces: list[str], is_one: bool) -> None:
        self._pieces = pieces
        self._is_one = is_one
        self._powers: dict[str, int] = {}
        self._factor = fmpq(1)
        self._sign = 1
        self._prefix = 1
        self._last: tuple[Unit, int] | None = None
        self._head = ""  # the noun that has to be in the plural
        self._is_after_head = False
        self._is_of_something = False  # cups of flour are cups

    def unit(self) -> Unit | None:
        pieces = iter(self._pieces)
        for piece in pieces:
            if piece == "^":
                if not self._raise(next(pieces, "")):
                    return None
            elif not self._take(piece):
                return None
        if self._prefix != 1 or not (self._is_after_head or self._is_countable(self._head)):
            return None
        dimensions = tuple(sorted((name, power) for name, power in self._powers.items() if power))
        return Unit(self._factor, dimensions)

    def _is_countable(self, noun: str) -> bool:
        """Whether a noun may follow the value: none, a named unit, a plural, or a singular after one."""
        is_plural = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
        return self._is_one or not noun or is_plural or noun in _IRREGULAR_PLURALS

    def _take(self, piece: str) -> bool:
        word = piece.lstrip("\\")
        if word in {"/", "per", "of"}:
            if self._prefix != 1 or not (self._is_after_head or self._is_countable(self._head)):
                return False
            self._is_of_something = word == "of" and bool(self._powers)
            self._is_after_head = True
            self._sign = self._sign if word == "of" else -1
        elif word in _PREFIXES:
            self._prefix = _PREFIXES[word]
        elif word in _SUFFIXES:
            return self._raise(str(_SUFFIXES[word]))
        elif word[0].isalpha() or word in "°%$€£¢₹¥":
            return self._count(word)
        else:
            return word in {"*", "·", "."} or (word == "-" and self._last is not None)
        return True

    def _count(self, word: str) -> bool:
        lower = word.lower()
        if lower in _NEUTRAL and word not in UNITS:
            self._last, self._prefix = (Unit(fmpq(1), ()), 1), 1
            return True
        unit = named_unit(word)
        if unit is None and (not word.isascii() or len(word) == 1 or _is_no_noun(lower)):
            return False
        self._head = lower if unit is None else ""
        singular = lower if len(lower) < 4 or lower.endswith("ss") else lower.removesuffix("s")
        unit = unit or Unit(fmpq(1), ((f"'{singular}", 1),))
        self._last = (unit, self._sign)
        if not self._is_of_something:
            self._multiply(unit, self._sign * self._prefix)
        self._sign = self._prefix = 1
        return True

    def _multiply(self, unit: Unit, power: int) -> None:
        self._factor *= unit.factor**power
        for name, own in unit.dimensions:
            self._powers[name] = self._powers.get(name, 0) + own * power

    def _raise(self, exponent: str) -> bool:
        if self._last is None or not re.fullmatch(r"-?[1-9]", exponent):
            return False
        unit, sign = self._last
        self._multiply(unit, sign * (int(exponent) - 1))
        return True
