"""Each level holds what it promises, says what it does not, and is refused where it cannot be formed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pluggy
import pytest
from sandboxes import needs

from reasonrl.errors import SandboxError
from reasonrl_sandbox import ISOLATIONS, Program, ProgramLimits, Sandbox
from reasonrl_sandbox.forkserver import ForkServer
from reasonrl_sandbox.probes import HONEST_PROGRAMS, PROBES, run_probes
from reasonrl_sandbox.report import NEEDS

LIKE_DOCKER = Path(__file__).parent / "like_docker.py"
REPOSITORY = Path(__file__).parent.parent
SMALL = ProgramLimits(cpu_s=1.0, wall_s=4.0, memory_mib=128, output_kib=64, disk_mib=2)


@pytest.fixture(scope="module", params=ISOLATIONS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    needs(request.param)
    with Sandbox(request.param, slots=1) as running:
        yield running


def run(sandbox: Sandbox, source: str, limits: ProgramLimits = SMALL) -> tuple[str, str]:
    execution = sandbox.run(Program(source, limits=limits))
    return execution.ending, execution.stdout + execution.stderr


# ---- the report


def test_the_report_says_what_is_active_what_was_tried_and_what_is_missing(sandbox: Sandbox) -> None:
    report = sandbox.report()
    off = {name for name, state in report.layers.items() if state.startswith("off")}

    assert {state.split(":")[0] for state in report.layers.values()} <= {"active", "off"}
    assert off == set(report.needs)
    assert set(report.layers) == set(NEEDS)
    assert report.layers["seccomp"].startswith("off" if report.level == "basic" else "active")
    assert report.layers["pid_namespace"].startswith("active" if report.level == "full" else "off")
    assert set(report.verified) == {*PROBES, *HONEST_PROGRAMS}
    promised = {name for name, probe in PROBES.items() if report.level in probe.levels}
    assert {name for name, result in report.verified.items() if result == "ok"} == {*promised, *HONEST_PROGRAMS}
    assert report.uid != 0 or report.level == "basic"


def test_probes_break_out_of_a_lower_level_than_the_one_that_promises_to_contain_them() -> None:
    server = ForkServer("basic")
    results, failure = run_probes(server.run, "full")
    server.close()
    broken = {name for name, result in results.items() if result == "FAILED"}

    assert {"fork", "execute", "read_file", "write_file", "network", "sockets", "namespaces"} <= broken
    assert broken.isdisjoint({"memory", "cpu_time", "output", "environment", "earlier_program", *HONEST_PROGRAMS})
    assert failure.startswith("fork: ")


def test_a_level_that_a_probe_breaks_out_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBES, "clock", PROBES["fork"].__class__("print('out')"))

    with pytest.raises(SandboxError, match="does not hold: a probe broke out: clock: finished"):
        Sandbox(slots=1)


# ---- what a program cannot do


def test_a_program_sees_nothing_of_the_machine(sandbox: Sandbox) -> None:
    if sandbox.report().level == "basic":
        pytest.skip("not promised")
    source = f"""
import os
for path in ["/etc/passwd", "/proc/1/environ", "/proc/self/environ", "{__file__}", "{pytest.__file__}"]:
    try: print(path, len(open(path).read()))
    except OSError: pass
"""
    assert run(sandbox, source) == ("finished", "")


def test_processes_that_a_program_leaves_are_gone_when_it_has_ended(sandbox: Sandbox) -> None:
    source = """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: time.sleep(0.01)
        os._exit(0)
except OSError: pass
print("left")
"""
    before = num_processes(sandbox)

    assert run(sandbox, source) == ("finished", "left\n")
    assert num_processes(sandbox) == before


WITHOUT_SUBREAPER = """
import os, socket, sys
from reasonrl_sandbox.child.confine import Jail
from reasonrl_sandbox.child.execute import prepare_interpreter
from reasonrl_sandbox.child.run import run_program
from reasonrl_sandbox.child.wire import ResourceLimits
_, work, body = sys.argv
control, host = socket.socketpair()
files = [os.memfd_create("file") for _ in range(5)]
os.pwrite(files[0], body.encode(), 0)
prepare_interpreter()
run_program(Jail("basic", work), ResourceLimits(5.0, 1.0, 1 << 30, 1 << 20, 16, 64, 32), files, control)
os.write(1, os.pread(files[2], 100, 0))
"""


@pytest.mark.parametrize("end", ["", "while True: time.sleep(1)"], ids=["finished", "killed"])
def test_the_group_of_a_program_ends_with_it_where_orphans_do_not_come_to_the_server(end: str, tmp_path: Path) -> None:
    source = f"import os, time\npid = os.fork()\nif pid == 0: time.sleep(60)\nprint(pid, flush=True)\n{end}"
    body = json.dumps({"mode": "stdio", "source": source, "entry": None, "calls": ""})
    command = [sys.executable, "-c", WITHOUT_SUBREAPER, str(tmp_path / "around" / "work"), body]
    (tmp_path / "around" / "work").mkdir(parents=True)
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)

    deadline = time.monotonic() + 5
    while runs(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(int(done.stdout))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_that_the_kernel_stops_for_its_cpu_time_was_too_slow(sandbox: Sandbox) -> None:
    if sandbox.report().level == "full":
        pytest.skip("the first process of a pid namespace gets no such signal")
    assert run(sandbox, "import os, signal\nos.kill(os.getpid(), signal.SIGXCPU)")[0] == "timeout"


def num_processes(sandbox: Sandbox) -> int:
    listed = subprocess.run(["ps", "-eo", "uid="], capture_output=True, text=True, check=True).stdout.split()
    return listed.count(str(sandbox.report().uid))


@pytest.mark.parametrize(
    "source",
    [
        "import os\nfor n in range(50_000): open(f'f{n}', 'w').close()",
        "import os\nfor n in range(50_000): os.mkdir('d'); os.chdir('d')",
        "import os\nfor n in range(50_000): os.mkdir('d' * 200); os.chdir('d' * 200)",
        "for n in range(1_000): open(f'f{n}', 'w').write('x' * 60_000)",
        "for n in range(60): open(f'f{n}', 'w').write('x' * 60_000)",
    ],
    ids=["files", "depth", "names", "size", "size within an instant"],
)
def test_a_program_cannot_fill_the_disk(sandbox: Sandbox, source: str) -> None:
    ending, _ = run(sandbox, source, ProgramLimits(cpu_s=4, wall_s=20, disk_mib=2, output_kib=64))

    assert ending in ("output_limit", "runtime_error")
    assert run(sandbox, "import os\nprint(os.listdir())") == ("finished", "[]\n")


@pytest.mark.parametrize("action", ["os.rename(here, here + '.moved')", "os.rmdir(here)", "os.chmod(here, 0)"])
def test_a_program_that_takes_its_folder_away_leaves_the_next_one_another(sandbox: Sandbox, action: str) -> None:
    source = f"import os\nhere = os.getcwd()\ntry: {action}\nexcept OSError: pass\nprint('done')"

    ending, output = run(sandbox, source)
    if "chmod" in action and ending == "output_limit":  # seen while it could not be listed, which counts as full
        assert output in ("", "done\n")
    else:
        assert (ending, output) == ("finished", "done\n")
    assert run(sandbox, "import os\nprint(os.listdir(), os.listdir(os.getcwd()))") == ("finished", "[] []\n")


def test_folders_that_a_program_locked_are_gone_for_the_next(sandbox: Sandbox) -> None:
    source = """
import os
os.makedirs("a/b/c")
open("a/b/file", "w").write("x")
os.symlink("/", "a/link")
for path in ("a/b", "a"): os.chmod(path, 0)
os.mkdir("closed", 0)
"""
    assert run(sandbox, source) == ("finished", "")
    assert run(sandbox, "import os\nprint(os.listdir())") == ("finished", "[]\n")


def test_a_program_cannot_pass_for_an_error_of_the_sandbox(sandbox: Sandbox) -> None:
    forge = "import os\nfor n in range(3, 300):\n  try: os.write(n, b'')\n  except OSError: pass\nos._exit({status})"

    for status in (97, 121, 125, 255):
        assert run(sandbox, forge.format(status=status))[0] in ("runtime_error", "compile_error")
    assert run(sandbox, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")[0] in ("runtime_error", "finished")


# ---- machines that allow less


REPORT = """
import json, sys
from reasonrl_sandbox import Sandbox
from reasonrl.errors import SandboxError
try:
    Sandbox("full", slots=1)
    print("formed")
except SandboxError as error:
    print(error)
with Sandbox(slots=1) as sandbox:
    report = sandbox.report()
    print(report.level, set(report.verified.values()), report.uid)
    print(report.layers["user_namespace"] + report.layers["mount_namespace"])
    print(report.needs["user_namespace"])
"""


def reachable_python() -> str | None:
    """Return an interpreter of this version that any user may start, if any user may read what it is to load."""
    if not all(map(open_to_all, (REPOSITORY, Path(pluggy.__file__)))):
        return None
    if open_to_all(Path(sys.executable).resolve()):
        return sys.executable
    return shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin")


def open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in path.parents)


@pytest.mark.parametrize("user", [0, 1000])
def test_an_unprivileged_container_gets_level_container_and_is_told_what_full_needs(user: int) -> None:
    if os.getuid():
        pytest.skip("only root can take a container's identity")
    python = reachable_python() if user else sys.executable
    if python is None:
        pytest.skip("no interpreter, or no packages, that another user may reach")
    environment = {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/rewards:{Path(pluggy.__file__).parents[1]}",
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, str(LIKE_DOCKER), str(user), python, "-c", REPORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    refusal, level, layer, need = done.stdout.splitlines()
    assert refusal.startswith("isolation: 'full' cannot be formed here (")
    assert "--security-opt seccomp=unconfined" in refusal
    assert level.startswith("container {'ok'} ")
    assert int(level.split()[-1]) != 0
    assert "Operation not permitted" in layer
    assert "Docker" in need
