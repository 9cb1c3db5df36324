"""What graders may reasonably disagree on, each named and switchable."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

PercentPolicy: TypeAlias = Literal["asked", "value", "ignore_sign", "either"]
UnitsPolicy: TypeAlias = Literal["optional", "required", "ignore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What counts as the same answer where reasonable people differ.

    The defaults refuse whatever a guess could exploit and accept whatever only differs in writing.
    """

    percent: PercentPolicy = "asked"
    """``value``: 50% is 0.5 and 1/2 and not 50. ``ignore_sign``: 50% is 50 and not 0.5. ``either``: both. ``asked``:
    ``ignore_sign`` where the question asks for a percentage, else ``value``."""

    units: UnitsPolicy = "optional"
    """``optional``: a missing unit is fine, a wrong one is wrong, 5 km is 5000 m. ``required``: an answer lacks
    a unit that the wanted answer has: wrong. ``ignore``: 5 km is 5 m."""

    lists: Literal["any_order", "in_order"] = "any_order"
    """Whether the order of a bare list, ``1, 2``, matters. In sets it never does, in tuples always."""

    brackets: Literal["strict", "ignore"] = "strict"
    """``strict``: ``(1,2)``, ``[1,2]`` and ``{1,2}`` are three answers, and a bare ``1, 2`` is a list or a set, never a
    point. ``ignore``: items count, brackets do not."""

    assignment: Literal["drop", "keep"] = "drop"
    """``drop``: ``x=5`` is 5 where only one side names a variable, and ``a=3, b=4`` is ``3, 4`` in the order of the
    names in the question, else of the alphabet. ``keep``: they are not."""

    hedging: Literal["wrong", "last"] = "wrong"
    """Several answers where one is wanted: ``7 or 8`` for 7. ``wrong``: never right. ``last``: the last one counts."""

    decimal_digits: int = 5
    """Significant digits from which a correctly rounded or cut decimal stands for an exact number: 0.33333 is 1/3,
    0.3333 is not. An integer, and a number whose own decimal has at most twice as many digits, is never cut: 1.2346e6
    is not 1234567. Two decimals need one digit more in common, two exact numbers must be equal. 0: never."""

    tolerance: float = 0.0
    """Greatest relative difference of two real numbers of which one is a decimal, beside ``decimal_digits``."""

    ratios: Literal["value", "as_written"] = "value"
    """``value``: 3:4 is 6:8 and 3/4. ``as_written``: only 3:4. A time of day, 1:00, is never a ratio of another one,
    and a ratio with a 0 is compared as written."""

    bases: Literal["as_written", "value"] = "as_written"
    """``as_written``: 1011_2 is neither 1011 nor 11_{10}: the conversion is what was asked. ``value``: 1011_2 is 11."""

    case: Literal["ignore", "keep"] = "ignore"
    """Whether capital and small letters of words are one. Variables and choice letters always keep theirs."""


DEFAULT = Policy()
"""The policy when none is named."""
