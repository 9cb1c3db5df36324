"""Whatever a plugin's code does, the caller gets one error that names the plugin, the place and a remedy."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from reasonrl.config.settings import PluginRef
from reasonrl.errors import DataError, PluginError
from reasonrl.plugins.boundary import call_plugin, guarded
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins

RUBBISH: dict[Kind, Any] = {
    "tasks": ({"not": "problems"}, "returned a value of type dict; a task returns a list of Problem"),
    "suites": ([1], "returned a value of type list; a suite function returns a Suite"),
    "advantages": (torch.zeros(3), r"returned shape \[3\]; for rewards of shape \[2, 4\]"),
    "losses": (torch.zeros(()), r"returned shape \[\] for 3 tokens; a loss returns one number a token"),
    "engines": (object(), "which has no 'generate'"),
    "trackers": (object(), "which has no 'log'"),
}
"""What a function of a kind must not return, and what is said of it. Any: as the kind has it."""

LOGPROBS_M = torch.zeros(3, requires_grad=True)

CALLED_WITH: dict[Kind, dict[str, Any]] = {
    "tasks": {"split": "train", "seed": 0},
    "suites": {"load": None},
    "advantages": {
        "rewards_PG": torch.zeros(2, 4),
        "rewards_RPG": torch.zeros(1, 2, 4),
        "weights_R": torch.ones(1),
        "lengths_PG": torch.tensor([[7, 1, 2, 3], [6, 1, 1, 1]]),
    },
    "losses": {
        "logprobs_M": LOGPROBS_M,
        "old_logprobs_M": LOGPROBS_M.detach(),
        "advantages_M": torch.ones(3),
        "lengths_N": torch.tensor([3]),
    },
    "engines": {"inputs": None},
    "observers": {"event": None},
    "trackers": {"run": None},
}
"""What the core passes to a function of each kind. Any: as the kind has it."""

CALLED_IN_PROCESS = sorted(CALLED_WITH)

MODULE = """
import asyncio, sys, time
from reasonrl import hookimpl

RUBBISH = None

def raises(**_):
    raise ValueError("no such column")  # the place

def leaves(**_):
    sys.exit(3)  # the place

def hangs(**_):
    while True:
        try:
            time.sleep(60)  # the place
        except Exception:
            pass

def rubbish(**_):
    return RUBBISH

async def never_awaited(**_):
    pass

FUNCTIONS = {"raises": raises, "leaves": leaves, "hangs": hangs, "rubbish": rubbish, "never_awaited": never_awaited}
"""

HOOK = """
@hookimpl
def reasonrl_{kind}():
    return FUNCTIONS
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """A package that offers functions of every kind, each of which fails in its own way."""
    hooks = "".join(HOOK.format(kind=kind) for kind in CALLED_IN_PROCESS)
    (tmp_path / "faulty.py").write_text(MODULE + hooks)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty", raising=False)
    return Plugins([EntryPoint(name="faulty", value="faulty", group="reasonrl")], timeout_s=0.2)


def error_of(plugins: Plugins, kind: Kind, name: str) -> str:
    """What a call of the function ends in."""
    with pytest.raises(PluginError) as caught:
        plugins.call(kind, PluginRef(name=name), **CALLED_WITH[kind])
    return str(caught.value)


def line_of(name: str) -> int:
    """The line in the module that an error of the function must name."""
    lines = MODULE.splitlines()
    start = lines.index(f"def {name}(**_):")
    return next(number for number, line in enumerate(lines, 1) if number > start and "# the place" in line)


@pytest.mark.parametrize("kind", CALLED_IN_PROCESS)
@pytest.mark.parametrize(
    ("name", "said"),
    [("raises", "ValueError: no such column"), ("leaves", "SystemExit: 3"), ("hangs", "did not return within 0.2 s")],
)
def test_a_function_that_raises_exits_or_hangs_is_one_error_with_its_place(
    plugins: Plugins, kind: Kind, name: str, said: str
) -> None:
    error = error_of(plugins, kind, name)
    word = "loss" if kind == "losses" else kind[:-1]
    assert error.startswith(f"{word} {name!r} (faulty (faulty)): {said} (faulty.py:{line_of(name)}). Mend it there, or")
    assert ("raise plugins.timeout_s" in error) == (name == "hangs")


@pytest.mark.parametrize("kind", RUBBISH)
def test_what_a_function_must_not_return_is_one_error(plugins: Plugins, kind: Kind) -> None:
    value, said = RUBBISH[kind]
    plugins.find(kind, "rubbish").value.__globals__["RUBBISH"] = value
    with pytest.raises(PluginError, match=said):
        plugins.call(kind, PluginRef(name="rubbish"), **CALLED_WITH[kind])


def test_an_async_observer_is_refused_because_nobody_awaits_it(plugins: Plugins) -> None:
    assert "nobody awaits it" in error_of(plugins, "observers", "never_awaited")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("advantages", torch.full((2, 4), torch.nan), "an advantage that is not finite"),
        ("advantages", torch.zeros(2, 4, 6), "returned 6 advantages a completion, but the longest one has 7 tokens"),
        ("advantages", 1.0, "a value of type float; an advantage estimator returns a tensor"),
        ("losses", LOGPROBS_M.detach(), "losses without a gradient"),
    ],
)
def test_tensors_that_nothing_could_be_learned_from_are_refused(
    plugins: Plugins, kind: Kind, value: Any, said: str
) -> None:
    plugins.find(kind, "rubbish").value.__globals__["RUBBISH"] = value
    assert said in error_of(plugins, kind, "rubbish")


@pytest.mark.parametrize(
    ("kind", "value"), [("advantages", torch.zeros(2, 4)), ("advantages", torch.zeros(2, 4, 7)), ("losses", LOGPROBS_M)]
)
def test_tensors_of_the_right_shape_are_passed_on(plugins: Plugins, kind: Kind, value: torch.Tensor) -> None:
    plugins.find(kind, "rubbish").value.__globals__["RUBBISH"] = value
    assert plugins.call(kind, PluginRef(name="rubbish"), **CALLED_WITH[kind]) is value


def test_every_kind_of_function_that_a_run_calls_itself_is_tried_here() -> None:
    ran_elsewhere = {"rewards", "metrics"}
    not_called = {"configs", "presets", "templates"}
    assert {*CALLED_IN_PROCESS} == {*get_args(Kind)} - ran_elsewhere - not_called


def test_an_error_in_our_own_words_passes_unchanged() -> None:
    def refuses() -> None:
        raise DataError("the file is empty")

    with pytest.raises(DataError, match=r"^the file is empty$"):
        call_plugin("task", "mine", refuses)


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        call_plugin("task", "mine", lambda: signal.raise_signal(signal.SIGINT))


@contextmanager
def own_alarm(seconds: float) -> Iterator[list[str]]:
    """A timer that the caller of a plugin has set for itself; what it noted."""
    rung: list[str] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append("rung"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_callers_own_timer_goes_on_after_a_call_and_rings() -> None:
    with own_alarm(0.3) as rung:
        with pytest.raises(PluginError, match=r"within 0\.1 s"), guarded("task", "mine", timeout_s=0.1):
            time.sleep(60)
        assert rung == []
        time.sleep(0.4)
    assert rung == ["rung"]


@pytest.mark.parametrize(("outer_s", "inner_s", "named"), [(5, 0.1, "inner"), (0.1, 5, "outer")])
def test_of_two_calls_within_each_other_the_first_to_run_out_of_time_is_named(
    outer_s: float, inner_s: float, named: str
) -> None:
    def inner() -> None:
        call_plugin("task", "inner", time.sleep, 60, timeout_s=inner_s)

    with pytest.raises(PluginError, match=rf"'{named}': did not return within 0\.1 s"):
        call_plugin("suite", "outer", inner, timeout_s=outer_s)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_in_another_thread_there_is_no_deadline_and_errors_are_named_as_ever() -> None:
    found: list[BaseException] = []

    def run(function: Callable[[], Any]) -> None:
        try:
            found.append(call_plugin("task", "mine", function, timeout_s=0.01))
        except PluginError as error:
            found.append(error)

    for function in (lambda: time.sleep(0.05), lambda: 1 / 0):
        thread = threading.Thread(target=run, args=[function])
        thread.start()
        thread.join()
    assert found[0] is None
    assert "ZeroDivisionError" in str(found[1])
