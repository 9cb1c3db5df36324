"""Compare quantities with their units, percentages, ratios and times of day."""

from flint import fmpq

from reasonrl_grading.logic import Truth, every, some
from reasonrl_grading.nodes import Call, Clock, Node, Number, Product, Quantity, Ratio, quotient
from reasonrl_grading.question import asks_for_percentage
from reasonrl_grading.rules import Rules
from reasonrl_grading.units import PERCENT


def same_clocks(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare times of day; a time that is written like a ratio also equals a ratio that is none of a time."""
    if isinstance(given, Clock) and isinstance(wanted, Clock):
        return _time(given) == _time(wanted)
    clock, other = (given, wanted) if isinstance(given, Clock) else (wanted, given)
    if not isinstance(clock, Clock) or clock.period or clock.second is not None or not isinstance(other, Ratio):
        return False
    return same_ratios(Ratio((Number(fmpq(clock.hour)), Number(fmpq(clock.minute)))), other, rules)


def _time(clock: Clock) -> tuple[int, int, int]:
    return clock.hour, clock.minute, clock.second or 0


def same_ratios(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare ratios with each other, and a ratio of two numbers with a quotient; one with a 0 only as written."""
    as_written = rules.policy.ratios == "as_written"
    if isinstance(given, Ratio) and isinstance(wanted, Ratio):
        if as_written or len(given.parts) != len(wanted.parts) or _has_zero(given) or _has_zero(wanted):
            return len(given.parts) == len(wanted.parts) and every(map(rules.same, given.parts, wanted.parts))
        return every(
            rules.same(Product((part, wanted.parts[-1])), Product((other, given.parts[-1])))
            for part, other in zip(given.parts, wanted.parts, strict=True)
        )
    ratio, other = (given, wanted) if isinstance(given, Ratio) else (wanted, given)
    if as_written or not isinstance(ratio, Ratio) or len(ratio.parts) != 2 or _has_zero(ratio):
        return False
    return not isinstance(other, Quantity) and rules.same(quotient(*ratio.parts), other)


def _has_zero(ratio: Ratio) -> bool:
    return any(isinstance(part, Number) and part.value == 0 for part in ratio.parts)


def same_quantities(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare values with their units, and a value with a unit with one without."""
    if isinstance(given, Quantity) and isinstance(wanted, Quantity):
        return _same_measures(given, wanted, rules)
    quantity, plain = (given, wanted) if isinstance(given, Quantity) else (wanted, given)
    if not isinstance(quantity, Quantity) or (rules.policy.units == "required" and quantity is wanted):
        return False
    if quantity.unit == PERCENT:
        return _same_percentage(quantity.value, plain, rules)
    radians = _in_radians(quantity)
    return some(rules.same(value, plain) for value in (quantity.value, radians) if value is not None)


def _same_percentage(percentage: Node, plain: Node, rules: Rules) -> Truth:
    policy = rules.policy.percent
    if policy == "asked":
        is_asked = rules.question != "" and asks_for_percentage(rules.question, rules.wanted)
        policy = "ignore_sign" if is_asked else "value"
    values = {"value": (_as_fraction(percentage),), "ignore_sign": (percentage,)}
    return some(rules.same(value, plain) for value in values.get(policy, (_as_fraction(percentage), percentage)))


def _same_measures(given: Quantity, wanted: Quantity, rules: Rules) -> Truth:
    is_ignored = rules.policy.units == "ignore" and PERCENT not in {given.unit, wanted.unit}
    if is_ignored or given.unit == wanted.unit:
        return rules.same(given.value, wanted.value)
    if given.unit.dimensions == wanted.unit.dimensions:
        is_decimal = isinstance(given.value, Number) and given.value.digits > 0
        kept, other = (given, wanted) if is_decimal else (wanted, given)
        return rules.same(kept.value, _times(other.value, other.unit.factor / kept.unit.factor))
    angle, wanted_angle = _in_radians(given), _in_radians(wanted)
    return angle is not None and wanted_angle is not None and rules.same(angle, wanted_angle)


def _times(value: Node, factor: fmpq) -> Node:
    return Number(value.value * factor) if isinstance(value, Number) else Product((Number(factor), value))


def _as_fraction(percentage: Node) -> Node:
    """Return a percentage as a number; one written in decimals has two decimal places more."""
    if isinstance(percentage, Number):
        return Number(percentage.value / 100, percentage.digits, percentage.places + 2)
    return Product((Number(PERCENT.factor), percentage))


def _in_radians(node: Quantity) -> Node | None:
    if node.unit.dimensions == (("half_turn", 1),):
        return Call("degrees", (node.value,))
    return node.value if node.unit.dimensions == (("radian", 1),) else None
