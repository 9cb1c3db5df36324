"""`reasonrl config schema` takes what the loader takes, and refuses what it refuses."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from doc_files import shown_run_files
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reasonrl.config.kinds import KINDS, KindName, kind_of
from reasonrl.config.mistakes import key_path, models_of
from reasonrl.config.runfile import load_any
from reasonrl.config.schema import run_file_schema
from reasonrl.config.stages import is_pipeline_file
from reasonrl.config.tasks import MixtureTask
from reasonrl.config.yaml import read_value
from reasonrl.plugins.lookup import installed_plugins

SHORT: Final[Mapping[KindName, dict[str, Any]]] = {
    "policy": {"name": "a", "model": "tiny", "task": "arithmetic", "rewards": ["math"], "run": {"steps": 9}},
    "reward_model": {"name": "a", "model": "tiny", "data": {"path": "pairs.jsonl"}},
    **{kind: {"name": "a", "model": "tiny", "data": {"path": "rows.jsonl"}} for kind in ("sft", "dpo", "kto")},
}
"""The shortest run file of each kind. Any: values of settings."""

VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, 3, -1, 0.5, 2.0, 1e9, "", " ", "3", "mean", "off", "auto", "nonsense", "./mine.py:f"),
    *(
        [],
        {},
        ["a"],
        ["a", "a"],
        [1],
        [0.5, 0.9],
        [""],
        ["http://h:1"],
        {"name": "length"},
        {"nmae": "length"},
        {"params": {}},
        {"a": {}},
    ),
)
"""What is tried for every setting. Any: whatever YAML can say."""


LISTS: Final[Mapping[str, dict[str, Any]]] = {
    "rewards": {"name": "math"},
    "evaluation.suites": {"name": "arithmetic"},
    "observers": {"name": "./mine.py:f"},
    "run.trackers": {"name": "./mine.py:f"},
}
"""Lists of groups of settings, and a member of each. Any: values of settings."""

WHOLE: Final[Mapping[str, dict[str, Any]]] = {
    "data.sampled": {"model": "tiny", "task": "arithmetic", "gold": "math"},
    "data.sampled.gold.weight": {"start": 1.0, "end": 0.0, "steps": 5},
    "rewards.weight": {"start": 1.0, "end": 0.0, "steps": 5},
}
"""Groups that are not there in the shortest run files, with what they need. Any: values of settings."""


def run_files() -> Iterator[Any]:
    """Every recipe, and every whole run file that the documentation shows."""
    for entry in installed_plugins().entries("configs").values():
        if not is_pipeline_file(entry.value):
            yield pytest.param(entry.value.read_text(), id=entry.name)
    for path, text in shown_run_files():
        yield pytest.param(text, id=f"{path.stem}-{read_value(text)['name']}")


@pytest.fixture(scope="module")
def any_schema() -> Draft202012Validator:
    """The schema of run files of all kinds."""
    schema = run_file_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("text", list(run_files()))
def test_every_run_file_that_loads_is_valid(text: str, any_schema: Draft202012Validator, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    given = load_any(tmp_path / "run.yaml")
    any_schema.validate(read_value(text))
    any_schema.validate(json.loads(given.model_dump_json()))
    for kind in KINDS:
        is_valid = Draft202012Validator(run_file_schema(kind)).is_valid(read_value(text))
        assert is_valid == (mistakes_of(kind, read_value(text)) == [])  # kinds share settings, so several may take it
        assert is_valid or kind != kind_of(given).name


@pytest.mark.slow
def test_the_recipes_pass_check_jsonschema_as_an_editor_or_ci_would_run_it(tmp_path: Path) -> None:
    schema = subprocess.run([sys.executable, "-m", "reasonrl", "config", "schema"], capture_output=True, check=True)
    (tmp_path / "schema.json").write_bytes(schema.stdout)
    recipes = [str(entry.value) for entry in installed_plugins().entries("configs").values()]
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(tmp_path / "schema.json")]
    done = subprocess.run([*command, *recipes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "slip.yaml").write_text(Path(recipes[0]).read_text().replace("rollout:", "rolout:"))
    done = subprocess.run([*command, str(tmp_path / "slip.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "rolout" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_stands_in_one_setting_is_judged_as_the_loader_judges_it(kind: KindName) -> None:
    schema = Draft202012Validator(run_file_schema(kind))
    different = []
    for keys in settings_of(kind):
        for value in VALUES:
            given = with_value(SHORT[kind], keys, value)
            mistakes = mistakes_of(kind, given)
            if schema.is_valid(given) != (not any(is_about_one_setting(mistake, keys) for mistake in mistakes)):
                different.append((".".join(keys), value, [mistake["msg"] for mistake in mistakes]))
    assert different == []


def settings_of(kind: KindName) -> list[tuple[str, ...]]:
    """The keys of every setting of a kind of runs, groups and one unknown setting in each included."""
    found: list[tuple[str, ...]] = []

    def walk(models: Sequence[type[BaseModel]], keys: tuple[str, ...]) -> None:
        for model in models:
            found.extend((*keys, name) for name in (*model.model_fields, "unknown"))
            for name, field in model.model_fields.items():
                inner = models_of(field.annotation)
                walk([each for each in inner if each is not MixtureTask], (*keys, name))
                walk([each for each in inner if each is MixtureTask], (*keys, f"{name}[]"))

    walk([KINDS[kind].settings], ())
    return list(dict.fromkeys(found))


def with_value(given: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A run file with one more setting, in the first member of each list on the way. Any: values of settings."""
    run: dict[str, Any] = copy.deepcopy(dict(given))
    here: Any = run
    for depth, key in enumerate(keys[:-1]):
        if key.endswith("[]"):  # a list where one of its members could stand alone
            here[key[:-2]] = [{"name": here[key[:-2]]} if isinstance(here[key[:-2]], str) else here[key[:-2]]]
            here = here[key[:-2]][0]
            continue
        inner = here.get(key)
        if isinstance(inner, str):
            inner = {"preset" if key == "algorithm" else "name": inner}
        if ".".join(keys[: depth + 1]) in LISTS:
            members = inner or [dict(LISTS[".".join(keys[: depth + 1])])]
            here[key] = [{"name": each} if isinstance(each, str) else each for each in members]
            here = here[key][0]
        else:
            here[key] = inner if inner is not None else dict(WHOLE.get(".".join(keys[: depth + 1]), {}))
            here = here[key]
    here[keys[-1]] = value
    return run


def mistakes_of(kind: KindName, given: Mapping[str, Any]) -> list[ErrorDetails]:
    """What the loader says of a run file. Any: values of settings."""
    try:
        KINDS[kind].settings.model_validate(copy.deepcopy(dict(given)))
    except ValidationError as error:
        return error.errors()
    return []


def is_about_one_setting(mistake: ErrorDetails, keys: Sequence[str]) -> bool:
    """Whether a mistake is one that a schema can find: it would be one whatever the other settings are."""
    place = [key for key in key_path(mistake) if not key.isdigit()]
    if mistake["type"] != "value_error" or re.match("Value error, no .*Known: ", mistake["msg"]):
        return True
    return len(place) >= len(keys) and not isinstance(mistake["input"], dict)
