"""The forms of verdicts, as JSON schemas, and reading a judge's reply strictly by them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from reasonrl_rewards.judge.rubric import Criterion, Level
from reasonrl_rewards.structured import fault_of, parsed_json

Schema: TypeAlias = dict[str, Any]
"""A JSON schema. Any: JSON."""

Verdict: TypeAlias = Mapping[str, Any]
"""A reply that fits its schema. Any: JSON."""

WINNERS: Final = ("A", "B", "tie")
"""What a comparison may find better."""


def scores_schema(rubric: Sequence[Criterion], *, explain: bool) -> Schema:
    """Return the form of scores: one level a criterion."""
    return _verdict("scores", {one.name: _one_of(one.levels) for one in rubric}, explain)


def winners_schema(rubric: Sequence[Criterion], *, explain: bool) -> Schema:
    """Return the form of a comparison: A, B or tie for each criterion."""
    return _verdict("winners", {one.name: _one_of(WINNERS) for one in rubric}, explain)


def ranks_schema(rubric: Sequence[Criterion], num_completions: int, *, explain: bool) -> Schema:
    """Return the form of a ranking: for each criterion, the rank of each completion by its number."""
    ranks = [*range(1, num_completions + 1)]
    return _verdict("ranks", {one.name: _object({str(n): _one_of(ranks) for n in ranks}) for one in rubric}, explain)


def _one_of(values: Sequence[Level]) -> Schema:
    """Return the form of a choice; the type is redundant, and OpenAI's strict mode wants it."""
    return {"type": "integer" if isinstance(values[0], int) else "string", "enum": list(values)}


def _verdict(name: str, properties: Mapping[str, Any], explain: bool) -> Schema:
    """Put the explanation first, so that it is written before the verdict and not to justify it. Any: JSON."""
    explanation = {"explanation": {"type": "string"}} if explain else {}
    return _object({**explanation, name: _object(properties)})


def _object(properties: Mapping[str, Any]) -> Schema:
    """Return the form of an object that has all of these and no others, as OpenAI's strict mode wants. Any: JSON."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


class UnreadableVerdictError(ValueError):
    """Why a reply is no verdict."""


def read_verdict(text: str, schema: Schema) -> Verdict:
    """Return the verdict that a reply consists of.

    Nothing is searched for: a reply that contains a verdict among other text, as one does that quotes a completion, is
    unreadable. Thinking before the verdict and a code fence around it are left out.

    Raises:
        UnreadableVerdictError: the reply is not JSON, or does not fit the schema.
    """
    verdict: Verdict = parsed_json(_after_thinking(text))
    if fault := fault_of(verdict, schema):
        raise UnreadableVerdictError(f"the reply is no verdict: {fault}: {_short(text)}")
    return verdict


def _after_thinking(text: str) -> str:
    stripped = text.strip()
    return stripped.partition("</think>")[2] if stripped.startswith("<think>") else stripped


def _short(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


def explanation_of(verdict: Verdict) -> str:
    """Return the beginning of an explanation in one line, or nothing."""
    return " ".join(str(verdict.get("explanation", "")).split())[:200]
