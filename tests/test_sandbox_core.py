"""Programs go in, what they did comes out, and nothing of them or of the sandbox stays."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sandboxes import needs

from reasonrl.errors import ConfigError, SandboxError
from reasonrl.system.cores import usable_cores
from reasonrl_sandbox import Execution, Isolation, Program, ProgramLimits, Sandbox, forkserver, host
from reasonrl_sandbox.child import kernel, seccomp
from reasonrl_sandbox.child.syscalls import NUMBERS

SMALL = ProgramLimits(cpu_s=0.6, wall_s=1.2, memory_mib=96, output_kib=64, disk_mib=2)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(slots=2) as running:
        yield running


LEVELS = ["full", pytest.param("container", marks=pytest.mark.slow), pytest.param("basic", marks=pytest.mark.slow)]


def run(sandbox: Sandbox, source: str, stdin: bytes = b"", limits: ProgramLimits = SMALL) -> Execution:
    return sandbox.run(Program(source, stdin=stdin, limits=limits))


def test_a_program_reads_its_input_and_its_output_comes_back_as_text(sandbox: Sandbox) -> None:
    execution = run(
        sandbox, "name = input()\nprint('✓', name)\nimport sys\nprint('aside', file=sys.stderr)", "Zoë\n".encode()
    )

    assert execution.ending == "finished"
    assert (execution.stdout, execution.stderr) == ("✓ Zoë\n", "aside\n")
    assert 0 < execution.cpu_s < 0.6
    assert 5 < execution.max_rss_mib < 96


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("print(1)", "finished"),
        ("exit()", "finished"),
        ("import sys; sys.exit(0)", "finished"),
        ("exit(3)", "runtime_error"),
        ("exit('no')", "runtime_error"),
        ("1 / 0", "runtime_error"),
        ("import os; os.abort()", "runtime_error"),
        ("import ctypes; ctypes.string_at(0)", "runtime_error"),
        ("def f(:", "compile_error"),
        ("a = '\\0" + "(" * 5000, "compile_error"),
        ("data = bytearray(1 << 30)", "memory_limit"),
        ("data = []\nwhile True: data.append('x' * 10**6)", "memory_limit"),
        ("while True: pass", "timeout"),
        ("import time\ntime.sleep(60)", "timeout"),
        ("print('x' * 10**6)", "output_limit"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "output_limit"),
        ("open('big', 'w').write('x' * 10**6)", "output_limit"),
        ("for i in range(99): open(str(i), 'w').write('x' * 60_000)", "output_limit"),
    ],
)
def test_an_execution_says_how_its_program_ended(sandbox: Sandbox, source: str, ending: str) -> None:
    execution = run(sandbox, source)

    assert execution.ending == ending, execution


def test_output_written_before_a_limit_is_kept(sandbox: Sandbox) -> None:
    late = run(sandbox, "print('first', flush=True)\nwhile True: pass")
    long = run(sandbox, "print('a' * 70_000)")

    assert (late.ending, late.stdout) == ("timeout", "first\n")
    assert (long.ending, long.stdout) == ("output_limit", "a" * (64 << 10))


def test_time_asleep_is_no_cpu_time(sandbox: Sandbox) -> None:
    execution = run(sandbox, "import time\ntime.sleep(0.4)\nprint('awake')", limits=ProgramLimits(cpu_s=0.2, wall_s=20))

    assert execution.stdout == "awake\n"


def test_signals_that_a_program_ignores_do_not_keep_it_alive(sandbox: Sandbox) -> None:
    stubborn = """
        import signal
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True: pass
    """
    assert run(sandbox, re.sub(r"(?m)^ {8}", "", stubborn)).ending == "timeout"


def test_every_program_starts_with_an_empty_folder_and_an_empty_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "secret")
    look = (
        "import os, tempfile\nprint(os.listdir(), dict(os.environ))\nopen('left', 'w').write('x'); tempfile.mkstemp()"
    )

    assert {run(sandbox, look).stdout for _ in range(4)} == {"[] {}\n"}


def test_chance_and_hashes_are_a_function_of_the_program(sandbox: Sandbox) -> None:
    draw = "import random\nprint(random.random(), hash('text'), {'a', 'b', 'c', 'd'})"
    one, again, other = (run(sandbox, source).stdout for source in (draw, draw, draw + "  # other"))

    assert one == again
    assert one.split()[0] != other.split()[0]
    assert one.split()[1:] == other.split()[1:]


def test_threads_run_to_their_end_and_their_number_is_limited(sandbox: Sandbox) -> None:
    late = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()"
    many = "import threading\nfor _ in range(400): threading.Thread(target=threading.Event().wait, daemon=True).start()"

    assert run(sandbox, late).stdout == "late\n"
    assert run(sandbox, many, limits=ProgramLimits(num_threads=16)).ending == "runtime_error"


def test_a_traceback_shows_the_program_and_nothing_of_the_sandbox(sandbox: Sandbox) -> None:
    stderr = run(sandbox, "def f():\n    return [][1]\nf()").stderr

    assert "return [][1]" in stderr
    assert stderr.count("File") == 2
    assert "reasonrl" not in stderr


def test_results_belong_to_their_programs_whoever_submits_them(sandbox: Sandbox) -> None:
    results: dict[int, str] = {}

    def submit(first: int) -> None:
        futures = {n: sandbox.submit(Program(f"print({n})")) for n in range(first, first + 10)}
        results.update({n: future.result().stdout for n, future in futures.items()})

    threads = [threading.Thread(target=submit, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == {n: f"{n}\n" for n in range(30)}


def test_only_the_standard_library_and_what_was_asked_for_can_be_imported(sandbox: Sandbox) -> None:
    tries = """
import sys
print(*(name for name in sys.modules if name.startswith("reasonrl")), end="")
for name in ("colorsys", "numpy", "pytest", "reasonrl", "reasonrl_sandbox", "reasonrl_sandbox.child"):
    try:
        __import__(name)
        print(name)
    except ImportError: pass
"""
    with Sandbox(slots=1, preimport=["numpy"]) as with_numpy:
        more = run(
            with_numpy,
            "import numpy.polynomial as p\nimport numpy as np\nprint(np.ones((9, 9)) @ np.ones(9))",
            limits=ProgramLimits(),
        )
        names = run(with_numpy, tries, limits=ProgramLimits()).stdout

    assert run(sandbox, tries).stdout == "colorsys\n"
    assert (more.ending, more.stdout) == ("finished", "[9. 9. 9. 9. 9. 9. 9. 9. 9.]\n")
    assert names == "colorsys\nnumpy\n"


def test_a_level_that_does_not_exist_is_named() -> None:
    with pytest.raises(SandboxError, match=r"no level 'ful'\. Did you mean 'full'"):
        Sandbox("ful")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nunpy", "no package 'nunpy' is installed here"),
        ("numpy.linalg", "'numpy.linalg' is a part of a package: name the whole of it, 'numpy'"),
        ("no.such", "'no.such' is a part of a package"),
        (".numpy", "no package '.numpy'"),
        ("__main__", "no package '__main__'"),
        ("", "no package ''"),
    ],
)
def test_what_is_no_package_is_named(name: str, why: str) -> None:
    with pytest.raises(SandboxError, match=f"^preimport: {re.escape(why)}"):
        Sandbox(preimport=[name])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_this_name", "'chosen' cannot be imported: ModuleNotFoundError: No module named 'nothing"),
        ("raise SystemExit('not\\ntoday')", "'chosen' cannot be imported: SystemExit: not today"),
        ("import threading as t\nt.Thread(target=t.Event().wait).start()", "importing 'chosen' starts threads"),
    ],
)
def test_a_package_that_cannot_be_imported_for_programs_is_told_once(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chosen.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(SandboxError) as error:
        Sandbox(preimport=["chosen"])
    assert str(error.value).startswith(f"preimport: {why}")
    assert "isolation" not in str(error.value)


@pytest.mark.parametrize("slots", [0, -1])
def test_a_sandbox_without_slots_is_refused(slots: int) -> None:
    before = descendants(os.getpid())

    with pytest.raises(ConfigError, match=f"slots is {slots}: use 1 or more"):
        Sandbox(slots=slots)
    assert descendants(os.getpid()) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_s", 0),
        ("cpu_s", -1.0),
        ("cpu_s", float("nan")),
        ("cpu_s", float("inf")),
        ("cpu_s", "2"),
        ("cpu_s", None),
        ("wall_s", 0.0),
        ("wall_s", 1e12),
        ("memory_mib", 0),
        ("memory_mib", -1),
        ("memory_mib", 512.0),
        ("memory_mib", 1 << 43),
        ("output_kib", 0),
        ("output_kib", 1 << 53),
        ("disk_mib", 1 << 43),
        ("num_files", True),
        ("num_threads", 1 << 31),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"limits: {name} is {value!r}: use a ")):
        ProgramLimits(**{name: value})


def test_the_largest_limits_reach_a_program(sandbox: Sandbox) -> None:
    seconds, mib = 604_800, (1 << 43) - 1
    limits = ProgramLimits(seconds, None, mib, (1 << 53) - 1, mib, (1 << 31) - 1, (1 << 31) - 1)

    assert run(sandbox, "print('ran')", limits=limits).stdout == "ran\n"


# ---- servers


def servers(sandbox: Sandbox) -> list[int]:
    return [server.pid for server in sandbox._live]


def test_a_program_whose_server_is_killed_is_run_again() -> None:
    with Sandbox(slots=1) as sandbox:
        running = sandbox.submit(
            Program("import time\ntime.sleep(0.5)\nprint('done')", limits=ProgramLimits(wall_s=20))
        )
        time.sleep(0.2)
        os.kill(servers(sandbox)[0], signal.SIGKILL)

        assert running.result(timeout=60).stdout == "done\n"
        assert sandbox.run(Program("print('next')")).stdout == "next\n"


def test_a_program_that_loses_two_servers_is_an_error_of_the_sandbox() -> None:
    with Sandbox(slots=1) as sandbox:
        running = sandbox.submit(Program("import time\ntime.sleep(30)", limits=ProgramLimits(wall_s=60)))
        killed: set[int] = set()
        while len(killed) < 2:
            time.sleep(0.2)
            for pid in set(servers(sandbox)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

        assert running.result(timeout=60).ending == "sandbox_error"
        assert sandbox.run(Program("print('next')")).stdout == "next\n"


def test_a_worn_server_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MAX_PROGRAMS", 30)
    with Sandbox(slots=1) as sandbox:
        first = servers(sandbox)
        assert {run(sandbox, "print(1)").stdout for _ in range(9)} == {"1\n"}
        assert servers(sandbox) != first


def test_a_server_that_was_stopped_is_not_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    server = forkserver.ForkServer("basic")
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(forkserver, "_REPLY_MARGIN_S", 0.1)
    assert server.run(Program("print(1)", limits=ProgramLimits(cpu_s=0.1, wall_s=0.1))).ending == "sandbox_error"
    monkeypatch.setattr(forkserver, "_REPLY_MARGIN_S", 30.0)
    started = time.monotonic()
    server.close()

    assert time.monotonic() - started < 10
    assert not os.path.exists(f"/proc/{server.pid}")


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(entry.parent.name))
    return found.union(*(descendants(child) for child in found)) if found else found


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder for temporary files that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("level", LEVELS)
def test_closing_leaves_nothing_behind(level: Isolation, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(level)
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    before = descendants(os.getpid()), len(os.listdir("/proc/self/fd")), threading.active_count()
    sandbox = Sandbox(level, slots=2)
    running = [
        sandbox.submit(Program("open('x', 'w')\nwhile True: pass", limits=ProgramLimits(cpu_s=60))) for _ in range(3)
    ]
    time.sleep(0.3)
    started = time.monotonic()
    sandbox.close()

    assert time.monotonic() - started < 10
    assert (descendants(os.getpid()), len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert leftovers(open_folder) == []
    assert [future.result().ending for future in running] == ["sandbox_error"] * 3
    assert sandbox.run(Program("print(1)")).detail == "the sandbox was closed before it ran"


HOST = """
import sys, time
from reasonrl_sandbox import Program, ProgramLimits, Sandbox
sandbox = Sandbox(sys.argv[1], slots=1)
sandbox.submit(Program("open('x', 'w')\\nwhile True: pass", limits=ProgramLimits(cpu_s=100)))
time.sleep(0.5)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_outlives_a_host_that_is_killed(level: Isolation, open_folder: Path) -> None:
    needs(level)
    environment = {**os.environ, "TMPDIR": str(open_folder)}
    process = subprocess.Popen([sys.executable, "-c", HOST, level], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    family = descendants(process.pid)
    process.kill()
    process.communicate()

    assert family
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (any(map(alive, family)) or leftovers(open_folder)):
        time.sleep(0.05)
    assert not any(map(alive, family))
    assert leftovers(open_folder) == []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_slots_follow_the_share_of_cores_that_a_container_has(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    cores = len(os.sched_getaffinity(0))
    answers = []
    for text in ("max 100000", "150000 100000", "20000 100000", "900000000 100000"):
        quota.write_text(text)
        answers.append(usable_cores(quota))

    assert answers == [cores, 1, 1, cores]
    assert usable_cores(tmp_path / "none") == cores


# ---- the filter, on both architectures


@pytest.mark.parametrize(
    ("header", "column"),
    [("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0), ("/usr/include/asm-generic/unistd.h", 1)],
)
def test_the_numbers_of_system_calls_are_those_of_the_kernels_headers(header: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    found.setdefault("newfstatat", found.get("fstatat", ""))
    table = {name: numbers[column] for name, numbers in NUMBERS.items() if numbers[column] is not None}

    assert {name: int(found[name]) for name in table} == table
    if column == 0:
        assert not set(found) & {name for name, numbers in NUMBERS.items() if numbers[0] is None}


def verdict(code: bytes, architecture: str, name: str, *arguments: int) -> int:
    """Run the filter as the kernel would."""
    number = kernel.number(name, architecture)
    assert number is not None
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = [number, seccomp.ARCHITECTURES[architecture], 0, 0]
    data += [half for word in words for half in (word & 0xFFFFFFFF, word >> 32 & 0xFFFFFFFF)]
    steps = [
        (code[i] | code[i + 1] << 8, code[i + 2], code[i + 3], int.from_bytes(code[i + 4 : i + 8], "little"))
        for i in range(0, len(code), 8)
    ]
    accumulator = at = 0
    while True:
        operation, true, false, value = steps[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = data[value // 4]
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x06:
                return value
            case 0x15 | 0x25 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == value,
                    0x25: accumulator > value,
                    0x35: accumulator >= value,
                    0x45: bool(accumulator & value),
                }
                at += true if holds[operation] else false


ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
OWN = 1234


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_filter_allows_what_is_listed_and_nothing_else(architecture: str) -> None:
    code = seccomp.for_process(seccomp.assemble(architecture, own_files=True, truncate=True), OWN)
    listed = {*seccomp.ALLOWED, *seccomp.ON_PATHS, *seccomp.ON_OWNERSHIP}
    here = [name for name, numbers in NUMBERS.items() if numbers[kernel.MACHINES.index(architecture)] is not None]

    for name in set(here) - set(seccomp.RULES):
        assert verdict(code, architecture, name) == (ALLOW if name in listed else EPERM), name


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("clone", 0x3D0F00), ALLOW),
        (("clone", 17), EPERM),
        (("clone", 0x10000000), EPERM),
        (("clone3",), ENOSYS),
        (("kill", OWN, 9), ALLOW),
        (("kill", OWN + 1, 9), EPERM),
        (("kill", 0xFFFFFFFF, 9), EPERM),
        (("tgkill", OWN, OWN, 6), ALLOW),
        (("tgkill", 1, 1, 6), EPERM),
        (("prctl", 15), ALLOW),
        (("prctl", 1), EPERM),
        (("ioctl", 0, 0x5401), ALLOW),
        (("ioctl", 0, 0x5412), EPERM),
        (("fcntl", 0, 3), ALLOW),
        (("fcntl", 0, 8), EPERM),
        (("prlimit64", 0), ALLOW),
        (("prlimit64", OWN + 1), EPERM),
        (("socketpair", 1, 0x80001), ALLOW),
        (("socketpair", 1, 2), EPERM),
        (("socketpair", 2, 1), EPERM),
        (("sendto", 3, 0, 0, 0, 0), ALLOW),
        (("sendto", 3, 0, 0, 0, 1 << 40), EPERM),
        (("sendto", 3, 0, 0, 0, 16), EPERM),
    ],
)
def test_the_filter_looks_at_arguments(architecture: str, call: tuple[Any, ...], expected: int) -> None:
    code = seccomp.for_process(seccomp.assemble(architecture, own_files=True, truncate=True), OWN)

    assert verdict(code, architecture, *call) == expected


def test_the_filter_pretends_to_change_modes_where_paths_are_not_confined() -> None:
    code = seccomp.for_process(seccomp.assemble("x86_64", own_files=False, truncate=False), OWN)

    assert verdict(code, "x86_64", "chmod") == 0x00050000
    assert verdict(code, "x86_64", "truncate") == EPERM
