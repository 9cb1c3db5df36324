"""Compare relations: assignments, equations, inequalities, congruences and systems."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from reasonrl_grading.algebra import constant_ratio
from reasonrl_grading.logic import Truth, every
from reasonrl_grading.nodes import (
    REVERSED_SIGNS,
    UNBRACKETED,
    Call,
    Collection,
    Matrix,
    Node,
    Number,
    Power,
    Product,
    Relation,
    Symbol,
    Words,
)
from reasonrl_grading.question import names_in_order
from reasonrl_grading.rules import Rules
from reasonrl_grading.systems import difference, hold_differently, same_solutions
from reasonrl_grading.values import symbols

TOGETHER = frozenset({",", "and", "system"})
"""What joins relations that hold together."""

_CONSTANTS = frozenset({"pi", "e", "i", "infinity", "reals"})
_ASSIGNING = frozenset({"=", "approx", "in", "equiv"})
_FUNCTION_OF = re.compile(r"[a-zA-Z]\((\w+)\)")


def is_relation(node: Node) -> bool:
    """Whether an answer is a relation or a bare list with one."""
    if isinstance(node, Collection) and node.bracket in UNBRACKETED | TOGETHER:
        return any(isinstance(item, Relation) for item in node.items)
    return isinstance(node, Relation)


# -- assignments


def is_name(node: Node) -> bool:
    """Whether a side only names a value: a variable, a function, a text, a point with coordinates."""
    if isinstance(node, Symbol):
        return node.name not in _CONSTANTS
    if isinstance(node, Collection):
        return bool(node.items) and all(is_name(item) for item in node.items)
    if isinstance(node, Call) and node.name in {"abs", "det", "norm"}:
        return is_name(node.arguments[0])
    return isinstance(node, Words)


def _names_matrix(node: Node) -> bool:
    """Whether a side names a matrix: ``A``, ``A^2``, ``A^T``, ``AB``."""
    match node:
        case Symbol(name):
            return name[:1].isupper()
        case Product(factors):
            return all(map(_names_matrix, factors))
        case Power(base, _):
            return _names_matrix(base)
    return False


def assigned_value(node: Node, rules: Rules) -> Node:
    """Return the value of an assignment whose sides all agree; anything else as it is."""
    if isinstance(node, Collection) and node.bracket in UNBRACKETED:
        return _assigned_list(node, rules)
    if not isinstance(node, Relation) or not _ASSIGNING.issuperset(node.signs):
        return node
    sides, signs = list(node.sides), list(node.signs)
    if all(isinstance(side, Symbol) and side.name.isupper() for side in sides):
        return node  # "AB = CD" states that two segments are equal; it assigns nothing
    if len(sides) == 2 and isinstance(sides[1], Matrix) and node.signs == ("=",) and _names_matrix(sides[0]):
        return sides[1]
    while len(sides) > 1 and is_name(sides[0]) and not symbols(sides[0]) & symbols(sides[-1]):
        del sides[0], signs[0]
    if len(sides) == len(node.sides):
        if node.signs == ("=",) and is_name(sides[-1]) and not symbols(sides[0]) & symbols(sides[-1]):
            return sides[0]
        if not {"=", "approx"}.issuperset(signs):
            return node
    return sides[0] if every(map(partial(_continues, rules), sides, signs, sides[1:])) else node


def _continues(rules: Rules, left: Node, sign: str, right: Node) -> Truth:
    """Whether the next side of a chain equals this one; after an approximate sign, to the digits it shows."""
    if sign == "approx":
        return rules._replace(policy=replace(rules.policy, decimal_digits=1)).same(left, right)
    return sign == "=" and rules.same(left, right)


def _assigned_list(node: Collection, rules: Rules) -> Node:
    """Return what several assignments to one variable assign: ``x_1=2, x_2=3`` is ``2, 3``."""
    heads = [item.sides[0] if isinstance(item, Relation) else None for item in node.items]
    names = [head.name for head in heads if isinstance(head, Symbol)]
    values = [assigned_value(item, rules) for item in node.items]
    if len(names) < len(heads) or any(isinstance(value, Relation) for value in values):
        return node
    return Collection(node.bracket, tuple(values)) if len(set(map(_stem, names))) == 1 else node


def _stem(name: str) -> str:
    return name.partition("_")[0]


def named_values(node: Node, rules: Rules) -> tuple[Node, ...] | None:
    """Return the values of assignments to several variables in the order of their names, or None."""
    relations = conjoined(node)
    if relations is None or len(relations) < 2:
        return None
    values = {relation.sides[0]: assigned_value(relation, rules) for relation in relations}
    names = [head.name for head in values if isinstance(head, Symbol)]
    if len(names) < len(relations) or any(isinstance(value, Relation) for value in values.values()):
        return None
    if len(set(map(_stem, names))) == 1:
        return None
    order = names_in_order(rules.question) if rules.question else ()
    ordered = sorted(names, key=order.index if set(names) <= set(order) else None)
    return tuple(values[Symbol(name)] for name in ordered)


def same_as_named(values: tuple[Node, ...], other: Node, rules: Rules) -> Truth:
    """Compare the values of named unknowns with a list, a point or a vector, in the order of the names."""
    items = _in_order(other, rules)
    return items is not None and len(items) == len(values) and every(map(rules.same, values, items))


def _in_order(node: Node, rules: Rules) -> tuple[Node, ...] | None:
    if isinstance(node, Collection):
        is_ordered = node.bracket in {*TOGETHER, "()", "<>"} or rules.policy.brackets == "ignore"
        return node.items if is_ordered else None
    if isinstance(node, Matrix) and 1 in {len(node.rows), len(node.rows[0])}:
        return tuple(cell for row in node.rows for cell in row)
    return None


# -- relations


def conjoined(node: Node) -> tuple[Relation, ...] | None:
    """Return the relations that an answer states together; one between points is one for each coordinate."""
    if isinstance(node, Relation):
        return _by_coordinates(node)
    if not isinstance(node, Collection) or node.bracket not in TOGETHER:
        return None
    found = [one for item in node.items if isinstance(item, Relation) for one in _by_coordinates(item)]
    return tuple(found) if all(isinstance(item, Relation) for item in node.items) else None


def _by_coordinates(node: Relation) -> tuple[Relation, ...]:
    match node:
        case Relation((Collection("()", names), Collection("()", values)), ("=",)) if len(names) == len(values):
            return tuple(Relation(pair, ("=",)) for pair in zip(names, values, strict=True))
    return (node,)


def same_relations(given: Node, wanted: Node, rules: Rules) -> Truth:
    """Compare two relations, or two systems: as written, in any order, rewritten, and by their solutions."""
    if isinstance(given, Relation) and isinstance(wanted, Relation):
        outcome = _same_pair(given, wanted, rules)
        if outcome is not False:
            return outcome
    one, other = conjoined(given), conjoined(wanted)
    if one is None or other is None:
        return False
    matched = False if len(one) == len(other) == 1 else _match(one, other, rules)
    return _same_unsolved(one, other, rules) if matched is False else matched


def _match(given: Sequence[Relation], wanted: Sequence[Relation], rules: Rules) -> Truth:
    """Whether each relation has one of its own among the others."""
    if len(given) != len(wanted):
        return False
    rest = list(wanted)
    for one in given:
        truths = [_same_pair(one, other, rules) for other in rest]
        if True not in truths:
            return None if None in truths else False
        del rest[truths.index(True)]
    return True


def _same_pair(given: Relation, wanted: Relation, rules: Rules) -> Truth:
    """Compare two relations: as written, with sides exchanged, or multiplied by a constant."""
    if given.signs == wanted.signs and len(given.sides) == len(wanted.sides):
        outcome = every(map(rules.same, given.sides, wanted.sides))
        if outcome is not False:
            return outcome
    if {"=", "approx"}.issuperset(given.signs + wanted.signs) and is_name(given.sides[0]) and is_name(wanted.sides[0]):
        one, other = assigned_value(given, rules), assigned_value(wanted, rules)
        if not is_relation(one) and not is_relation(other) and _same_heads(given.sides, wanted.sides):
            return rules.same(one, other)
    if len(given.signs) == len(wanted.signs) == 1 and _is_scaled(given, wanted):
        return True
    return _is_flipped(given, wanted, rules)


def _same_heads(given: Sequence[Node], wanted: Sequence[Node]) -> bool:
    """Whether two assignments name the same: one variable, or ``y`` and a function, ``f(x)``."""
    if is_name(given[1]) or is_name(wanted[1]):
        return given[:-1] == wanted[:-1]
    one, other = given[0], wanted[0]
    return one == other or _are_function_heads(one, other) or _are_function_heads(other, one)


def _are_function_heads(one: Node, other: Node) -> bool:
    if one != Symbol("y") or not isinstance(other, Symbol):
        return False
    found = _FUNCTION_OF.fullmatch(other.name)
    return found is not None and found[1] != "y"


def _is_flipped(given: Relation, wanted: Relation, rules: Rules) -> Truth:
    """Whether a relation is the other read from right to left."""
    if not all(sign in REVERSED_SIGNS for sign in given.signs):
        return False
    flipped = tuple(REVERSED_SIGNS[sign] for sign in reversed(given.signs))
    return flipped == wanted.signs and every(map(rules.same, given.sides[::-1], wanted.sides))


def _is_scaled(given: Relation, wanted: Relation) -> bool:
    """Whether two relations differ by a constant factor; a negative one reverses an inequality."""
    sign, other = given.signs[0], wanted.signs[0]
    if sign not in REVERSED_SIGNS or not (symbols(given) and symbols(wanted)):
        return False
    ratio = constant_ratio(difference(given), difference(wanted))
    if ratio is None:
        return False
    return (sign if ratio > 0 else REVERSED_SIGNS[sign]) == other


def _same_unsolved(given: tuple[Relation, ...], wanted: tuple[Relation, ...], rules: Rules) -> Truth:
    """Compare systems by their solutions, where neither is solved: the equations of a problem are not its solution."""
    both = (*given, *wanted)
    if not all(len(one.signs) == 1 and one.signs[0] in REVERSED_SIGNS for one in both):
        return False
    if _names(given) != _names(wanted) or _is_solved(given) or _is_solved(wanted):
        return False
    if any(isinstance(side, Words | Collection | Matrix) for one in both for side in one.sides):
        return False
    if any(is_equation(one) != is_equation(both[0]) for one in both):
        return False
    if not is_equation(both[0]) and hold_differently(given, wanted):
        return False
    truth = same_solutions(given, wanted) if is_equation(both[0]) else None
    if truth is None and rules.settle is not None:
        return rules.settle(Collection("system", given), Collection("system", wanted))
    return truth


def is_equation(node: Relation) -> bool:
    """Whether both sides are stated to be equal."""
    return node.signs == ("=",)


def _names(relations: Sequence[Relation]) -> set[str]:
    return {name for relation in relations for name in symbols(relation)}


def _is_solved(relations: Sequence[Relation]) -> bool:
    """Whether each relation is about one unknown alone on a side, which occurs nowhere else."""
    heads = [_unknown(relation) for relation in relations]
    return all(heads) and len(set(heads)) == len(heads)


def _unknown(relation: Relation) -> str | None:
    for head, rest in (relation.sides, relation.sides[::-1]):
        if isinstance(head, Symbol) and is_name(head) and head.name not in symbols(rest):
            return head.name
    return None


def same_residues(given: Collection, wanted: Collection, rules: Rules) -> Truth:
    """Compare residues, ``3 mod 7``: by their difference where both moduli are one integer, else as written."""
    match given.items, wanted.items:
        case (Number(one), Number(over)), (Number(other), Number(under)) if over.q == under.q == 1 and over:
            return bool(abs(over) == abs(under) and ((one - other) / over).q == 1)
    return len(given.items) == len(wanted.items) and every(map(rules.same, given.items, wanted.items))
