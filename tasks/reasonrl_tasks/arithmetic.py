"""Chains of additions, subtractions and multiplications with exact answers."""

from collections.abc import Sequence
from functools import partial
from math import prod
from random import Random
from typing import Literal

from reasonrl import DataError, Problem, Split, digest
from reasonrl_tasks.drawing import draw_distinct

Sign = Literal[1, -1]
Term = tuple[Sign, list[int]]
"""A sign and the factors of a product; a plain number is a product of one factor."""


def arithmetic(
    *,
    split: Split,
    seed: int,
    num_problems: int = 10_000,
    min_terms: int = 2,
    max_terms: int = 4,
    min_value: int = 1,
    max_value: int = 20,
    operations: str = "+-",
    allow_negative: bool = False,
) -> Sequence[Problem]:
    """Ask ``What is 7 + 15 - 4?`` and the like; each problem has a ``worked_solution`` to learn from.

    Two orders of the same terms are one problem, so ``47 + 38`` and ``38 + 47`` never stand in different
    splits.

    Args:
        split: ``train`` or ``heldout``; disjoint by problem whatever the seed.
        seed: decides which problems are drawn, not what a problem is.
        num_problems: how many distinct problems.
        min_terms: least number of operands.
        max_terms: greatest number of operands.
        min_value: least operand.
        max_value: greatest operand.
        operations: any of ``+``, ``-`` and ``*``; products bind tighter, as usual.
        allow_negative: whether the answer, or any running total from left to right, may be below zero.

    Raises:
        DataError: the settings contradict each other or allow too few problems.
    """
    if not operations or set(operations) - set("+-*"):
        raise DataError(f"task 'arithmetic': operations is {operations!r}; use any of '+', '-' and '*'.")
    if not 2 <= min_terms <= max_terms:
        raise DataError(f"task 'arithmetic': needs 2 <= min_terms <= max_terms, got {min_terms} and {max_terms}.")
    if not 0 <= min_value <= max_value:
        raise DataError(f"task 'arithmetic': needs 0 <= min_value <= max_value, got {min_value} and {max_value}.")
    draw = partial(
        _draw,
        num_terms=(min_terms, max_terms),
        values=(min_value, max_value),
        operations=operations,
        allow_negative=allow_negative,
    )
    return draw_distinct(draw, task="arithmetic", split=split, seed=seed, num_problems=num_problems)


def _draw(
    random: Random,
    *,
    num_terms: tuple[int, int],
    values: tuple[int, int],
    operations: str,
    allow_negative: bool,
) -> Problem | None:
    """Draw one problem, or None where its running totals are not allowed."""
    terms = _random_terms(random, random.randint(*num_terms), values, operations)
    return _problem(terms) if allow_negative or min(running_totals(terms)) >= 0 else None


def _random_terms(random: Random, num_terms: int, values: tuple[int, int], operations: str) -> list[Term]:
    """Draw operands and join each to what stands before it with a random operation."""
    terms: list[Term] = [(1, [random.randint(*values)])]
    for _ in range(num_terms - 1):
        operation, value = random.choice(operations), random.randint(*values)
        if operation == "*":
            terms[-1][1].append(value)
        else:
            terms.append((1 if operation == "+" else -1, [value]))
    return terms


def running_totals(terms: Sequence[Term]) -> list[int]:
    """Return the total after each term, from left to right; the last one is the answer."""
    totals: list[int] = []
    for sign, factors in terms:
        totals.append((totals[-1] if totals else 0) + sign * prod(factors))
    return totals


def expression(terms: Sequence[Term]) -> str:
    """Write the terms: ``7 + 3 * 5 - 4``, a sign before the first one left out."""
    first, *rest = (" * ".join(map(str, factors)) for _, factors in terms)
    signs = ("-" if sign < 0 else "+" for sign, _ in terms[1:])
    return " ".join([first, *(f"{sign} {factors}" for sign, factors in zip(signs, rest, strict=True))])


def worked_solution(terms: Sequence[Term]) -> str:
    """Work the terms out from left to right: ``7 + 15 = 22. 22 - 4 = 18.``"""
    totals, (_, first), rest = running_totals(terms), terms[0], terms[1:]
    product = [f"{' * '.join(map(str, first))} = {totals[0]}."] if len(first) > 1 else []
    steps = [
        f"{before} {'-' if sign < 0 else '+'} {' * '.join(map(str, factors))} = {total}."
        for (sign, factors), before, total in zip(rest, totals, totals[1:], strict=False)
    ]
    return " ".join([*product, *steps])


def _problem(terms: list[Term]) -> Problem:
    """Return the problem; its id ignores the order of terms and of factors."""
    canonical = sorted((sign, sorted(factors)) for sign, factors in terms)
    return Problem(
        id=digest("arithmetic", canonical),
        task="arithmetic",
        prompt=f"What is {expression(terms)}?",
        answer=str(running_totals(terms)[-1]),
        meta={"num_operands": sum(len(factors) for _, factors in terms), "worked_solution": worked_solution(terms)},
    )
