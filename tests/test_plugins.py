"""Plugins: found, isolated from each other, and named when they clash."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import pytest
from environments import write_package

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.losses import LOSSES
from reasonrl.commands.plugins import list_packages, list_plugins
from reasonrl.config.settings import AlgorithmSettings, PluginRef, RunConfig
from reasonrl.errors import PluginError
from reasonrl.plugins import hookspecs, loading
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins, check_params, installed_plugins

PLUGIN = """
from reasonrl import hookimpl

def {function}(rollout):
    return 1.0

@hookimpl
def reasonrl_rewards():
    return {{"{offer}": {function}}}
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EntryPoint]]:
    """Write a module and return its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}

    def write(module: str, text: str, entry: str | None = None) -> EntryPoint:
        (tmp_path / f"{module}.py").write_text(text)
        return EntryPoint(name=entry or module, value=module, group="reasonrl")

    yield write
    for name in {*sys.modules} - before:
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


def test_what_comes_with_reasonrl_is_found_by_entry_point() -> None:
    plugins = Plugins()
    assert {"numeric_answer", "exact_answer", "r1_format", "length"} <= set(plugins.entries("rewards"))
    assert {"arithmetic", "countdown", "jsonl", "parquet", "hub"} <= set(plugins.entries("tasks"))
    assert {"arithmetic", "countdown"} <= set(plugins.entries("suites"))
    assert {"answer_match", "last_number"} <= set(plugins.entries("metrics"))
    assert {"quickstart", "countdown-tiny", "smollm2-arithmetic"} <= set(plugins.entries("configs"))
    assert {"grpo", "dr_grpo", "dapo"} <= set(plugins.entries("presets"))
    assert {"local", "vllm", "vllm_server"} <= set(plugins.entries("engines"))
    assert {"chat", "plain"} <= set(plugins.entries("templates"))
    assert plugins.failed == []


def test_every_estimator_and_loss_of_the_core_is_offered_under_its_name() -> None:
    for kind, functions in (("advantages", ADVANTAGES), ("losses", LOSSES)):
        entries = Plugins().entries(kind)  # type: ignore[arg-type]  # one of the kinds
        assert {name: entry.value for name, entry in entries.items()} == functions


def test_every_kind_is_listed_by_a_command_that_imports_nothing_heavy() -> None:
    assert set(GIVEN) == {*get_args(Kind)} == {name.removeprefix("reasonrl_") for name in hooks()}
    code = """
import sys
from typing import get_args
from typer.testing import CliRunner
from reasonrl.commands import app
from reasonrl.plugins.loading import Kind
for kind in get_args(Kind):
    done = CliRunner().invoke(app, [kind, "list"])
    assert done.exit_code == 0, (kind, done.output, done.exception)
    assert "warning:" not in done.output, done.output
    assert "not documented" not in done.output, done.output
    assert "not found" not in done.output, done.output
    assert not {"torch", "vllm", "transformers"} & sys.modules.keys(), kind
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def hooks() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("reasonrl_")]


def test_a_name_that_two_plugins_offer_is_an_error_naming_both_for_who_uses_it_and_nobody_else(make: Any) -> None:
    text = PLUGIN.format(function="f", offer="same").replace("{", '{"own_" + __name__: f, ', 1)
    plugins = Plugins([make(name, text) for name in ("owner_one", "owner_two")])
    assert list(plugins.entries("rewards")) == ["own_owner_one", "own_owner_two"]
    said = r"'same' is offered by owner_one \(owner_one\) and by owner_two \(owner_two\)\. Uninstall one"
    with pytest.raises(PluginError, match=said):
        plugins.find("rewards", "same")
    assert "warning: 'same' is offered by owner_one" in list_plugins("rewards", plugins)


def test_two_distributions_with_one_entry_point_name_are_both_used_and_told(make: Any) -> None:
    found = [make(name, PLUGIN.format(function="f", offer=name), entry="taken") for name in ("first_m", "second_m")]
    plugins = Plugins(found)
    assert list(plugins.entries("rewards")) == ["first_m", "second_m"]
    assert "warning: taken (first_m): shares the name of its entry point with taken (second_m)" in list_packages(
        plugins
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@hookimpl\ndef reasonrl_reward(): return {}", "no hook 'reasonrl_reward'. Did you mean 'reasonrl_rewards'?"),
        ("@hookimpl\ndef rewards(): return {}", "no hook 'rewards'. Did you mean 'reasonrl_rewards'?"),
        ("@hookimpl(specname='reasonrl_task')\ndef mine(): return {}", "no hook 'reasonrl_task'. Did you mean"),
        ("def reasonrl_tasks(): return {}", "'reasonrl_tasks' is not marked with @reasonrl.hookimpl"),
        (
            "@hookimpl\ndef reasonrl_tasks(split): return {}",
            "hook 'reasonrl_tasks' asks for split; a hook takes no arg",
        ),
        ("@hookimpl\nasync def reasonrl_tasks(): return {}", "a hook returned a value of type coroutine"),
        ("@hookimpl\ndef reasonrl_tasks(): yield {}", "a hook returned a value of type generator"),
        ("@hookimpl\ndef reasonrl_tasks(): return {'a:b': print}", "a hook offers 'a:b', which no run file can name"),
        ("@hookimpl\ndef reasonrl_tasks(): return {' ': print}", "a hook offers ' ', which no run file can name"),
    ],
)
def test_a_hook_that_nobody_would_call_is_told_and_hides_no_other_of_its_plugin(
    make: Any, text: str, said: str
) -> None:
    plugins = Plugins([make("slip_m", PLUGIN.format(function="f", offer="fine") + text)])
    assert list(plugins.entries("rewards")) == ["fine"]
    assert f"warning: slip_m (slip_m): {said}" in list_packages(plugins)
    with pytest.raises(PluginError, match="Failed plugin slip_m"):
        plugins.find("tasks", "mine")


@pytest.mark.parametrize("text", ["", "VALUE = 1", "def rewards(): return {}"])
def test_a_plugin_without_a_hook_is_told(make: Any, text: str) -> None:
    assert "warning: bare_m (bare_m): offers nothing" in list_packages(Plugins([make("bare_m", text)]))


HOOK = "from reasonrl import hookimpl\n@hookimpl\ndef reasonrl_rewards():\n    "


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError: division by zero (failing_m.py:1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3 (failing_m.py:1)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (failing_m.py:1)"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError (failing_m.py:1)"),
        ("class Own(BaseException): pass\nraise Own('mine')", "Own: mine (failing_m.py:2)"),
        ("def f(", "SyntaxError"),
        ("__getattr__ = 1\ndef __dir__(): raise OSError('no')", "OSError: no (failing_m.py:2)"),
        (HOOK + "raise GeneratorExit", "GeneratorExit (failing_m.py:4)"),
        ("import time; time.sleep(60)", "did not return within 0.2 s (failing_m.py:1)"),
        (HOOK + "raise KeyError('x')", "KeyError: 'x' (failing_m.py:4)"),
        (HOOK + "raise SystemExit", "SystemExit (failing_m.py:4)"),
        (HOOK + "while True: pass", "did not return within 0.2 s (failing_m.py:4)"),
        (HOOK + "return None", "a hook returned a value of type NoneType; it returns a mapping by name"),
        (HOOK + "return {1: print}", "a hook returned a value of type dict; it returns a mapping by name"),
    ],
)
def test_a_failing_plugin_is_listed_with_its_cause_and_hides_no_other(make: Any, text: str, cause: str) -> None:
    found = [make("failing_m", text), make("good_m", PLUGIN.format(function="f", offer="fine"))]
    plugins = Plugins(found, timeout_s=0.2)
    assert list(plugins.entries("rewards")) == ["fine"]
    failed, *_ = plugins.failed
    assert failed.distribution.startswith("failing_m")
    assert cause in failed.cause


def test_ctrl_c_while_a_plugin_is_imported_is_a_persons_and_its_handler_stays(make: Any) -> None:
    text = "import signal\nsignal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))\n"
    handler = signal.getsignal(signal.SIGINT)
    pressed = Plugins([make("pressed_m", text + "signal.raise_signal(signal.SIGINT)")])
    with pytest.raises(KeyboardInterrupt):
        pressed.entries("rewards")
    deaf = Plugins([make("deaf_m", text + "signal.signal(signal.SIGINT, signal.SIG_IGN)")])
    deaf.entries("rewards")
    assert signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize(
    ("kind", "offered", "said"),
    [
        ("rewards", "1", "is a value of type int, not a function"),
        ("rewards", "'no_such_module:f'", "leads nowhere: there is no module 'no_such_module'"),
        ("rewards", "'no_such_package.module:f'", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("rewards", "'environments:make_environmet'", "has no 'make_environmet'. Did you mean 'make_environment'?"),
        ("templates", "'{{ prompt }}'", "a template is a reasonrl.Template with a text"),
        ("presets", "{'advantage': 1}", "advantage: "),
        ("configs", "'no_such_file.yaml'", "cannot read the run file"),
        ("configs", "7", "TypeError"),
    ],
)
def test_an_offer_that_cannot_be_used_is_told_and_hides_no_other(
    installed: Callable[[str], None], kind: Kind, offered: str, said: str
) -> None:
    installed(f"@hookimpl\ndef reasonrl_{kind}():\n    return {{'broken': {offered}}}\n")
    listed = list_plugins(kind, installed_plugins())
    (warning,) = [line for line in listed.splitlines() if line.startswith("warning: ")]
    assert warning.startswith(f"warning: {kind[:-1]} 'broken' (stranger (stranger)): ")
    assert said in warning
    assert set(installed_plugins().entries(kind)) == {"broken", *re.findall(r"^(\S+)  \(", listed, flags=re.MULTILINE)}


def test_a_plugin_whose_import_is_slow_or_heavy_is_told(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make("torch", "")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    heavy = Plugins([make("heavy_m", "import torch\n" + PLUGIN.format(function="f", offer="fine"))])
    assert "warning: heavy_m (heavy_m): imports torch (" in list_packages(heavy)
    monkeypatch.setattr(loading, "SLOW_S", 0.0)
    slow = Plugins([make("slow_m", PLUGIN.format(function="f", offer="fine"))])
    assert "warning: slow_m (slow_m): is slow to import (" in list_packages(slow)


def test_nothing_is_imported_before_somebody_asks(make: Any) -> None:
    Plugins([make("lazy_m", PLUGIN.format(function="f", offer="x"))])
    assert "lazy_m" not in sys.modules


def test_an_unknown_name_is_refused_with_the_nearest_and_with_what_is_broken(make: Any) -> None:
    plugins = Plugins([make("bad_m", "1 / 0"), make("ok_m", PLUGIN.format(function="f", offer="exact"))])
    with pytest.raises(PluginError, match=r"Did you mean 'exact'\?(.|\n)*bad_m.*ZeroDivisionError"):
        plugins.find("rewards", "exakt")


def test_a_reference_that_a_hook_gives_is_imported_when_it_is_used(make: Any) -> None:
    text = 'from reasonrl import hookimpl\n@hookimpl\ndef reasonrl_rewards():\n    return {"far": "far_m:score"}'
    plugins = Plugins([make("near_m", text)])
    make("far_m", "def score(rollout):\n    return 0.5\n")
    entry = plugins.entries("rewards")["far"]
    assert "far_m" not in sys.modules
    assert entry.value(None) == 0.5


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
        ("builtins:max", "does not say what it takes"),
        ("math:pi", "is a value of type float, not a function"),
        ("./leaves.py:f", r"KeyboardInterrupt \(leaves.py:1\)"),
    ],
)
def test_a_reference_that_does_not_resolve_says_why(in_folder: Path, reference: str, said: str) -> None:
    (in_folder / "mine.py").write_text("def score(rollout):\n    return 0.5\n")
    (in_folder / "bad.py").write_text("1 / 0\n")
    (in_folder / "leaves.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(PluginError, match=said):
        _ = Plugins().find("rewards", reference).function


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


def test_a_suite_gets_its_metric_by_name_with_its_parameters(make: Any) -> None:
    text = """
from reasonrl import Measurement, Suite, hookimpl

def at_most(rollout, *, limit):
    return Measurement(float(len(rollout) <= limit))

def brief(*, find_metric, limit):
    metric = find_metric("at_most", limit=limit)
    return Suite(name="brief", problems=(), metric=metric, template="plain", max_new_tokens=8)

@hookimpl
def reasonrl_metrics():
    return {"at_most": at_most}

@hookimpl
def reasonrl_suites():
    return {"brief": brief}
"""
    suite = Plugins([make("metrics_m", text)]).call("suites", PluginRef(name="brief", params={"limit": 3}), load=None)
    assert [suite.metric(text).value for text in ("abc", "abcd")] == [1.0, 0.0]


# A third party's package: one module and its entry point, and nothing of ours knows it.


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Install a package of one module, whose hook's kind and text are given."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(text: str) -> None:
        write_package(tmp_path, "stranger", f"from reasonrl import *\n{text}")
        installed_plugins.cache_clear()

    yield install
    sys.modules.pop("stranger", None)
    installed_plugins.cache_clear()


def run_with(**settings: Any) -> RunConfig:
    needed = {"name": "a", "model": "tiny", "task": "arithmetic", "rewards": ["numeric_answer"], "run": {"steps": 1}}
    return RunConfig.model_validate({**needed, **settings})


PRESET = """
@hookimpl
def reasonrl_presets():
    loss = {"name": "clipped_surrogate", "params": {"clip_low": 0.1, "clip_high": 0.4}}
    return {"mine": {"advantage": "leave_one_out", "loss": loss, "reduction": "token_mean", "refill_attempts": 2}}
"""


def test_a_preset_from_a_package_sets_what_it_names_and_leaves_the_rest_off(installed: Callable[[str], None]) -> None:
    installed(PRESET)
    algorithm = run_with(algorithm={"preset": "mine", "loss": {"params": {"clip_high": 0.5}}}).algorithm
    assert algorithm.advantage.name == "leave_one_out"
    assert algorithm.loss.params == {"clip_low": 0.1, "clip_high": 0.5}
    assert (algorithm.refill_attempts, algorithm.kl_coefficient) == (2, 0.0)


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ('"refill_attempts"', '"refil_attempts"', "refil_attempts: unknown setting. Did you mean 'refill_attempts'?"),
        ('"clipped_surrogate"', '"clipped_surogate"', "loss: no 'clipped_surogate'. Did you mean 'clipped_surrogate'?"),
        ('"token_mean"', "3", "reduction: input should be"),
        ('"reduction": "token_mean", ', "", "reduction: this setting is required"),
        ("{", "print or {", "should be a group of settings"),
    ],
)
def test_a_preset_that_cannot_be_is_an_error_that_names_its_package(
    installed: Callable[[str], None], there: str, here: str, said: str
) -> None:
    installed(PRESET.replace(there, here, 1) if there != "{" else PRESET.replace('{"mine": {', '{"mine": print or {'))
    with pytest.raises(PluginError) as caught:
        AlgorithmSettings.model_validate("mine")
    assert str(caught.value).startswith("preset 'mine' (stranger (stranger)): ")
    assert said in str(caught.value)


ENGINE = """
class Stub:
    policy_version, shares_weights, loads_while_sampling = 0, False, False
    def __init__(self, inputs, speed): self.inputs, self.speed = inputs, speed
    async def generate(self, request): raise NotImplementedError
    def abort(self): pass
    def sleep(self): pass
    def load_weights(self, weights, version): self.policy_version = version
    def close(self): pass

def stub(inputs, *, speed: float = 1.0):
    return Stub(inputs, speed)

@hookimpl
def reasonrl_engines():
    return {"stub": stub}
"""


def test_an_engine_from_a_package_is_named_by_the_run_file_and_made_with_its_parameters(
    installed: Callable[[str], None],
) -> None:
    installed(ENGINE)
    config = run_with(rollout={"engine": {"name": "stub", "params": {"speed": 2}}})
    engine = Plugins().call("engines", config.rollout.engine, "what engines are given")
    assert (engine.inputs, engine.speed) == ("what engines are given", 2.0)
    with pytest.raises(PluginError, match=r"Did you mean 'speed'"):
        Plugins().function("engines", PluginRef(name="stub", params={"sped": 2}))


def test_a_metric_from_a_package_measures_the_problems_of_a_file(
    installed: Callable[[str], None], in_folder: Path
) -> None:
    installed(
        """
def is_short(rollout, *, limit: int = 3):
    return Measurement(float(len(rollout.text) <= limit))

@hookimpl
def reasonrl_metrics():
    return {"is_short": is_short}
"""
    )
    (in_folder / "asked.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    plugins = Plugins()

    def load(task: str, /, **params: Any) -> Any:
        return plugins.call("tasks", PluginRef(name=task, params=params), split="heldout", seed=0)

    ref = PluginRef(name="jsonl", params={"path": "asked.jsonl", "metric": "is_short"})
    suite = plugins.call("suites", ref, load=load)
    assert suite.metric.__name__ == "is_short"
    ref = PluginRef(name="jsonl", params={"path": "asked.jsonl", "metric": "is_shrot"})
    with pytest.raises(PluginError, match=r"metrics: no 'is_shrot'. Did you mean 'is_short'"):
        plugins.call("suites", ref, load=load)


def test_a_reward_from_a_package_is_loaded_with_its_parameters(installed: Callable[[str], None]) -> None:
    from reasonrl.scoring.contract import load_reward

    installed(
        """
def brief(text: str, *, limit: int = 40) -> float:
    return float(len(text) <= limit)

@hookimpl
def reasonrl_rewards():
    return {"brief": brief}
"""
    )
    (ref,) = run_with(rewards=[{"name": "brief", "params": {"limit": 3}}]).rewards
    reward = load_reward(ref, Plugins())
    assert [reward.function(text=text) for text in ("abc", "abcd")] == [1.0, 0.0]


def test_an_observer_from_a_package_is_named_by_the_run_file_and_told_of_events(
    installed: Callable[[str], None],
) -> None:
    installed(
        """
told = []

def note(event, *, prefix: str):
    told.append(prefix + event)

@hookimpl
def reasonrl_observers():
    return {"note": note}
"""
    )
    (ref,) = run_with(observers=[{"name": "note", "params": {"prefix": "it "}}]).observers
    Plugins().function("observers", ref)("began")
    assert sys.modules["stranger"].told == ["it began"]
    with pytest.raises(ValueError, match="no 'not_there'"):
        run_with(observers=["not_there"])


def test_a_tracker_from_a_package_is_named_by_the_run_file_and_opened_for_a_run(
    installed: Callable[[str], None],
) -> None:
    installed(
        """
class Quiet:
    def __init__(self, where):
        self.where = where

    def log(self, step, metrics): ...
    def table(self, step, rows): ...
    def alarm(self, step, kind, message): ...
    def close(self, status, cause): ...

def quiet(run, *, topic: str):
    return Quiet(f"{topic} of {run}")

@hookimpl
def reasonrl_trackers():
    return {"quiet": quiet}
"""
    )
    trackers = [{"name": "quiet", "params": {"topic": "news"}, "rollouts": 0}]
    (ref,) = run_with(run={"steps": 1, "trackers": trackers}).run.trackers
    assert Plugins().function("trackers", ref)("a run").where == "news of a run"
    with pytest.raises(ValueError, match="no 'not_there'"):
        run_with(run={"steps": 1, "trackers": ["not_there"]})


def test_a_template_from_a_package_is_used_by_its_name(installed: Callable[[str], None]) -> None:
    installed(
        """
@hookimpl
def reasonrl_templates():
    return {"terse": Template("{{ prompt }} =", chat=True), "wrong": "{{ prompt }}"}
"""
    )
    template = Plugins().template("terse")
    assert (template.name, template.text, template.chat) == ("terse", "{{ prompt }} =", True)
