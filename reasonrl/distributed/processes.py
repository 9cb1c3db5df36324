"""The processes of one run: which of them this one is, and how they join.

accelerate gives the devices and the process group, so that whatever it launches is a run; torch divides the model.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from reasonrl.distributed.environment import forget_launch, launch
from reasonrl.distributed.lifeline import Lifeline
from reasonrl.distributed.terminal import speak
from reasonrl.distributed.watch import RankWatch, rank_watch, start_watch
from reasonrl.errors import ConfigError, RunError
from reasonrl.system.cores import usable_cores

if TYPE_CHECKING:
    import torch
    from torch.distributed.distributed_c10d import Store

    from reasonrl.config.learner import ParallelSettings

MEETING: Final = timedelta(minutes=10)
"""How long the other ranks wait for rank 0 to be there at all."""
GPU_BACKENDS: Final = "cuda:nccl,cpu:gloo"
"""Gradients travel between GPUs; what is said about them, and offloaded shards, between hosts."""


def is_launched() -> bool:
    """Say whether this is one of several processes of a run; by the environment alone, without torch."""
    return launch().num_ranks > 1


def launched_rank() -> int:
    """Return the number of this process, from 0; 0 where it is alone."""
    return launch().rank


def require_processes(settings: "ParallelSettings", asked: int | None, found: int) -> None:
    """Refuse another number of processes than was asked for.

    Args:
        settings: of the run.
        asked: ``--processes``.
        found: processes that were started, or are going to be.

    Raises:
        ConfigError: it is another.
    """
    for number, place in ((asked, "--processes"), (settings.processes, "learner.parallel.processes")):
        if number is not None and number != found:
            there = "this process is the only one" if found == 1 else f"there are {found} processes"
            raise ConfigError(
                f"{place} is {number}, but {there}. Start as many: reasonrl train RUN --processes {number}, or "
                f"torchrun --nproc-per-node {number} -m reasonrl train RUN."
            )


def join(settings: "ParallelSettings", device: str) -> "torch.device":
    """Join all ranks of the run in one process group; called on every rank, and returns when all are there.

    Args:
        settings: how long to wait for the others, here and in every later collective.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The device of this rank; a GPU is also made the current one.

    Raises:
        ConfigError: there is no device for each rank.
        RunError: not all ranks came in time.
    """
    import accelerate  # noqa: F401  # the ranks wait for one another after what takes long
    import torch

    wanted = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    if not is_launched():
        return wanted
    if wanted.type == "cuda":
        _require_gpus(wanted, torch.cuda.device_count())
    _share_cores()
    if (watch := connect(settings)) is not None:
        watch.tell(join=[settings.model_dump(), device])
        watch.wait_for_all(max(settings.timeout_s, MEETING.total_seconds()))
        watch.tell(all_are_here=True)
    else:
        lifeline().say_ready()
        lifeline().told("all_are_here")
    return _joined(settings, is_cpu=wanted.type == "cpu")


@contextmanager
def group_of_one(device: str) -> Iterator[None]:
    """Let a single process divide its model in the way that several do, for what that gains on one GPU."""
    import torch
    from torch import distributed as dist
    from torch._C._distributed_c10d import HashStore

    is_cpu = device == "cpu" or not torch.cuda.is_available()
    dist.init_process_group("gloo" if is_cpu else GPU_BACKENDS, store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _require_gpus(device: "torch.device", num_gpus: int) -> None:
    """Refuse two processes on one GPU, which NCCL does not connect."""
    here = launch().local_num_ranks
    if device.index is not None and here > 1:
        raise ConfigError(
            f"model.device: {str(device)!r} is one GPU, but {here} processes run on this machine: use cuda, which "
            "gives each its own, or start one process."
        )
    if here > num_gpus:
        raise ConfigError(
            f"{here} processes run on this machine, but it has {num_gpus} GPUs: start one process for each, or set "
            "model.device: cpu."
        )


def _share_cores() -> None:
    """Give each process of this machine its share of the cores, unless the user has (OMP_NUM_THREADS).

    accelerate would do it with a warning from every rank, and fails where a container hides the number of cores.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        share = max(1, usable_cores() // launch().local_num_ranks)
        os.environ["OMP_NUM_THREADS"] = str(share)
        torch.set_num_threads(share)


def connect(settings: "ParallelSettings") -> RankWatch | None:
    """Return rank 0's watch over the others, which begins at the first call; on them, None.

    From here on a rank that is lost ends the run.

    Raises:
        RunError: the ranks cannot meet.
    """
    where, store = launch(), _store()
    if where.rank == 0 and rank_watch() is None:
        watch = start_watch(where.num_ranks, settings.timeout_s)
        store.set("watch", f"{watch.port} {watch.token}")
    elif where.rank:
        lifeline()
    return rank_watch()


@cache
def lifeline() -> Lifeline:
    """Return the connection of a rank to rank 0, made at the first call; on every rank but 0.

    Raises:
        RunError: the ranks cannot meet.
    """
    where = launch()
    try:
        port, token = _store().get("watch").decode().split()
        connection = socket.create_connection((where.address, int(port)), timeout=MEETING.total_seconds())
    except (OSError, RuntimeError) as error:
        raise _unmet(error) from None
    line = Lifeline(connection, where.rank, speak, is_near=where.is_near)
    line.start(token)
    return line


@cache
def _store() -> "Store":
    """Return the store in which ranks find one another's addresses; kept, because rank 0 may be who serves it.

    Raises:
        RunError: rank 0 is not there, or its port is taken.
    """
    from torch.distributed import DistError
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    where = launch()
    try:
        address = f"tcp://{where.address}:{where.port}"
        store, _, _ = next(rendezvous(address, where.rank, where.num_ranks, timeout=MEETING))
    except (DistError, RuntimeError, ValueError) as error:
        raise _unmet(error) from None
    return PrefixStore("reasonrl", store)


def _unmet(error: Exception) -> RunError:
    where = launch()
    return RunError(
        f"rank {where.rank} cannot meet the others at {where.address}, port {where.port} (MASTER_ADDR, MASTER_PORT): "
        f"{str(error).splitlines()[0]}"
    )


def _joined(settings: "ParallelSettings", *, is_cpu: bool) -> "torch.device":
    import torch
    from accelerate import PartialState

    where = launch()
    os.environ |= where.variables  # accelerate does not know those of mpirun on GPUs
    if not is_cpu:
        _switch_off_what_is_not_there()
    group: dict[str, Any] = {  # Any: what init_process_group takes
        "backend": "gloo" if is_cpu else GPU_BACKENDS,
        "timeout": timedelta(seconds=settings.timeout_s),
        "store": _store(),
        "rank": where.rank,
        "world_size": where.num_ranks,
    }
    state = PartialState(cpu=is_cpu, **group)
    forget_launch()
    assert state.num_processes == where.num_ranks, "accelerate has joined another group than it was given"
    return torch.device("cpu") if is_cpu else state.device  # accelerate's cpu:0 is not equal to torch's cpu


def _switch_off_what_is_not_there() -> None:
    """Keep NCCL from ways between GPUs that these have not, as ``accelerate launch`` does; else accelerate refuses."""
    from accelerate.utils import check_cuda_p2p_ib_support

    if not check_cuda_p2p_ib_support():
        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            os.environ.setdefault(name, "1")


def leave() -> None:
    """Leave the others when the run has ended well; called on every rank."""
    if not is_launched():
        return
    from accelerate import PartialState

    if (watch := rank_watch()) is not None:
        watch.let_go()
    else:
        lifeline().wait_for_end()
    PartialState().destroy_process_group()
