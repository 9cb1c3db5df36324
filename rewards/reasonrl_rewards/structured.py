"""Check an answer that should be JSON."""

import json
import math
import re
from typing import TYPE_CHECKING, Any

from reasonrl import ConfigError, Rollout, Score
from reasonrl.system.extras import needs_extra
from reasonrl_grading.answers import Source, read_answer
from reasonrl_rewards.found import ANSWERED, no_answer

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"```[A-Za-z]*[ \t]*\n(?P<inside>(?:(?!```).)*)```", re.DOTALL)


def json_answer(
    rollout: Rollout,
    *,
    schema: dict[str, Any] | None = None,
    compare: bool = False,
    sources: tuple[Source, ...] = ("answer_tag", "whole"),
) -> Score:
    """1 if the answer is JSON, fits the schema and, where asked, equals the problem's answer, else 0.

    A code fence around the whole of it is removed. A repeated key, NaN and infinity are not JSON. Without
    a schema and without ``compare`` a bare ``1`` is worth as much as an object.

    Args:
        rollout: what is scored; its problem may have a schema in ``meta["schema"]``.
        schema: a JSON schema (draft 2020-12 unless it says otherwise) for all problems; references must stay
            inside it. Any: JSON.
        compare: whether the value must equal the problem's answer; the order of keys does not count.
        sources: where the answer may be, in this order.

    Raises:
        ConfigError: ``schema`` is not a JSON schema.
    """
    wanted = parsed_json(rollout.problem.answer) if compare else None
    if isinstance(wanted, _NotJSONError):
        return Score.unscorable(f"the problem's answer is not JSON: {wanted}")
    answer = read_answer(rollout, sources)
    given = answer or ""
    try:
        fault = fault_of(parsed_json(given), schema if schema is not None else rollout.problem.meta.get("schema"))
    except _NotASchemaError as error:
        if schema is not None:
            raise ConfigError(f"reward 'json_answer': schema: {error}.") from None
        return Score.unscorable(f"meta['schema']: {error}")
    if answer is None:
        return no_answer(rollout, sources)
    if fault is not None:
        return Score(0.0, fault, parts=ANSWERED)
    if compare and not _same(parsed_json(given), wanted):
        return Score(0.0, f"answered {given[:80]!r}, wanted {rollout.problem.answer[:80]!r}", parts=ANSWERED)
    return Score(1.0, "as asked", parts=ANSWERED)


class _NotASchemaError(ValueError):
    """What is wrong with a JSON schema."""


class _NotJSONError(ValueError):
    """Why a text is not JSON."""


def parsed_json(text: str) -> Any:
    """Return the value of a text, which may stand in a code fence, or why it has none: see ``fault_of``. Any: JSON."""
    fence = _FENCE.fullmatch(text.strip())
    try:
        return json.loads(
            fence["inside"] if fence else text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        return _NotJSONError("nested too deeply")
    except ValueError as error:
        return _NotJSONError(str(error)[:200])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys differ. Any: JSON."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _NotJSONError("a key is repeated")
    return members


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python would accept."""
    raise _NotJSONError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise _NotJSONError(f"{text[:40]} is too great a number")
    return value


def fault_of(value: Any, schema: Any) -> str | None:
    """Say why a value is no JSON or does not fit the schema, or None. Any: JSON."""
    validator = _validator(schema) if schema is not None else None
    if isinstance(value, _NotJSONError):
        return f"not JSON: {value}"
    return _misfit(value, validator) if validator is not None else None


def _validator(schema: Any) -> "Validator":
    """Return what checks a schema; it fetches nothing. Any: whatever the data set holds."""
    with needs_extra("json-schema", "a JSON schema"):
        from jsonschema import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry

    if not isinstance(schema, dict):
        raise _NotASchemaError(f"it is a {type(schema).__name__}, not an object")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise _NotASchemaError(f"not a JSON schema: {error.message[:200]}") from None
    return kind(schema, registry=Registry())


def _misfit(value: Any, validator: "Validator") -> str | None:
    """Say where a value does not fit. Any: JSON."""
    with needs_extra("json-schema", "a JSON schema"):
        from referencing.exceptions import Unresolvable

    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        return "nested too deeply"
    except Unresolvable as error:
        raise _NotASchemaError(f"it refers to {error.ref!r}, which is not in it") from None
    return f"{error.json_path}: {error.message[:200]}" if error is not None else None


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal; true is not 1, as it is in Python. Any: JSON."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
