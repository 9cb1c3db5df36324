"""The canonical form of a quotient of polynomials with rational coefficients, which proves equality."""

from functools import lru_cache
from math import comb
from typing import Final, NamedTuple

from flint import fmpq_mpoly, fmpq_mpoly_ctx

from reasonrl_grading.nodes import Node, Number, Power, Product, Sum, Symbol
from reasonrl_grading.values import CONSTANT_NAMES, symbols

MAX_TERMS: Final = 2000
"""Terms that an expanded polynomial may have."""

MAX_BITS: Final = 4096
"""Bits that a coefficient of an expanded polynomial may have."""


class _Size(NamedTuple):
    """Bounds of a quotient: the degrees of both sides, and the bits of their coefficients."""

    top: int
    bottom: int
    bits: int


class _TooLargeError(Exception):
    """Not a quotient of polynomials, or too large."""


class _Ring(NamedTuple):
    """Polynomials in some variables."""

    context: fmpq_mpoly_ctx
    variables: dict[str, fmpq_mpoly]
    one: fmpq_mpoly


@lru_cache(maxsize=256)
def _ring(names: frozenset[str]) -> _Ring:
    context = fmpq_mpoly_ctx.get(sorted(names))
    return _Ring(context, dict(zip(sorted(names), context.gens(), strict=True)), context.constant(1))


def same_fractions(one: Node, other: Node) -> bool | None:
    """Whether two quotients of polynomials are the same; None where one is something else, too large, or undefined."""
    names = frozenset(symbols(one) | symbols(other))
    try:
        size, other_size = _size(one), _size(other)
        degree = max(size.top + other_size.bottom, size.bottom + other_size.top)
        if comb(degree + len(names), len(names)) > MAX_TERMS:
            return None
        (top, bottom), (other_top, other_bottom) = _quotient(one, _ring(names)), _quotient(other, _ring(names))
    except _TooLargeError:
        return None
    if bottom.is_zero() or other_bottom.is_zero():
        return None
    return bool(top * other_bottom == other_top * bottom)


def _size(node: Node) -> _Size:
    match node:
        case Number(value):
            return _checked(0, 0, value.height_bits())
        case Symbol(name) if name not in CONSTANT_NAMES:
            return _Size(1, 0, 1)
        case Sum(inner) | Product(inner):
            sizes = [_size(part) for part in inner]
            bottom, bits = sum(size.bottom for size in sizes), sum(size.bits + 8 for size in sizes)
            if isinstance(node, Product):
                return _checked(sum(size.top for size in sizes), bottom, bits)
            return _checked(max(size.top + bottom - size.bottom for size in sizes), bottom, bits)
        case Power(base, Number(exponent)) if exponent.q == 1 and abs(exponent) < MAX_TERMS:
            size, times = _size(base), abs(int(exponent.p))
            over, under = (size.top, size.bottom) if exponent > 0 else (size.bottom, size.top)
            return _checked(over * times, under * times, (size.bits + 8) * times)
    raise _TooLargeError


def _checked(top: int, bottom: int, bits: int) -> _Size:
    if max(top, bottom) > MAX_TERMS or bits > MAX_BITS:
        raise _TooLargeError
    return _Size(top, bottom, bits)


def _quotient(node: Node, ring: _Ring) -> tuple[fmpq_mpoly, fmpq_mpoly]:
    """Return top and bottom, not reduced; the bottom is the ring's own 1 where there is none."""
    one = ring.one
    match node:
        case Number(value):
            return ring.context.constant(value), one
        case Symbol(name):
            return ring.variables[name], one
        case Product(factors):
            top, bottom = _quotient(factors[0], ring)
            for factor in factors[1:]:
                over, under = _quotient(factor, ring)
                top, bottom = top * over, _times(bottom, under, one)
            return top, bottom
        case Sum(terms):
            top, bottom = _quotient(terms[0], ring)
            for term in terms[1:]:
                over, under = _quotient(term, ring)
                top = _times(top, under, one) + _times(over, bottom, one)
                bottom = _times(bottom, under, one)
            return top, bottom
        case Power(base, Number(exponent)):
            top, bottom = _quotient(base, ring)
            top, bottom = (top, bottom) if exponent > 0 else (bottom, top)
            times = abs(int(exponent.p))
            return top**times, bottom if bottom is one else bottom**times
    raise _TooLargeError


def _times(left: fmpq_mpoly, right: fmpq_mpoly, one: fmpq_mpoly) -> fmpq_mpoly:
    return left if right is one else right if left is one else left * right
