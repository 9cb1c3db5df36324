"""Hosts on one machine: network namespaces joined by a bridge; needs Linux, root, and `ip` and `unshare`.

Each host has a name that the others can look up, one address, and a `/dev/shm` of its own for each program that is
started on it. Processors, processes and the file system are those of the machine, so that any folder is a shared one.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

NAMESPACE_FILES: Final = Path("/etc/netns")
"""`ip netns exec` shows the files of a folder here in place of those in /etc."""
ON_HOST: Final = 'hostname "$1" && mount -t tmpfs none /dev/shm && shift && exec "$@"'
END_S: Final = 15.0
"""Time that a program has to end after SIGINT."""
ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def ip(*arguments: str) -> None:
    """Run `ip`.

    Raises:
        SystemExit: it failed; the message says why.
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ip {' '.join(arguments)}: {done.stderr.strip()} (this needs Linux and root)")


@dataclass(frozen=True, slots=True)
class Program:
    """A program on a host."""

    process: "subprocess.Popen[bytes]"
    log: Path
    """What it prints."""

    def has_said(self, text: str) -> bool:
        """Say whether it printed something."""
        return text in self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Return its exit code.

        Raises:
            SystemExit: it did not end in time; the message has the end of its log.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{self.log} did not end within {timeout_s:g} s:\n{self.tail()}") from None

    def wait_until_said(self, text: str, timeout_s: float) -> None:
        """Return when it has printed something.

        Raises:
            SystemExit: it ended first, or did not in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self.has_said(text):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.log} has no {text!r}:\n{self.tail()}")
            time.sleep(0.2)

    def tail(self, lines: int = 30) -> str:
        """Return the last lines that it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def end(self) -> None:
        """Ask it and what it started to end, and kill what does not."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_S)


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a network."""

    name: str
    address: str
    namespace: str
    programs: list[Program] = field(default_factory=list)

    def start(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Program:
        """Start a program; what it prints goes to a file."""
        entered = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", ON_HOST, "sh", self.name]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*entered, *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.programs.append(Program(process, log))
        return self.programs[-1]

    def set_link(self, state: str) -> None:
        """Plug the host's cable in (`up`) or out (`down`)."""
        ip("link", "set", self.namespace, state)

    def cut(self, seconds: float, until_ended: Program) -> None:
        """Cut the host off for a while, or until a program has ended."""
        self.set_link("down")
        with suppress(subprocess.TimeoutExpired):
            until_ended.process.wait(seconds)
        self.set_link("up")

    def processes(self) -> list[int]:
        """Return the processes that run in it."""
        found = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
        return [int(pid) for pid in found.stdout.split()]


class Network:
    """Hosts that reach each other and this machine, and nothing else; a context manager.

    What an earlier one of the same prefix left behind, because it was killed, is removed first. At the end, which
    Ctrl-C and SIGTERM bring about too, every process on the hosts is ended, whatever started it.

    Args:
        names: of the hosts; they get the subnet's addresses 1, 2 and so on, and this machine has 254.
        prefix: begins the names of namespaces and devices.
        subnet: begins the addresses.
    """

    def __init__(self, names: Sequence[str], prefix: str = "rr-", subnet: str = "10.77.0") -> None:
        self.hosts = {
            name: Host(name, f"{subnet}.{number}", f"{prefix}{number}") for number, name in enumerate(names, 1)
        }
        self._bridge = f"{prefix}bridge"
        self._own_address = f"{subnet}.254"
        self._before: dict[int, Any] = {}  # Any: what signal.signal returns

    def __getitem__(self, name: str) -> Host:
        """Return a host."""
        return self.hosts[name]

    def __enter__(self) -> Self:
        """Make the hosts."""
        self.remove()
        self._before = {number: signal.signal(number, _end) for number in ENDING}
        try:
            ip("link", "add", self._bridge, "type", "bridge")
            ip("link", "set", self._bridge, "up")
            ip("address", "add", f"{self._own_address}/24", "dev", self._bridge)
            for host in self.hosts.values():
                self._add(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End all programs and remove the hosts, undisturbed by further signals."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        for host in self.hosts.values():
            for program in reversed(host.programs):
                program.end()
        self.remove()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, host: Host) -> None:
        device, namespace = host.namespace, host.namespace
        files = NAMESPACE_FILES / namespace
        files.mkdir(parents=True)
        named = (f"{other.address} {other.name}\n" for other in self.hosts.values())
        (files / "hosts").write_text("127.0.0.1 localhost\n" + "".join(named))
        ip("netns", "add", namespace)
        ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("link", "set", device, "master", self._bridge, "up")
        ip("-n", namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove hosts of these names, with all that runs on them."""
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        there = {line.split()[0] for line in listed.splitlines() if line}
        for host in self.hosts.values():
            if host.namespace in there:
                while pids := host.processes():
                    for pid in pids:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    time.sleep(0.1)
                ip("netns", "del", host.namespace)
            shutil.rmtree(NAMESPACE_FILES / host.namespace, ignore_errors=True)
        for device in (
            *(host.namespace for host in self.hosts.values()),
            self._bridge,
        ):  # with a namespace they go later
            subprocess.run(["ip", "link", "del", device], capture_output=True, check=False)
