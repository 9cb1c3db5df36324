"""Plugins that raise, return rubbish, hang or exit: one clear error or a typed outcome, and a clean end of the run."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reasonrl.config.find import find_run
from reasonrl.errors import ReasonRLError
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.files import Manifest, RunDirectory
from reasonrl.run.start import start_run
from reasonrl.run.terminal import LiveView

RUN = """\
name: one
model: tiny
task: {name: arithmetic, params: {num_problems: 50}}
template: plain
rewards: [{name: ./fine.py:length, isolated: false}]
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 4}
plugins: {timeout_s: 5}
run: {steps: 1}
"""
FINE = "def length(rollout):\n    return len(rollout.text) + rollout.trajectory.sample_index\n"
HEAD = """
import asyncio, os, sys, time
import torch
from reasonrl import Measurement, Problem, Suite
"""
FAULTS = {
    "raises": "raise ValueError('boom')",
    "returns rubbish": "return 'rubbish'",
    "hangs": "time.sleep(60)",
    "exits": "sys.exit(3)",
}
"""What a function does in place of its work."""
SAID = {"raises": r"ValueError: boom \(bad.py:\d+\)", "hangs": "did not return within 0.5 s", "exits": "SystemExit: 3"}
"""What an error says of each; of rubbish each kind says something of its own."""
SHORT = "plugins.timeout_s=0.5"


class Outcome:
    """What became of a run."""

    def __init__(self, overrides: Sequence[str], recipe: str = "one.yaml") -> None:
        self.error: ReasonRLError | None = None
        self._screen = StringIO()
        view = LiveView(Console(file=self._screen, force_terminal=True, width=1000))
        try:
            start_run(find_run(recipe), overrides, [view], argv=["reasonrl", "train"])
        except ReasonRLError as error:  # anything else fails the test: a user would see a traceback
            self.error = error

    @property
    def said(self) -> str:
        """The error's message."""
        assert self.error is not None, "nothing was raised"
        return str(self.error)

    @property
    def manifest(self) -> Manifest:
        return RunDirectory.open(Path("runs/one")).manifest

    @property
    def terminal_is_free(self) -> bool:
        """Whether the cursor is shown again."""
        shown = self._screen.getvalue()
        return shown.rfind("\x1b[?25h") >= shown.rfind("\x1b[?25l")

    def refused(self, said: str) -> None:
        """The run did not begin: one error, and nothing is left behind."""
        assert_said(said, self.said)
        assert not Path("runs").exists()
        assert self.terminal_is_free

    def failed(self, said: str) -> None:
        """The run began and failed with one error, which its manifest holds."""
        assert_said(said, self.said)
        assert (self.manifest.status, self.manifest.cause) == ("failed", self.said)
        assert self.terminal_is_free

    def finished(self) -> None:
        assert self.error is None, self.said
        assert self.manifest.status == "finished"
        assert self.terminal_is_free

    def metrics(self) -> dict[str, Any]:
        """The last line of metrics. Any: JSON values."""
        return RunDirectory.open(Path("runs/one")).read_metrics()[-1]


def assert_said(expected: str, said: str) -> None:
    assert re.search(expected, said), said
    assert len(said) < 1200


def function(body: str, *, head: str = "def plugin(*args, **kwargs):") -> str:
    """A module with a function that does nothing else."""
    return f"{HEAD}\n{head}\n    {body}\n"


@pytest.fixture
def run(in_folder: Path) -> Callable[..., Outcome]:
    """Train with a module ``bad.py``."""

    def train(module: str, *overrides: str) -> Outcome:
        Path("bad.py").write_text(module)
        Path("fine.py").write_text(FINE)
        Path("one.yaml").write_text(RUN)
        return Outcome(overrides)

    return train


Run = Callable[..., Outcome]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("kind", "setting", "rubbish"),
    [
        ("task", "task=./bad.py:plugin", "returned a value of type str; a task returns a list of Problem"),
        ("suite", "evaluation.suites=[./bad.py:plugin]", "returned a value of type str; a suite function returns"),
        ("engine", "rollout.engine=./bad.py:plugin", "returned a value of type str, which has no 'generate'"),
    ],
)
def test_what_a_run_is_made_of_fails_before_anything_is_written(
    run: Run, kind: str, setting: str, rubbish: str, fault: str
) -> None:
    outcome = run(function(FAULTS[fault]), setting, SHORT)
    outcome.refused(f"{kind} './bad.py:plugin'.*{SAID.get(fault, rubbish)}")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("kind", "setting"),
    [("advantage", "algorithm.advantage=./bad.py:plugin"), ("loss", "algorithm.loss=./bad.py:plugin")],
)
def test_an_estimator_or_a_loss_fails_the_run_by_name(run: Run, kind: str, setting: str, fault: str) -> None:
    outcome = run(function(FAULTS[fault]), setting, SHORT)
    outcome.failed(f"{kind} './bad.py:plugin'.*{SAID.get(fault, 'returned a value of type str')}")


@pytest.mark.parametrize(
    ("setting", "body", "said"),
    [
        (
            "algorithm.advantage",
            "return kwargs['rewards_PG'][0]",
            r"returned shape \[2\]; for rewards of shape \[2, 2\]",
        ),
        ("algorithm.advantage", "return kwargs['rewards_PG'] * torch.nan", "an advantage that is not finite"),
        ("algorithm.loss", "return kwargs['logprobs_M'].mean()", r"returned shape \[\] for \d+ tokens"),
        ("algorithm.loss", "return kwargs['logprobs_M'].detach()", "returned losses without a gradient"),
    ],
)
def test_tensors_that_would_train_wrongly_are_refused(run: Run, setting: str, body: str, said: str) -> None:
    run(function(body), f"{setting}=./bad.py:plugin").failed(said)


SUITE = """
def suite(*, load):
    problems = load("arithmetic", num_problems=2)
    return Suite(name="mine", problems=problems, metric=metric, template="plain", max_new_tokens=4)
"""


MEASURED = ("evaluation.suites=[./bad.py:suite]", "evaluation.allow_overlap=two generated sums")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", r"ValueError: boom \(bad.py:\d+\)"),
        pytest.param(
            "returns rubbish",
            "returned a value of type str, where a metric returns a Measurement",
            marks=pytest.mark.slow,
        ),
        pytest.param("exits", "SystemExit: 3", marks=pytest.mark.slow),
        ("hangs", r"timeout: ran longer than 0\.5 s"),
    ],
)
def test_a_metric_that_always_fails_ends_the_run_by_suite_and_place(run: Run, fault: str, said: str) -> None:
    metric = function(FAULTS[fault], head="def metric(rollout):")
    run(metric + SUITE, *MEASURED, "scoring.metric_timeout_s=0.5").failed(
        rf"suite 'mine': metric 'metric' \(bad.py:\d+\) failed on \d of \d completions.*{said}"
    )


@pytest.mark.slow
def test_a_metric_that_may_fail_is_counted_and_lets_the_run_finish(run: Run) -> None:
    metric = function(FAULTS["raises"], head="def metric(rollout):")
    run(metric + SUITE, *MEASURED, "scoring.max_failure_rate=1").finished()


def test_a_metric_that_waits_for_ever_is_ended_by_its_own_deadline(run: Run) -> None:
    waiting = """
from contextlib import contextmanager
from reasonrl import SharedResource, keeps_open
@contextmanager
def opening():
    yield SharedResource(timeout_s=0.5)
@keeps_open(opening)
async def metric(rollout):
    await asyncio.sleep(60)
"""
    outcome = run(HEAD + waiting + SUITE, *MEASURED)
    outcome.failed(r"suite 'mine': metric 'metric'.*0\.5 s")


@pytest.mark.parametrize("isolated", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("raises", "error"), pytest.param("returns rubbish", "error", marks=pytest.mark.slow), ("exits", "error")],
)
def test_a_reward_costs_its_samples_their_score(run: Run, fault: str, outcome: str, isolated: bool) -> None:
    rewards = f"rewards=[{{name: ./bad.py:score, isolated: {isolated}}}, {{name: ./fine.py:length, isolated: false}}]"
    ended = run(function(FAULTS[fault], head="def score(rollout):"), rewards, "scoring.max_failure_rate=1")
    ended.finished()
    assert ended.metrics()[f"outcome/./bad.py:score/{outcome}"] == 4


def test_a_reward_that_hangs_is_ended_and_one_that_always_fails_stops_the_run(run: Run) -> None:
    hangs = function(FAULTS["hangs"], head="def score(rollout):")
    outcome = run(hangs, "rewards=[./bad.py:score]", "scoring.timeout_s=0.3")
    outcome.failed(r"reward './bad.py:score' failed on 4 of 4 samples.*timeout: .*0\.3 s")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_observer_is_detached_and_the_run_goes_on(run: Run, fault: str) -> None:
    asynchronous = "async " if fault == "returns rubbish" else ""
    module = function(FAULTS[fault], head=f"{asynchronous}def plugin(event):")
    ended = run(module, "observers=[./bad.py:plugin]", SHORT)
    ended.finished()
    (event,) = [e for e in RunDirectory.open(Path("runs/one")).read_events() if e["kind"] == "observer_failed"]
    assert_said(
        f"observer './bad.py:plugin' is detached: .*{SAID.get(fault, 'is an async function')}", event["message"]
    )


ENGINE = """
from reasonrl.engines.local import LocalEngine
class Engine(LocalEngine):
    async def generate(self, request):
        BODY
def plugin(inputs):
    return Engine(inputs.model, inputs.tokenizer, inputs.compute)
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('boom')", r"engine './bad.py:plugin'.*ValueError: boom \(bad.py:\d+\)"),
        ("return 'rubbish'", r"engine './bad.py:plugin'.*returned a value of type str"),
        ("await asyncio.sleep(60)", "sampling took longer than 0.5 s"),
        ("sys.exit(3)", r"engine './bad.py:plugin'.*SystemExit: 3"),
    ],
)
def test_an_engine_that_fails_while_it_samples_fails_the_run(run: Run, body: str, said: str) -> None:
    module = HEAD + ENGINE.replace("BODY", body)
    run(module, "rollout.engine=./bad.py:plugin", "rollout.timeout_s=0.5").failed(said)


def test_an_engine_without_weights_of_its_own_cannot_sample_ahead(run: Run) -> None:
    module = HEAD + ENGINE.replace("BODY", "return await super().generate(request)")
    ahead = ["rollout.async_steps=1", "algorithm.importance=token"]
    outcome = run(module, "rollout.engine=./bad.py:plugin", *ahead)
    outcome.refused("engine './bad.py:plugin' samples from the module that is being trained")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ prompt }} {{ 1 // 0 }}", "template './bad.jinja'.*ZeroDivisionError"),
        ("{{ prompt }} {{ problem.nothing.at_all }}", "template './bad.jinja'.*UndefinedError"),
        ("{{ prompt and '' }}", "template './bad.jinja'.*empty"),
        (
            "{{ prompt }}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "template './bad.jinja'.*did not return within 0.5 s",
        ),
    ],
)
def test_a_template_that_fails_on_a_problem_fails_the_run(run: Run, text: str, said: str) -> None:
    Path("bad.jinja").write_text(text)
    run("", "template=./bad.jinja", SHORT).failed(said)


# What only a package can offer


@pytest.fixture
def install(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Install a package with these hooks for the length of a test."""

    def write(hooks: str) -> None:
        Path("fine.py").write_text(FINE)
        Path("one.yaml").write_text(RUN)
        Path("site/faulty-1.0.dist-info").mkdir(parents=True)
        Path("site/faulty-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
        Path("site/faulty-1.0.dist-info/entry_points.txt").write_text("[reasonrl]\nfaulty = faulty\n")
        Path("site/faulty.py").write_text(f"import sys\nfrom reasonrl import hookimpl\n{hooks}")
        monkeypatch.syspath_prepend(in_folder / "site")
        installed_plugins.cache_clear()

    yield write
    sys.modules.pop("faulty", None)
    installed_plugins.cache_clear()


Install = Callable[[str], None]


def hook(kind: str, body: str) -> str:
    """A hook of a package."""
    return f"@hookimpl\ndef reasonrl_{kind}():\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "raise ValueError('boom')",
            r"no preset 'mine'(.|\n)*Failed plugin faulty.*ValueError: boom \(faulty.py:\d+\)",
        ),
        ("return 'rubbish'", r"no preset 'mine'(.|\n)*Failed plugin faulty"),
        ("sys.exit(3)", r"no preset 'mine'(.|\n)*Failed plugin faulty.*SystemExit: 3"),
        ("return {'mine': 'rubbish'}", "preset 'mine' .*faulty.*: should be a group of settings"),
        ("return {'mine': 5}", "preset 'mine' .*faulty"),
        ("return {'mine': {'loss': 'clipped_surrogate'}}", "preset 'mine'.*faulty.*advantage"),
        (
            "return {'mine': {'advantage': 'group_normalized', 'loss': 'surrogat', 'reduction': 'token_mean'}}",
            "preset 'mine'.*faulty.*surrogat",
        ),
    ],
)
def test_a_preset_that_cannot_be_used_is_refused_by_its_owner(install: Install, body: str, said: str) -> None:
    install(hook("presets", body))
    Outcome(["algorithm=mine"]).refused(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('boom')", r"configs: no 'mine'(.|\n)*Failed plugin faulty.*ValueError: boom"),
        ("sys.exit(3)", r"configs: no 'mine'(.|\n)*Failed plugin faulty.*SystemExit: 3"),
        ("return {'mine': 'nowhere.yaml'}", "nowhere.yaml"),
        ("return {'mine': 5}", "'mine'.*faulty"),
        ("return {'mine': 'site/faulty.py'}", "faulty.py"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused(install: Install, body: str, said: str) -> None:
    install(hook("configs", body))
    Outcome([], "mine").refused(said)


@pytest.mark.parametrize("body", ["return {'mine': 5}", "return {'mine': 'no_such_module:f'}"])
@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("rewards", "rewards=[mine]"),
        ("tasks", "task=mine"),
        ("suites", "evaluation.suites=[mine]"),
        ("advantages", "algorithm.advantage=mine"),
        ("losses", "algorithm.loss=mine"),
        ("engines", "rollout.engine=mine"),
        ("observers", "observers=[mine]"),
        ("trackers", "run.trackers=[mine]"),
        ("templates", "template=mine"),
    ],
)
def test_what_is_no_plugin_of_its_kind_is_refused_by_name(install: Install, kind: str, setting: str, body: str) -> None:
    install(hook(kind, body))
    Outcome([setting]).refused("'mine' .*faulty.*(type int|type str|no_such_module)")


# A process that is gone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "setting"),
    [
        (function("os._exit(0)"), "algorithm.advantage=./bad.py:plugin"),
        (function("os._exit(0)"), "algorithm.loss=./bad.py:plugin"),
        (
            function("if hasattr(event, 'record'): os._exit(0)", head="def plugin(event):"),
            "observers=[./bad.py:plugin]",
        ),
        (function("os._exit(0)", head="def score(rollout):"), "rewards=[{name: ./bad.py:score, isolated: false}]"),
        (HEAD + ENGINE.replace("BODY", "os._exit(0)"), "rollout.engine=./bad.py:plugin"),
    ],
    ids=["advantage", "loss", "observer", "reward", "engine"],
)
def test_a_plugin_that_ends_the_process_leaves_a_status_and_a_terminal(
    in_folder: Path, module: str, setting: str
) -> None:
    Path("bad.py").write_text(module)
    Path("fine.py").write_text(FINE)
    Path("one.yaml").write_text(RUN)
    shown = on_a_terminal([sys.executable, "-m", "reasonrl", "train", "one.yaml", setting])
    manifest = RunDirectory.open(Path("runs/one")).manifest
    assert manifest.status == "failed"
    assert "left it by os._exit" in str(manifest.cause)
    assert "reasonrl train --resume" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def on_a_terminal(command: Sequence[str]) -> str:
    """Run a command on a terminal of its own; return what was shown until whoever watches it has ended too."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "CI": ""}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(controller, 65536)
        except OSError:  # nobody has the terminal open any more
            break
    os.close(controller)
    process.wait(timeout=60)
    return shown.decode(errors="replace")
