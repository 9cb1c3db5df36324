"""Read and write run files: YAML in, every mistake reported at once with file, line and nearest name."""

import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reasonrl.config.kinds import KINDS, AnyConfig, KindName, recognize
from reasonrl.config.mistakes import MOVED, describe_mistake, key_path, models_of
from reasonrl.config.pipeline import is_pipeline
from reasonrl.config.settings import AlgorithmSettings, PluginRef, RunConfig
from reasonrl.config.yaml import read_mapping, read_value
from reasonrl.errors import ConfigError, and_known
from reasonrl.system.text import read_text

Config = TypeVar("Config", bound=AnyConfig)
Checked = TypeVar("Checked", bound=BaseModel)


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read the run file of a policy, apply ``key.path=value`` overrides and check everything.

    Raises:
        ConfigError: the file cannot be read, or one line for each mistake in it.
    """
    return load_settings(path, overrides, RunConfig)


def load_any(path: Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a run file of the kind that its keys fit best, as :func:`load_run` does.

    Raises:
        ConfigError: the file cannot be read, or one line for each mistake in it.
    """
    data, _ = _read_yaml(path)
    _refuse_pipeline(data, str(path))
    return load_settings(path, overrides, recognize(data).settings)


def load_settings(path: Path, overrides: Sequence[str], of: type[Checked], what: str = "the run file") -> Checked:
    """Read a file of settings of one kind, as :func:`load_run` does.

    Args:
        path: the file.
        overrides: replace settings in it.
        of: what it is checked against.
        what: what the file is, for messages.

    Raises:
        ConfigError: the file cannot be read, or one line for each mistake in it.
    """
    data, lines = _read_yaml(path, what)
    sources = {key: f"{path.name}:{line}" for key, line in lines.items()}
    return _validated(of, data, overrides, path.name, sources)


def settings_of(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> AnyConfig:
    """Check settings that a program holds, of the kind that their keys fit best. Any: as a run file would hold them.

    Raises:
        ConfigError: one line for each mistake in them.
    """
    return _validated(recognize(data).settings, deepcopy(dict(data)), overrides, "the settings", {})


def checked_settings(
    of: type[Checked], data: Mapping[str, Any], overrides: Sequence[str], file: str, places: Mapping[str, str]
) -> Checked:
    """Check settings that are part of another file, as those of a file of their own. Any: as in YAML.

    Args:
        of: what they are checked against.
        data: the settings.
        overrides: replace some of them.
        file: names them in messages.
        places: file and line of each key that stands elsewhere.

    Raises:
        ConfigError: one line for each mistake in them.
    """
    return _validated(of, deepcopy(dict(data)), overrides, file, dict(places))


def read_settings_file(path: Path, what: str = "the run file") -> tuple[dict[str, Any], dict[str, int]]:
    """Return what a file of settings holds, unchecked, and the line of every key. Any: as in YAML.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read_yaml(path, what)


def refuse_other_kind(path: Path, kind: KindName, shown: str) -> None:
    """Refuse a run file that is clearly of another kind.

    Args:
        path: the run file.
        kind: what it should be.
        shown: how the user named it.

    Raises:
        ConfigError: it is of another kind, and which command trains it; or it cannot be read.
    """
    data, _ = _read_yaml(path)
    _refuse_pipeline(data, shown)
    found = recognize(data, kind)
    if found.name != kind:
        raise ConfigError(
            f"{shown} trains {found.trains}, not {KINDS[kind].trains}: {found.command} {shlex.quote(shown)}"
        )


def _refuse_pipeline(data: Mapping[str, Any], shown: str) -> None:
    """Refuse the file of a pipeline, which is none of a run. Any: as in YAML."""
    if is_pipeline(data):
        raise ConfigError(f"{shown} is a pipeline of several runs: reasonrl pipeline {shlex.quote(shown)}")


def override_run(config: Config, overrides: Sequence[str]) -> Config:
    """Return the run with ``key.path=value`` overrides applied.

    Raises:
        ConfigError: one line for each mistake in the overrides.
    """
    data = config.model_dump(mode="json")
    if isinstance(config, RunConfig):
        data["algorithm"] = _beside_preset(config.algorithm)
    return _validated(type(config), data, overrides, config.name, {})


def _beside_preset(algorithm: AlgorithmSettings) -> dict[str, Any]:
    """Return the values that are not the preset's, so that another preset brings all of its own."""
    usual = AlgorithmSettings.model_validate(algorithm.preset).model_dump(mode="json")
    given = algorithm.model_dump(mode="json")
    beside = {name: value for name, value in given.items() if name == "preset" or value != usual[name]}
    for role in ("advantage", "loss"):
        if role in beside and given[role]["name"] == usual[role]["name"]:
            known = usual[role]["params"].items()
            params = {name: value for name, value in given[role]["params"].items() if (name, value) not in known}
            beside[role] = {"params": params}  # without a name: another preset's loss takes them, as other values
    return beside


def parse_params(params: Sequence[str] | None, option: str = "--param") -> dict[str, Any]:
    """Read ``name=value`` options of a command; values are YAML. Any: the plugin's own types.

    Raises:
        ConfigError: one has no ``=``, or its value is not YAML.
    """
    pairs = [param.partition("=") for param in params or ()]
    if bad := next((name for name, equals, _ in pairs if not equals), None):
        raise ConfigError(f"{option} {bad!r}: write name=value.")
    return {name: read_value(text) for name, _, text in pairs}


def from_options(of: type[Checked], **given: Any) -> Checked:
    """Return settings made of a command's options, checked as those of a run file. Any: as on the command line.

    Raises:
        ConfigError: one line for each option that cannot be.
    """
    try:
        return of.model_validate(given)
    except ValidationError as error:
        mistakes = [describe_mistake(item, of) for item in error.errors()]
        raise ConfigError("\n".join(_as_option(mistake, given) for mistake in mistakes)) from None


def _as_option(mistake: str, given: Mapping[str, Any]) -> str:
    """Name an option as it is typed. Any: as on the command line."""
    name, separator, said = mistake.partition(": ")
    return f"--{name.replace('_', '-')}{separator}{said}" if name in given else mistake


def _validated(
    of: type[Checked], data: dict[str, Any], overrides: Sequence[str], file: str, sources: dict[str, str]
) -> Checked:
    """Apply overrides and check everything; ``sources`` says where each key stands."""
    for override in overrides:
        keys = _apply_override(data, override).split(".")
        sources[".".join(keys)] = f"override {override!r}"
        for depth in range(1, len(keys)):  # a group that is unknown is a mistake of the override that began it
            sources.setdefault(".".join(keys[:depth]), f"override {override!r}")
    try:
        return of.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, file, sources, of) for item in error.errors())) from None


def dump_run(config: AnyConfig) -> str:
    """Return the whole run as YAML, every default filled in; :func:`load_any` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def explain_setting(path: str, kind: KindName = "policy") -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, sentence) of a setting, or of each setting in a group.

    Raises:
        ConfigError: runs of this kind have no such setting.
    """
    models: list[type[BaseModel]] = [KINDS[kind].settings]
    *groups, last = path.split(".") if path else [""]
    for depth, name in enumerate([*groups, last]):
        if not name:
            break
        having = [model for model in models if name in model.model_fields]
        if not having:
            raise ConfigError(_no_setting(path, name, models, kind))
        inner = [each for model in having for each in models_of(model.model_fields[name].annotation)]
        if not inner:
            if depth < len(groups):
                raise ConfigError(f"no setting {path!r}: {name!r} has no settings of its own.")
            return [_row(name, model) for model in having]
        models = inner
    return list(dict.fromkeys(_row(name, model) for model in models for name in model.model_fields))


def _no_setting(path: str, name: str, models: Sequence[type[BaseModel]], kind: KindName) -> str:
    """Say that there is no such setting, where it went, or which kind of run has it."""
    if kind == "policy" and path in MOVED:
        return f"{path} is now {MOVED[path]}."
    others = [other for other in KINDS.values() if _has_setting(other.settings, path.split("."))]
    if others and others[0].name != kind:
        return f"no setting {path!r} of a run that trains {KINDS[kind].trains}: add --kind {others[0].name}"
    return f"no setting {path!r}.{and_known(name, {known for model in models for known in model.model_fields})}"


def _has_setting(model: type[BaseModel], names: Sequence[str]) -> bool:
    if names[0] not in model.model_fields:
        return False
    inner = models_of(model.model_fields[names[0]].annotation)
    return len(names) == 1 or any(_has_setting(each, names[1:]) for each in inner)


def _row(name: str, model: type[BaseModel]) -> tuple[str, str, str, str]:
    """Describe one field for a reader."""
    field = model.model_fields[name]
    shown = getattr(field.annotation, "__name__", "") if get_origin(field.annotation) is None else ""
    value = field.get_default(call_default_factory=False)
    default = "required" if field.is_required() else repr(value)
    if models_of(field.annotation) and not isinstance(value, float):  # a group; a weight may be a number too
        default = value.name if isinstance(value, PluginRef) else ""
    return name, shown or str(field.annotation).replace("typing.", ""), default, field.description or ""


def _read_yaml(path: Path, what: str = "the run file") -> tuple[dict[str, Any], dict[str, int]]:
    """Return the file's data and the line of every key in it."""
    return read_mapping(read_text(path, ConfigError, what), path, what.replace("the ", "a ", 1))


def _apply_override(data: dict[str, Any], override: str) -> str:
    """Set one ``key.path=value`` in the data and return the key path."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write key.path=value, such as run.steps=20.")
    value = read_value(text)
    *groups, last = key.split(".")
    here: Any = data
    for depth, name in enumerate(groups):
        here = _descend(here, name, override, bare="preset" if (depth, name) == (0, "algorithm") else "name")
    if isinstance(here, list):
        here[_list_index(here, last, override)] = value
    else:
        here[last] = value
    return key


def _descend(here: Any, name: str, override: str, *, bare: str) -> Any:
    """Step into a group or a list item; a bare name such as ``model: tiny`` opens into its group, under ``bare``."""
    key: Any = _list_index(here, name, override) if isinstance(here, list) else name
    value = here[key] if isinstance(here, list) else here.get(key)
    here[key] = value if isinstance(value, dict | list) else {} if value is None else {bare: value}
    return here[key]


def _list_index(items: list[Any], name: str, override: str) -> int:
    if not name.isdigit() or int(name) >= len(items):
        raise ConfigError(f"override {override!r}: {name!r} is not a position in a list of {len(items)}.")
    return int(name)


def _explain(error: ErrorDetails, file: str, sources: Mapping[str, str], of: type[BaseModel]) -> str:
    """Turn one pydantic error into: where, what, and the nearest right name."""
    keys = key_path(error)
    where = next((sources[".".join(keys[:n])] for n in range(len(keys), 0, -1) if ".".join(keys[:n]) in sources), file)
    return f"{where}  {describe_mistake(error, of)}"
