"""What to say of a setting that cannot be: the setting, what is wrong, and the nearest right name."""

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

from reasonrl.config.synonyms import translations
from reasonrl.errors import did_you_mean

MAX_PLACES: Final = 4
"""Most places that a message names for a setting that stands elsewhere."""

MOVED: Final[Mapping[str, str]] = {
    "algorithm.clip_low": "algorithm.loss.params.clip_low",
    "algorithm.clip_high": "algorithm.loss.params.clip_high",
    "algorithm.dual_clip": "algorithm.loss.params.dual_clip",
    "algorithm.ratio_cap": "algorithm.loss.params.ratio_cap",
    "evaluation.batch_problems": "evaluation.max_concurrent",
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
    place = f"{dotted}: " if dotted else ""
    if error["type"] == "extra_forbidden":
        return _unknown_setting(error, model)
    if error["type"] == "union_tag_invalid":
        context = error.get("ctx", {})
        given, kinds = str(context["tag"]).split()[-1], re.findall(r"(\S+)'", context["expected_tags"])
        return f"{place}no kind {given!r}.{did_you_mean(given, kinds)} Known: {', '.join(kinds)}."
    if error["type"] == "missing":
        return f"{place}this setting is required."
    if error["type"] == "value_error":
        message = str(error.get("ctx", {}).get("error", error["msg"]))
        return f"{place}{message}"
    if error["type"] in ("model_type", "model_attributes_type"):
        group = ", ".join(_fields_at(error["loc"], model))
        return f"{place}should be a group of settings ({group}), got {_shown(error['input'])}."
    said = f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {_shown(error['input'])}"
    return f"{place}{said}.{_nearest_word(error)}{_quotes(error)}"


def _unknown_setting(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say where a setting of that name went or stands, what it is called here, or which name is near."""
    keys, known = key_path(error), _fields_at(error["loc"][:-1], model)
    dotted, name = ".".join(keys), keys[-1]
    if dotted in MOVED:
        return f"{dotted} is now {MOVED[dotted]}."
    if slip := did_you_mean(name, known):
        return f"{dotted}: unknown setting.{slip} Known: {', '.join(known)}."
    if {"name", "params"} <= set(known):
        return f"{dotted}: unknown setting. Known: {', '.join(known)}. The plugin's own parameters stand under params."
    sentences = translations(dotted, error["input"], model.model_fields)
    if places := sorted(settings_named(name, model), key=lambda place: place.count("."))[:MAX_PLACES]:
        named = ", ".join(place if "." in place else f"{place} (at the top level)" for place in places)
        here = "".join(f" {sentence}." for sentence in sentences)
        return f"{dotted}: unknown setting. It stands elsewhere: {named}.{here}"
    if sentences:
        return f"{dotted}: unknown setting. {'; '.join(sentences)}. See docs/coming-from.md."
    return f"{dotted}: unknown setting. Known: {', '.join(known)}."


def settings_named(name: str, model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted paths of all settings of one name.

    Args:
        name: the last key of the path.
        model: the settings to look through.
        prefix: leads to them; ``N`` stands for a position in a list.
    """
    here = [f"{prefix}{name}"] if name in model.model_fields else []
    return here + [
        found
        for key, field in model.model_fields.items()
        for inner in models_of(field.annotation)
        for found in settings_named(name, inner, f"{prefix}{key}.{'N.' if _is_list(field.annotation) else ''}")
    ]


def _is_list(annotation: Any) -> bool:
    """Say whether a setting is a list. Any: a type."""
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return any(map(_is_list, get_args(annotation)))
    return get_origin(annotation) is list


def _shown(given: object) -> str:
    """Return a value as a run file has it."""
    return "null" if given is None else str(given).lower() if isinstance(given, bool) else repr(given)


def _quotes(error: ErrorDetails) -> str:
    """Say how to write text that YAML reads as something else."""
    is_plain = error["input"] is not None and not isinstance(error["input"], dict | list)
    return " Write text in quotes." if error["type"] == "string_type" and is_plain else ""


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
