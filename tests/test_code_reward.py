"""The reward `unit_tests`: programs that a model wrote, run in a real sandbox and judged outside of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from reward_cases import HOSTILE, rollout

from reasonrl import PluginError, Score
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.errors import ConfigError, SandboxError
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import load_reward
from reasonrl_grading.answers import read_program
from reasonrl_sandbox import CallTests, Case, SandboxSpec, close_shared

TESTS: dict[str, Any] = {  # Any: JSON
    "calls": {"entry": "f", "cases": [{"args": [1], "expected": 8101}, {"args": [2], "expected": 8202}]}
}
RIGHT = "def f(x):\n    return 8000 + 101 * x"
HALF = "def f(x):\n    return 8101"
LIKE_DOCKER = Path(__file__).parent / "like_docker.py"
HANG_S = 60.0
"""What only a hang takes."""


def fenced(program: str) -> str:
    return f"Here it is:\n\n```python\n{program}\n```\n"


def caller(**params: object) -> RewardCaller:
    ref = RewardRef(name="unit_tests", params={"slots": 1, **params})
    return RewardCaller([load_reward(ref, Plugins())], ScoringSettings(timeout_s=0.5))


@pytest.fixture(scope="module")
def scoring() -> Iterator[RewardCaller]:
    params = {"sources": ["fence", "whole"], "cpu_s": 0.5, "slots": 1}
    refs = [
        RewardRef(name="unit_tests", params=params),
        RewardRef(name="unit_tests", label="share", params={**params, "partial": True}),
    ]
    with RewardCaller([load_reward(ref, Plugins()) for ref in refs], ScoringSettings()) as opened:
        yield opened


def score(scoring: RewardCaller, text: str, tests: object = TESTS, stub: str = "") -> Score:
    asked = rollout(text, prompt="?", tests=tests, stub=stub)
    return scoring.submit("unit_tests", [asked]).result(HANG_S)[0]


def test_a_program_that_passes_all_tests_is_worth_1(scoring: RewardCaller) -> None:
    given = score(scoring, fenced(RIGHT))
    assert (given.value, given.why, given.parts) == (1.0, "passed all 2 tests", {"passed": 1.0, "answered": 1.0})


def test_a_program_that_fails_a_test_is_worth_0_and_the_reason_does_not_tell_the_answer(scoring: RewardCaller) -> None:
    given = score(scoring, fenced(HALF))
    assert (given.value, given.why, given.parts) == (0.0, "failed at test 2 of 2", {"passed": 0.5, "answered": 1.0})
    assert "8202" not in str(given)


def test_a_share_of_the_tests_can_be_paid(scoring: RewardCaller) -> None:
    (given,) = scoring.submit("share", [rollout(fenced(HALF), prompt="?", tests=TESTS)]).result(HANG_S)
    assert given.value == 0.5


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("def f(x):\n    return undefined", "runtime_error"),
        ("def f(x)\n    return x", "compile_error"),
        ("def g(x):\n    return x", "no_entry"),
        ("def f(x):\n    while True: pass", "timeout"),
        ("import os\ndef f(x):\n    os._exit(0)", "runtime_error"),
        ("import sys\nsys.exit(0)", "runtime_error"),
        ("print('passed', '2 passed', 'OK')", "no_entry"),
        (
            "class Equal(int):\n    __eq__ = lambda self, other: True\n    __ne__ = lambda self, other: False\n"
            "    __hash__ = int.__hash__\n\ndef f(x):\n    return Equal()",
            "failed",
        ),
        (
            "def f(x):\n    import gc\n    found = [o for o in gc.get_objects() if type(o) is dict and 'cases' in o]\n"
            "    return found[0]['cases'][x - 1]['expected']",
            "runtime_error",
        ),
    ],
)
def test_wrong_and_cheating_programs_are_worth_0(scoring: RewardCaller, program: str, outcome: str) -> None:
    given = score(scoring, fenced(program))
    assert given.value == 0
    assert given.why.startswith(f"{outcome} at test 1 of 2")


def test_no_text_of_a_model_is_an_error(scoring: RewardCaller) -> None:
    for text in HOSTILE:
        assert score(scoring, text).value == 0, text[:40]


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (None, "meta['tests']"),
        ({"calls": {"entry": "f", "cases": []}}, "empty"),
        ({"cals": {}}, "Did you mean 'calls'"),
        (CallTests("f", ()), "no cases"),
        (CallTests("f", (Case((object(),)),)), "plain data"),
    ],
)
def test_tests_that_cannot_be_used_make_no_score(scoring: RewardCaller, tests: object, why: str) -> None:
    given = score(scoring, fenced(RIGHT), tests)
    assert given.outcome == "unscorable"
    assert why in given.why


def test_tests_that_would_take_the_programs_word_make_no_score(scoring: RewardCaller) -> None:
    alike = fenced("class P:\n    def __init__(self, x): pass\n    __eq__ = lambda self, other: True")
    given = score(scoring, alike, {"asserts": {"entry": "P", "source": "assert P(1) == P(1)\nassert P(2)"}})
    failed = score(scoring, alike, {"asserts": {"entry": "P", "source": "assert P(1) == P(1)\nassert P(2).x == 2"}})

    assert (given.outcome, given.value) == ("unscorable", None)
    assert "the same whatever it is made of" in given.why
    assert failed.value == 0.0


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ({"stdio": [{"stdin": "3 4\n", "stdout": "7\n"}]}, "print(sum(map(int, input().split())))"),
        ({"asserts": {"entry": "f", "source": "assert f(1) == 8101\nassert f(x=2) == 8202"}}, RIGHT),
        ({"asserts": {"entry": "f", "source": "y = 2\nfor y in range(3): assert f(y) > y"}}, RIGHT),
    ],
)
def test_every_form_of_tests_is_judged(scoring: RewardCaller, tests: Mapping[str, Any], program: str) -> None:
    assert score(scoring, fenced(program), tests).value == 1
    assert score(scoring, fenced("def f(x):\n    return 0"), tests).value == 0


def test_a_sandbox_that_is_lost_costs_the_score_and_is_never_a_0() -> None:
    with caller(cpu_s=30) as scoring:
        running = scoring.submit("unit_tests", [rollout(fenced("while True: pass"), prompt="?", tests=TESTS)])
        time.sleep(0.5)
        close_shared(SandboxSpec(slots=1))
        (lost,) = running.result(HANG_S)
        assert (lost.value, lost.outcome) == (None, "error")
        assert score(scoring, fenced(RIGHT)).value == 1, "the next call has a sandbox again"


@pytest.mark.slow
def test_waiting_for_a_slot_costs_no_program_its_score() -> None:
    slow = fenced(RIGHT + "\nimport time\nbegan = time.process_time()\nwhile time.process_time() < began + 0.3: pass")
    with caller() as scoring:
        asked = [rollout(slow, prompt="?", tests=TESTS) for _ in range(4)]
        calls = [scoring.submit("unit_tests", [one]) for one in asked]
        assert [call.result(HANG_S)[0].value for call in calls] == [1.0] * 4


@pytest.mark.slow
def test_a_problem_has_its_own_time_unless_the_run_sets_one() -> None:
    spends = fenced(RIGHT + "\nimport time\nbegan = time.process_time()\nwhile time.process_time() < began + 0.5: pass")
    short = rollout(spends, prompt="?", tests=TESTS, limits={"cpu_s": 0.2})
    with caller() as scoring:
        assert scoring.submit("unit_tests", [short]).result(HANG_S)[0].value == 0
        unknown = rollout(spends, prompt="?", tests=TESTS, limits={"cpu": 1})
        assert scoring.submit("unit_tests", [unknown]).result(HANG_S)[0].outcome == "unscorable"
    with caller(cpu_s=10) as scoring:
        assert scoring.submit("unit_tests", [short]).result(HANG_S)[0].value == 1


# Refusing to start, and ending


def test_a_level_of_isolation_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match="isolation"):
        caller(isolation="fulll")


def test_a_reward_that_looks_for_programs_nowhere_is_refused_before_the_run_starts() -> None:
    with pytest.raises(Exception, match="sources is empty"):
        caller(sources=())


RUN = """
name: refused
model: tiny
task: {name: functions, params: {num_problems: 20}}
template: bare
rewards: [{name: unit_tests, params: {isolation: LEVEL}}]
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 4}
run: {steps: 1}
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", ["full", "auto"])
def test_a_run_starts_with_what_a_container_has_unless_it_asks_for_more(tmp_path: Path, level: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can take from a process what a container has not")
    (tmp_path / "run.yaml").write_text(RUN.replace("LEVEL", level))
    command = [sys.executable, "-m", "reasonrl", "train", "run.yaml", "--plain"]
    done = subprocess.run(
        [sys.executable, str(LIKE_DOCKER), "0", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    manifest = tmp_path / "runs" / "refused" / "manifest.json"
    if level == "full":
        assert done.returncode == SandboxError.exit_code
        assert done.stderr.startswith("error: isolation: 'full' cannot be formed here (")
        assert not manifest.parent.exists()
    else:
        assert done.returncode == 0, done.stderr
        assert json.loads(manifest.read_text())["environment"]["unit_tests"].startswith("container isolation, ")


def test_a_run_whose_servers_cannot_be_reached_does_not_start() -> None:
    with pytest.raises(SandboxError, match=r"127\.0\.0\.1:9"):
        caller(slots=None, urls=("http://127.0.0.1:9",), isolation="full")


def test_settings_that_servers_would_ignore_are_refused() -> None:
    with pytest.raises(Exception, match="slots and preimport"):
        caller(slots=2, urls=("http://127.0.0.1:9",))


@pytest.mark.parametrize(("name", "value"), [("cpu_s", 0), ("wall_s", -1.0), ("memory_mib", 0), ("output_kib", -1)])
def test_a_run_whose_limits_no_program_could_keep_does_not_start(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"limits: {name} is {value}.*: use a "):
        caller(**{name: value})


def test_a_run_without_slots_does_not_start() -> None:
    with pytest.raises(ConfigError, match="slots is 0: use 1 or more"):
        caller(slots=0)


def test_the_level_in_use_is_said(scoring: RewardCaller) -> None:
    assert "isolation, 1 at once" in scoring.notes["unit_tests"]


HOLDER = """
import sys, time
from reasonrl.system.process_tree import children
from test_code_reward import *
with caller(slots=2) as scoring:
    calls = [scoring.submit("unit_tests", [rollout(fenced("while True: pass"), prompt="?", tests=TESTS)]) for _ in "ab"]
    time.sleep(1)
    print(*children(), flush=True)
    if sys.argv[1] == "kill":
        time.sleep(60)
print(*children(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", ["close", "kill"])
def test_nothing_is_left_of_the_sandbox_when_a_run_is_closed_or_killed(how: str) -> None:
    command = [sys.executable, "-c", HOLDER, how]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    assert holder.stdout is not None
    servers = [int(pid) for pid in holder.stdout.readline().split()]
    assert servers
    if how == "kill":
        holder.kill()
    assert holder.stdout.readline().strip() == "", "closing left them running"
    holder.wait(HANG_S)
    holder.stdout.close()
    deadline = time.monotonic() + HANG_S
    while any(Path(f"/proc/{pid}").exists() for pid in servers):
        assert time.monotonic() < deadline, f"{servers} live on"
        time.sleep(0.05)


# Reading the program


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na = 1\n```\nor\n```python\na = 2\n```", "a = 2"),
        ("```py\na = 1\n```\nIt prints:\n```\n1\n```", "a = 1"),
        ("```\na = 1\n```\n```bash\nls\n```", "a = 1"),
        ("```python\na = 1\n", "a = 1\n"),
        ("<think>\n```python\na = 1\n```\n</think>\n```python\na = 2\n```", "a = 2"),
        ("<think>\n```python\na = 1\n```\n", None),
        ("a = 1", None),
        ("```python\n\n```", None),
        ("````python\na = '''\n```\n'''\n````", "a = '''\n```\n'''"),
        ("1. So:\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1"),
        ("```Python3.11\na = 1\n```\n~~~\n2\n~~~", "a = 1"),
        ("~~~{.python}\na = 1\n~~~", "a = 1"),
        ("```python\nreturn x```\nDone.", "return x"),
    ],
)
def test_the_program_is_the_last_block_of_python_outside_thinking(text: str, program: str | None) -> None:
    assert read_program(rollout(text, prompt="?")) == program


def test_a_program_may_stand_in_an_answer_tag_or_be_the_whole_text() -> None:
    tagged = rollout("<answer>\nx = 1\n</answer>", prompt="?")
    assert read_program(tagged, ("fence", "answer_tag")) == "x = 1"
    assert read_program(rollout("    return 1\n", prompt="?"), ("whole",)) == "    return 1\n"


def test_a_block_that_the_prompt_opened_counts() -> None:
    assert read_program(rollout("a = 1\n```\nDone.", prompt="Program:\n```python\n")) == "a = 1"


STUB = 'def f(x):\n    """Add one."""\n'


@pytest.mark.parametrize(
    "text", ["    return x + 1", fenced("    return x + 1"), fenced("def f(y):\n    return y + 1")]
)
def test_a_completion_goes_on_with_the_stub_or_begins_anew(scoring: RewardCaller, text: str) -> None:
    tests = CallTests("f", (Case((1,), expected=2),))
    assert score(scoring, text, tests, stub=STUB).value == 1


@pytest.mark.parametrize(
    "text",
    ["```" + " " * 300_000, "```" + " " * 300_000 + "`", "```python\n" * 50_000, "`" * 500_000, "<answer>" * 50_000],
)
def test_reading_a_program_takes_time_linear_in_the_text(text: str) -> None:
    began = time.process_time()
    read_program(rollout(text, prompt="?"), ("fence", "answer_tag"))
    assert time.process_time() - began < 5
