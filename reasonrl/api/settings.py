"""Settings of a run as a Python program gives them: what it names as the run, and what it sets beside that."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from os import PathLike, fspath
from typing import Any, TypeAlias

from reasonrl.config.find import find_run
from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.kinds import KINDS, AnyConfig, KindName
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.runfile import dump_run, load_any, load_settings, override_run, settings_of
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError

RunLike: TypeAlias = str | PathLike[str] | AnyConfig | Mapping[str, Any]
"""A recipe's name, the path of a run file, settings, or a mapping as a run file would hold it. Any: its values."""


@dataclass(frozen=True, slots=True)
class GivenRun:
    """Settings that are checked, with how they were given."""

    config: AnyConfig
    source: str
    """The text of the run file; of settings that a program holds, all of them."""
    name: str
    """What the run was named as."""


def read_run(run: RunLike, overrides: Sequence[str], kind: KindName | None = None) -> GivenRun:
    """Return the settings of a run with some replaced.

    Args:
        run: what the program names.
        overrides: ``key.path=value``.
        kind: what it must train; None takes anything.

    Raises:
        ConfigError: one line for each mistake, or it trains something else.
        PluginError: there is no such recipe.
    """
    if isinstance(run, RunConfig | RewardModelConfig | FinetuneConfig):
        return GivenRun(override_run(run, overrides) if overrides else run, dump_run(run), run.name)
    if isinstance(run, Mapping):
        config = settings_of(run, overrides)
        return GivenRun(config, dump_run(config), config.name)
    if not isinstance(run, str | PathLike):
        raise ConfigError(
            "a run is a recipe's name, the path of a run file, a RunConfig or a mapping, not a value of type "
            f"{type(run).__name__}."
        )
    path = find_run(fspath(run), kind)
    config = load_any(path, overrides) if kind is None else load_settings(path, overrides, KINDS[kind].settings)
    return GivenRun(config, path.read_text(encoding="utf-8"), fspath(run))


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as the command line has them, ``run.steps=20``. Any: values that a run file can hold.

    A mapping sets what its keys name and leaves the rest of the group; any other value replaces what was there.

    Raises:
        ConfigError: a value is of a type that no run file can hold.
    """
    return [f"{key}={_written(key, value)}" for key, value in _leaves(settings, "")]


def _leaves(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _written(key: str, value: object) -> str:
    """Return a value as YAML, of which JSON is a part."""

    def plain(other: object) -> object:
        if isinstance(other, PathLike):
            return fspath(other)
        if callable(other):
            return _reference(key, other)
        if callable(number := getattr(other, "item", None)):  # numpy's numbers, and arrays of one
            return number()
        raise ConfigError(f"{key}: a run file holds no value of type {type(other).__name__}.")

    try:
        return json.dumps(value, default=plain, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ConfigError(f"{key}: is {value!r}, which a run file cannot hold: give a number.") from None


def _reference(key: str, function: Callable[..., Any]) -> str:
    """Return how a run file names a function. Any: its own.

    A run is what its file says, and its rewards run in processes of their own: both need a place to import it from.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
    if module not in (None, "__main__") and getattr(import_module(module), name, None) is function:
        return f"{module}:{name}"
    raise ConfigError(
        f"{key}: {name or function!r} is a function of this session alone, and a run needs a file to import it from. "
        "Put it in one (in a notebook: %%writefile rewards.py) and give './rewards.py:NAME'."
    )
