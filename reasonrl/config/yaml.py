"""YAML as run files use it: its data, the line of every key, and mistakes with line and column.

It is YAML 1.1 with the numbers of YAML 1.2: ``1e-5`` is a number, ``010`` is ten, and ``1:30`` is text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from reasonrl.errors import ConfigError

_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
MAX_NODES: Final = 100_000
"""Most values of a file, aliases counted each time they are used."""


class _Loader(yaml.SafeLoader):
    """Reads the numbers of YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, 16 if "x" in text else 8 if "o" in text else 10)


_Loader.add_implicit_resolver(
    _INT, re.compile(r"^(?:[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor(_INT, _integer)


def read_value(text: str) -> Any:
    """Read one value. Any: whatever YAML can say.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        *_, last, _ = yaml.scan(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"the value {text!r} is not valid YAML: {_problem(error)}.") from None
    if comment := text[last.end_mark.index :].strip():
        raise ConfigError(f"the value {text!r}: {comment!r} would be a comment. Put the value in quotes.")
    return value


def read_mapping(text: str, path: Path, what: str = "a run file") -> tuple[dict[str, Any], dict[str, int]]:
    """Return the data of a file and the line of every key in it, by dotted path. Any: whatever YAML can say.

    Args:
        text: what the file holds.
        path: names it in messages.
        what: what it should be.

    Raises:
        ConfigError: it is not YAML or no mapping, or a key is given twice or is no text.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _refuse_bad_nodes(node, path)
        data = loader.construct_document(node) if node is not None else None
        lines = dict(_lines(node))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}{_place(error)}: not valid YAML: {_problem(error)}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: {what} is a mapping of settings, such as 'name: my-run'.")
    return data, lines


def _refuse_bad_nodes(root: yaml.Node | None, path: Path) -> None:
    """Refuse keys that are given twice or are no text, values that hold themselves, and far too many of them.

    Aliases are followed each time, as whoever reads the data will.
    """
    count = 0

    def walk(node: yaml.Node, prefix: str, around: tuple[int, ...]) -> None:
        nonlocal count
        count += 1
        where = f"{path.name}:{node.start_mark.line + 1}"
        if id(node) in around:
            raise ConfigError(f"{where}  {prefix.rstrip('.')}: refers to itself through an alias.")
        if count > MAX_NODES:
            raise ConfigError(f"{where}  has more than {MAX_NODES} values, through its aliases: write fewer of them.")
        around = (*around, id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                walk(item, f"{prefix}{index}.", around)
        if isinstance(node, yaml.MappingNode):
            _refuse_bad_keys(node, prefix, path)
            for key, value in node.value:
                walk(value, f"{prefix}{key.value}.", around)

    if root is not None:
        walk(root, "", ())


def _refuse_bad_keys(node: yaml.MappingNode, prefix: str, path: Path) -> None:
    """Refuse a key that is given twice, or that YAML reads as something other than text."""
    seen: set[str] = set()
    for key, _ in node.value:
        where = f"{path.name}:{key.start_mark.line + 1}  {prefix}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where}a key is a list or a mapping; keys are names of settings.")
        if key.value in seen:
            raise ConfigError(f"{where}{key.value}: given twice.")
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            kind = key.tag.rpartition(":")[2]
            raise ConfigError(f"{where}{key.value}: YAML reads this key as {kind}, not as text: write it in quotes.")
        seen.add(key.value)


def _lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield dotted key and line of a tree whose merge keys are resolved."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{prefix}{index}", item.start_mark.line + 1
            yield from _lines(item, f"{prefix}{index}.")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _lines(value, f"{prefix}{key.value}.")


def _place(error: Exception) -> str:
    """Return ``:LINE:COLUMN`` of a mistake, where it is known."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _problem(error: Exception) -> str:
    """Say what is wrong, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    said = f"{problem} {context}" if context else str(problem)
    if "'\\t'" in said:
        return f"{said}; indent with spaces, not with tabs"
    return " ".join(said.split())
