"""Programs that try to break out, run at start-up under the identity that every program will have.

That a system call returned success says little. A witness either is kept from what it tries, or the level it was
promised at is refused. Three honest programs show that nothing needed was taken away as well.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import dedent
from typing import Final

from reasonrl.sandbox.report import Verdict
from reasonrl.sandbox.types import Ending, Execution, Isolation, Limits, Program

HELD: Final = "held"
"""What a witness prints when it was kept from everything it tried; whatever else it does counts against the level."""

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
        print("held" if all(results) else f"broke out: {results}")
    """
)


@dataclass(frozen=True, slots=True)
class Witness:
    """One attempt."""

    source: str
    """The program; `$HOST`, `$FOLDER` and `$PORT` stand for what it attacks."""
    promised: frozenset[Isolation] = frozenset({"full", "container"})
    """Levels at which it must be held."""
    limits: Limits = Limits()  # noqa: RUF009  # frozen
    """Limits that it runs into."""
    ending: Ending = "finished"
    """How it has to end."""


_EVERYWHERE: Final[frozenset[Isolation]] = frozenset({"full", "container", "basic"})

WITNESSES: Final[dict[str, Witness]] = {
    "fork": Witness("""
        def fork():
            if os.fork() == 0:
                os._exit(0)
        report(refused(fork))
    """),
    "execute": Witness("""
        report(*(refused(lambda: os.execv(path, ["name"])) for path in ("/bin/true", "/usr/bin/env", sys.executable)))
    """),
    "signal": Witness("""
        others = {$HOST, os.getppid()} - {0}
        report(*(refused(lambda: os.kill(pid, 0)) for pid in others), refused(lambda: os.kill(-1, 0)))
    """),
    "read_file": Witness("""
        report(refused(lambda: open("$FOLDER/secret").read()), refused(lambda: os.listdir("$FOLDER")))
    """),
    "write_file": Witness("""
        folders = ["$FOLDER", "/", "/usr", "/dev/shm", "/var/tmp", os.path.dirname(os.__file__)]
        report(*(refused(lambda: open(folder + "/witness", "w")) for folder in folders))
    """),
    "network": Witness("""
        kinds = [(family, kind) for family in (socket.AF_INET, socket.AF_INET6) for kind in (1, 2, 3)]
        connect = lambda: socket.create_connection(("127.0.0.1", $PORT), 1)
        report(refused(connect), *(refused(lambda: socket.socket(*kind)) for kind in kinds))
    """),
    "sockets": Witness("""
        def datagrams():
            for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
                end.close()
        names = ["AF_UNIX", "AF_VSOCK", "AF_NETLINK", "AF_ALG", "AF_PACKET"]
        families = [getattr(socket, name) for name in names if hasattr(socket, name)]
        report(refused(datagrams), *(refused(lambda: socket.socket(family, socket.SOCK_DGRAM)) for family in families))
    """),
    "debug": Witness("""
        libc = ctypes.CDLL(None, use_errno=True)
        attach, read = {"x86_64": (101, 310), "aarch64": (117, 270)}.get(platform.machine(), (0, 0))
        others = {$HOST, os.getppid()} - {0}
        report(*(libc.syscall(number, *words) == -1 for pid in others for number, *words in
                 ((attach, 16, pid, 0, 0), (read, pid, 0, 0, 0, 0, 0))))
    """),
    "other_processes": Witness("""
        others = {$HOST, os.getppid()} - {0}
        names = [f"/proc/{pid}/{name}" for pid in others for name in ("environ", "mem", "maps", "fd/0")]
        report(*(refused(lambda: open(name, "rb").read(1)) for name in names))
    """),
    "namespaces": Witness("""
        libc = ctypes.CDLL(None, use_errno=True)
        report(libc.unshare(0x10000000) == -1, libc.mount(b"x", b"/tmp", b"tmpfs", 0, None) == -1)
    """),
    "user": Witness("report(os.getuid() != 0, refused(lambda: os.setuid(0)), refused(lambda: os.setgid(0)))"),
    "environment": Witness("report(not os.environ)", promised=_EVERYWHERE),
    "descriptors": Witness(
        """
        def kind(number):
            try:
                return os.fstat(number).st_mode & 0o170000
            except OSError:
                return None
        report(all(kind(number) in (None, 0o040000) for number in range(3, 1024)))  # folders: the interpreter's
    """,
        promised=_EVERYWHERE,
    ),
    "own_limits": Witness("""
        kinds = [resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE]
        report(*(refused(lambda: resource.setrlimit(kind, (1 << 40, 1 << 40))) for kind in kinds))
    """),
    "memory": Witness("data = [bytearray(1 << 28) for _ in range(8)]", ending="memory_limit"),
    "cpu_time": Witness("while True: pass", limits=Limits(cpu_s=0.1), ending="timeout", promised=_EVERYWHERE),
    "clock": Witness("threading.Event().wait()", limits=Limits(wall_s=0.1), ending="timeout", promised=_EVERYWHERE),
    "output": Witness(
        'sys.stdout.write("x" * (1 << 20))', limits=Limits(output_kib=16), ending="output_limit", promised=_EVERYWHERE
    ),
    "earlier_program": Witness(
        """
        marker = "".join(["left by an", " earlier program"])
        gc.unfreeze()
        held = [inner for thing in gc.get_objects() for inner in gc.get_referents(thing)]
        texts = [text for text in held if isinstance(text, (str, bytes)) and text is not marker]
        report(not any(marker in str(text) for text in texts))
        """,
        promised=_EVERYWHERE,
    ),
}
"""Each attempt under the name of what it is after."""

_EARLIER: Final = "left by an earlier program"

HONEST: Final[dict[str, Program]] = {
    "honest_input": Program("print('held' if input() == 'ünï ✓' else 'wrong')", stdin="ünï ✓\n".encode()),
    "honest_exit": Program("import sys\nprint('held')\nexit(0)\nprint('wrong')"),
    "honest_work": Program(
        dedent(
            """
            import shutil, tempfile, threading, wave
            def write():
                with tempfile.TemporaryDirectory() as folder:
                    with open(folder + "/a", "w") as file:
                        file.write("held")
                    shutil.copy2(folder + "/a", "copy")
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            print(open("copy").read())
            """
        )
    ),
}
"""Programs that every level must leave alone."""


def examine(run: Callable[[Program], Execution], level: Isolation) -> tuple[dict[str, Verdict], str]:
    """Run every witness that the level promises to hold; return the verdicts and what the first that failed did."""
    verdicts: dict[str, Verdict] = {}
    failure = ""
    with _prey() as prey:
        run(Program(f"text = {_EARLIER!r}"))
        for name, witness in WITNESSES.items():
            if level not in witness.promised:
                verdicts[name] = "skipped"
                continue
            execution = run(Program(_PRELUDE + _aimed(dedent(witness.source), prey), limits=witness.limits))
            held = execution.ending == witness.ending and (witness.ending != "finished" or _held(execution))
            verdicts[name] = "ok" if held else "FAILED"
            failure = failure or ("" if held else _told(name, execution))
    for name, program in HONEST.items():
        execution = run(program)
        verdicts[name] = "ok" if _held(execution) else "FAILED"
        failure = failure or ("" if _held(execution) else _told(name, execution))
    return verdicts, failure


def _held(execution: Execution) -> bool:
    return execution.ending == "finished" and execution.stdout.strip() == HELD


def _told(name: str, execution: Execution) -> str:
    last = (execution.stdout + execution.stderr).strip().splitlines()[-1:]
    return f"{name}: {execution.ending} {execution.detail} {' '.join(last)}"


def _aimed(source: str, prey: dict[str, str]) -> str:
    for name, value in prey.items():
        source = source.replace(f"${name}", value)
    return source


@contextmanager
def _prey() -> Iterator[dict[str, str]]:
    """Put up what the witnesses go for: a file that anybody may read, a port that answers, this process."""
    with (
        tempfile.TemporaryDirectory(prefix="reasonrl-witness-") as folder,
        socket.create_server(("127.0.0.1", 0)) as port,
    ):
        os.chmod(folder, 0o777)
        secret = os.path.join(folder, "secret")
        with open(secret, "w") as file:
            file.write("secret")
        os.chmod(secret, 0o666)
        yield {"HOST": str(os.getpid()), "FOLDER": folder, "PORT": str(port.getsockname()[1])}
