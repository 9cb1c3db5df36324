"""The JSON schema of run files: it takes what the loader takes, short forms included, and refuses what it refuses.

What a schema cannot say is left to the loader: values that contradict each other, and parameters of plugins.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reasonrl.config.base import TrackerRef
from reasonrl.config.kinds import KINDS, KindName
from reasonrl.config.pipeline import PipelineConfig
from reasonrl.config.suite_file import SuiteFile
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import installed_plugins

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

INSTALLED: Final[Mapping[str, Kind]] = {
    "MethodSettings.advantage": "advantages",
    "MethodSettings.loss": "losses",
    "RolloutSettings.engine": "engines",
    "RunConfig.observers": "observers",
    "RunFolderSettings.trackers": "trackers",
    "FinetuneConfig.observers": "observers",
    "FinetuneEvaluationSettings.engine": "engines",
}
"""Settings that name a plugin which the loader looks up."""

ONE_OR_LIST: Final = ("LoraSettings.target_modules",)
"""Lists for which one member may stand."""

FORMS: Final[Mapping[str, JsonSchemaValue]] = {
    "ModelSettings.device": {"pattern": r"^(auto|cpu|cuda(:[0-9]+)?)$"},
    "RolloutSettings.stop": {"items": {"type": "string", "minLength": 1}},
    "VLLMSettings.urls": {"items": {"type": "string", "pattern": "^https?://"}},
    "RewardRef.label": {"not": {"enum": ["mean", "std"]}},
}
"""What validators of one setting look for."""

REWARDED: Final[list[JsonSchemaValue]] = [
    {"required": ["rewards"]},
    {"properties": {"task": {"type": "array", "items": {"required": ["rewards"], "type": "object"}}}},
]
"""A run has rewards, or each task of a mixture has its own."""

SECTIONS: Final[tuple[KindName, ...]] = ("sft", "dpo", "kto")
"""Kinds whose run files have a section of their name."""

BLANK: Final = r"\S"
"""The pattern of a text that says something."""


def run_file_schema(kind: KindName | None = None) -> dict[str, Any]:
    """Return the JSON schema of the run files of a kind, or of all kinds. Any: JSON.

    Raises:
        PluginError: the installed plugins cannot be listed.
    """
    if kind is not None:
        return {"$schema": DIALECT, **_schema(kind)}
    schemas = {name: _schema(name) for name in KINDS}
    definitions = {name: each for schema in schemas.values() for name, each in schema.pop("$defs").items()}
    own = schemas["reward_model"]["properties"].keys() - schemas["policy"]["properties"].keys()
    marks = [{"required": [name]} for name in sorted(own)]
    chosen = {"if": {"anyOf": marks}, "then": schemas["reward_model"], "else": schemas["policy"]}
    for name in SECTIONS:
        chosen = {"if": {"required": [name]}, "then": schemas[name], "else": chosen}
    pipeline = PipelineConfig.model_json_schema(schema_generator=_Generator)
    definitions |= pipeline.pop("$defs")
    chosen = {"if": {"required": ["stages"]}, "then": pipeline, "else": chosen}
    return {"$schema": DIALECT, "title": "Run file", "type": "object", **chosen, "$defs": definitions}


def suite_file_schema() -> dict[str, Any]:
    """Return the JSON schema of the files that declare a suite. Any: JSON."""
    return {"$schema": DIALECT, **SuiteFile.model_json_schema(schema_generator=_Generator)}


def pipeline_file_schema() -> dict[str, Any]:
    """Return the JSON schema of pipeline files; what a stage's run file holds is left to the loader. Any: JSON."""
    return {"$schema": DIALECT, **PipelineConfig.model_json_schema(schema_generator=_Generator)}


def _schema(kind: KindName) -> dict[str, Any]:
    return KINDS[kind].settings.model_json_schema(schema_generator=_Generator)


class _Generator(GenerateJsonSchema):
    """Adds what validators take beside a model's own form, and leaves out what they refuse."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model: type[BaseModel] = schema["cls"]
        described = super().model_schema(schema)
        for name, written in described.get("properties", {}).items():
            described["properties"][name] = _as_read(model, name, written)
        if model.__name__ == "AlgorithmSettings":  # a preset gives what is left out
            described.pop("required", None)
        if model.__name__ == "RunConfig":
            described["anyOf"] = REWARDED
        return _with_short_form(model, described)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Several members of a union may take one value, such as ``{}``: the loader decides by a tag."""
        described = super().tagged_union_schema(schema)
        return {"anyOf": described["oneOf"]} if "oneOf" in described else described


def _as_read(model: type[BaseModel], name: str, written: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of one setting as the loader reads it."""
    field = model.model_fields[name]
    paths = [f"{each.__name__}.{name}" for each in model.__mro__]
    if kind := next((INSTALLED[path] for path in paths if path in INSTALLED), None):
        is_list = written.get("type") == "array"
        beside = TrackerRef.model_json_schema()["properties"] if kind == "trackers" else {}
        ref = _installed_ref(kind, needs_name=model.__name__ != "AlgorithmSettings", beside=beside)
        return {**written, "items": ref} if is_list else {**_without(written, "$ref"), **ref}
    if paths[0] == "AlgorithmSettings.preset":
        return {**_without(written, "type"), "enum": [*installed_plugins().entries("presets")]}
    said = _saying_something(written) if field.default != "" else written
    if "off" in said.get("enum", ()):  # YAML 1.1 reads that word as false
        said = {**_without(said, "type"), "enum": [*said["enum"], False]}
    said = {**said, **next((FORMS[path] for path in paths if path in FORMS), {})}
    return _or_one(said) if any(path in ONE_OR_LIST for path in paths) else said


def _installed_ref(kind: Kind, *, needs_name: bool, beside: JsonSchemaValue) -> JsonSchemaValue:
    """Return what names an installed plugin, or refers to a function in a file or module.

    Args:
        kind: what the plugin must be.
        needs_name: whether nothing else gives the name.
        beside: settings that stand beside name and params.
    """
    names: JsonSchemaValue = {"enum": [*installed_plugins().entries(kind)]}
    name: JsonSchemaValue = {"anyOf": [names, {"type": "string", "pattern": ":"}]}
    properties = {**beside, "name": name, "params": {"type": "object"}}
    group = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"anyOf": [*name["anyOf"], {**group, "required": ["name"]} if needs_name else group]}


def _saying_something(written: JsonSchemaValue) -> JsonSchemaValue:
    """Refuse blank text, and a text that stands twice in a list, wherever the setting takes either."""
    if written.get("type") == "string" and not {"enum", "const", "pattern"} & written.keys():
        return {**written, "pattern": BLANK}
    if written.get("type") == "array" and written.get("items", {}).get("type") == "string":
        return {**written, "uniqueItems": True}
    if "anyOf" in written:
        return {**written, "anyOf": [_saying_something(each) for each in written["anyOf"]]}
    return written


def _or_one(written: JsonSchemaValue) -> JsonSchemaValue:
    """Let a member of a list stand for the list."""
    about = _only(written, "title", "description", "default")
    one = _saying_something(written["items"])
    return {**about, "anyOf": [one, _without(written, *about)]}


def _with_short_form(model: type[BaseModel], described: JsonSchemaValue) -> JsonSchemaValue:
    """Let a text stand for a group of settings, where the loader takes it for one of them."""
    short = _short_key(model)
    if short is None:
        return described
    about = _only(described, "title", "description")
    return {**about, "anyOf": [_without(described["properties"][short], "default"), _without(described, *about)]}


def _short_key(model: type[BaseModel]) -> str | None:
    """Return the setting that a bare text stands for."""
    for name in ("_accept_a_bare_name", "_fill_from_preset"):
        if reads := getattr(model, name, None):
            return "preset" if name == "_fill_from_preset" else next(iter(reads("?")))
    return None


def _without(written: JsonSchemaValue, *keys: str) -> JsonSchemaValue:
    return {key: value for key, value in written.items() if key not in keys}


def _only(written: JsonSchemaValue, *keys: str) -> JsonSchemaValue:
    return {key: value for key, value in written.items() if key in keys}
