"""Check instructions that a rule can verify (IFEval, arXiv:2311.07911)."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from reasonrl import Problem, Rollout, Score
from reasonrl.errors import and_known
from reasonrl_grading.answers import shown_text
from reasonrl_rewards.instruction_checks import CHECKS

Mode: TypeAlias = Literal["strict", "loose"]
"""Whether the response must follow as it is, or with its first line, last line or asterisks left out."""

MAX_CHARS: Final = 200_000
"""Characters of a response that is read."""


def instructions(rollout: Rollout, *, mode: Mode = "strict", partial: bool = False) -> Score:
    """1 if the response follows all instructions of its problem, else 0.

    The ids and arguments are IFEval's: ``meta["instruction_id_list"]`` and ``meta["kwargs"]``, one mapping an
    instruction. Words and sentences are counted by rules of our own rather than NLTK's, keywords are texts and not
    patterns, and the language is detected by py3langid. Thinking is not part of the response. Nothing here asks
    whether the response is about its question: a list of keywords follows ``keywords:existence``.

    Args:
        rollout: what is scored.
        mode: ``loose`` also accepts what follows when the first line, the last line or asterisks are left out.
        partial: give the share of the instructions that are followed.
    """
    asked = _asked(rollout.problem)
    if isinstance(asked, str):
        return Score.unscorable(asked)
    response = shown_text(rollout).strip()
    if not response or len(response) > MAX_CHARS:
        return Score(0.0, f"a response of {len(response)} characters")
    variants = list(_variants(response, mode))
    broken = [name for name, settings in asked if not _follows(variants, name, settings)]
    value = 1 - len(broken) / len(asked) if partial else float(not broken)
    return Score(value, f"not followed: {', '.join(broken)}" if broken else f"all {len(asked)} followed")


def _asked(problem: Problem) -> list[tuple[str, dict[str, Any]]] | str:
    """Return the instructions with their arguments, or what is wrong with them. Any: each has its own."""
    names = problem.meta.get("instruction_id_list")
    settings = problem.meta.get("kwargs") or [{}] * len(names or ())
    if not isinstance(names, list | tuple) or not names or len(names) != len(settings):
        return "the problem has no meta['instruction_id_list'] with one meta['kwargs'] each"
    asked = [(str(name), _given(values)) for name, values in zip(names, settings, strict=True)]
    return next((fault for name, values in asked if (fault := _fault(name, values))), asked)


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments that are set: a table has every column in every row, and 3 as 3.0. Any: as above."""
    return {
        name: int(value) if isinstance(value, float) else value
        for name, value in (values or {}).items()
        if value is not None
    }


def _fault(name: str, values: Mapping[str, Any]) -> str | None:
    """Say what is wrong with an instruction, if anything. Any: as above."""
    if name not in CHECKS:
        return f"no instruction {name!r}.{and_known(name, CHECKS)}"
    try:
        inspect.signature(CHECKS[name]).bind("", **values)
    except TypeError as error:
        return f"instruction {name!r}: {error}"
    relations = {str(value) for key, value in values.items() if key.endswith("relation")}
    unknown = relations - {"at least", "less than"}
    return f"instruction {name!r}: relation {min(unknown)!r}; use 'at least' or 'less than'" if unknown else None


def _variants(response: str, mode: Mode) -> Iterator[str]:
    """Yield the response, and in loose mode the response without its first or last line and without asterisks."""
    yield response
    if mode == "loose":
        lines = response.split("\n")
        framed = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
        yield from (text for part in (response, *framed) for text in (part, part.replace("*", "")) if text.strip())


def _follows(variants: Sequence[str], name: str, settings: Mapping[str, Any]) -> bool:
    """Whether any variant follows an instruction. Any: as above."""
    return any(CHECKS[name](variant, **settings) for variant in variants)
