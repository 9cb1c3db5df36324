"""Rewrite the generated parts of the documentation, or check that they are current.

    python tools/make_docs.py            # rewrite
    python tools/make_docs.py --check    # name every file that is stale, and fail

A part stands between ``<!-- generated: KIND ARGUMENTS -->`` and ``<!-- end -->``, in README.md or under docs/; the
kinds are in :data:`KINDS`. Settings come from the pydantic models, sentences from docstrings. Algorithms are parsed,
not imported, so that nothing here needs torch.
"""

import argparse
import ast
import inspect
import json
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reasonrl.algorithms.presets import PRESETS
from reasonrl.config.finetune import DPOSettings, KTOSettings, SFTRunConfig
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.settings import (
    AlgorithmSettings,
    PluginRef,
    RewardRef,
    RunConfig,
    SuiteRef,
    TrackerRef,
    WeightSchedule,
)
from reasonrl.config.tasks import DifficultySettings, MixtureTask
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import installed_plugins, parameter_fields
from reasonrl.run.metric_names import METRICS
from reasonrl.run.metric_spellings import documented
from reasonrl.scoring.contract import ARGUMENTS
from reasonrl_grading.answers import Source

ROOT = Path(__file__).parent.parent
PART = re.compile(r"(<!-- generated: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FOR_READERS_OF_CODE = re.compile(r"\s+Any: [^.]+\.")
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "pattern": "of the form", "min_length": "of length ≥"}
PLUGIN_LINKS = {
    RewardRef: "[reward](#rewards)",
    SuiteRef: "[suite](#suites)",
    TrackerRef: "[tracker](#trackers)",
    MixtureTask: "[task of a mixture](#tasks-of-a-mixture)",
}
GROUP_LINKS: Mapping[type[BaseModel], str] = {
    WeightSchedule: "[schedule](#schedules)",
    DifficultySettings: "[difficulty](#difficulty)",
}
DEFAULT_PRESET = AlgorithmSettings.model_fields["preset"].default


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite or check every document; return the exit code."""
    parser = argparse.ArgumentParser(description="Rewrite the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    check = parser.parse_args(argv).check
    stale = [path for path in documents() if rewritten(path) != path.read_text(encoding="utf-8")]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale; run: python tools/make_docs.py' if check else 'rewritten'}")
        if not check:
            path.write_text(rewritten(path), encoding="utf-8")
    return int(check and bool(stale))


def documents() -> list[Path]:
    """Return every file that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rewritten(path: Path) -> str:
    """Return a document with its generated parts made anew."""

    def fill(match: re.Match[str]) -> str:
        kind, *arguments = match[2].split()
        if kind not in KINDS:
            sys.exit(f"{path.relative_to(ROOT)}: cannot generate {kind!r}. Known: {', '.join(KINDS)}.")
        return f"{match[1]}\n{KINDS[kind](path, *arguments)}\n\n{match[4]}"

    return PART.sub(fill, path.read_text(encoding="utf-8"))


# --- Presets -----------------------------------------------------------------------------------------------


def preset_page(name: str) -> Path:
    """Return the path of a preset's page; every ``+`` in its name is ``-plus`` there."""
    return ROOT / "docs" / "presets" / f"{name.replace('+', '-plus')}.md"


def _summaries(document: Path) -> str:
    """One line a preset: the first paragraph of its page."""
    rows = [(_link(name, document) + _default_mark(name), _first_paragraph(preset_page(name))) for name in PRESETS]
    return _table(("preset", "what it is"), rows)


def _overview(document: Path) -> str:
    """The values in which presets differ, one row a preset."""
    shown = {preset: _shown_values(preset) for preset in PRESETS}
    differing = [name for name in _setting_names() if len({values[name] for values in shown.values()}) > 1]
    rows = [(_link(preset, document), *(values[name] for name in differing)) for preset, values in shown.items()]
    return _table(("preset", *(f"`{name}`" for name in differing)), rows)


def _preset(document: Path, preset: str) -> str:
    """All values of one preset with their meanings; bold where the default preset has another one."""
    values, usual = _shown_values(preset), _shown_values(DEFAULT_PRESET)
    rows = [
        (
            f"`{name}`",
            values[name] if values[name] == usual[name] else f"**{values[name]}**",
            _first_sentence(_meaning(AlgorithmSettings, name)),
        )
        for name in _setting_names()
    ]
    return _table(("setting", "value", "meaning"), rows)


def _preset_values(document: Path) -> str:
    """Every value of every preset, one row a setting."""
    shown = [_shown_values(preset) for preset in PRESETS]
    rows = [(f"`{name}`", *(values[name] for values in shown)) for name in _setting_names()]
    return _table(("`algorithm.`", *(_link(preset, document) for preset in PRESETS)), rows)


def _shown_values(preset: str) -> Mapping[str, str]:
    """Return every value of a preset as a reader sees it, those that it leaves off included."""
    return {name: _value(value) for name, value in AlgorithmSettings.model_validate(preset).model_dump().items()}


def _setting_names() -> list[str]:
    """Return the settings that a preset decides."""
    return [name for name in AlgorithmSettings.model_fields if name != "preset"]


def _link(preset: str, document: Path) -> str:
    """Return a preset's name as a link to its page."""
    return f"[`{preset}`]({os.path.relpath(preset_page(preset), document.parent)})"


def _default_mark(preset: str) -> str:
    """Say which preset is used where a run file names none."""
    return " (default)" if preset == DEFAULT_PRESET else ""


def _first_paragraph(page: Path) -> str:
    """Return what follows the title of a page."""
    if not page.is_file():
        sys.exit(f"{page.relative_to(ROOT)} is missing: every preset has a page.")
    return _joined(page.read_text(encoding="utf-8").split("\n\n")[1])


# --- Settings ----------------------------------------------------------------------------------------------


def _settings(document: Path) -> str:
    """Every setting of a run file, group by group."""
    groups = [_section(path or "The run", path, model) for path, model in _groups()]
    items = (
        ("Naming a plugin", PluginRef),
        ("Rewards", RewardRef),
        ("Suites", SuiteRef),
        ("Trackers", TrackerRef),
        ("Schedules", WeightSchedule),
        ("Tasks of a mixture", MixtureTask),
        ("Difficulty", DifficultySettings),
    )
    return "\n\n".join([*groups, *(_section(title, "", model) for title, model in items)])


def _reward_model_settings(document: Path) -> str:
    """Every setting of the run file of a reward model, group by group."""
    groups = _groups(RewardModelConfig)
    sections = (_section(_with_kind(path, model) or "The training", path, model) for path, model in groups)
    return re.sub(r"\]\(#(rewards|naming-a-plugin|trackers)", r"](settings.md#\1", "\n\n".join(sections))


def _finetuning_settings(document: Path) -> str:
    """Every setting of the run files of SFT, DPO and KTO, group by group."""
    own: list[tuple[str, type[BaseModel]]] = [("dpo", DPOSettings), ("kto", KTOSettings)]
    sections = (_section(path or "The training", path, model) for path, model in (*_groups(SFTRunConfig), *own))
    return re.sub(r"\]\(#(rewards|suites|naming-a-plugin|trackers)", r"](settings.md#\1", "\n\n".join(sections))


def _with_kind(path: str, model: type[BaseModel]) -> str:
    """Tell apart the groups that one setting has a choice of."""
    return f"{path}: {model.model_fields['kind'].default}" if "kind" in model.model_fields else path


def _section(title: str, path: str, model: type[BaseModel]) -> str:
    """Return a heading, what a group is for, and its settings."""
    return f"## {title}\n\n{_paragraphs(model)}\n\n{_rows_of(path, model)}"


def _some_settings(document: Path, group: str, *names: str) -> str:
    """A few settings of one group."""
    return _rows_of(group, dict(_groups())[group], only=names)


def _reward_settings(document: Path, *names: str) -> str:
    """A few settings of one reward; links lead to the reference of all settings."""
    reference = os.path.relpath(ROOT / "docs" / "settings.md", document.parent)
    return _rows_of("", RewardRef, only=names).replace("](#", f"]({reference}#")


def _groups(model: type[BaseModel] = RunConfig, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a group of settings and, after it, the groups in it, each with its key path."""
    yield path, model
    for name, field in model.model_fields.items():
        for group in _groups_of(field.annotation):
            yield from _groups(group, f"{path}.{name}" if path else name)


def _groups_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the groups of settings that may stand somewhere: none for a setting, as a plugin is, several for a choice.

    Any: what stands as a type.
    """
    kinds = get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)
    kinds = tuple(get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds)
    groups = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [group for group in groups if not issubclass(group, PluginRef)]


def _paragraphs(model: type[BaseModel]) -> str:
    """Return what a group is for."""
    return "\n\n".join(map(_markdown, inspect.cleandoc(model.__doc__ or "").split("\n\n")))


def _rows_of(path: str, model: type[BaseModel], only: Sequence[str] = ()) -> str:
    """Return a table of the settings of one group."""
    # A group that may be null is a setting as well.
    fields = {
        name: field for name, field in model.model_fields.items() if [field.annotation] != _groups_of(field.annotation)
    }
    rows = [
        (f"`{path}.{name}`" if path else f"`{name}`", _type(field), _default(model, name), _meaning(model, name))
        for name, field in ((name, fields[name]) for name in only or fields)
    ]
    return _table(("setting", "type", "default", "meaning"), rows)


def _meaning(model: type[BaseModel], name: str) -> str:
    """Return the string under a setting."""
    return _markdown(FOR_READERS_OF_CODE.sub("", model.model_fields[name].description or ""))


def _default(model: type[BaseModel], name: str) -> str:
    """Return a setting's default as YAML says it."""
    field = model.model_fields[name]
    if model is AlgorithmSettings and name != "preset":
        return "by preset"
    if isinstance(field.default, BaseModel) and not isinstance(field.default, PluginRef):
        return f"kind: {field.default.model_dump()['kind']}"  # a choice between groups
    return "required" if field.is_required() else _value(field.default)


def _type(field: FieldInfo) -> str:
    """Return a setting's type with the bounds of its value."""
    bounds = [
        f"{sign} `{getattr(item, name)}`" if name == "pattern" else f"{sign} {getattr(item, name)}"
        for item in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    return " ".join([_annotation(field.annotation), ", ".join(bounds)]).strip()


def _annotation(annotation: Any) -> str:
    """Write a type for a reader of run files. Any: annotations are whatever was written."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        return _annotation(inner[0])
    if origin is Literal:
        return " \\| ".join(f"`{choice}`" for choice in inner)
    if origin in (UnionType, Union):
        return " or ".join(map(_annotation, inner))
    if origin is list or ... in inner:
        return f"list of {_annotation(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_annotation, inner))}]"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, PluginRef):
        return PLUGIN_LINKS.get(annotation, "[plugin](#naming-a-plugin)")
    if issubclass(annotation, BaseModel):
        return GROUP_LINKS.get(annotation, "settings below")
    return str(annotation.__name__)


# --- Rewards -----------------------------------------------------------------------------------------------


def _reward_arguments(document: Path) -> str:
    """The arguments that a reward may name, and which kinds of reward are given them."""
    meanings = {name: meaning for of_unit in ARGUMENTS.values() for name, meaning in of_unit.items()}
    rows = [(f"`{name}`", *_given_to(name), f"{_markdown(meaning)}.") for name, meaning in meanings.items()]
    return _table(("argument", *ARGUMENTS, "meaning"), [(*row[:-1], row[-1][:1].upper() + row[-1][1:]) for row in rows])


def _given_to(name: str) -> list[str]:
    """Mark the kinds of reward that are given an argument."""
    return ["yes" if name in names else "" for names in ARGUMENTS.values()]


def _rewards(document: Path, *left_out: str) -> str:
    """Every reward that comes with reasonrl, with its documentation and its parameters."""
    entries = installed_plugins().entries("rewards").values()
    ours = [entry for entry in entries if entry.distribution == "reasonrl-rewards (reasonrl)"]
    return "\n\n".join(f"## {entry.name}\n\n{_documented(entry.value)}" for entry in ours if entry.name not in left_out)


def _reward_parameters(document: Path, reward: str, *names: str) -> str:
    """A few parameters of one reward."""
    return _parameters(installed_plugins().find("rewards", reward).value, only=names)


def _documented(function: Callable[..., Any]) -> str:
    """Return what a function is for, and its parameters. Any: a reward's values are read elsewhere."""
    sections = re.split(r"^(?:Args|Raises|Returns):$", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return "\n\n".join([*map(_markdown, sections[0].strip().split("\n\n")), _parameters(function)]).strip()


def _parameters(function: Callable[..., Any], only: Sequence[str] = ()) -> str:
    """Return a table of what a run file may set. Any: as above."""
    meanings = _argument_meanings(inspect.getdoc(function) or "")
    rows = [
        (f"`{name}`", _parameter_type(kind), "required" if default is ... else _value(default), meanings[name])
        for name, (kind, default) in parameter_fields(function, GIVEN["rewards"]).items()
        if name in only or not only
    ]
    return _table(("parameter", "type", "default", "meaning"), rows) if rows else ""


def _argument_meanings(documentation: str) -> Mapping[str, str]:
    """Return the sentences under ``Args:`` by name."""
    arguments = re.search(r"^Args:\n((?:    .*\n?|\n)*)", documentation, flags=re.MULTILINE)
    found = re.split(r"^    (\w+): ", arguments[1] if arguments else "", flags=re.MULTILINE)[1:]
    plain = [FOR_READERS_OF_CODE.sub("", text) for text in found[1::2]]
    return {name: _markdown(text[:1].upper() + text[1:]) for name, text in zip(found[::2], plain, strict=True)}


def _parameter_type(annotation: Any) -> str:
    """Write a type for a reader of run files. Any: annotations are whatever was written."""
    if annotation == Source:
        return "[source](math.md#where-an-answer-may-stand)"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (UnionType, Union):
        return " or ".join(map(_parameter_type, inner))
    if origin in (list, tuple, set, frozenset, Sequence):
        return f"list of {_parameter_type(inner[0])}"
    if origin in (dict, Mapping):
        return "mapping"
    return _annotation(annotation)


def _policies(document: Path, module: str, name: str) -> str:
    """The fields of a dataclass with their defaults and the strings under them."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    rows = [
        (f"`{ast.unparse(field.target)}`", f"`{ast.literal_eval(field.value)}`", _markdown(text.value.value))
        for field, text in zip(found.body, found.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and field.value and isinstance(text, ast.Expr)
        if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    ]
    return _table(("policy", "default", "meaning"), rows)


# --- Algorithms --------------------------------------------------------------------------------------------


def _functions(document: Path, module: str, table: str) -> str:
    """The functions that a dictionary of a module offers, with the first line of their docstrings."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    rows = [
        (f"`{name}`", f"`{_signature(functions[function])}`", _first_line(functions[function]))
        for name, function in _offered(tree, table).items()
    ]
    return _table(("name", "function", "what it does"), rows)


def _offered(tree: ast.Module, table: str) -> Mapping[str, str]:
    """Return name -> function of a dictionary that stands in a module."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == table:
            assert isinstance(node.value, ast.Dict)
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {ast.literal_eval(key): ast.unparse(value) for key, value in pairs if key is not None}
    raise LookupError(f"there is no {table}")


def _signature(function: ast.FunctionDef) -> str:
    """Write a function with its parameters, without their types."""
    for argument in (*function.args.args, *function.args.kwonlyargs):
        argument.annotation = None
    return f"{function.name}({ast.unparse(function.args)})"


def _first_line(function: ast.FunctionDef) -> str:
    """Return the first line of a function's docstring."""
    return _markdown((ast.get_docstring(function) or "").splitlines()[0])


# --- Markdown ----------------------------------------------------------------------------------------------


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _value(value: object) -> str:
    """Write a value as a run file would; a plugin by its name and parameters."""
    if isinstance(value, PluginRef):
        value = value.model_dump()
    if isinstance(value, dict) and "params" in value:
        return ", ".join([value["name"], *(f"{name} {_value(given)}" for name, given in value["params"].items())])
    return json.dumps(list(value) if isinstance(value, tuple) else value).strip('"') or '""'


def _markdown(text: str) -> str:
    """Turn a docstring into a line of Markdown."""
    return re.sub(r"(:\w+:)?`{1,2}(?:~(?:\w+\.)+)?(.+?)`{1,2}", r"`\2`", _joined(text)).replace("|", "\\|")


def _first_sentence(text: str) -> str:
    """Return a text up to its first full stop or semicolon."""
    return re.split(r"(?<=[.;])\s", text)[0].rstrip(".;")


def _joined(text: str) -> str:
    """Put a paragraph on one line."""
    return " ".join(text.split())


def _metrics(document: Path) -> str:
    """Every metric with its unit and meaning."""
    return _table(("metric", "unit", "meaning"), [(f"`{m.name}`", m.unit, m.meaning) for m in METRICS])


def _metric_spellings(document: Path) -> str:
    """What TRL and verl call our metrics."""
    return _table(("here", "TRL", "verl"), list(documented()))


def _catalog(_document: Path) -> str:
    """The published data sets that tasks and suites read."""
    return str(runpy.run_path(str(Path(__file__).parent / "catalog_table.py"))["catalog_table"]())


KINDS: Mapping[str, Callable[..., str]] = {
    "catalog": _catalog,
    "metrics": _metrics,
    "metric-spellings": _metric_spellings,
    "summaries": _summaries,
    "overview": _overview,
    "preset": _preset,
    "preset-values": _preset_values,
    "settings": _settings,
    "reward-model-settings": _reward_model_settings,
    "finetuning-settings": _finetuning_settings,
    "some-settings": _some_settings,
    "reward-settings": _reward_settings,
    "reward-arguments": _reward_arguments,
    "reward-parameters": _reward_parameters,
    "rewards": _rewards,
    "policies": _policies,
    "functions": _functions,
}
"""What can be generated: functions of the document's path and of the arguments in the marker."""


if __name__ == "__main__":
    sys.exit(main())
