"""Instructions that a rule can verify (IFEval, arXiv:2311.07911; IFBench, arXiv:2507.02833), and what follows them.

``CHECKS`` are those of rewards: no empty form meets them. ``PUBLISHED`` are those of IFEval's own program, for figures
that are compared with published ones. ``IFBENCH`` are those of IFBench.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from reasonrl import Problem
from reasonrl.errors import and_known
from reasonrl_grading.instructions.ifbench import IFBENCH
from reasonrl_grading.instructions.ifeval import CHECKS
from reasonrl_grading.instructions.published import PUBLISHED

__all__ = ["CHECKS", "IFBENCH", "MAX_CHARS", "PUBLISHED", "Asked", "Checks", "Mode", "asked_of", "followed"]

Mode: TypeAlias = Literal["strict", "loose"]
"""Whether the response must follow as it is, or with its first line, last line or asterisks left out."""

Checks: TypeAlias = Mapping[str, Callable[..., bool]]
"""What each instruction asks, by its id: a function of the response and the instruction's arguments."""

Asked: TypeAlias = list[tuple[str, dict[str, Any]]]
"""The instructions of a problem with their arguments. Any: each has its own."""

MAX_CHARS: Final = 200_000
"""Characters of a response that is read."""


def asked_of(problem: Problem, checks: Checks = CHECKS) -> Asked | str:
    """Return the instructions with their arguments, or what is wrong with them. Any: each has its own."""
    names = problem.meta.get("instruction_id_list")
    settings = problem.meta.get("kwargs") or [{}] * len(names or ())
    if not isinstance(names, list | tuple) or not names or len(names) != len(settings):
        return "the problem has no meta['instruction_id_list'] with one meta['kwargs'] each"
    asked = [(str(name), _given(values)) for name, values in zip(names, settings, strict=True)]
    return next((fault for name, values in asked if (fault := _fault(name, values, checks))), asked)


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments that are set: a table has every column in every row, and 3 as 3.0. Any: as above."""
    return {
        name: int(value) if isinstance(value, float) else value
        for name, value in (values or {}).items()
        if value is not None
    }


def _fault(name: str, values: Mapping[str, Any], checks: Checks) -> str | None:
    """Say what is wrong with an instruction, if anything. Any: as above."""
    if name not in checks:
        return f"no instruction {name!r}.{and_known(name, checks)}"
    try:
        inspect.signature(checks[name]).bind("", **values)
    except TypeError as error:
        return f"instruction {name!r}: {error}"
    relations = {str(value) for key, value in values.items() if key.endswith("relation")}
    unknown = relations - {"at least", "less than"}
    return f"instruction {name!r}: relation {min(unknown)!r}; use 'at least' or 'less than'" if unknown else None


def followed(response: str, asked: Asked, mode: Mode = "strict", checks: Checks = CHECKS) -> list[bool]:
    """Return for each instruction whether a response follows it; one that is empty or too long follows none."""
    if not response or len(response) > MAX_CHARS:
        return [False] * len(asked)
    variants = list(_variants(response, mode))
    return [_follows(variants, checks[name], settings) for name, settings in asked]


def _variants(response: str, mode: Mode) -> Iterator[str]:
    """Yield the response, and in loose mode the response without its first or last line and without asterisks."""
    yield response
    if mode == "loose":
        lines = response.split("\n")
        framed = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
        yield from (text for part in (response, *framed) for text in (part, part.replace("*", "")) if text.strip())


def _follows(variants: Sequence[str], check: Callable[..., bool], settings: Mapping[str, Any]) -> bool:
    """Whether any variant follows an instruction. Any: as above."""
    return any(check(variant, **settings) for variant in variants)
