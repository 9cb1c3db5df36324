"""Probe programs that try to break out of the sandbox, run at start-up as every program is run.

A system call that returned success does not prove a restriction. If a probe succeeds in what it tries, the level is
refused. Three honest programs check that nothing was restricted that programs need.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from textwrap import dedent
from typing import Final

from reasonrl_sandbox.report import ProbeResult
from reasonrl_sandbox.types import Ending, Execution, Isolation, Program, ProgramLimits

BUSY_WALL_S: Final = 5.0
"""Seconds by the clock for a probe of a time limit whose own were over before it began."""

OK: Final = "ok"
"""What a probe prints when everything that it tried was refused; any other output or ending counts as a break-out."""

_PRELUDE: Final = dedent(
    """
    import ctypes, errno, gc, os, platform, resource, socket, sys, threading
    def refused(attempt):
        try:
            attempt()
        except (OSError, ValueError):
            return True
        except ImportError:
            return True
        return False
    def report(*results):
        print("ok" if all(results) else f"broke out: {results}")
    """
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to break out."""

    source: str
    """The program; `$HOST`, `$FOLDER` and `$PORT` stand for its targets."""
    levels: frozenset[Isolation] = frozenset({"full", "container"})
    """Levels that promise to contain it."""
    limits: ProgramLimits = ProgramLimits()  # noqa: RUF009  # frozen
    """Limits that it is run with."""
    ending: Ending = "finished"
    """How it has to end."""


_EVERYWHERE: Final[frozenset[Isolation]] = frozenset({"full", "container", "basic"})

PROBES: Final[dict[str, Probe]] = {
    "fork": Probe("""
        def fork():
            if os.fork() == 0:
                os._exit(0)
        report(refused(fork))
    """),
    "execute": Probe("""
        report(*(refused(lambda: os.execv(path, ["name"])) for path in ("/bin/true", "/usr/bin/env", sys.executable)))
    """),
    "signal": Probe("""
        others = {$HOST, os.getppid()} - {0}
        report(*(refused(lambda: os.kill(pid, 0)) for pid in others), refused(lambda: os.kill(-1, 0)))
    """),
    "read_file": Probe("""
        report(refused(lambda: open("$FOLDER/secret").read()), refused(lambda: os.listdir("$FOLDER")))
    """),
    "write_file": Probe("""
        folders = ["$FOLDER", "/", "/usr", "/dev/shm", "/var/tmp", os.path.dirname(os.__file__)]
        report(*(refused(lambda: open(folder + "/probe", "w")) for folder in folders))
    """),
    "network": Probe("""
        kinds = [(family, kind) for family in (socket.AF_INET, socket.AF_INET6) for kind in (1, 2, 3)]
        connect = lambda: socket.create_connection(("127.0.0.1", $PORT), 1)
        report(refused(connect), *(refused(lambda: socket.socket(*kind)) for kind in kinds))
    """),
    "sockets": Probe("""
        def datagrams():
            for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
                end.close()
        names = ["AF_UNIX", "AF_VSOCK", "AF_NETLINK", "AF_ALG", "AF_PACKET"]
        families = [getattr(socket, name) for name in names if hasattr(socket, name)]
        report(refused(datagrams), *(refused(lambda: socket.socket(family, socket.SOCK_DGRAM)) for family in families))
    """),
    "debug": Probe("""
        libc = ctypes.CDLL(None, use_errno=True)
        attach, read = {"x86_64": (101, 310), "aarch64": (117, 270)}.get(platform.machine(), (0, 0))
        others = {$HOST, os.getppid()} - {0}
        report(*(libc.syscall(number, *words) == -1 for pid in others for number, *words in
                 ((attach, 16, pid, 0, 0), (read, pid, 0, 0, 0, 0, 0))))
    """),
    "other_processes": Probe("""
        others = {$HOST, os.getppid()} - {0}
        names = [f"/proc/{pid}/{name}" for pid in others for name in ("environ", "mem", "maps", "fd/0")]
        report(*(refused(lambda: open(name, "rb").read(1)) for name in names))
    """),
    "namespaces": Probe("""
        libc = ctypes.CDLL(None, use_errno=True)
        report(libc.unshare(0x10000000) == -1, libc.mount(b"x", b"/tmp", b"tmpfs", 0, None) == -1)
    """),
    "user": Probe("report(os.getuid() != 0, refused(lambda: os.setuid(0)), refused(lambda: os.setgid(0)))"),
    "environment": Probe("report(not os.environ)", levels=_EVERYWHERE),
    "descriptors": Probe(
        """
        def kind(number):
            try:
                return os.fstat(number).st_mode & 0o170000
            except OSError:
                return None
        report(all(kind(number) in (None, 0o040000) for number in range(3, 1024)))  # folders: the interpreter's
    """,
        levels=_EVERYWHERE,
    ),
    "own_limits": Probe("""
        kinds = [resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE]
        report(*(refused(lambda: resource.setrlimit(kind, (1 << 40, 1 << 40))) for kind in kinds))
    """),
    "memory": Probe("data = [bytearray(1 << 28) for _ in range(8)]", ending="memory_limit"),
    "cpu_time": Probe("while True: pass", limits=ProgramLimits(cpu_s=0.1), ending="timeout", levels=_EVERYWHERE),
    "clock": Probe("threading.Event().wait()", limits=ProgramLimits(wall_s=0.1), ending="timeout", levels=_EVERYWHERE),
    "output": Probe(
        'sys.stdout.write("x" * (1 << 20))',
        limits=ProgramLimits(output_kib=16),
        ending="output_limit",
        levels=_EVERYWHERE,
    ),
    "earlier_program": Probe(
        """
        marker = "".join(["left by an", " earlier program"])
        gc.unfreeze()
        objects = [inner for thing in gc.get_objects() for inner in gc.get_referents(thing)]
        texts = [text for text in objects if isinstance(text, (str, bytes)) and text is not marker]
        report(not any(marker in str(text) for text in texts))
        """,
        levels=_EVERYWHERE,
    ),
}
"""Each attempt, by the name of what it tries."""

_EARLIER: Final = "left by an earlier program"

HONEST_PROGRAMS: Final[dict[str, Program]] = {
    "honest_input": Program("print('ok' if input() == 'ünï ✓' else 'wrong')", stdin="ünï ✓\n".encode()),
    "honest_exit": Program("import sys\nprint('ok')\nexit(0)\nprint('wrong')"),
    "honest_work": Program(
        dedent(
            """
            import shutil, tempfile, threading, wave
            def write():
                with tempfile.TemporaryDirectory() as folder:
                    with open(folder + "/a", "w") as file:
                        file.write("ok")
                    shutil.copy2(folder + "/a", "copy")
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            print(open("copy").read())
            """
        )
    ),
}
"""Programs that must run unhindered at every level."""


def run_probes(run: Callable[[Program], Execution], level: Isolation) -> tuple[dict[str, ProbeResult], str]:
    """Run every probe that the level promises to contain; return the results and what the first that failed did."""
    results: dict[str, ProbeResult] = {}
    failure = ""
    with _targets() as targets:
        run(Program(f"text = {_EARLIER!r}"))
        for name, probe in PROBES.items():
            if level not in probe.levels:
                results[name] = "skipped"
                continue
            execution = _ended(run, _PRELUDE + _with_targets(dedent(probe.source), targets), probe.limits)
            contained = execution.ending == probe.ending and (probe.ending != "finished" or _printed_ok(execution))
            results[name] = "ok" if contained else "FAILED"
            failure = failure or ("" if contained else _description(name, execution))
    for name, program in HONEST_PROGRAMS.items():
        execution = run(program)
        results[name] = "ok" if _printed_ok(execution) else "FAILED"
        failure = failure or ("" if _printed_ok(execution) else _description(name, execution))
    return results, failure


def _ended(run: Callable[[Program], Execution], source: str, limits: ProgramLimits) -> Execution:
    """Run a probe; again with more time where it was stopped before it began, as on a machine that is very busy."""
    for wall_s in (limits.wall_s, *((BUSY_WALL_S,) if limits.wall_s else ())):
        execution = run(Program(source, limits=replace(limits, wall_s=wall_s)))
        if execution.ending != "sandbox_error":
            break
    return execution


def _printed_ok(execution: Execution) -> bool:
    return execution.ending == "finished" and execution.stdout.strip() == OK


def _description(name: str, execution: Execution) -> str:
    last = (execution.stdout + execution.stderr).strip().splitlines()[-1:]
    return f"{name}: {execution.ending} {execution.detail} {' '.join(last)}"


def _with_targets(source: str, targets: dict[str, str]) -> str:
    for name, value in targets.items():
        source = source.replace(f"${name}", value)
    return source


@contextmanager
def _targets() -> Iterator[dict[str, str]]:
    """Provide the probes' targets: a file that anybody may read, a port that answers, this process."""
    with (
        tempfile.TemporaryDirectory(prefix="reasonrl-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as port,
    ):
        os.chmod(folder, 0o777)
        secret = os.path.join(folder, "secret")
        with open(secret, "w") as file:
            file.write("secret")
        os.chmod(secret, 0o666)
        yield {"HOST": str(os.getpid()), "FOLDER": folder, "PORT": str(port.getsockname()[1])}
