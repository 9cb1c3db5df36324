"""Sandboxes by hand: `reasonrl sandbox run`, `attack` and `doctor`, and what the doctor of runs says of them."""

import doctest
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sandbox_servers import HANG_S, FusionLike, served
from typer.testing import CliRunner

import reasonrl_sandbox
from reasonrl.errors import ConfigError, DataError, SandboxError
from reasonrl_sandbox import ProgramLimits, read_tests
from reasonrl_sandbox.admission import MAX_LIMITS
from reasonrl_sandbox.attack import DEFAULT_TESTS, read_attack, read_attacks
from reasonrl_sandbox.canary import planted_canary
from reasonrl_sandbox.command_line import app

RIGHT = "def add(a, b):\n    return a + b\n"
HALF = "import sys\nprint('seen\\x1b[31m', file=sys.stderr)\ndef add(a, b):\n    return 5\n"


def run(*arguments: str) -> tuple[int, str]:
    """The exit code of a sandbox command and what it printed; mistakes are raised."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def process(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5 * HANG_S, check=False)


reasonrl = partial(process, "reasonrl")


def report(*arguments: str) -> tuple[int, Any]:
    """The same of a command that prints JSON. Any: JSON."""
    code, printed = run(*arguments, "--json")
    return code, json.loads(printed)


@pytest.fixture
def folder(in_folder: Path) -> Path:
    (in_folder / "right.py").write_text(RIGHT)
    (in_folder / "half.py").write_text(HALF)
    (in_folder / "tests.json").write_text(json.dumps(DEFAULT_TESTS))
    return in_folder


def test_a_program_that_passes_is_exit_code_0_and_all_of_it_is_said(folder: Path) -> None:
    code, shown = run("run", "right.py", "--tests", "tests.json")
    assert code == 0
    assert shown.startswith("passed: 3 of 3 tests passed; ")
    assert "test 3: passed" in shown
    assert "forgeable" not in shown
    assert "s of CPU" in shown
    assert "isolation " in shown
    assert "limits: active" in shown


def test_a_program_that_fails_is_exit_code_1_and_cannot_steer_the_terminal(folder: Path) -> None:
    code, shown = run("run", "half.py", "--tests", "tests.json")
    assert code == 1
    assert shown.startswith("failed: 1 of 3 tests passed; ")
    assert "add(-4, 4) answered 5, not 0" in shown
    assert "\x1b" not in shown
    assert "seen\\x1b[31m" in shown


def test_json_holds_the_verdict_and_the_isolation(folder: Path) -> None:
    code, said = report("run", "half.py", "--tests", "tests.json", "--isolation", "basic")
    assert code == 1
    assert (said["outcome"], said["passed"], said["total"]) == ("failed", 1, 3)
    assert said["per_test"] == ["passed", "failed", "failed"]
    assert said["isolation"]["level"] == "basic"
    assert said["cpu_s"] > 0


def test_tests_that_trust_objects_of_the_program_are_said_to_be_forgeable(folder: Path) -> None:
    source = "class Same:\n    def __eq__(self, other):\n        return True\nassert add(1, 2) == Same()"
    tests = {"asserts": {"entry": "add", "source": source, "allow_forgeable": True}}
    (folder / "asserts.json").write_text(json.dumps(tests))
    code, shown = run("run", "right.py", "--tests", "asserts.json", "--isolation", "basic")
    assert code == 0
    assert "forgeable: these tests let objects of the program decide outcomes" in shown


def test_partial_goes_on_where_each_test_is_a_process(folder: Path) -> None:
    (folder / "prints.py").write_text("print(1)")
    (folder / "stdio.json").write_text(json.dumps({"stdio": [{"stdin": "", "stdout": n} for n in ("2", "1", "1")]}))
    assert report("run", "prints.py", "--tests", "stdio.json", "--partial")[1]["passed"] == 2


def test_without_tests_a_program_shows_its_output(folder: Path) -> None:
    (folder / "speaks.py").write_text("print('hello')")
    code, shown = run("run", "speaks.py")
    assert code == 0
    assert "output:\n    hello\n" in shown
    (folder / "broken.py").write_bytes(b"\xff = 1")
    code, said = report("run", "broken.py")
    assert (code, said["ending"]) == (1, "compile_error")


def test_a_program_runs_on_a_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served("--slots", "1", "--isolation", "basic", token="right") as server:
        with pytest.raises(SandboxError, match="REASONRL_SANDBOX_TOKEN"):
            run("run", "right.py", "--url", server.url)
        monkeypatch.setenv("REASONRL_SANDBOX_TOKEN", "right")
        code, said = report("run", "right.py", "--tests", "tests.json", "--url", server.url)
        assert (code, said["outcome"]) == (0, "passed")
        assert server.url in said["isolation"]["layers"]["remote"]
        with pytest.raises(SandboxError, match="isolation full is required"):
            run("run", "right.py", "--url", server.url, "--isolation", "full")
        with pytest.raises(ConfigError, match="preimport"):
            run("run", "right.py", "--url", server.url, "--preimport", "numpy")


def test_a_program_runs_on_a_server_of_sandboxfusion(folder: Path) -> None:
    with FusionLike() as server:
        code, said = report(
            "run", "right.py", "--tests", "tests.json", "--url", server.url, "--protocol", "sandboxfusion"
        )
        assert (code, said["outcome"], said["isolation"]["level"]) == (0, "passed", "unverified")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "missing.py"], "missing.py: cannot be read"),
        (["run", "right.py", "--tests", "missing.json"], "missing.json: cannot be read"),
        (["run", "right.py", "--tests", "right.py"], "right.py: is not JSON"),
        (["attack", "missing"], "missing: has no programs"),
        (["serve", "--token-file", "missing"], "--token-file missing: cannot be read"),
        (["run", "right.py", "--protocol", "sandboxfusion"], "protocol sandboxfusion is for servers"),
    ],
)
def test_a_mistake_is_exit_code_2_with_what_is_wrong(folder: Path, arguments: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        run(*arguments)
    assert error.value.exit_code == 2


def test_a_sandbox_that_fails_is_exit_code_5(folder: Path) -> None:
    by_itself = process("reasonrl_sandbox", "run", "right.py", "--url", "http://127.0.0.1:9")
    for result in (by_itself, reasonrl("sandbox", "run", "right.py", "--url", "http://127.0.0.1:9")):
        assert result.returncode == 5
        assert result.stderr.startswith("error: no sandbox server answers: http://127.0.0.1:9")
        assert "Traceback" not in result.stderr


def test_a_token_file_that_is_empty_is_refused(folder: Path) -> None:
    (folder / "token").write_text("\n")
    with pytest.raises(ConfigError, match="token is empty"):
        run("serve", "--token-file", "token")


# ---- the library alone


def test_the_library_is_imported_without_torch_or_what_only_servers_need() -> None:
    script = "import reasonrl_sandbox, sys; print({'torch', 'aiohttp', 'pydantic', 'typer'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=HANG_S)
    assert shown.stdout == "set()\n"


def test_the_example_of_its_readme_prints_what_stands_there() -> None:
    readme = (Path(reasonrl_sandbox.__file__).parent / "README.md").read_text()
    example = readme.partition("```pycon\n")[2].partition("```")[0]
    tests = doctest.DocTestParser().get_doctest(example, {}, "README.md", None, None)
    assert tests.examples
    assert doctest.DocTestRunner().run(tests).failed == 0


# ---- attacks


def test_an_attack_folder_says_what_was_not_as_expected(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "honest.py").write_text(f"# expect: passed\n{RIGHT}")
    (folder / "wrong.py").write_text(f"# expect: failed | timeout\n# host: nothing\n{HALF}")
    (folder / "elsewhere.py").write_text(f"# expect: failed\n# levels: full\n{RIGHT}")
    assert run("attack", ".", "--isolation", "basic")[0] == 0
    (folder / "surprise.py").write_text(f"# expect: timeout | runtime_error\n{RIGHT}")
    code, shown = run("attack", ".", "--isolation", "basic")
    assert code == 1
    assert "surprise: passed, expected runtime_error or timeout" in shown
    assert "2 of 3 programs ended as expected; 1 passed that must not; 1 are for other levels" in shown


def test_an_attack_that_does_harm_is_found_although_it_ends_as_expected(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    harm = "import os, socket\nsocket.create_connection(('127.0.0.1', CANARY_PORT))\nos.kill(CANARY_PID, 0)\n"
    (folder / "harm.py").write_text(f"# expect: passed | failed | runtime_error\n{harm}{RIGHT}")
    code, said = report("attack", ".", "--isolation", "basic")
    assert (code, [trial["as_expected"] for trial in said["trials"]]) == (1, [True])
    assert said["harm"] == ["the canary's visitors: ['TCP port'], was []"]


def knock(address: str | tuple[str, int], kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, kind) as client:
        client.connect(address)
        client.send(b"knock")


HARMS: dict[str, Callable[[Path, int, int], object]] = {
    "visitors: ['UDP port']": lambda _, pid, port: knock(("127.0.0.1", port), socket.SOCK_DGRAM),
    "visitors: ['Unix socket']": lambda folder, pid, port: knock(str(folder / "socket")),
    "'text': 'written'": lambda folder, pid, port: (folder / "secret").write_text("written"),
    "file secret: gone": lambda folder, pid, port: (folder / "secret").unlink(),
    "was not there": lambda folder, pid, port: os.mkfifo(folder / "pipe"),
    "file .: {'mode': '0o40000'": lambda folder, pid, port: folder.chmod(0),
    "'links': 2": lambda folder, pid, port: (folder / "second").hardlink_to(folder / "secret"),
    "process's priority: 19": lambda _, pid, port: os.setpriority(os.PRIO_PROCESS, pid, 19),
    "process: ended with -9": lambda _, pid, port: os.kill(pid, signal.SIGKILL),
}
if sys.platform == "linux":
    HARMS |= {
        "visitors: ['abstract socket']": lambda _, pid, port: knock(f"\0reasonrl-canary-{port}"),
        "process is stopped: True": lambda _, pid, port: os.kill(pid, signal.SIGSTOP),
        "process's policy": lambda _, pid, port: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
        "process's limits": lambda _, pid, port: resource.prlimit(pid, resource.RLIMIT_NOFILE, (99, 99)),
    }


@pytest.mark.parametrize("said", HARMS)
def test_what_is_done_to_the_canary_is_seen(said: str) -> None:
    with planted_canary(os.getuid()) as canary:
        assert canary.harm() == []
        about = canary.placeholders
        HARMS[said](Path(about["CANARY_FOLDER"]), int(about["CANARY_PID"]), int(about["CANARY_PORT"]))
        time.sleep(0.02)  # a signal takes effect
        assert said in str(canary.harm())


def test_an_attack_whose_tests_cannot_be_used_is_named_and_the_others_are_run(folder: Path) -> None:
    tests = {"asserts": {"entry": "add", "source": "pass"}}
    for path in folder.iterdir():
        path.unlink()
    (folder / "odd.py").write_text(f"# expect: failed\n# tests: {json.dumps(tests)}\n{RIGHT}")
    (folder / "refused.py").write_text(f"# expect: unscorable\n# tests: {json.dumps(tests)}\n{RIGHT}")
    (folder / "right.py").write_text(f"# expect: passed\n{RIGHT}")
    code, shown = run("attack", ".", "--isolation", "basic")
    assert code == 1
    assert "odd: unscorable, expected failed\n    asserts: no assert in the source tests 'add'" in shown
    assert "2 of 3 programs ended as expected; 0 passed that must not" in shown


def test_a_folder_with_nothing_for_this_level_is_a_mistake(folder: Path) -> None:
    for name in ("right.py", "half.py"):
        (folder / name).write_text(f"# expect: passed\n# levels: full container\n{RIGHT}")
    with pytest.raises(ConfigError, match="none of the 2 programs is for isolation basic; they are for: full, contain"):
        run("attack", ".", "--isolation", "basic")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("import os", "line 1: the first line must say `# expect: OUTCOME`"),
        ("# host: x\n# expect: failed", "line 1: the first line must say"),
        ("# expect: fail", "line 1: expect: 'fail' is unknown. Did you mean 'failed'?"),
        ("# expect: failed\n# limts: {}", "line 2: unknown key 'limts'. Did you mean 'limits'?"),
        ("# expect: failed\n# expect: passed", "line 2: a second line 'expect'"),
        ('# expect: failed\n# limits: {"cpu": 1}', "line 2: limits: no 'cpu'. Did you mean 'cpu_s'?"),
        ('# expect: failed\n# limits: {"cpu_s": "1"}', "line 2: limits: cpu_s is '1': use a number of seconds"),
        ("# expect: failed\n# tests: {", "line 2: tests: is not JSON"),
        ("# expect: failed\n# levels: ful", "line 2: levels: 'ful' is unknown. Did you mean 'full'?"),
    ],
)
def test_a_header_that_says_it_wrongly_is_named_with_its_line(folder: Path, header: str, why: str) -> None:
    (folder / "attack.py").write_text(f"{header}\n")
    with pytest.raises(DataError) as error:
        read_attack(folder / "attack.py")
    assert str(error.value).startswith(f"{folder / 'attack.py'}, ")
    assert why in str(error.value)


def test_a_header_says_how_a_program_must_end(folder: Path) -> None:
    text = (
        '# expect: failed | timeout\n# limits: {"cpu_s": 0.5}\n# levels: full basic\n# a comment\nprint("CANARY_PID")\n'
    )
    (folder / "attack.py").write_text(text)
    attack = read_attack(folder / "attack.py", {"CANARY_PID": "17"})
    assert attack.name == "attack"
    assert attack.expect == frozenset({"failed", "timeout"})
    assert (attack.limits, attack.levels) == (ProgramLimits(cpu_s=0.5), ("full", "basic"))
    assert attack.tests == read_tests(DEFAULT_TESTS)
    assert attack.source == '\n\n\n# a comment\nprint("17")\n'


def test_every_program_of_our_own_set_can_be_read() -> None:
    attacks = read_attacks(Path(__file__).parent / "attacks")
    assert len(attacks) >= 60
    assert all(attack.limits.cpu_s <= MAX_LIMITS.cpu_s for attack in attacks)


# ---- doctor


def test_the_doctor_says_what_holds_programs_here_and_what_is_missing() -> None:
    code, said = report("doctor", "--isolation", "basic")
    assert (code, said["level"]) == (0, "basic")
    assert said["layers"]["limits"].startswith("active")
    assert "FAILED" not in said["verified"].values()
    code, shown = run("doctor", "--isolation", "basic")
    assert "probe programs: " in shown
    for layer in said["needs"]:
        assert f"{layer} would need " in shown


def test_the_doctor_of_no_run_says_what_holds_programs_on_this_machine_without_loading_torch() -> None:
    script = """
import sys
from reasonrl.commands import main
sys.argv[1:] = ["doctor"]
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=HANG_S)

    assert shown.stdout.startswith("isolation ")
    assert "probe programs: " in shown.stdout


@pytest.mark.parametrize(
    "arguments", [["doctor", "--engine", "vllm"], ["doctor", "--steps", "5"], ["sandbox", "run", "x.py", "--partial"]]
)
def test_an_option_that_would_be_ignored_is_refused(arguments: list[str]) -> None:
    result = reasonrl(*arguments)
    assert result.returncode == 2
    assert arguments[-2 if "--partial" not in arguments else -1] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_doctor_of_a_run_with_a_code_reward_names_its_isolation(in_folder: Path) -> None:
    (in_folder / "code.yaml").write_text(RUN)
    result = reasonrl("doctor", "code.yaml", "--steps", "2")
    assert "Traceback" not in result.stderr
    assert "unit_tests: basic isolation" in result.stdout


RUN = """\
name: code
model: tiny
task: {name: functions, params: {num_problems: 20}}
template: plain
rewards: [{name: unit_tests, params: {isolation: basic, slots: 1}}]
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 8}
run: {steps: 2}
"""
