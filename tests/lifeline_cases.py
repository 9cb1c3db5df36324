"""Rank 0 and others, forked from one process, that are lost in all ways; prints what became of each as JSON."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from reasonrl.distributed import lifeline
from reasonrl.distributed.lifeline import Lifeline
from reasonrl.distributed.watch import RankWatch
from reasonrl.errors import EngineError

SILENCE_S = 4.0
NUM_RANKS = 3
PATIENCE_S = 30.0


class Refused(RuntimeError):
    """As gloo says that a peer is gone."""

    def __init__(self) -> None:
        super().__init__("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234")


def wait(line: Lifeline | None = None) -> None:
    """Stand in a call that the others do not come to."""
    time.sleep(PATIENCE_S)


def kill(line: Lifeline | None = None) -> None:
    """Die as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop(line: Lifeline | None = None) -> None:
    """Be stopped, until the test ends."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fail(line: Lifeline) -> None:
    """Raise an error."""
    line.report(MemoryError("no memory left"))


def cut_off(line: Lifeline) -> None:
    """Notice a moment later that another rank is gone."""
    line.report(Refused())


def cut_off_too(line: Lifeline | None) -> None:
    """Notice it on rank 0, in something that fails because of it."""
    raise ValueError("no batch") from Refused()


def wrapped(line: Lifeline | None) -> None:
    """Notice it on rank 0 as the boundary around an engine tells it."""
    try:
        raise Refused
    except Refused as error:
        raise EngineError(f"engine 'local': RuntimeError: {error}. Mend it there.") from None


def wait_in_asyncio(line: Lifeline | None) -> None:
    """Wait as an engine does, where the loop would report an ordinary exception and go on."""
    asyncio.run(asyncio.sleep(PATIENCE_S))


def end_early(line: Lifeline | None) -> None:
    """Fail on rank 0 alone."""
    raise ValueError("rank 0's own")


def finish(line: Lifeline | None) -> None:
    """End well."""


def finish_after(line: Lifeline) -> None:
    """End well, when rank 0 says so."""
    line.wait_for_end()


Act = Callable[[Any], None]  # Any: a lifeline, or none
CASES: Mapping[str, tuple[Act, Act, Act]] = {
    "killed": (wait, kill, wait),
    "killed, and the others notice first": (cut_off_too, kill, cut_off),
    "killed in asyncio": (wait_in_asyncio, kill, wait),
    "killed, and an engine tells of it": (wrapped, kill, cut_off),
    "failed": (wait, wait, fail),
    "failed, and the others notice first": (cut_off_too, cut_off, fail),
    "stopped": (wait, stop, wait),
    "rank 0 killed": (kill, wait, wait),
    "rank 0 killed under guard": (kill, wait, wait),
    "rank 0 stopped": (stop, wait, wait),
    "rank 0 failed": (end_early, wait, wait),
    "all is well": (finish, finish_after, finish_after),
}
"""What ranks 0, 1 and 2 do."""


class Guard:
    """Somebody else who would tell of the end of rank 0."""

    def beat(self) -> None:
        """Nothing to do."""

    def hear(self, cause: str) -> None:
        """Nothing to do."""


def rank_0(watch: RankWatch, act: Act, *, is_guarded: bool) -> None:
    """Be rank 0; prints the cause of its end."""
    watch.start()
    try:
        watch.wait_for_all(PATIENCE_S)
        if is_guarded:
            watch.set_witness(Guard())
            time.sleep(0.5)
        act(None)
    except (KeyboardInterrupt, Exception) as error:
        cause = watch.explained(error)
        watch.let_go(cause)
        print(f"{type(cause).__name__}: {cause}", flush=True)
        os._exit(5)
    watch.let_go()
    os._exit(0)


def other(watch: RankWatch, rank: int, act: Act) -> None:
    """Be another rank."""
    port, token = watch.port, watch.token
    watch._listener.close()
    if rank == 1:
        socket.create_connection(("127.0.0.1", port)).sendall(b"GET / HTTP/1.1\r\n\r\n")  # a stranger
    line = Lifeline(socket.create_connection(("127.0.0.1", port)), rank, lambda text: print(text, flush=True))
    line.start(token)
    line.say_ready()
    time.sleep(1.0)  # all are there
    act(line)
    os._exit(0)


def start(name: str, acts: tuple[Act, Act, Act]) -> tuple[int, list[int]]:
    """Fork the ranks of a case; return where they print, and their ids."""
    watch = RankWatch(NUM_RANKS, SILENCE_S)
    out, written = os.pipe()
    processes = []
    for rank, act in enumerate(acts):
        if process := os.fork():
            processes.append(process)
            continue
        os.dup2(written, 1)
        if rank == 0:
            rank_0(watch, act, is_guarded="guard" in name)
        other(watch, rank, act)
    os.close(written)
    watch._listener.close()
    return out, processes


def exit_codes(processes: set[int]) -> dict[int, int | None]:
    """Exit codes of processes, negative for a signal; None for those that do not end, which are killed."""
    codes: dict[int, int | None] = {}
    stopped: set[int] = set()
    until = time.monotonic() + 25
    while time.monotonic() < until and (left := processes - {*codes} - stopped):
        for process in left:
            found, status = os.waitpid(process, os.WNOHANG | os.WUNTRACED)
            if found and os.WIFSTOPPED(status):
                stopped.add(process)
            elif found:
                codes[process] = os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    for process in processes - {*codes}:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return codes


if __name__ == "__main__":
    lifeline.SLACK_S = 1.0  # type: ignore[misc]
    begun = {name: start(name, acts) for name, acts in CASES.items()}
    codes = exit_codes({process for _, processes in begun.values() for process in processes})
    print(
        json.dumps(
            {
                name: {"said": os.read(out, 65536).decode(), "codes": [codes.get(process) for process in processes]}
                for name, (out, processes) in begun.items()
            }
        )
    )
