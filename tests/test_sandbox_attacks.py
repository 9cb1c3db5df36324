"""Programs that try to cheat, to break out or to break things: none passes, none does harm, nothing is left of them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from attack_run import FOLDER, QUICK
from leftovers import clean_host, descendants
from sandboxes import needs
from test_sandbox_isolation import LIKE_DOCKER, reachable_python

from reasonrl_sandbox import (
    ISOLATIONS,
    AssertTests,
    CallTests,
    Case,
    FileTests,
    Isolation,
    ProgramResult,
    Sandbox,
    StdioTests,
    judge,
    judge_many,
)
from reasonrl_sandbox.attack import read_attack, read_attacks

REPOSITORY = Path(__file__).parent.parent
RUN = Path(__file__).parent / "attack_run.py"
CLASSES = ["resource", "forge", "leak", "kill", "file", "network", "host", "crash", "honest"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc")


# ---- the set


def test_the_set_has_programs_of_every_class_and_the_quick_part_too() -> None:
    attacks = read_attacks(FOLDER)
    counts = Counter(attack.name.split("_")[0] for attack in attacks)

    assert set(counts) == set(CLASSES)
    assert len(attacks) - counts["honest"] >= 80
    assert counts["honest"] >= 20
    assert {attack.name for attack in attacks} >= set(QUICK)
    assert {name.split("_")[0] for name in QUICK} == set(CLASSES) - {"honest"}


def test_every_form_of_tests_is_attacked() -> None:
    counts = Counter(type(attack.tests) for attack in read_attacks(FOLDER) if attack.name.startswith("forge_"))
    files = [attack.tests.source for attack in read_attacks(FOLDER) if isinstance(attack.tests, FileTests)]

    assert min(counts[form] for form in (CallTests, StdioTests, AssertTests, FileTests)) >= 30
    assert sum("import unittest" in source for source in files) >= 20
    assert sum("import pytest" in source for source in files) >= 5


def test_no_program_that_forges_or_crashes_may_pass_or_count_as_an_error_of_the_sandbox() -> None:
    for attack in read_attacks(FOLDER):
        assert "sandbox_error" not in attack.expect
        if attack.name.startswith("forge_"):
            assert "passed" not in attack.expect


def test_hostile_programs_do_no_harm_and_honest_ones_beside_them_do_not_notice() -> None:
    needs("full")
    assert_all_as_it_must_be([sys.executable, str(RUN), "full", "--quick"])


@pytest.mark.slow
@pytest.mark.parametrize(("level", "part"), [("full", []), ("container", ["--quick"]), ("basic", [])])
def test_no_program_of_the_whole_set_does_harm(level: Isolation, part: list[str]) -> None:
    """In a container the rest of the set runs without privileges, below."""
    needs(level)
    assert_all_as_it_must_be([sys.executable, str(RUN), level, *part])


@pytest.mark.slow
@pytest.mark.parametrize(("user", "part"), [(0, ["--quick"]), (1000, [])])
def test_no_program_does_harm_in_an_unprivileged_container(user: int, part: list[str]) -> None:
    if os.getuid():
        pytest.skip("only root can take a container's identity")
    python = reachable_python() if user else sys.executable
    if python is None:
        pytest.skip("no interpreter that another user may start")
    assert_all_as_it_must_be([sys.executable, str(LIKE_DOCKER), str(user), python, str(RUN), "container", *part])


def assert_all_as_it_must_be(command: Sequence[str]) -> None:
    """Run the set, and look at everything that must be as it was."""
    folders = [str(REPOSITORY), str(REPOSITORY / "rewards"), str(RUN.parent), str(Path(pluggy_file()).parents[1])]
    environment = {**os.environ, "CANARY_SECRET": "from the trainer", "PYTHONPATH": ":".join(folders)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["harm"] == []
    assert found["left"] == []
    assert found["hostile"] >= 20
    assert found["honest"] >= 20


def pluggy_file() -> str:
    """Where packages are that an interpreter without any must be shown."""
    path = sys.modules["pluggy"].__file__
    assert path is not None
    return path


# ---- what an earlier program leaves in memory


PLANT = """
SECRET = "needle-{0}"
def word(text="needle-{0}"):
    print(SECRET, text)
    return text + SECRET
"""


@pytest.mark.parametrize("level", ISOLATIONS)
def test_no_program_finds_in_memory_what_another_had_there(level: Isolation) -> None:
    needs(level)
    number = str(random.randrange(10**11, 10**12))
    planted = CallTests("word", (Case(args=(f"needle-{number}",), expected=f"needle-{number}" * 2),))
    nothing = CallTests("word", (Case(expected=""),))
    names = [f"leak_expected_by_{way}" for way in ("gc", "frames", "own_memory", "heap_residue")]
    with Sandbox(level, slots=1) as sandbox:
        for name in [*names, "leak_expected_around_own_objects"]:
            assert judge(sandbox, PLANT.format(number), planted).outcome == "passed"
            result = judge(sandbox, read_attack(FOLDER / f"{name}.py").source, nothing)
            assert number not in result.detail + result.stdout + result.stderr
            assert result.outcome == "passed" or name == "leak_expected_by_own_memory"  # /proc may be out of its reach


# ---- a fork server that is killed


ADD = CallTests("add", (Case(args=(2, 3), expected=5), Case(args=(7, 7), expected=14)))
RIGHT = "import time\ndef add(a, b):\n    time.sleep(0.005)\n    return a + b"
WRONG = "import time\ndef add(a, b):\n    time.sleep(0.005)\n    return a - b"


def fork_servers(others: set[int]) -> list[int]:
    """The processes of fork servers but for others; programs in them do not live long enough to be among them."""
    found = processes()
    time.sleep(0.1)
    return sorted(found & processes() - others)


def processes() -> set[int]:
    return {pid for pid in descendants() if b"child/start.py" in command_line(pid)}


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def judged_while_servers_are_killed(level: Isolation, *, num_kills: int) -> list[ProgramResult]:
    """Judge programs, every fourth of them wrong, while a process of a fork server is killed now and then."""
    jobs = [(RIGHT if number % 4 else WRONG, ADD) for number in range(160)]
    chance = random.Random(7)
    others, killed = processes(), []

    def kill() -> None:
        for _ in range(num_kills):
            with suppress(ProcessLookupError, IndexError):
                pid = chance.choice(fork_servers(others))
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with Sandbox(level, slots=2) as sandbox:
        judge_many(sandbox, jobs[:8])
        killer = threading.Thread(target=kill)
        killer.start()
        results = judge_many(sandbox, jobs)
        killer.join()
        assert len(killed) >= num_kills / 2
        return results + judge_many(sandbox, jobs[:8])


def expected(number: int) -> str:
    return "passed" if number % 4 else "failed"


@pytest.mark.slow
@pytest.mark.parametrize("level", ISOLATIONS)
def test_programs_of_a_fork_server_that_is_killed_are_run_again(level: Isolation) -> None:
    needs(level)
    with clean_host() as leftovers:
        results = judged_while_servers_are_killed(level, num_kills=1)

        assert [result.outcome for result in results[:160]] == [expected(number) for number in range(160)]
        assert [result.outcome for result in results[160:]] == [expected(number) for number in range(8)]
        assert leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("level", ISOLATIONS)
def test_no_program_fails_or_passes_because_servers_keep_being_killed(level: Isolation) -> None:
    needs(level)
    with clean_host() as leftovers:
        results = judged_while_servers_are_killed(level, num_kills=8)

        for number, result in enumerate(results[:160]):
            assert result.outcome in (expected(number), "sandbox_error"), result.detail
        assert [result.outcome for result in results[160:]] == [expected(number) for number in range(8)]
        assert leftovers() == []


# ---- many programs


@pytest.mark.slow
def test_a_soak_of_a_few_hundred_programs_leaks_nothing_and_repeats_itself() -> None:
    script = REPOSITORY / "benchmarks" / "sandbox_soak.py"
    done = subprocess.run(
        [sys.executable, script, "--programs", "400"], capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("held: ")
