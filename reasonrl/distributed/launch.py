"""Starts the ranks of a run on this machine, with torch's elastic launcher."""

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from reasonrl.distributed.terminal import WITNESSED
from reasonrl.system.cores import usable_cores
from reasonrl.system.process_tree import children, signal_group
from reasonrl.system.stopping import say

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

HERE: Final = "127.0.0.1"
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch_ranks(num_ranks: int, arguments: Sequence[str]) -> int:
    """Run ``reasonrl`` with the same arguments in several processes, and return the exit code of rank 0.

    Signals are rank 0's to answer. None is started again: a run goes on with ``--resume``.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL + 1)  # causes are told by the run
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // num_ranks)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{HERE}:0",
        local_addr=HERE,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle="SIGQUIT",  # for the others, torch would end all ranks
    )
    command = [*_python(), *(argument.replace("$", "$$") for argument in arguments)]  # torch fills in templates
    with _signals_forwarded(), _witness_file() as witnessed:
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            return _exit_code(error.failures, is_told=witnessed.exists())
        except SignalException as error:  # Ctrl-\
            return 128 + error.sigval
    return 0


def _python() -> list[str]:
    """Return what starts this program with the import path that this process has."""
    has_folder = sys.path[:1] in ([""], [os.getcwd()])
    return [*(() if has_folder else ("-P",)), "-m", "reasonrl"]


@contextmanager
def _signals_forwarded() -> Iterator[None]:
    """Pass signals on to the ranks, which are in sessions of their own; a closed terminal is a wish to stop."""

    def forward(number: int, frame: FrameType | None) -> None:
        for rank in children():
            signal_group(rank, signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number))

    before = {number: signal.getsignal(number) for number in FORWARDED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _witness_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reasonrl-") as folder:
        file = Path(folder) / "witnessed"
        os.environ[WITNESSED] = str(file)
        try:
            yield file
        finally:
            del os.environ[WITNESSED]


def _exit_code(failures: "Mapping[int, ProcessFailure]", *, is_told: bool) -> int:
    """Return the exit code of rank 0; say how it ended where nobody has."""
    rank_0 = failures.get(0)
    if rank_0 is None:
        return 0
    if rank_0.exitcode >= 0:
        return rank_0.exitcode
    if not is_told:
        say(f"error: rank 0 (process {rank_0.pid}) was ended by {signal.Signals(-rank_0.exitcode).name} at its start.")
    return 128 - rank_0.exitcode
