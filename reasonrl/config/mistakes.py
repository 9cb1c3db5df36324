"""What to say of a setting that cannot be: the setting, what is wrong, and the nearest right name."""

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

from reasonrl.errors import did_you_mean

MOVED: Final[Mapping[str, str]] = {
    "algorithm.clip_low": "algorithm.loss.params.clip_low",
    "algorithm.clip_high": "algorithm.loss.params.clip_high",
    "algorithm.dual_clip": "algorithm.loss.params.dual_clip",
    "algorithm.ratio_cap": "algorithm.loss.params.ratio_cap",
    "health": "alarms",
    "alarms.least_useful_groups": "alarms.min_useful_groups",
    "alarms.least_entropy": "alarms.min_entropy",
    "alarms.most_entropy_rise": "alarms.max_entropy_rise",
    "alarms.most_truncated": "alarms.max_truncated",
    "alarms.most_repetition": "alarms.max_repetition",
    "alarms.most_reward_failures": "alarms.max_reward_failures",
}
"""Settings that have another name or place now."""


def key_path(error: ErrorDetails) -> list[str]:
    """Return the keys that lead to a mistake; pydantic's names of kinds of values, which have a space, are left out."""
    return [str(part) for part in error["loc"] if " " not in str(part)]


def describe_mistake(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say what is wrong with a setting.

    Args:
        error: what pydantic says of it.
        model: the settings that were read.
    """
    keys = key_path(error)
    dotted = ".".join(keys)
    if error["type"] == "extra_forbidden":
        if dotted in MOVED:
            return f"{dotted} is now {MOVED[dotted]}."
        known = _fields_at(error["loc"][:-1], model)
        return f"{dotted}: unknown setting.{did_you_mean(keys[-1], known)} Known: {', '.join(known)}."
    if error["type"] == "union_tag_invalid":
        context = error.get("ctx", {})
        given, kinds = str(context["tag"]).split()[-1], re.findall(r"(\S+)'", context["expected_tags"])
        return f"{dotted}: no kind {given!r}.{did_you_mean(given, kinds)} Known: {', '.join(kinds)}."
    if error["type"] == "missing":
        return f"{dotted}: this setting is required."
    if error["type"] == "value_error":
        message = str(error.get("ctx", {}).get("error", error["msg"]))
        return f"{dotted + ': ' if dotted else ''}{message}"
    return f"{dotted}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}.{_nearest_word(error)}"


def _nearest_word(error: ErrorDetails) -> str:
    expected = str(error.get("ctx", {}).get("expected", "")) if error["type"] == "literal_error" else ""
    return did_you_mean(str(error["input"]), expected.replace(" or ", ", ").replace("'", "").split(", "))


def _fields_at(place: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    """Return the settings of a group, which pydantic names by its keys and by the kinds of values on the way."""
    of_kinds: Mapping[str, type[BaseModel]] = {}
    for part in map(str, place):
        if " " in part:
            model = of_kinds.get(part, model)
        elif field := model.model_fields.get(part):
            of_kinds = _tagged(field.annotation)
            model = next(iter(models_of(field.annotation)), model)
    return list(model.model_fields)


def _tagged(annotation: Any) -> Mapping[str, type[BaseModel]]:
    """Return the settings class under each tag of a union. Any: a type."""
    members = [get_args(item) for item in get_args(annotation) if get_origin(item) is Annotated]
    tags = [(of, mark.tag) for of, *marks in members for mark in marks if isinstance(mark, Tag)]
    return {tag: model for of, tag in tags for model in models_of(of)}


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes inside an annotation such as ``list[RewardRef]``. Any: a type."""
    if get_origin(annotation) in (Union, types.UnionType, list, Annotated):
        return [found for item in get_args(annotation) for found in models_of(item)]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [annotation] if is_model else []
