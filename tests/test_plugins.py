"""Plugins: found, isolated from each other, and named when they clash."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from reasonrl.config import PluginRef
from reasonrl.errors import PluginError
from reasonrl.plugins import Plugins, check_params

PLUGIN = """
from reasonrl import hookimpl

def {function}(rollout):
    return 1.0

@hookimpl
def reasonrl_rewards():
    return {{"{offer}": {function}}}
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module and return its entry point. Any: a function."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(module: str, text: str, entry: str | None = None) -> EntryPoint:
        (tmp_path / f"{module}.py").write_text(text)
        return EntryPoint(name=entry or module, value=module, group="reasonrl")

    return write


def test_what_comes_with_reasonrl_is_found_by_entry_point() -> None:
    plugins = Plugins()
    assert {"numeric_answer", "exact_answer", "r1_format", "length"} <= set(plugins.offers("rewards"))
    assert {"arithmetic", "countdown", "jsonl", "parquet", "hub"} <= set(plugins.offers("tasks"))
    assert {"arithmetic", "countdown"} <= set(plugins.offers("suites"))
    assert {"quickstart", "countdown-tiny", "smollm2-arithmetic"} <= set(plugins.offers("configs"))
    assert {"group_centered", "group_normalized"} <= set(plugins.offers("advantages"))
    assert "clipped_surrogate" in plugins.offers("losses")
    assert plugins.broken == []


def test_two_plugins_that_offer_one_name_are_an_error_naming_both(make: Any) -> None:
    found = [make(name, PLUGIN.format(function="f", offer="same")) for name in ("owner_one", "owner_two")]
    with pytest.raises(PluginError, match=r"owner_one.*owner_two.*'same'"):
        Plugins(found).offers("rewards")


def test_two_distributions_with_one_entry_point_name_are_an_error_naming_both(make: Any) -> None:
    found = [make(name, PLUGIN.format(function="f", offer=name), entry="taken") for name in ("first_m", "second_m")]
    with pytest.raises(PluginError, match=r"'taken'.*first_m.*second_m"):
        Plugins(found).offers("rewards")


@pytest.mark.parametrize(
    "text",
    [
        "import a_module_that_is_not_there",
        "1 / 0",
        "from reasonrl import hookimpl\n@hookimpl\ndef reasonrl_rewards():\n    raise KeyError('x')",
        "from reasonrl import hookimpl\n@hookimpl\ndef reasonrl_rewards():\n    return None",
        "from reasonrl import hookimpl\n@hookimpl\ndef reasonrl_rewards(wrong):\n    return {}",
    ],
)
def test_a_broken_plugin_is_listed_with_its_cause_and_hides_no_other(make: Any, text: str) -> None:
    plugins = Plugins([make("broken_m", text), make("good_m", PLUGIN.format(function="f", offer="fine"))])
    assert list(plugins.offers("rewards")) == ["fine"]
    (broken,) = plugins.broken
    assert broken.owner.startswith("broken_m")
    assert broken.cause


def test_nothing_is_imported_before_somebody_asks(make: Any) -> None:
    import sys

    Plugins([make("lazy_m", PLUGIN.format(function="f", offer="x"))])
    assert "lazy_m" not in sys.modules


def test_an_unknown_name_is_refused_with_the_nearest_and_with_what_is_broken(make: Any) -> None:
    plugins = Plugins([make("bad_m", "1 / 0"), make("ok_m", PLUGIN.format(function="f", offer="exact"))])
    with pytest.raises(PluginError, match=r"Did you mean 'exact'\?(.|\n)*bad_m.*ZeroDivisionError"):
        plugins.find("rewards", "exakt")


def test_a_local_file_and_a_module_are_found_by_reference(in_folder: Path, make: Any) -> None:
    (in_folder / "mine.py").write_text("def score(rollout):\n    return 0.5\n")
    assert Plugins().find("rewards", "./mine.py:score").value(None) == 0.5
    assert Plugins().find("rewards", "os.path:join").value("a", "b") == "a/b"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("./none.py:f", "there is no file"),
        ("./mine.py:scor", "Did you mean 'score'"),
        ("./bad.py:f", "ZeroDivisionError"),
        ("no_such_package.m:f", "no_such_package"),
    ],
)
def test_a_reference_that_does_not_resolve_says_why(in_folder: Path, reference: str, said: str) -> None:
    (in_folder / "mine.py").write_text("def score(rollout):\n    return 0.5\n")
    (in_folder / "bad.py").write_text("1 / 0\n")
    with pytest.raises(PluginError, match=said):
        Plugins().find("rewards", reference)


def scale(rollout: object, *, factor: float, names: list[str] | None = None) -> None:
    """A function with parameters of its own."""


def checked(params: Mapping[str, Any]) -> dict[str, Any]:
    return check_params(scale, params, given=["rollout"], where="rewards: 'scale'")


def test_parameters_are_converted_to_the_types_of_the_function() -> None:
    assert checked({"factor": 2, "names": ["a"]}) == {"factor": 2.0, "names": ["a"]}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"factor": 1, "nmaes": []}, "Did you mean 'names'"),
        ({}, "parameter 'factor' is required"),
        ({"factor": "much"}, "'much'"),
        ({"factor": 1, "rollout": 3}, "unknown parameter 'rollout'"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: Mapping[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        checked(params)


def test_bound_parameters_reach_the_function() -> None:
    ref = PluginRef(name="arithmetic", params={"num_problems": 5})
    assert len(Plugins().function("tasks", ref)(split="train", seed=0)) == 5
